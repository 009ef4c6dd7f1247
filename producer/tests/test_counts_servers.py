"""All counts at once, on real servers: what freezes one figure leaves the others alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from eventlog.config import Config, load
from eventlog.control import control
from eventlog.counts import Counters, Snapshot, read_once

from testing.cassandra import CassandraServer, Tables
from testing.kafka import KafkaServer
from testing.producer import ProducerProcess
from testing.waiting import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture
def pipeline(
    kafka: KafkaServer,
    topic: str,
    tables: Tables,
    cassandra_keys: Mapping[str, Any],
    write_config: Callable[..., Path],
    make_producer: Callable[..., ProducerProcess],
) -> Config:
    """A producer that streams 50 events/s into Kafka, and tables that know of some rows."""
    kafka.create_topic(f"{topic}-rejected", partitions=1)
    changes = {
        "kafka__bootstrap_servers": kafka.bootstrap_servers,
        "kafka__topic": topic,
        "kafka__dead_letter_topic": f"{topic}-rejected",
        "producer__rate": 50.0,
        **cassandra_keys,
    }
    producer = make_producer(**changes)
    producer.start()
    tables.add_rows("a", range(1, 1501))
    return load(write_config(**changes))


def good(snapshot: Snapshot) -> bool:
    return snapshot.producer.alive and all(
        hop.reachable for hop in (snapshot.producer, snapshot.kafka, snapshot.cassandra, snapshot.lag)
    )


def test_the_first_snapshot_is_complete_and_quick(pipeline: Config) -> None:
    with Counters(pipeline) as counters:
        snapshot = counters.read(10.0)
        assert good(snapshot), snapshot
        began = time.monotonic()
        assert good(counters.read(10.0))
        assert time.monotonic() - began < 2.0
        assert snapshot.cassandra.count == 1500
        assert snapshot.kafka.dead_letters == 0
        assert snapshot.producer.rate == 50.0


def test_counts_add_up_at_rest(pipeline: Config, tables: Tables) -> None:
    with Counters(pipeline) as counters:
        control(pipeline.producer.socket, {"do": "pause"})

        def at_rest() -> bool:
            producer = counters.read(5.0).producer
            return producer.buffered == 0 and not producer.streaming

        wait_until(at_rest, 20, "everything is acknowledged")
        snapshot = counters.read(5.0)
        assert snapshot.kafka.count is not None
        assert snapshot.producer.count == snapshot.producer.acked == snapshot.kafka.count
        assert snapshot.producer.reason == "paused"
        assert snapshot.lag.count == snapshot.kafka.count
        assert snapshot.kafka.topic_id is not None
        half = {int(partition): end // 2 for partition, end in snapshot.kafka.partitions.items()}
        tables.progress(snapshot.kafka.topic_id, half)
        tables.progress("an older topic", {0: 10**6})
        processed = counters.read(5.0)
        assert processed.lag.count == snapshot.kafka.count - sum(half.values())
        assert processed.cassandra.next_offsets == {str(partition): offset for partition, offset in half.items()}


def test_a_frozen_cassandra_stalls_only_its_own_figure(pipeline: Config, cassandra: CassandraServer) -> None:
    with Counters(pipeline, request_timeout=1.0) as counters:
        before = counters.read(10.0)
        assert good(before)
        cassandra.freeze()
        try:
            frozen = [timed(counters) for _ in range(6)]
        finally:
            cassandra.thaw()
        # Only the first of them may wait for it, the others know better.
        assert all(seconds < 2.0 for seconds, _ in frozen), [seconds for seconds, _ in frozen]
        for _, snapshot in frozen:
            assert snapshot.producer.alive
            assert snapshot.kafka.reachable
            assert not snapshot.cassandra.reachable
            assert snapshot.cassandra.count == 1500
            assert not snapshot.lag.reachable
            assert (snapshot.lag.error or "").startswith("cassandra: no answer")
            assert snapshot.producer.age is not None
            assert snapshot.producer.age < 1.5
        counts = [snapshot.kafka.count or 0 for _, snapshot in frozen]
        assert counts[-1] > counts[0], "Kafka's figure goes on"
        ages = [snapshot.cassandra.age or 0.0 for _, snapshot in frozen]
        assert ages == sorted(ages), "its age grows"
        assert ages[-1] > ages[0] + 2
        wait_until(lambda: good(counters.read(2.0)), 15, "all figures are back")


def test_a_frozen_producer_is_not_alive_but_counted(pipeline: Config) -> None:
    with Counters(pipeline) as counters:
        assert good(counters.read(10.0))
        pid = control(pipeline.producer.socket, {"do": "status"})["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            snapshot = counters.read(5.0)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert snapshot.producer.reachable
        assert snapshot.producer.count
        assert not snapshot.producer.alive
        assert not snapshot.producer.streaming
        assert "did not answer" in (snapshot.producer.reason or "")
        wait_until(lambda: counters.read(5.0).producer.alive, 10, "it is alive again")


def test_one_look_has_a_deadline(pipeline: Config, cassandra: CassandraServer) -> None:
    assert good(read_once(pipeline, timeout=10.0))
    cassandra.freeze()
    try:
        began = time.monotonic()
        snapshot = read_once(pipeline, timeout=1.0)
        assert time.monotonic() - began < 3.0
    finally:
        cassandra.thaw()
    assert snapshot.kafka.reachable
    assert snapshot.cassandra.count is None
    assert snapshot.cassandra.error


def timed(counters: Counters) -> tuple[float, Snapshot]:
    """A reading with a deadline of 0.8 s and the time it took, as a sampler does it: one a second."""
    began = time.monotonic()
    snapshot = counters.read(0.8)
    took = time.monotonic() - began
    wait_until(lambda: time.monotonic() - began >= 1.0, 5, "the next second begins")
    return took, snapshot
