"""Shapes: what a count did, and that what could not be seen is never called a shape."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import shapes
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Steady
from hypothesis import given
from hypothesis import strategies as st

from .snapshots import START, outage, series, snapshot


def whole(samples: list[dict[str, Any]]) -> dict[str, float]:
    """All of the time that the samples are of."""
    return {"since": START, "until": float(samples[-1]["time"])}


def judged(subject: str, shape: Any, samples: list[dict[str, Any]], **more: Any) -> shapes.Check:
    return shapes.judge(subject, shape, shapes.readings(samples, subject), **more)


@pytest.mark.parametrize(
    ("subject", "shape", "ok", "seen"),
    [
        ("cassandra", "static", True, "static"),
        ("cassandra", "grows", False, "static"),
        ("cassandra", "unreachable", False, "reachable"),
        ("kafka", "grows", True, "grows"),
        ("kafka", "static", False, "grows"),
        ("kafka", "drains", False, "grows"),
        ("lag", "grows", True, "grows"),
        ("lag", ["unreachable", "static"], False, "grows"),
        ("cassandra", ["unreachable", "static"], True, "static"),
        ("cassandra", ["grows", "static"], True, "static"),
        ("kafka", "reachable", True, "reachable"),
    ],
)
def test_shapes_of_an_outage(subject: str, shape: Any, ok: bool, seen: str) -> None:
    check = judged(subject, shape, outage())
    assert (check.ok, check.seen) == (ok, seen)


@pytest.mark.parametrize("shape", ["static", "grows", "drains"])
def test_what_cannot_be_read_has_no_shape(shape: str) -> None:
    check = judged("kafka", shape, series(10, kafka=None))
    assert check.ok is None
    assert check.seen == "unreachable"


@pytest.mark.parametrize("shape", ["unreachable", ["unreachable", "static"], ["static", "unreachable"]])
def test_what_cannot_be_read_is_unreachable(shape: Any) -> None:
    assert judged("kafka", shape, series(10, kafka=None)).ok is True


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_readings_are_no_judgement(count: int) -> None:
    for shape in shapes.SHAPES:
        assert judged("kafka", shape, outage(count)).ok is None


def test_unreachable_or_static_holds_when_readings_come_and_go_but_the_value_stays() -> None:
    samples = series(12, kafka=lambda t: 500 if t % 3 == 0 else None)
    assert judged("kafka", ["unreachable", "static"], samples).ok is True
    assert judged("kafka", "unreachable", samples).ok is False


def test_unreachable_or_static_fails_when_a_rare_reading_shows_growth() -> None:
    samples = series(12, kafka={3: 500, 9: 501}.get)
    check = judged("kafka", ["unreachable", "static"], samples)
    assert (check.ok, check.seen) == (False, "changes")


def test_growth_is_judged_at_the_offered_rate() -> None:
    assert judged("kafka", "grows", outage(60), rate=10.0).ok is True
    slow = series(60, kafka=lambda t: 1000 + 8 * t)
    assert judged("kafka", "grows", slow, rate=10.0).ok is False
    assert judged("kafka", "grows", slow).ok is True


def test_growth_that_stalls_is_not_growth() -> None:
    stalling = series(60, kafka=lambda t: 1000 + 10 * (t if t < 20 else max(20, t - 12) if t < 50 else t))
    check = judged("kafka", "grows", stalling)
    assert (check.ok, check.seen) == (False, "stalls")


def test_a_count_that_falls_back_varies() -> None:
    samples = series(10, kafka=lambda t: 100 + t if t < 5 else 90 + 2 * t)
    assert judged("kafka", "grows", samples).seen == "varies"


def test_a_stale_value_from_before_the_fault_does_not_count() -> None:
    samples = outage(10)
    for sample in samples:
        sample["kafka"]["age"] = 30.0
    assert shapes.readings(samples, "kafka", since=START) == []


def test_readings_begin_at_the_receipt() -> None:
    # The server took three seconds to die and still answered meanwhile.
    samples = series(15, kafka=lambda t: 1000 + 10 * t if t < 3 else None)
    found = shapes.readings(samples, "kafka", since=START + 3, until=START + 14)
    assert shapes.judge("kafka", "unreachable", found).ok is True


def test_records_on_their_way_settle() -> None:
    samples = series(15, cassandra=lambda t: 100 + 5 * min(t, 2))
    found, moved = shapes.settle(shapes.readings(samples, "cassandra"), since=START, within=3.0)
    assert moved == 1.0
    assert shapes.judge("cassandra", "static", found).ok is True


def test_settling_is_bounded() -> None:
    samples = series(15, cassandra=lambda t: 100 + 5 * min(t, 8))
    found, moved = shapes.settle(shapes.readings(samples, "cassandra"), since=START, within=3.0)
    assert moved == 0.0
    assert shapes.judge("cassandra", "static", found).ok is False


def test_an_unknown_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such shape: flat"):
        judged("kafka", "flat", outage())
    with pytest.raises(ValueError, match="no such shape"):
        judged("kafka", [], outage())


def test_parts_of_a_hop_are_judged_like_counts() -> None:
    samples = series(10, buffered=lambda t: 10 * t)
    assert judged("spool", "grows", samples).ok is True
    assert judged("dead_letters", "static", samples).ok is True


@pytest.mark.parametrize(
    ("expected", "samples", "ok"),
    [
        ("running", series(5), True),
        ("running", series(5, tasks=lambda t: 4 if t != 2 else 3), False),
        ("running", series(5, state="FAILING"), False),
        ("running", series(5, tasks=None), None),
        ("running", series(2), None),
        ("unreachable", series(5, tasks=None), True),
        ("unreachable", series(5), False),
        ("retried", series(5, retried=lambda t: 3 if t > 2 else 0), True),
        ("retried", series(5, retried=lambda t: 2 if t > 1 else 7), True),
        ("retried", series(5, retried=7), False),
        ("retried", series(5, tasks=lambda t: 4 if t < 4 else None), None),
    ],
)
def test_flink_is_judged_by_its_tasks(expected: str, samples: list[dict[str, Any]], ok: bool | None) -> None:
    assert shapes.judge_flink(expected, samples, **whole(samples)).ok is ok


def test_an_unknown_state_of_flink_is_an_error() -> None:
    with pytest.raises(ValueError, match="choose from running"):
        shapes.judge_flink("happy", series(5), **whole(series(5)))


def growing(second: float) -> int:
    return int(1000 + 10 * second)


def test_steady_state() -> None:
    samples = series(3, producer=growing, kafka=growing, cassandra=growing, lag=3)
    assert shapes.steady_state(samples) == Steady(rate=10.0, lag=3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kafka": None}, "kafka cannot be read: connection refused"),
        ({"tasks": None}, "flink does not answer"),
        ({"tasks": 3}, "flink job is RUNNING with 3 of 4 tasks running"),
        ({"streaming": False}, "the producer is not streaming"),
        ({"cassandra": 1000}, "cassandra does not grow"),
        ({"lag": 5000}, "lag is 5000"),
        ({"lag": lambda t: 300 if t < 2 else 3}, "lag falls from 300 to 3: the pipeline is still catching up"),
    ],
)
def test_why_there_is_no_steady_state(changes: dict[str, Any], reason: str) -> None:
    counts: dict[str, Any] = {"producer": growing, "kafka": growing, "cassandra": growing, "lag": 3, **changes}
    found = shapes.steady_state(series(3, **counts))
    assert isinstance(found, str)
    assert reason in found


def test_two_samples_are_no_steady_state() -> None:
    assert shapes.steady_state(series(2, producer=growing)) == "2 of 3 samples so far"


def recovering(second: float) -> int:
    return int(1000 if second < 5 else min(growing(second) - 3, 1000 + 40 * (second - 5)))


def test_converged_at_the_first_of_the_good_samples() -> None:
    samples = series(
        15, producer=growing, kafka=growing, cassandra=recovering, lag=lambda t: growing(t) - recovering(t)
    )
    assert shapes.converged(samples, Steady(10.0, 3), since=START) == START + 7


def test_a_lag_that_has_not_grown_yet_is_not_convergence() -> None:
    samples = series(3, producer=growing, kafka=growing, cassandra=1000, lag=2)
    assert shapes.converged(samples, Steady(10.0, 3), since=START) is None


def test_rest_before_the_stream_is_no_part_of_convergence() -> None:
    def count(second: float) -> int:
        return int(1000 + 10 * max(0, second - 10))

    samples = series(15, producer=count, kafka=count, cassandra=count, lag=1)
    assert shapes.converged(samples, Steady(10.0, 3), since=START) == START + 9


def test_a_full_spool_is_not_convergence() -> None:
    samples = series(9, producer=growing, kafka=growing, cassandra=growing, lag=2, buffered=500)
    assert shapes.converged(samples, Steady(10.0, 3), since=START) is None


def test_at_rest() -> None:
    samples = series(9, producer=lambda t: min(t, 4), kafka=lambda t: min(t, 4), cassandra=lambda t: min(t, 4))
    assert shapes.at_rest(samples, since=START) == START + 4
    assert shapes.at_rest(series(9, lag=2), since=START) is None


def test_positions_are_compared_partition_by_partition() -> None:
    before, after = snapshot(0), snapshot(9)
    assert all(check.ok for check in shapes.same_positions(before, after, "paused"))
    after["cassandra"]["next_offsets"] = {"0": 99}
    wrong = [check.subject for check in shapes.same_positions(before, after, "paused") if not check.ok]
    assert wrong == ["positions"]


def test_a_phase_gives_one_check_per_expectation() -> None:
    expect = {"producer": "grows", "kafka": "grows", "cassandra": "static", "lag": "grows", "flink": "unreachable"}
    checks = shapes.judge_phase(expect, outage(), rate=10.0, **whole(outage()))
    assert [(check.subject, check.ok) for check in checks] == [(subject, True) for subject in expect]


def test_the_lag_grows_from_when_the_sink_is_at_rest() -> None:
    # The task manager goes on for a while after its job manager has gone.
    samples = series(
        20, cassandra=lambda t: 1000 + 10 * min(t, 5), kafka=growing, lag=lambda t: 3 + t % 2 if t < 5 else 10 * (t - 5)
    )
    expect = {"lag": "grows", "cassandra": "static"}
    checks = shapes.judge_phase(expect, samples, rate=10.0, settle_seconds=9.0, **whole(samples))
    assert [check.ok for check in checks] == [True, True]
    assert checks[1].detail.endswith("at rest after 4.0 s")
    assert shapes.judge_phase(expect, samples, rate=10.0, **whole(samples))[0].ok is False


def test_the_lag_before_the_sink_is_at_rest_does_not_count_when_the_phase_began_between_two_samples() -> None:
    # At second 4 the sink still moved, and the lag of 4 is higher than the 3 of second 5.
    samples = series(20, cassandra=lambda t: 1000 + 10 * min(t, 5), lag=lambda t: 4 if t < 5 else 3 + 10 * (t - 5))
    checks = shapes.judge_phase(
        {"lag": "grows", "cassandra": "static"}, samples, since=START - 0.3, until=START + 19, rate=10.0,
        settle_seconds=9.0,
    )  # fmt: skip
    assert [check.ok for check in checks] == [True, True]
    assert checks[1].detail.endswith("at rest after 4.3 s")


counts = st.lists(st.none() | st.integers(0, 10_000), min_size=3, max_size=40)


@given(counts)
def test_no_count_is_both_static_and_growing(values: list[int | None]) -> None:
    samples = [snapshot(second, kafka=value) for second, value in enumerate(values)]
    oks = [judged("kafka", shape, samples).ok for shape in ("static", "grows", "drains")]
    assert oks.count(True) <= 1


@given(counts)
def test_a_static_count_has_one_value_and_was_seen(values: list[int | None]) -> None:
    samples = [snapshot(second, kafka=value) for second, value in enumerate(values)]
    if judged("kafka", "static", samples).ok:
        seen = [value for value in values if value is not None]
        assert len(set(seen)) == 1
        assert len(seen) >= shapes.MIN_READINGS


@given(st.lists(st.integers(0, 50), min_size=3, max_size=40), st.integers(0, 1000))
def test_adding_a_constant_changes_no_shape(steps: list[int], base: int) -> None:
    values = [sum(steps[: i + 1]) for i in range(len(steps))]
    plain = [snapshot(second, kafka=value) for second, value in enumerate(values)]
    moved = [snapshot(second, kafka=value + base) for second, value in enumerate(values)]
    assert judged("kafka", "grows", plain).ok == judged("kafka", "grows", moved).ok
    assert judged("kafka", "static", plain).ok == judged("kafka", "static", moved).ok


@given(st.integers(1, 5000), st.integers(8, 90))
def test_growth_at_the_offered_rate_passes_at_every_rate_and_hold(rate: int, seconds: int) -> None:
    samples = series(seconds, kafka=lambda t: rate * t)
    assert judged("kafka", "grows", samples, rate=float(rate)).ok is True


@given(st.integers(20, 5000), st.integers(30, 90))
def test_growth_at_four_fifths_of_the_offered_rate_fails(rate: int, seconds: int) -> None:
    samples = series(seconds, kafka=lambda t: int(0.8 * rate * t))
    assert judged("kafka", "grows", samples, rate=float(rate)).ok is False


@given(st.floats(0.1, 5000), st.floats(1, 600))
def test_the_allowed_deviation_shrinks_with_time(rate: float, seconds: float) -> None:
    assert shapes.allowed_deviation(rate, seconds, 0.5) > shapes.allowed_deviation(rate, seconds * 2, 0.5)
    assert shapes.allowed_deviation(rate, seconds, 0.5) > shapes.allowed_deviation(rate, seconds, 0.25)
    assert shapes.allowed_deviation(rate, 0, 0.5) == math.inf


def test_what_a_rate_was_allowed_is_said() -> None:
    # 5 % of 10/s, and over 59 s two events and those of the second between two readings.
    check = judged("kafka", "grows", outage(60), rate=10.0)
    assert check.detail == "10.0/s of 10.0/s offered ± 7.0%"


@pytest.mark.parametrize("subject", ["cassandra", "flink"])
def test_what_was_hardly_seen_is_never_confirmed(subject: str) -> None:
    # Readable for three seconds of a minute, and blind for the others.
    blind = series(60, cassandra=lambda t: 500 if t < 4 else None, tasks=lambda t: 4 if t < 4 else None)
    expected = {"cassandra": "static", "flink": "running"}[subject]
    check = shapes.judge_phase({subject: expected}, blind, rate=10.0, **whole(blind))[0]
    assert check.ok is None
    seen = series(60, cassandra=lambda t: 500 if t % 3 else None)
    assert shapes.judge_phase({"cassandra": "static"}, seen, rate=10.0, **whole(seen))[0].ok is True


def test_the_share_of_a_phase_that_was_seen() -> None:
    blind = series(61, cassandra=lambda t: 500 if t < 4 else None)
    check = shapes.judge_phase({"cassandra": "static"}, blind, rate=10.0, **whole(blind))[0]
    assert (check.ok, check.seen) == (None, "not seen")
    assert check.share == pytest.approx(4.5 / 60)
    assert check.detail.startswith("8% of the phase was seen, 75% must be")
    assert shapes.share(check.as_dict()) == "8%"
    # What was seen to be wrong is wrong, however little was seen.
    moving = series(61, cassandra=lambda t: 500 + t if t < 4 else None)
    assert shapes.judge_phase({"cassandra": "static"}, moving, rate=10.0, **whole(moving))[0].ok is False
    # Where a count may be out of reach, a reading that fails is one that saw it.
    gone = series(61, kafka=None)
    assert shapes.judge_phase({"kafka": "unreachable"}, gone, rate=10.0, **whole(gone))[0].share == 1.0


def test_a_silent_sampler_confirms_nothing() -> None:
    samples = [sample for sample in series(61, kafka=None, tasks=None) if not 5 < sample["time"] - START < 55]
    for expect in ({"kafka": "unreachable"}, {"flink": "unreachable"}, {"kafka": ["unreachable", "static"]}):
        assert shapes.judge_phase(expect, samples, rate=10.0, **whole(samples))[0].ok is None


def test_a_partition_that_stands_still_is_named() -> None:
    def moved(second: float) -> dict[str, int]:
        return {"0": int(100 + second), "1": 300}

    samples = series(10)
    for second, sample in enumerate(samples):
        sample["kafka"]["partitions"] = {"0": 100 + second, "1": 300 + 10 * second}
        sample["cassandra"]["next_offsets"] = moved(second)
    assert shapes.stuck_partitions(samples) == ["partition 1 stands still at offset 300 of 390"]
    samples[-1]["cassandra"]["ahead"] = {"1": 3600.0}
    assert shapes.stuck_partitions(samples) == [
        "partition 1 stands still at offset 300 of 390, and was written with a time 3600 s ahead of now,"
        " so nothing newer shows"
    ]
    assert shapes.stuck_partitions(samples[:3]) == []


@pytest.mark.parametrize(
    ("seen", "ok", "text"),
    [
        ({"0": 301, "1": 275}, True, "from exactly these"),
        ({"0": 300, "1": 275}, False, "from others"),
        ({"0": 301, "1": 280}, False, "from others"),
        ({"0": 301, "1": None}, None, "not seen in every partition"),
        ({"0": 300, "1": None}, False, "from others"),
        (None, None, "not read"),
    ],
)
def test_the_job_goes_on_where_its_savepoint_ended(
    seen: dict[str, int | None] | None, ok: bool | None, text: str
) -> None:
    check = shapes.same_offsets({"0": 301, "1": 275}, seen)
    assert (check.ok, check.seen) == (ok, text)


def test_another_counter_must_show_what_was_seen() -> None:
    samples = series(10, producer=growing, kafka=growing, cassandra=growing, lag=0)
    honest = snapshot(5, producer=growing(5), kafka=growing(5), cassandra=growing(5))
    assert [check.ok for check in shapes.same_counts(honest, samples)] == [True, True, True]
    frozen = snapshot(5, producer=growing(5), kafka=growing(0), cassandra=growing(9))
    found = {check.subject: check for check in shapes.same_counts(frozen, samples)}
    assert [found[hop].ok for hop in ("producer", "kafka", "cassandra")] == [True, False, False]
    assert found["kafka"].detail == "1000, between 1040 and 1060 were seen"
    # What it cannot read, or what nobody saw at that time, is no evidence.
    assert shapes.same_counts(snapshot(5, producer=None, kafka=None, cassandra=None), samples) == []
    assert shapes.same_counts(snapshot(50), samples) == []
