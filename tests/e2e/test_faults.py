"""Services taken away in every way: nothing is lost, the verdict is PASS, and nobody else was touched."""

from __future__ import annotations

from typing import Any

import pytest

from testing.pipeline import UNITS, Pipeline

HOLD = 8
FLINK = ("flink-jobmanager", "flink-taskmanager")
#: The drill, its variables and the units that it may end.
SERVICES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "kafka": ("kafka", {}, ("kafka",)),
    "cassandra": ("cassandra", {}, ("cassandra",)),
    "flink": ("flink", {}, FLINK),
    "job manager": ("flink", {"flink_processes": "jobmanager"}, FLINK),
    "task manager": ("flink", {"flink_processes": "taskmanager"}, FLINK),
}
CASES = [
    pytest.param(
        name, fault, marks=getattr(pytest.mark, "faults" if " " not in name and fault != "stop" else "more_faults")
    )
    for name in SERVICES
    for fault in ("stop", "kill", "pause")
]


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_a_fault_loses_nothing(pipeline: Pipeline, name: str, fault: str) -> None:
    drill, variables, units = SERVICES[name]
    others = {unit: pipeline.members(unit)[0] for unit in UNITS if unit not in units}

    run = pipeline.play(f"drill_{drill}", expect=None, drill_fault=fault, drill_hold=HOLD, **variables)

    assert pipeline.verdict()["verdict"] == "PASS", run.output
    assert run.status == 0
    assert "lost 0" in run.output
    assert {unit: pipeline.members(unit)[0] for unit in others} == others
    assert all(pipeline.members(unit) for unit in UNITS)
