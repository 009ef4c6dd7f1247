"""Where a drill is, told from its journal at every moment of its life."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from eventlog_console.catalogue import Catalogue
from eventlog_console.rehearsal import describe, living_command, point, steps

from .conftest import NOW, ROOT, MakeRun, receipt

CATALOGUE = Catalogue.read(ROOT)
FLINK = CATALOGUE.playbooks["drill_flink"]

BEGIN = {"kind": "begin", "drill": "flink", "title": "Drill 2", "budget": 60}
STEADY = {"kind": "steady", "ok": True, "rate": 10.0, "lag": 2}
WINDOW = {"kind": "window", "state": "opened"}
FAULT = {"kind": "fault", "receipts": [receipt("flink-jobmanager", "stopped")]}
OUTAGE = {"kind": "phase", "phase": "outage", "state": "started", "at": NOW + 3, "until": None, "planned": 60}
CHECK = {"subject": "kafka", "expected": "grows", "seen": "grows", "detail": "10/s", "ok": True}
OUTAGE_SEEN = {"kind": "observation", "phase": "outage", "checks": [CHECK]}
UNDO = {"kind": "undo", "receipts": [receipt("flink-jobmanager", "started")]}
RECOVERY = {
    "kind": "recovery",
    "phase": "recovery",
    "began": NOW,
    "at": {"port": 2.0, "drained": 9.0},
    "total": 9.0,
    "drained": 9.0,
}
RECOVERY_SEEN = {"kind": "observation", "phase": "recovery", "checks": []}
PASS = {"kind": "verdict", "outcome": "PASS", "verdict": "PASS", "status": 0, "reason": "nothing lost"}
ABORTED = {"kind": "verdict", "outcome": "ABORTED (healed)", "verdict": "ABORTED", "status": 23, "reason": "healed"}
TROUBLE = {"kind": "trouble", "task": "Start Flink", "message": "no port"}
BITELESS = {"kind": "fault", "receipts": [receipt("flink-jobmanager", "stopped", ok=False)]}
NOT_STEADY = {"kind": "steady", "ok": False, "reason": "lag grows"}
REFUSED = {"kind": "verdict", "outcome": "INVALID", "verdict": "INVALID", "status": 22, "reason": "refused"}

OPENED = [BEGIN, STEADY, WINDOW]


@pytest.mark.parametrize(
    ("records", "states"),
    [
        ([BEGIN], "now todo todo todo todo todo"),
        (OPENED, "done now todo todo todo todo"),
        ([*OPENED, FAULT], "done done now todo todo todo"),
        ([*OPENED, FAULT, OUTAGE], "done done now todo todo todo"),
        ([*OPENED, FAULT, OUTAGE, OUTAGE_SEEN], "done done done now todo todo"),
        ([*OPENED, FAULT, OUTAGE, OUTAGE_SEEN, UNDO], "done done done done now todo"),
        ([*OPENED, FAULT, OUTAGE_SEEN, UNDO, RECOVERY, RECOVERY_SEEN], "done done done done done now"),
        ([*OPENED, FAULT, OUTAGE_SEEN, UNDO, RECOVERY, RECOVERY_SEEN, PASS], "done done done done done done"),
        ([*OPENED, FAULT, OUTAGE, ABORTED], "done done skipped skipped skipped failed"),
        ([*OPENED, FAULT, OUTAGE_SEEN, TROUBLE], "done done done failed skipped now"),
        ([*OPENED, BITELESS], "done failed skipped skipped skipped now"),
        ([BEGIN, NOT_STEADY], "failed skipped skipped skipped skipped now"),
        ([BEGIN, NOT_STEADY, REFUSED], "failed skipped skipped skipped skipped failed"),
        ([], "now todo todo todo todo todo"),
    ],
)
def test_each_step_is_where_the_journal_says(make_run: MakeRun, records: list[dict[str, Any]], states: str) -> None:
    run = make_run("flink", *records)

    found = list(steps(FLINK.steps, journal.read_records(run.journal)))

    assert [step["state"] for step in found] == states.split()


def test_a_step_says_what_was_seen_and_how_long_it_took(make_run: MakeRun) -> None:
    run = make_run("flink", *OPENED, FAULT, OUTAGE, OUTAGE_SEEN, UNDO, RECOVERY, RECOVERY_SEEN, PASS)

    begin, fault, outage, undo, recovery, finish = describe(run, FLINK)["steps"]

    assert begin["text"] == "steady at 10.0 events/s, lag 2"
    assert (begin["began"], begin["ended"]) == (NOW, NOW + 2)
    assert fault["text"] == "flink-jobmanager pid 4711 gone"
    assert outage["checks"] == [CHECK]
    assert undo["text"] == "flink-jobmanager pid 4711 ready 2.0 s"
    assert recovery["recovery"]["total"] == 9.0
    assert finish["text"] == "nothing lost"


def test_a_phase_that_runs_has_its_length(make_run: MakeRun) -> None:
    run = make_run("flink", *OPENED, FAULT, OUTAGE)

    step = describe(run, FLINK)["steps"][2]

    assert (step["began"], step["planned"]) == (NOW + 3, 60)


def test_an_expectation_that_was_not_met_fails_its_step_and_the_drill_goes_on(make_run: MakeRun) -> None:
    missed = {"kind": "observation", "phase": "outage", "checks": [{**CHECK, "ok": False}]}
    run = make_run("flink", *OPENED, FAULT, missed)

    states = [step["state"] for step in describe(run, FLINK)["steps"]]

    assert states == ["done", "done", "failed", "now", "todo", "todo"]


def test_a_recovery_that_did_not_come_fails_its_step(make_run: MakeRun) -> None:
    stuck = {**RECOVERY, "total": None, "drained": None}
    run = make_run("flink", *OPENED, FAULT, OUTAGE_SEEN, UNDO, stuck, RECOVERY_SEEN)

    assert [step["state"] for step in describe(run, FLINK)["steps"]][-2:] == ["failed", "now"]


def test_a_run_of_a_drill_that_is_gone_can_still_be_looked_at(make_run: MakeRun) -> None:
    found = describe(make_run("old", *OPENED, PASS), None)

    assert found["steps"] == []
    assert found["verdict"]["outcome"] == "PASS"
    assert not found["alive"]


def test_a_drill_from_a_terminal_lives_as_long_as_its_command(make_run: MakeRun) -> None:
    words = ["-c", "import time; print('up', flush=True); time.sleep(60)", "an-argument"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        begin = {**BEGIN, "controller": socket.gethostname(), "command": words}

        assert living_command(make_run("flink", begin)) == words
        assert living_command(make_run("flink", {**begin, "controller": "elsewhere"})) == []
        assert living_command(make_run("flink", {**begin, "command": [*words, "more"]})) == []
        assert living_command(make_run("flink", begin, PASS)) == []
    finally:
        process.kill()
        process.communicate()
    assert living_command(make_run("flink", begin)) == []


def test_a_count_that_cannot_be_read_is_no_point() -> None:
    hop = {"count": 5, "reachable": True}
    sample = {"time": NOW, "producer": hop, "kafka": {**hop, "reachable": False}, "cassandra": hop, "lag": hop}

    assert json.loads(json.dumps(point(sample))) == [NOW, 5, None, 5, 5]
