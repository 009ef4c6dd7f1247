"""Counting without servers: probes and their deadlines, the state of the buckets, the shape of a snapshot."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest
from eventlog.config import Config
from eventlog.counts import Counters, Snapshot, read_once
from eventlog.hops.cassandra import AUDITED, MOST_OPEN, BucketState, CassandraHop, Rejections
from eventlog.hops.probe import Probe, Unreadable
from hypothesis import given
from hypothesis import strategies as st

from testing.waiting import wait_until


class Valve:
    """A hop that answers 1, 2, 3 … while it is open, and not at all while it is shut."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.closed = False
        self._answer = 0

    def read(self) -> int:
        self.open.wait()
        if self.error is not None:
            raise self.error
        self._answer += 1
        return self._answer

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def valve() -> Iterator[Valve]:
    made = Valve()
    yield made
    made.open.set()


def ask(probe: Probe[int], timeout: float = 5.0) -> None:
    assert probe.ask()
    assert probe.wait(time.monotonic() + timeout)


def test_a_probe_keeps_the_last_value_while_its_hop_is_stuck(valve: Valve) -> None:
    probe = Probe("valve", valve)
    first = probe.seen()
    assert (first.value, first.reachable, first.error, first.age) == (None, False, "not asked yet", None)
    ask(probe)
    assert probe.seen().reachable
    valve.open.clear()
    assert probe.ask()
    assert not probe.wait(time.monotonic() + 0.1)
    assert not probe.ask(), "one reading at a time"
    stuck = probe.seen()
    assert (stuck.value, stuck.reachable) == (1, False)
    assert stuck.error == "no answer for 0.1 s"
    assert stuck.age is not None
    assert stuck.age >= 0.1
    valve.open.set()
    assert probe.wait(time.monotonic() + 5)
    late = probe.seen()
    assert (late.value, late.reachable, late.error) == (2, True, None)
    assert late.age is not None
    assert late.age >= 0.1, "a value is as old as the question, not as the answer"
    probe.close(5)
    assert valve.closed


def test_reachable_is_said_of_this_reading_only(valve: Valve) -> None:
    probe = Probe("valve", valve)
    ask(probe)
    assert probe.seen().reachable
    again = probe.seen()
    assert (again.value, again.reachable) == (1, False), "nothing was read since"
    probe.close(5)


@pytest.mark.parametrize(
    ("error", "text"),
    [(Unreadable("connection refused"), "connection refused"), (RuntimeError("boom"), "RuntimeError: boom")],
)
def test_a_probe_survives_every_error(valve: Valve, error: Exception, text: str) -> None:
    probe = Probe("valve", valve)
    ask(probe)
    valve.error = error
    ask(probe)
    seen = probe.seen()
    assert (seen.value, seen.reachable, seen.error) == (1, False, text)
    valve.error = None
    ask(probe)
    assert probe.seen().value == 2
    probe.close(5)


BUCKETS = st.dictionaries(st.integers(0, 30), st.integers(0, 10), max_size=20)


@given(st.lists(BUCKETS, max_size=6))
def test_bucket_state_against_counting_everything(rounds: list[dict[int, int]]) -> None:
    """Rows are only ever added; whatever is counted when, the state never says full of a bucket that is not."""
    rows: dict[int, int] = {}
    state = BucketState()
    for added in rounds:
        for bucket, more in added.items():
            rows[bucket] = min(10, rows.get(bucket, 0) + more)
        to_count = [bucket for bucket in rows if bucket >= state.next or bucket in state.open]
        counts = {bucket: rows[bucket] for bucket in to_count}
        assert state.full_buckets() * 10 + sum(counts.values()) == sum(rows.values())
        state = state.advanced(counts, 10)
        full = {bucket for bucket in range(state.next) if bucket not in state.open}
        assert full == {bucket for bucket, number in rows.items() if number == 10}


def test_bucket_state_stays_small() -> None:
    state = BucketState().advanced({0: 10, 10**15: 10}, 10)
    assert state == BucketState(1)
    assert len(BucketState().advanced({MOST_OPEN: 10}, 10).open) == MOST_OPEN
    assert BucketState().advanced({MOST_OPEN + 1: 10}, 10) == BucketState()


def test_a_bucket_with_more_rows_than_it_may_have_is_counted_always() -> None:
    assert BucketState().advanced({0: 10, 1: 11, 2: 10}, 10) == BucketState(3, frozenset({1}))


def test_buckets_are_opened_again() -> None:
    assert BucketState(5, frozenset({1})).reopened([3, 4]) == BucketState(5, frozenset({1, 3, 4}))
    state = BucketState(3 * MOST_OPEN).reopened(range(0, 3 * MOST_OPEN, 2))
    assert state == BucketState(2 * MOST_OPEN, frozenset(range(0, 2 * MOST_OPEN, 2)))


