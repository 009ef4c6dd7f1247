"""Counting rows in a real Cassandra: exact, at a cost that does not grow, whatever the server does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from eventlog.config import Config, load
from eventlog.hops.cassandra import AUDITED, CassandraHop
from eventlog.hops.probe import Probe, Unreadable

from testing.cassandra import CassandraServer, Tables
from testing.waiting import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture
def hop_config(write_config: Callable[..., Path], cassandra_keys: Mapping[str, Any]) -> Config:
    """A configuration that points at the test's Cassandra."""
    return load(write_config(**cassandra_keys))


@pytest.fixture
def hop(hop_config: Config) -> Iterator[CassandraHop]:
    """A hop that is closed afterwards."""
    made = CassandraHop(hop_config, request_timeout=10.0)
    yield made
    made.close()


def test_counts_every_row_of_every_source(tables: Tables, hop: CassandraHop) -> None:
    assert hop.read().count == 0
    tables.add_rows("a", range(1, 3501))
    tables.add_rows("b", [*range(1, 11), *range(2001, 2501)])
    assert hop.read().count == 3500 + 510
    assert tables.state("a") == (3, frozenset())
    assert tables.state("b") is None, "no bucket of b is full"
    # Later events may be stored before earlier ones: the bucket that is left behind stays open until it is full.
    tables.add_rows("b", range(2501, 3001))
    assert hop.read().count == 3500 + 1010
    assert tables.state("b") == (3, frozenset({0, 1}))
    tables.add_rows("b", range(1, 2001))
    assert hop.read().count == 3500 + 3000
    assert tables.state("b") == (3, frozenset())


def test_full_buckets_are_counted_again_in_turn(tables: Tables, hop: CassandraHop, hop_config: Config) -> None:
    count = (AUDITED + 2) * 1000 + 500
    tables.add_rows("a", range(1, count + 1))
    assert hop.read().count == count
    tables.delete_row("a", (AUDITED + 1) * 1000 + 500)  # in the last full bucket: looked at with the second reading
    tables.delete_row("a", count - 100)  # in the open one
    assert hop.read().count == count - 1
    assert hop.read().count == count - 2
    assert tables.state("a") == (AUDITED + 2, frozenset({AUDITED + 1}))
    other = CassandraHop(hop_config, request_timeout=10.0)
    assert other.read().count == count - 2
    other.close()


def test_a_stray_seq_costs_one_bucket(tables: Tables, hop: CassandraHop) -> None:
    tables.add_rows("a", [*range(1, 1001), 2**63 - 1])
    assert hop.read().count == 1001
    state = tables.state("a")
    assert state == (1, frozenset())


def test_the_count_is_exact_while_rows_are_written(tables: Tables, hop: CassandraHop) -> None:
    """Every reading lies between what was acknowledged when it began and what had been sent when it ended."""
    begun = acknowledged = 0
    stop = threading.Event()

    def write() -> None:
        nonlocal begun, acknowledged
        while not stop.is_set():
            begun = acknowledged + 250
            tables.add_rows("a", range(acknowledged + 1, begun + 1))
            acknowledged = begun

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(60):
            least = acknowledged
            count = hop.read().count
            assert least <= count <= begun
    finally:
        stop.set()
        writer.join()
    assert hop.read().count == acknowledged > 2000


def test_rows_of_an_unfinished_batch_are_counted_when_it_is_finished(tables: Tables, hop: CassandraHop) -> None:
    tables.progress("one", {0: 51})
    tables.add_rows("a", range(1, 61))  # at the offsets of their seqs
    assert hop.read().count == 50
    tables.progress("one", {0: 61})
    assert hop.read().count == 60
    # Another topic begins anew, and the rows of the first stay what they are.
    tables.progress("two", {0: 5})
    assert hop.read().count == 60


def test_progress_that_was_written_in_the_future_is_said(tables: Tables, hop: CassandraHop) -> None:
    tables.progress("one", {0: 10, 1: 10})
    tables.session.execute(
        "UPDATE progress USING TIMESTAMP %s SET next_offset = 12 WHERE topic_id = 'one' AND partition = 1",
        (int((time.time() + 3600) * 1_000_000),),
    )
    tables.progress("one", {0: 20, 1: 20})
    reading = hop.read()
    assert reading.next_offsets == {"one": {0: 20, 1: 12}}
    assert reading.ahead == {"one": {1: pytest.approx(3600, abs=30)}}


