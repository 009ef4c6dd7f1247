"""The controller is ended in the middle of a drill: the service comes back by itself, and the next command heals."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from testing.pipeline import UNITS, Pipeline
from testing.processes import mentioning
from testing.waiting import wait_until

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


def hooks(folder: Path) -> dict[str, str]:
    """Variables that hold a drill between recovery and books until it is ended: nothing else takes so long there."""
    file = folder / "wait.yml"
    file.write_text(f"- {{name: Wait, ansible.builtin.wait_for: {{path: {folder}/never, timeout: 600}}}}\n")
    return {"drill_before_books": str(file)}


def workers(pipeline: Pipeline) -> list[int]:
    """What is left of playbooks on a pipeline; Ansible's workers have sessions of their own."""
    found = mentioning(str(pipeline.root).encode())
    return [pid for pid, command in found.items() if "ansible-playbook" in command or "AnsiballZ" in command]


def interrupt(
    pipeline: Pipeline, drill: str, kind: str, phase: str, number: signal.Signals, hold: int, **more: str
) -> None:
    """Begin a drill and end its whole process group once it has come that far."""
    since = time.time()
    process = pipeline.begin(f"drill_{drill}", drill_hold=hold, drill_lease=LEASE, **more)

    def there() -> bool:
        assert process.poll() is None, f"the drill ended before it came to {kind} {phase}"
        return any(r["kind"] == kind and (not phase or r["phase"] == phase) for r in journal(pipeline, since))

    try:
        wait_until(there, 300, f"the drill of {drill} comes to {kind} {phase}")
        assert process.poll() is None, "the drill ended before the signal"
    finally:
        os.killpg(process.pid, number)
        process.wait(60)
    assert process.returncode != 0, "the signal did not land: the drill came to its end"
    if kind == "phase":  # one of our own actions was at work, and would renew the lease
        wait_until(lambda: not workers(pipeline), 5, "the playbook's worker has ended with it")
    for pid in workers(pipeline):  # of a module of Ansible's own, which ends when it is done
        os.kill(pid, signal.SIGKILL)


def heals(pipeline: Pipeline) -> None:
    """Everything is back without anybody's help; healing closes the journal and finds nothing lost."""
    wait_until(lambda: all(pipeline.members(unit) for unit in UNITS), LEASE + RETURN_SECONDS, "every unit is back")
    pipeline.play("heal", drill_steady_within=300)
    assert pipeline.verdict()["outcome"] == "ABORTED (healed)"
    assert pipeline.counts()["producer"]["streaming"]
    counts = pipeline.drained(300)["producer"]
    source, count = counts["source"], counts["count"]
    rows = pipeline.rows()
    pipeline.post("resume")
    assert [seq for seq in range(1, count + 1) if (source, seq) not in rows] == []


@pytest.mark.more_signals
def test_of_two_drills_that_find_the_lock_of_a_killed_one_a_single_one_heals_and_runs(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    interrupt(pipeline, "kafka", "phase", "outage", signal.SIGKILL, HOLD)
    since = time.time()

    both = [
        pipeline.begin("drill_flink", drill_hold=8, drill_steady_within=RETURN_SECONDS, drill_link=str(tmp_path / name))
        for name in ("one", "other")
    ]
    statuses = [process.wait(RETURN_SECONDS + 300) for process in both]

    assert sorted(status == 0 for status in statuses) == [False, True]
    begun = [path for path in pipeline.runs.glob("*-flink") if path.stat().st_ctime >= since]
    assert len(begun) == 1
    assert pipeline.verdict()["verdict"] == "PASS"


OFTEN = {("outage", signal.SIGKILL), ("recovery", signal.SIGTERM)}  # in `make test`
CASES = [
    pytest.param(
        phase,
        number,
        id=f"{phase}-{number.name}",
        marks=getattr(pytest.mark, "signals" if (phase, number) in OFTEN else "more_signals"),
    )
    for phase in PHASES
    for number in SIGNALS
]


@pytest.mark.parametrize(("phase", "number"), CASES)
def test_a_drill_whose_controller_is_ended_heals(
    pipeline: Pipeline, tmp_path: Path, phase: str, number: signal.Signals
) -> None:
    kind, name = PHASES[phase]
    over = phase in ("recovery", "books")

    interrupt(pipeline, "kafka", kind, name, number, hold=8 if over else HOLD, **(hooks(tmp_path) if over else {}))

    heals(pipeline)


@pytest.mark.more_signals
@pytest.mark.parametrize("drill", DRILLS)
def test_a_kill_in_the_middle_of_every_drill(pipeline: Pipeline, tmp_path: Path, drill: str) -> None:
    # Poison takes nothing away; of the others the first fault has bitten.
    kind, name = ("phase", "poisoned") if drill == "poison" else ("fault", "")

    interrupt(pipeline, drill, kind, name, signal.SIGKILL, HOLD, **(hooks(tmp_path) if drill == "poison" else {}))

    heals(pipeline)
