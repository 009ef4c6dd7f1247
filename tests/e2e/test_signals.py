"""The controller is ended in the middle of a drill: the service comes back by itself, and the next command heals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.e2e.pipeline import UNITS, Pipeline, wait_for

pytestmark = pytest.mark.e2e

LEASE = 20
HOLD = 60  # longer than the lease: whoever is killed in it never comes to the undo
RETURN_SECONDS = 300  # that a service may take to be up after the lease, on a shared machine
DRILLS = ("kafka", "flink", "cassandra", "stop_resume", "cascade", "producer", "poison")
#: Where a drill is: the first journal record of a kind, and of a phase.
PHASES = {
    "begin": ("begin", ""),
    "outage": ("phase", "outage"),
    "recovery": ("undo", ""),
    "books": ("observation", "recovery"),
}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


def journal(pipeline: Pipeline, since: float) -> list[dict[str, Any]]:
    """The records of the drill that was begun after ``since``; a line that is being written is left out."""
    path = pipeline.runs / "latest" / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    records = [json.loads(line) for line in lines]
    return records if records and records[0]["time"] >= since else []


def interrupt(pipeline: Pipeline, drill: str, kind: str, phase: str, number: signal.Signals, hold: int = HOLD) -> None:
    """Begin a drill and end its whole process group once it has come that far."""
    since = time.time()
    command = pipeline.command(f"drill_{drill}", drill_hold=hold, drill_lease=LEASE, drill_recovery_budget=600)
    process = subprocess.Popen(
        # Behind nohup, or in the background of a script, the tests and their children would ignore some of the signals.
        ["env", "--default-signal=INT,TERM,HUP", *command],
        cwd=pipeline.folder, env=pipeline.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def there() -> bool:
        assert process.poll() is None, f"the drill ended before it came to {kind} {phase}"
        return any(r["kind"] == kind and (not phase or r["phase"] == phase) for r in journal(pipeline, since))

    try:
        wait_for(there, 300, f"the drill of {drill} comes to {kind} {phase}")
    finally:
        os.killpg(process.pid, number)
        process.wait(60)


def heals(pipeline: Pipeline, outcomes: frozenset[str] = frozenset({"ABORTED (healed)"})) -> None:
    """Everything is back without anybody's help; healing closes the journal and finds nothing lost."""
    wait_for(lambda: all(pipeline.members(unit) for unit in UNITS), LEASE + RETURN_SECONDS, "every unit is back")
    pipeline.play("heal", drill_steady_within=300)
    assert pipeline.verdict()["outcome"] in outcomes
    assert pipeline.counts()["producer"]["streaming"]
    counts = pipeline.drained(300)["producer"]
    source, count = counts["source"], counts["count"]
    rows = pipeline.rows()
    pipeline.post("resume")
    assert [seq for seq in range(1, count + 1) if (source, seq) not in rows] == []


@pytest.mark.parametrize(("phase", "number"), list(zip(PHASES, SIGNALS, strict=True)))
def test_every_signal_in_some_phase(pipeline: Pipeline, phase: str, number: signal.Signals) -> None:
    kind, name = PHASES[phase]

    interrupt(pipeline, "kafka", kind, name, number, hold=8 if phase in ("recovery", "books") else HOLD)

    # While the books are being closed nothing is away any more: the drill may be done before the signal comes.
    heals(pipeline, frozenset({"ABORTED (healed)", *(["PASS"] if phase == "books" else [])}))


@pytest.mark.matrix
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_signal_in_every_phase(pipeline: Pipeline, phase: str, number: signal.Signals) -> None:
    kind, name = PHASES[phase]

    interrupt(pipeline, "kafka", kind, name, number, hold=8 if phase in ("recovery", "books") else HOLD)

    # While the books are being closed nothing is away any more: the drill may be done before the signal comes.
    heals(pipeline, frozenset({"ABORTED (healed)", *(["PASS"] if phase == "books" else [])}))


@pytest.mark.matrix
@pytest.mark.parametrize("drill", DRILLS)
def test_a_kill_in_the_middle_of_every_drill(pipeline: Pipeline, drill: str) -> None:
    # Poison takes nothing away; of the others the first fault has bitten.
    kind, name = ("phase", "poisoned") if drill == "poison" else ("fault", "")

    interrupt(pipeline, drill, kind, name, signal.SIGKILL)

    heals(pipeline)