def test_progress_and_rejected_records_by_topic(tables: Tables, hop: CassandraHop) -> None:
    tables.progress("one", {0: 10, 1: 5})
    tables.progress("two", {0: 3})
    for offset in (2, 9):
        tables.reject("one", 0, offset, "not JSON")
    tables.reject("one", 1, 4, "empty")
    reading = hop.read()
    assert reading.next_offsets == {"one": {0: 10, 1: 5}, "two": {0: 3}}
    assert reading.rejected == {"one": 3, "two": 0}
    # A batch whose progress has arrived before its rejected records.
    tables.progress("one", {0: 20})
    assert hop.read().rejected["one"] == 3
    tables.reject("one", 0, 15, "empty")
    assert hop.read().rejected["one"] == 4
    tables.progress("one", {0: 30})
    tables.reject("one", 0, 29, "empty")
    assert [hop.read().rejected["one"] for _ in range(3)] == [5, 5, 5]


def test_missing_tables_are_said_to_be_missing(
    cassandra: CassandraServer, write_config: Callable[..., Path], cassandra_keys: Mapping[str, Any]
) -> None:
    hop = CassandraHop(load(write_config(**{**cassandra_keys, "cassandra__keyspace": "nowhere"})), 5.0)
    with pytest.raises(Unreadable, match="nowhere"):
        hop.read()
    hop.close()


def test_a_frozen_server_stalls_and_comes_back(cassandra: CassandraServer, tables: Tables, hop_config: Config) -> None:
    tables.add_rows("a", range(1, 101))
    probe = Probe("cassandra", CassandraHop(hop_config, request_timeout=1.0))
    try:
        probe.ask()
        assert probe.wait(time.monotonic() + 20)
        assert probe.seen().reachable
        cassandra.freeze()
        try:
            probe.ask()
            probe.wait(time.monotonic() + 0.5)
            seen = probe.seen()
            assert not seen.reachable
            assert seen.error == "no answer for 0.5 s"
            assert seen.value is not None
            assert seen.value.count == 100, "the last known count stays"
            age = seen.age
            assert age is not None
            assert age >= 0.5
        finally:
            cassandra.thaw()
        wait_until(lambda: _count(probe) == 100, 15, "it can be counted again")
    finally:
        probe.close(5)


def test_a_first_connect_to_a_frozen_server_comes_back(
    cassandra: CassandraServer, tables: Tables, hop_config: Config
) -> None:
    hop = CassandraHop(hop_config, request_timeout=1.0)
    cassandra.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(Unreadable):
            hop.read()
        assert time.monotonic() - began < 8
    finally:
        cassandra.thaw()
    tables.add_rows("a", [1])
    assert hop.read().count == 1
    hop.close()


def test_a_killed_server_is_found_again(cassandra: CassandraServer, tables: Tables, hop_config: Config) -> None:
    tables.add_rows("a", range(1, 1051))
    probe = Probe("cassandra", CassandraHop(hop_config, request_timeout=1.0))
    try:
        wait_until(lambda: _count(probe) == 1050, 20, "it is counted")
        cassandra.kill()
        wait_until(lambda: _count(probe) is None, 20, "the outage is seen")
        wait_until(lambda: "refused" in (_error(probe) or ""), 20, "it is said that the connection is refused")
        cassandra.start()
        wait_until(lambda: _count(probe) == 1050, 30, "it is counted again")
    finally:
        probe.close(5)
        if cassandra.process is None:
            cassandra.start()


def _count(probe: Probe[Any]) -> int | None:
    """The count if it can be read now."""
    probe.ask()
    probe.wait(time.monotonic() + 2)
    seen = probe.seen()
    return seen.value.count if seen.reachable and seen.value is not None else None


def _error(probe: Probe[Any]) -> str | None:
    probe.ask()
    probe.wait(time.monotonic() + 2)
    return probe.seen().error