def test_full_buckets_are_audited_in_turn() -> None:
    state = BucketState(10, frozenset({1, 8}))
    seen = [state.to_audit(-1), state.to_audit(4), state.to_audit(9), state.to_audit(10**6)]
    assert seen == [[0, 2, 3, 4], [5, 6, 7, 9], [0, 2, 3, 4], [0, 2, 3, 4]]
    assert BucketState(2, frozenset({0})).to_audit(1) == [1]
    assert BucketState().to_audit(-1) == []


class Table(CassandraHop):
    """A table that is a dictionary: bucket → rows, of one source."""

    def __init__(self, config: Config, rows: dict[int, int], state: BucketState) -> None:
        super().__init__(config, 1.0)
        self.rows, self.state = rows, state
        self.asked: list[int] = []

    def execute(self, _: object, arguments: tuple[str, int]) -> list[tuple[int]]:
        """The buckets from one on, as the session lists them."""
        return [(bucket,) for bucket in sorted(self.rows) if bucket >= arguments[1]]

    def count(self) -> int:
        """As a reading counts the source."""
        self.asked = []
        return self._count(self, "a", self.state, {})

    def _prepared(self, session: object, query: str) -> None: ...

    def _count_buckets(self, session: object, source: str, buckets: Sequence[int]) -> dict[int, int]:
        self.asked += buckets
        return {bucket: self.rows.get(bucket, 0) for bucket in buckets}

    def _count_finished(
        self, session: object, source: str, buckets: Sequence[int], progress: Mapping[int, int]
    ) -> dict[int, int]:
        return self._count_buckets(session, source, buckets)

    def _save(self, session: object, source: str, state: BucketState) -> None:
        self.state = state


def test_a_row_deleted_from_a_full_bucket_is_missed(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    size = config.event.bucket_size
    table = Table(config, {**dict.fromkeys(range(10), size), 10: 7}, BucketState(10))
    assert table.count() == 10 * size + 7
    table.rows[6] -= 2
    counts = [table.count() for _ in range(3)]
    assert counts[-1] == 10 * size + 5
    assert table.state == BucketState(10, frozenset({6}))
    assert f"bucket 6 of a was full, but holds {size - 2} rows of {size}" in caplog.text
    assert len(table.asked) <= AUDITED + 2, "the cost of a reading stays bounded"
    table.rows[6] += 2
    assert table.count() == 10 * size + 7
    assert table.state == BucketState(10)


def test_rejections_settle_a_batch_late() -> None:
    known = Rejections().advanced([3, 9], 10)
    assert known == Rejections(settled=0, rows=0, seen=10)
    assert known.advanced([3, 9], 10) is known
    known = known.advanced([3, 5, 9, 12], 20)
    assert known == Rejections(settled=10, rows=3, seen=20)


def test_without_any_server_every_hop_says_why(config: Config) -> None:
    began = time.monotonic()
    snapshot = read_once(config, timeout=2.0)
    assert time.monotonic() - began < 4
    assert "does not exist" in (snapshot.producer.error or "")
    assert not snapshot.producer.alive
    for hop in (snapshot.kafka, snapshot.cassandra, snapshot.lag, snapshot.flink):
        assert not hop.reachable
        assert hop.error
        assert hop.age is None
    assert snapshot.flink.error == "Connection refused"


def test_a_snapshot_has_the_documented_shape(config: Config) -> None:
    shape = json.loads(json.dumps(read_once(config, timeout=1.0).to_dict()))
    hop = {"count", "reachable", "error", "age"}
    assert list(shape) == ["time", "producer", "kafka", "cassandra", "lag", "flink"]
    assert set(shape["producer"]) == hop | {
        *("alive", "streaming", "reason", "rate", "acked", "buffered", "rejected", "spool_bytes", "source"),
        "delivery_errors",
    }
    assert set(shape["kafka"]) == hop | {"partitions", "topic_id", "dead_letters"}
    assert set(shape["cassandra"]) == hop | {"rejected", "next_offsets", "ahead"}
    assert set(shape["lag"]) == hop
    assert set(shape["flink"]) == {
        *("reachable", "error", "age", "state", "tasks_running", "tasks_total", "written", "retried", "rejected")
    }


def test_hops_that_are_down_are_not_waited_for_again(config: Config) -> None:
    with Counters(config, request_timeout=1.0) as counters:
        counters.read(5.0)
        took: list[float] = []

        def quick() -> bool:
            began = time.monotonic()
            snapshot: Snapshot = counters.read(5.0)
            took.append(time.monotonic() - began)
            assert not snapshot.kafka.reachable
            return took[-1] < 1.0

        wait_until(quick, 20, f"a reading takes less than a second, not {took}")
