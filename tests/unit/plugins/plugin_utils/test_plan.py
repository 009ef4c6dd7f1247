"""The preflight's arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import plan
from ansible_collections.eventlog.drills.plugins.plugin_utils.plan import Capacity, Plan


def planned(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "rate": 10.0,
        "event_bytes": 1024,
        "away": {"kafka": 30.0},
        "spool_bytes": 0,
        "spool_limit_bytes": 2 * 1024**3,
        "retention_hours": 168.0,
        "disk_free_bytes": 70 * 10**9,
        "capacity": Capacity(2000.0, limit=True, source="measured"),
        "budget": 60.0,
    }
    return Plan(**{**values, **changes})


def refused(**changes: Any) -> list[str]:
    return [check.name for check in plan.check(planned(**changes)) if not check.ok]


def test_an_ordinary_plan_is_fine() -> None:
    assert refused() == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"spool_limit_bytes": 500_000}, "spool"),
        ({"spool_bytes": 2 * 1024**3}, "spool"),
        ({"retention_hours": 0.01}, "retention"),
        ({"disk_free_bytes": 100 * 10**6}, "disk"),
        ({"rate": 2000.0}, "catch-up"),
    ],
)
def test_a_plan_that_must_fail_is_refused(changes: dict[str, Any], name: str) -> None:
    assert refused(**changes) == [name]


def test_the_spool_does_not_matter_while_kafka_stays() -> None:
    assert refused(away={"flink": 60.0}, spool_bytes=2 * 1024**3) == []


def test_the_arithmetic_is_in_the_message() -> None:
    texts = {check.name: check.text for check in plan.check(planned(spool_limit_bytes=500_000))}
    # 10/s for 30 s and 30 s to come back, 1,024 bytes each, half as much again for SQLite
    assert "10/s x 60 s x 1024 B x 1.5 = 0.9 MB of 0.5 MB free in the spool" in texts["spool"]
    assert "Lower the rate or the hold." in texts["spool"]


def test_the_figures_of_a_plan() -> None:
    plan_of_60 = planned(away={"flink": 60.0})
    assert plan_of_60.peak_lag == 600
    assert plan_of_60.backlog == 900
    assert plan_of_60.drain_seconds == pytest.approx(900 / 1990)
    assert planned(rate=3000.0).drain_seconds == float("inf")
    assert planned(away={}).longest == 0.0
    assert plan.summary(plan_of_60).startswith("backlog up to 600 events, 0.6 MB · retention 7 d · disk 70 GB free")
    assert "retention 12 h" in plan.summary(planned(retention_hours=12.0))
    assert "retention for ever" in plan.summary(planned(retention_hours=float("inf")))


def test_only_a_speed_that_is_known_refuses_a_plan() -> None:
    unknown, at_least = Capacity(), Capacity(800.0, source="measured")
    assert refused(rate=2500.0, capacity=unknown) == []
    assert refused(rate=2500.0, capacity=at_least) == []
    assert refused(rate=2500.0, capacity=Capacity(9000.0, limit=True)) == []
    assert refused(rate=900.0, capacity=Capacity(800.0, limit=True)) == ["catch-up"]
    texts = {check.name: check.text for check in plan.check(planned(rate=900.0, capacity=at_least))}
    assert texts["catch-up"].endswith("at least 800/s")
    assert "catch-up not measured yet for 10/s" in plan.summary(planned(capacity=unknown))


def test_nothing_piles_up_behind_a_paused_stream() -> None:
    paused = planned(rate=0.0, away={"kafka": 600.0, "flink": 600.0})
    assert (paused.peak_lag, paused.backlog) == (0, 0)
    assert [check.name for check in plan.check(paused) if not check.ok] == []
