"""Fixtures of the console's tests: settings over this checkout, and journals to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Record, Run
from eventlog_console.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_795_475_518.0

MakeSettings = Callable[..., Settings]
MakeRun = Callable[..., Run]


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """A function that makes settings over this checkout, with runs of the test's own."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "root": ROOT,
            "inventory": "inventory/local",
            "arguments": (),
            "runs": tmp_path / "runs",
            "host": "127.0.0.1",
            "port": 0,
            "token": None,
        }
        return Settings(**{**values, **changes})

    return make


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A function that writes a run with these records; the first begins at NOW, each of the others a second later."""

    def make(drill: str, *records: Record, now: float = NOW) -> Run:
        run = journal.create_run(tmp_path / "runs", drill, now=now)
        for offset, record in enumerate(records):
            fields = {key: value for key, value in record.items() if key != "kind"}
            journal.append(run, record["kind"], **{"time": now + offset, **fields})
        return run

    return make


def receipt(unit: str, verb: str, *, ok: bool = True) -> dict[str, Any]:
    """A receipt as the journal has it, of one process."""
    away = verb in ("stopped", "killed")
    member = {"pid": 4711, "pgid": 4711, "start_time": 1, "state": "S", "threads": 1, "rss": 1}
    left = [] if away and ok else [member]
    return {
        "unit": unit,
        "verb": verb,
        "before": [member] if away else [],
        "after": left,
        "gone": away and ok,
        "ports": {},
        "answers": {"before": True, "after": not away},
        "time": NOW,
        "seconds": 0.5,
        "milestones": {"ready": 2.0} if not away else {},
        "ok": ok,
        "why": "" if ok else "still runs: pid 4711",
    }
