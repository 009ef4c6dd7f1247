"""The self-test's judgement: a defect is caught by the verdict that it must have and the sentence that names it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import selftest


def found(outcome: str, reason: str, *findings: str) -> dict[str, Any]:
    """A run's verdict."""
    return {"outcome": outcome, "reason": reason, "findings": list(findings), "began": 10.0, "ended": 14.0}


@pytest.mark.parametrize(
    ("verdict", "wanted", "caught"),
    [
        (found("FAIL", "5 lost"), "FAIL", True),
        (found("FAIL", "something else", "5 lost"), "FAIL", True),
        (found("FAIL", "something else"), "FAIL", False),
        (found("UNKNOWN", "5 lost"), "FAIL", False),
        (found("PASS", "nothing lost", "5 lost"), "FAIL", False),
        (found("PASS", "nothing lost", "5 lost"), "PASS", True),  # a remark
        (found("PASS", "nothing lost"), "PASS", False),
    ],
)
def test_what_is_caught(verdict: dict[str, Any], wanted: str, caught: bool) -> None:
    (row,) = selftest.compare("scene", verdict, wanted, {"a defect": "^5 lost"})
    assert row.caught is caught
    assert row.seconds == 4.0


def test_a_control_run_must_pass() -> None:
    assert selftest.compare("control", found("PASS", "nothing lost"), "PASS", {})[0].caught
    assert not selftest.compare("control", found("FAIL", "5 lost"), "PASS", {})[0].caught
    assert not selftest.compare("control", None, "PASS", {})[0].caught
