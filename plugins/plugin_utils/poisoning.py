"""Poison the topic: plant records that cannot become rows, and judge where each of them ended up."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, live
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import HostError, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal, RehearsalError
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Check

PHASE = "dead letters"


def _run(rehearsal: Rehearsal, script: str, *words: str) -> Any:
    state = rehearsal.state
    command = quoted(state.python, "-c", script, *words)
    try:
        return json.loads(rehearsal.host.run(f"PYTHONPATH={quoted(state.pythonpath)} {command}"))
    except (HostError, ValueError) as error:
        raise RehearsalError(str(error)) from error


def plant(rehearsal: Rehearsal, script: str) -> int:
    """Plant the records and journal where; returns how many.

    :param script: the text of the planting program.
    :raises RehearsalError: it could not be done.
    """
    window = journal.last(rehearsal.records, "window") or {}
    planted = _run(rehearsal, script, "plant", rehearsal.state.config, str(window.get("generated", 0)))
    rehearsal.note("note", text=f"{len(planted)} records planted that cannot become rows", planted=planted)
    rehearsal.say(
        live.line("poison", f"{len(planted)} records planted: {', '.join(record['name'] for record in planted)}")
    )
    return len(planted)


def find(rehearsal: Rehearsal, script: str) -> list[Check]:
    """Wait until every planted record is in the dead-letter topic and in the table of rejected ones, and judge it.

    :raises RehearsalError: nothing was planted, or it could not be looked for.
    """
    planted = next((record["planted"] for record in reversed(rehearsal.records) if "planted" in record), None)
    if planted is None:
        raise RehearsalError("nothing was planted")
    began = time.time()
    checks: list[Check] = []

    def done() -> bool:
        nonlocal checks
        found = _run(rehearsal, script, "find", rehearsal.state.config, json.dumps(planted))
        checks = [judge(record, place) for record, place in zip(planted, found, strict=True)]
        return all(check.ok for check in checks)

    rehearsal.follow(done, until=began + rehearsal.state.patience)
    until = time.time()
    rehearsal.note(
        "observation",
        phase=PHASE,
        since=began,
        until=until,
        samples=0,
        checks=[check.as_dict() for check in checks],
    )
    met = sum(1 for check in checks if check.ok)
    rehearsal.say(live.line("poison", f"{met} of {len(checks)} refused with the reason, in topic and table"))
    for check in checks:
        if not check.ok:
            rehearsal.say(live.continued(f"{check.subject}: {check.seen}"))
    return checks


def judge(record: journal.Record, place: journal.Record) -> Check:
    """One planted record: its reason must stand in the dead-letter topic and in the table."""
    letter, row = place.get("letter"), place.get("row")
    at = f"partition {record['partition']} offset {record['offset']}"
    expected = f"refused: {record['reason']}"
    if letter is None or row is None:
        missing = " and ".join(name for name, found in (("topic", letter), ("table", row)) if found is None)
        return Check(record["name"], expected, f"no dead letter in the {missing}", False, at)
    if not str(letter).startswith(record["reason"]):
        return Check(record["name"], expected, "refused for another reason", False, f"{letter}; {at}")
    beside = f", in a batch with {place['beside']} good rows" if place.get("beside") else ""
    return Check(record["name"], expected, "refused", letter == row, f"{letter}; {at}{beside}")
