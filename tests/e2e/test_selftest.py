"""The self-test from outside: every planted defect is caught by name, and runs without one pass."""

from __future__ import annotations

import re

import pytest

from testing.pipeline import Pipeline

pytestmark = pytest.mark.selftest

CONTROLS = 1  # `make selftest` runs twenty


def test_every_planted_defect_is_caught_and_nothing_else(spoilable: Pipeline) -> None:
    run = spoilable.play("selftest", expect=None, seconds=1500, selftest_controls=CONTROLS)

    assert run.status == 0, run.output
    found = re.search(r"self-test +(\d+) defects and (\d+) control runs: all as they must be", run.output)
    assert found, run.output
    assert int(found[1]) >= 48
    assert int(found[2]) == CONTROLS


def test_a_defect_that_is_missed_fails_the_self_test(spoilable: Pipeline) -> None:
    """Nothing is planted, and something is to be caught: the judge must say that it was not."""
    missing = [{"scene": "control", "verdict": "FAIL", "caught": {"what is not there": "^nothing of the kind"}}]
    run = spoilable.play("selftest", expect=None, seconds=300, selftest_runs=missing, selftest_controls=0)

    assert run.status != 0, run.output
    assert "1 defects and 0 control runs: 1 not as they must be: what is not there (control)" in run.output
