"""The self-test from outside: every planted defect is caught by name, and runs without one pass."""

from __future__ import annotations

import re

import pytest

from tests.e2e.pipeline import Pipeline

pytestmark = pytest.mark.e2e

CONTROLS = 3  # `make selftest` runs twenty


def test_every_planted_defect_is_caught_and_nothing_else(cold: Pipeline) -> None:
    cold.play("site", seconds=1200, pipeline_name="selftest")
    try:
        run = cold.play(
            "selftest", expect=None, seconds=1500,
            pipeline_name="selftest", selftest_controls=CONTROLS, drill_recovery_budget=600,
        )  # fmt: skip
    finally:
        cold.play("teardown", teardown_purge=True, pipeline_name="selftest")

    assert run.status == 0, run.output
    found = re.search(r"self-test +(\d+) defects and (\d+) control runs: all as they must be", run.output)
    assert found, run.output
    assert int(found[1]) >= 12
    assert int(found[2]) == CONTROLS


def test_another_pipeline_is_not_spoiled(pipeline: Pipeline) -> None:
    run = pipeline.play("selftest", expect=1)

    assert "it only takes one named selftest" in " ".join(run.output.split())
