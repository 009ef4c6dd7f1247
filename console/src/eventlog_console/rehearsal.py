"""A drill as its journal tells it: which step of the playbook it is at, what was seen, how it ended.

Works for every run of the folder, also for one that was started from a terminal.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, receipts
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Record, Run
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import redacted
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story

from eventlog_console.catalogue import Playbook, Step

HOPS = ("producer", "kafka", "cassandra", "lag")
Point = list[float | int | None]


def describe(run: Run, playbook: Playbook | None) -> dict[str, Any]:
    """Everything about a run but its samples, as JSON values.

    :param playbook: the drill's, None when the collection has none of that name any more.
    :raises JournalError: the journal was tampered with.
    """
    records = journal.read_records(run.journal)
    story = Story(run.name, records, [], [])
    return {
        "name": run.name,
        "title": story.title,
        "drill": story.drill,
        "began": story.began,
        "ended": story.ended if story.judged else None,
        "command": story.begin.get("command") or [],
        "budget": story.begin.get("budget"),
        "verdict": story.judged or None,
        "steps": list(steps(playbook.steps if playbook else (), records)),
        "bands": [{**vars(band), "open": band.end == story.ended} for band in story.bands],
        "report": (run.path / "report.html").exists(),
        "alive": bool(living_command(run)),
    }


def steps(planned: Sequence[Step], records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """The steps of the playbook, each with its state: done, failed, now, todo or skipped.

    A step is over when the record that closes it is in the journal. After a task that failed, a refusal or an
    interruption the playbook goes straight to its last step.
    """
    if not planned:
        return
    *middle, finish = planned
    verdict = journal.last(records, "verdict")
    position, began = 0, float(records[0]["time"]) if records else 0.0
    open_state = "now"  # of the first step that is not over, and then of those after it
    for step in middle:
        index = _closing(step, records, position) if open_state == "now" else None
        if index is not None:
            closing = records[index]
            failed = _failed(closing, _recovery(step, records[: index + 1]))
            yield _view(step, "failed" if failed else "done", began, float(closing["time"]), closing, records)
            position, began = index + 1, float(closing["time"])
            if failed and closing["kind"] in ("fault", "undo"):
                open_state = "skipped"
            continue
        broke = _broke(records[position:]) if open_state == "now" else None
        if broke or (verdict and open_state == "now"):
            yield _view(step, "failed" if broke else "skipped", began, None, broke, records)
            open_state = "skipped"
        else:
            yield _view(step, open_state, began, None, _started(step, records[position:]), records)
            open_state = "todo" if open_state == "now" else open_state
    if verdict:
        state = "done" if verdict["status"] == 0 else "failed"
        yield _view(finish, state, began, float(verdict["time"]), verdict, records)
    else:
        yield _view(finish, "todo" if open_state == "todo" else "now", began, None, None, records)


_CLOSED_BY = {
    "begin": "window",
    "fault": "fault",
    "undo": "undo",
    "observe": "observation",
    "find_poison": "observation",
}
_STREAMING = {"pause_stream": False, "resume_stream": True}


def _closing(step: Step, records: Sequence[Record], position: int) -> int | None:
    """Where the record is that says that a step is over."""
    for index in range(position, len(records)):
        record = records[index]
        if step.kind in _STREAMING:
            found = record["kind"] == "note" and record.get("streaming") is _STREAMING[step.kind]
        elif step.kind == "poison":
            found = record["kind"] == "note" and "planted" in record
        else:
            found = record["kind"] == _CLOSED_BY.get(step.kind) and step.phase in ("", record.get("phase"))
        if found:
            return index
    return None


def _started(step: Step, records: Sequence[Record]) -> Record | None:
    """The record that says that a phase has begun, with its length."""
    return next((r for r in records if r["kind"] == "phase" and step.phase and r.get("phase") == step.phase), None)


def _broke(records: Sequence[Record]) -> Record | None:
    """The first record after which the playbook does not go on: a task failed, or the drill was refused."""
    for record in records:
        refused = record["kind"] == "steady" and not record["ok"]
        refused |= record["kind"] == "preflight" and not all(check["ok"] for check in record["checks"])
        if refused or record["kind"] == "trouble":
            return record
    return None


def _recovery(step: Step, records: Sequence[Record]) -> Record | None:
    """What was measured of the recovery that a step watched."""
    found = [record for record in records if record["kind"] == "recovery" and record.get("phase") == step.phase]
    return found[-1] if found else None


def _failed(record: Record, recovery: Record | None) -> bool:
    if recovery is not None and recovery.get("drained") is None:
        return True
    if "receipts" in record:
        return not all(receipt["ok"] for receipt in record["receipts"])
    return any(check["ok"] is not True for check in record.get("checks", []))


def _view(
    step: Step, state: str, began: float, ended: float | None, record: Record | None, records: Sequence[Record]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": step.name,
        "kind": step.kind,
        "phase": step.phase,
        "state": state,
        "began": began if state not in ("todo", "skipped") else None,
        "ended": ended,
        "text": _text(step, record, records) if record else "",
        "checks": (record or {}).get("checks", []) if step.kind in ("observe", "find_poison") else [],
    }
    if record is not None and record["kind"] == "phase":
        found |= {"began": record["at"], "planned": record["planned"]}
    if state in ("done", "failed") and step.kind == "observe":
        found["recovery"] = _recovery(step, records)
    return found


def _text(step: Step, record: Record, records: Sequence[Record]) -> str:
    """What a person wants to know of a step, in one line."""
    kind = record["kind"]
    if kind == "trouble":
        return f"{record.get('task')}: {record.get('message')}"
    if kind == "preflight":
        return "; ".join(str(check["text"]) for check in record["checks"] if not check["ok"])
    if kind in ("steady", "verdict"):
        return str(record["reason"])
    if step.kind == "begin":
        steady = journal.last(records, "steady") or {}
        return f"steady at {steady.get('rate', 0):.1f} events/s, lag {steady.get('lag', 0)}"
    if "receipts" in record:
        return " · ".join(receipts.describe(receipt) for receipt in record["receipts"])
    return str(record.get("text") or "")


def living_command(run: Run) -> list[str]:
    """The command of a drill that still runs on this machine; empty when it has ended, in whatever way."""
    records = journal.read_records(run.journal)
    begin = journal.last(records, "begin") or {}
    command = [str(word) for word in begin.get("command") or []]
    if not command or begin.get("controller") != socket.gethostname() or journal.last(records, "verdict"):
        return []
    lives = any(entry.name.isdigit() and _words(entry / "cmdline") == command for entry in Path("/proc").iterdir())
    return command if lives else []


def _words(cmdline: Path) -> list[str]:
    """A process's command line as the journal writes it: without the interpreter, nor the program's folder."""
    try:
        words = cmdline.read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []
    if os.path.basename(words[0]).startswith("python"):
        words = words[1:]
    return [redacted(word) for word in [os.path.basename(words[0]), *words[1:]]] if words else []


def point(sample: Mapping[str, Any]) -> Point:
    """A sample as the chart wants it: the time, then each count, null while it cannot be read."""
    counts = [sample[hop]["count"] if sample[hop].get("reachable") else None for hop in HOPS]
    return [round(float(sample["time"]), 2), *counts]
