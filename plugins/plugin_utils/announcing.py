"""Tell the monitor how the drill stands, from its journal: a banner and bands for those who watch the live page.

The monitor may be dead or frozen, so the telling is done by a process of its own on the host, which nobody waits for.
Every announcement is complete and carries its time: lost ones are made good by the next, late ones are refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, receipts
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import detached, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Record

#: Kinds of records after which a drill stands differently.
_KINDS = frozenset({"begin", "window", "fault", "undo", "phase", "verdict"})
#: The monitor takes a few thousand bytes; the end of a long reason is in the report.
_REASON_LENGTH = 500

Band = dict[str, Any]


def matters(record: Record) -> bool:
    """Whether the monitor is to be told of a record."""
    return record["kind"] in _KINDS or (record["kind"] == "note" and "streaming" in record)


def script(announced: Mapping[str, Any] | None, folder: str, config: str, python: str, pythonpath: str) -> str:
    """A shell script that starts the telling in the background; without an announcement the monitor is to forget."""
    text = "" if announced is None else json.dumps(announced, separators=(",", ":"))
    words = quoted(python, "-m", "eventlog.announce", "--config", config)
    command = f"printf %s {quoted(text)} | {words}"
    return detached(["sh", "-c", command], environment={"PYTHONPATH": pythonpath}, log=f"{folder}/announce.log")


def announcement(records: Sequence[Record], offset: float) -> dict[str, Any]:
    """How the drill stands; its shape is that of the monitor's ``PUT /api/v1/drill``.

    :param records: the journal so far, which begins with ``begin``.
    :param offset: seconds by which the host's clock is ahead; the announcement is in the host's time.
    """
    begin, last, found = records[0], records[-1], bands(records)
    verdict = journal.last(records, "verdict")
    return {
        "drill": begin["drill"],
        "title": begin["title"],
        "run": begin["run"],
        "time": time.time() + offset,
        "began": begin["time"] + offset,
        "phase": _shifted(_phase(records, found, float(last["time"])), offset),
        "bands": [_shifted(band, offset) for band in found],
        "verdict": verdict and {"outcome": verdict["outcome"], "reason": verdict["reason"][:_REASON_LENGTH]},
    }


def bands(records: Sequence[Record]) -> list[Band]:
    """Per service the time that it was away, and the recovery after all were back; ``until`` is None while it lasts."""
    made = _Bands()
    for record in records:
        for receipt in record.get("receipts", []) if record["kind"] in ("fault", "undo") else []:
            unit, moment = str(receipt["unit"]), receipts.ended(receipt)
            if receipts.kind(receipt) == "fault":
                made.take(unit, str(receipt["verb"]), moment)
            elif receipt["ok"]:
                made.give(unit, moment)
        if record["kind"] == "note" and record.get("streaming") is False:
            made.take("stream", "paused", float(record["time"]))
        elif record["kind"] == "note" and record.get("streaming"):
            made.give("stream", float(record["time"]))
        if record["kind"] == "recovery":
            made.recovered(_drained(record))
        elif record["kind"] == "verdict":
            made.end(float(record["time"]))
    return made.found


class _Bands:
    """The bands so far; a unit's name begins with its service's."""

    def __init__(self) -> None:
        self.found: list[Band] = []
        self._away: dict[str, tuple[Band, set[str]]] = {}  # the service's band, and which units of it are away

    def take(self, unit: str, verb: str, moment: float) -> None:
        """A unit went away."""
        self.recovered(moment)
        service = unit.partition("-")[0]
        if service not in self._away:
            self._away[service] = (self._open(f"{service} {verb}", "fault", moment), set())
        self._away[service][1].add(unit)

    def give(self, unit: str, moment: float) -> None:
        """A unit is back."""
        service = unit.partition("-")[0]
        band, units = self._away.get(service, ({}, set()))
        units.discard(unit)
        if service in self._away and not units:
            band["until"] = moment
            del self._away[service]
            if not self._away:
                self._open("recovery", "recovery", moment)

    def recovered(self, moment: float) -> None:
        """The recovery that is under way, if one is, has come to its end."""
        if self.found and self.found[-1]["kind"] == "recovery" and self.found[-1]["until"] is None:
            self.found[-1]["until"] = moment

    def end(self, moment: float) -> None:
        """The drill is over; what it could not bring back itself was healed, or is said in the verdict."""
        for band in self.found:
            band["until"] = band["until"] or moment

    def _open(self, name: str, kind: str, since: float) -> Band:
        self.found.append({"name": name, "kind": kind, "since": since, "until": None})
        return self.found[-1]


def _drained(record: Record) -> float:
    drained = record.get("total")
    return float(record["time"]) if drained is None else float(record["began"]) + float(drained)


def _phase(records: Sequence[Record], found: Sequence[Band], since: float) -> dict[str, Any]:
    """What the drill does now: the phase that is watched, or what lies between two of them."""
    away = [band["name"] for band in found if band["kind"] == "fault" and band["until"] is None]
    recovers = bool(found) and found[-1]["kind"] == "recovery" and found[-1]["until"] is None
    phases = journal.of_kind(records, "phase")
    if phases and phases[-1]["state"] == "started":
        kind = "fault" if away else "recovery" if recovers else "steady"
        began = float(phases[-1]["at"])
        planned = phases[-1].get("planned")
        return {"name": phases[-1]["phase"], "kind": kind, "since": began, "until": planned and began + planned}
    if away:
        watched = any(record["kind"] == "phase" for record in records[_last_fault(records) :])
        name, kind = ("bringing back" if watched else "away"), "fault"
    elif recovers:
        name, kind = "recovery", "recovery"
    elif found:
        name, kind = "closing the books", "closing"
    elif journal.last(records, "window"):
        name, kind = f"taking away {', '.join(records[0]['away']) or 'nothing'}", "fault"
    else:
        name, kind = "finding the steady state", "steady"
    return {"name": name, "kind": kind, "since": since, "until": None}


def _last_fault(records: Sequence[Record]) -> int:
    return max((at for at, record in enumerate(records) if record["kind"] == "fault"), default=0)


def _shifted(item: Mapping[str, Any], offset: float) -> dict[str, Any]:
    until = item["until"]
    return {**item, "since": item["since"] + offset, "until": None if until is None else until + offset}
