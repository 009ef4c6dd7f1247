"""The recovery split: from receipts and samples to seconds per phase."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import owners, recovery
from ansible_collections.eventlog.drills.plugins.plugin_utils.owners import Owner
from ansible_collections.eventlog.drills.plugins.plugin_utils.recovery import MILESTONES, Recovery
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Steady
from hypothesis import given
from hypothesis import strategies as st

from .snapshots import START, series

STEADY = Steady(rate=10.0, lag=3)


def undo(unit: str = "flink-jobmanager", at: float = 5.0, **milestones: float) -> dict[str, Any]:
    return {
        "receipts": [{"unit": unit, "verb": "started", "time": START + at, "seconds": 3.0, "milestones": milestones}]
    }


def generated(second: float) -> int:
    return int(1000 + 10 * second)


def stored(second: float) -> int:
    """Rows stand still until second 9, then catch up at 50 a second."""
    return int(min(generated(second), 1000 + max(0, second - 8) * 50))


SAMPLES = series(20, producer=generated, kafka=generated, cassandra=stored, lag=lambda t: generated(t) - stored(t))


def test_the_split_of_a_recovery() -> None:
    found = recovery.split([undo(process=0.2, port=1.0, ready=2.5)], SAMPLES, STEADY, since=START + 5)
    assert found is not None
    assert found.at == {"process": 0.2, "port": 1.0, "ready": 2.5, "first record": 4.0, "drained": 5.0}
    assert found.segments == [
        ("process", 0.2),
        ("port", 0.8),
        ("ready", 1.5),
        ("first record", 1.5),
        ("drained", pytest.approx(1.0)),
    ]
    assert found.total == 5.0


def test_the_setting_that_owns_a_long_phase_is_named() -> None:
    known = {
        "process": Owner("no setting's", False),
        "ready": Owner("restart-strategy delay 5 s", False),
        "first record": Owner("reconnect 500", True),
        "drained": Owner("catch-up", False),
    }
    found = recovery.split([undo(process=0.2, port=0.3, ready=3.3)], SAMPLES, STEADY, since=START + 5, owners=known)
    assert found is not None
    assert found.owners == {"ready": "restart-strategy delay 5 s", "first record": "reconnect 500"}
    assert found.longest == "ready 3.0 s (restart-strategy delay 5 s)"


def test_several_undos_count_from_the_first_to_the_last() -> None:
    both = [undo("kafka", at=2.0, process=0.1, ready=1.0), undo("flink-jobmanager", at=5.0, process=0.2, ready=2.0)]
    found = recovery.split(both, SAMPLES, STEADY, since=START + 5)
    assert found is not None
    assert found.began == START + 2
    assert found.at["process"] == 3.2
    assert found.at["ready"] == 5.0


def test_the_first_record_after_the_database_itself_was_away() -> None:
    away = series(20, producer=generated, kafka=generated, cassandra=lambda t: None if 2 < t < 9 else stored(t))
    found = recovery.split([undo("cassandra", process=0.2)], away, STEADY, since=START + 5)
    assert found is not None
    assert found.at["first record"] == 4.0


def test_a_recovery_that_never_ends() -> None:
    found = recovery.split([undo(process=0.2)], SAMPLES[:8], STEADY, since=START + 5)
    assert found is not None
    assert found.total is None
    assert found.longest == "process 0.2 s"
    assert found.as_dict()["drained"] is None


def test_without_a_receipt_there_is_nothing_to_split() -> None:
    assert recovery.split([], SAMPLES, STEADY, since=START + 5) is None
    assert recovery.split([{"receipts": []}], SAMPLES, STEADY, since=START + 5) is None


def test_the_catch_up_rate_is_the_fastest_second() -> None:
    assert recovery.catch_up_rate(SAMPLES, START) == 50.0
    assert recovery.catch_up_rate(SAMPLES[:5], START) is None


@given(st.fixed_dictionaries({name: st.none() | st.floats(0, 100) for name in MILESTONES}))
def test_milestones_never_overtake_each_other(at: dict[str, float | None]) -> None:
    ordered = recovery._in_order(at)
    reached = [moment for moment in ordered.values() if moment is not None]
    assert reached == sorted(reached)
    assert {name for name in at if at[name] is None} == {name for name in ordered if ordered[name] is None}
    assert sum(seconds for _, seconds in Recovery(0.0, ordered).segments) == pytest.approx(
        max(reached, default=0.0), abs=0.003
    )


def test_the_waiting_that_the_drill_ordered_is_no_recovery() -> None:
    # Kafka at 1 s (until 4), ten seconds of waiting, Flink at 14 s (until 17); rows again from 19 s, drained at 21 s.
    samples = series(30, cassandra=lambda t: 1000 if t < 19 else 1000 + 10 * int(t), lag=lambda t: 900 if t < 21 else 0)
    undos = [undo("kafka", at=1.0, process=0.1, ready=3.0), undo("flink-jobmanager", at=14.0, process=0.5, ready=3.0)]
    found = recovery.split(undos, samples, STEADY, since=START + 17)
    assert found is not None
    assert found.ordered == 10.0
    assert found.at == {"process": 3.5, "port": None, "ready": 6.0, "first record": 8.0, "drained": 10.0}
    assert recovery.ordered(undos, START + 17) == 10.0
    # A stream that is resumed later was held back by the drill as well.
    assert recovery.ordered(undos, START + 20) == 13.0


def test_the_flush_of_the_spool_is_timed() -> None:
    back = [undo("kafka", at=5.0, process=0.1, ready=2.0)]
    samples = series(20, buffered=lambda t: 10 * t if t < 8 else (40 if t < 10 else 0))
    assert recovery.flush(back, samples, STEADY) == {"events": 70, "seconds": 3.0}
    assert recovery.flush_text({"events": 70, "seconds": 3.0}) == (
        "the producer sent its 70 buffered events within 3.0 s of Kafka's return"
    )
    assert recovery.flush(back, series(20, buffered=lambda t: 10 * t), STEADY) == {"events": 90, "seconds": None}
    assert recovery.flush(back, series(20), STEADY) is None
    assert recovery.flush([undo("flink-jobmanager", ready=2.0)], samples, STEADY) is None


def test_a_milestone_belongs_to_the_service_that_reached_it_last() -> None:
    back = [undo("kafka", at=1.0, port=1.0, ready=1.0), undo("flink-jobmanager", at=10.0, port=5.0, ready=9.0)]
    named = owners.owners(back, [], {})
    assert named["port"].text.startswith("start of the JVM and of the Python driver")
    assert named["ready"].text.startswith("start of the task manager")
    other = [undo("flink-jobmanager", at=1.0), undo("kafka", at=10.0, port=5.0, ready=5.0)]
    assert owners.owners(other, [], {})["port"].text.startswith("start of the broker")


def test_a_job_that_was_stopped_in_order_processes_nothing_again() -> None:
    def named(verb: str) -> bool:
        gone = [{"receipts": [{"unit": "flink-jobmanager", "verb": verb}]}]
        return "first record" in owners.owners(
            [undo(ready=2.0)], gone, {"flink execution.checkpointing.interval": "2s"}
        )

    assert (named("stopped"), named("killed")) == (False, True)
