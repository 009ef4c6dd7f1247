"""Drain: rows per second from a backlog in Kafka into Cassandra, beside what the same code does without Flink."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from eventlog import event
from eventlog.config import Config
from eventlog_job import events
from eventlog_job.config import JobConfig
from eventlog_job.sink import Counters, Sink, new_attempt
from eventlog_job.store import Statement, Store, Write
from eventlog_job.topic import Topics

from bench import load
from bench.rig import BenchError, Progress, Rig

#: A direct writer below this, on two cores, is limited by itself and is no ceiling.
VALID_DIRECT = 14_000.0


class Total:
    """A counter as the sink wants it."""

    def __init__(self) -> None:
        self.value = 0

    def inc(self, n: int = 1) -> None:
        """Adds n."""
        self.value += n


def through_the_job(rig: Rig, target: int) -> list[Progress]:
    """Start Flink, which was stopped, and watch it drain the topic to ``target`` records in all."""
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(rig.play, "start", service="flink")

        def check() -> None:
            if started.done():  # what has failed to start leaves nothing to watch
                started.result()

        trail = rig.watch(target, check)
        started.result()
    return trail


def rate(trail: list[Progress]) -> float:
    """Records per second from the first progress seen to the last: Flink's start is another line's matter."""
    moved = trail[1:]
    if len(moved) < 10:
        raise BenchError(f"drain: the backlog was gone within {len(moved)} looks, too few for a rate")
    return _speed(moved)


def halves(trail: list[Progress]) -> tuple[float, float]:
    """Records per second of the first and of the second half of the looks that saw progress."""
    moved = trail[1:]
    middle = len(moved) // 2
    return _speed(moved[: middle + 1]), _speed(moved[middle:])


def _speed(moved: list[Progress]) -> float:
    return (moved[-1].records - moved[0].records) / (moved[-1].at - moved[0].at)


def without_flink(rig: Rig, begin: Mapping[int, int], end: Mapping[int, int]) -> float:
    """Ceiling (a), rows per second: a plain consumer, and the very sink of the job; Flink is up and idle."""
    config, job = rig.config, dataclasses.replace(rig.job, keyspace=make_tables(rig))
    stop = threading.Event()
    written, other = Total(), Total()
    store = Store(job, stop, other.inc)
    topics = Topics(job.bootstrap_servers, job.kafka_client)
    sink = Sink(job, store, lambda: topics.topic_id(job.topic), Counters(written, other, other, other), new_attempt())
    try:
        began: float | None = None
        first = 0
        for batch in load.records(config, begin, end, job.tuning.arrow_batch, "bench-consumer"):
            values = [message.value() for message in batch]
            sink.process(values, [message.partition() for message in batch], [message.offset() for message in batch])
            if began is None:  # connecting is no part of the rate, as starting Flink is none of the job's
                began, first = time.monotonic(), written.value
        assert began is not None
        return (written.value - first) / (time.monotonic() - began)
    finally:
        store.close()


def without_kafka(rig: Rig, count: int) -> float:
    """Ceiling (b), rows per second: encoded rows that are in memory, in the sink's batches, to Cassandra."""
    config, job = rig.config, dataclasses.replace(rig.job, keyspace=make_tables(rig))
    store = Store(job, threading.Event(), Total().inc)
    writes = list(direct_writes(config, job, count))
    try:
        store.write(writes[:10])
        began = time.monotonic()
        store.write(writes[10:])
        return sum(len(write.rows) for write in writes[10:]) / (time.monotonic() - began)
    finally:
        store.close()


def direct_writes(config: Config, job: JobConfig, count: int) -> Iterator[Write]:
    """Batches of ``batch_rows`` rows, each of one Cassandra partition, of a source of their own."""
    factory = event.EventFactory(f"direct-{time.time_ns()}", config.event.bytes)
    position = events.position(0, 0)
    for first in range(1, count + 1, job.tuning.batch_rows):
        rows = []
        for body in factory.make(first, job.tuning.batch_rows, time.time()):
            row = events.parse(body, job.bucket_size, job.tuning.largest_record_bytes)
            assert not isinstance(row, str), row
            rows.append((*row.columns, position))
        yield Write(Statement.EVENT, rows, range(len(rows)), encoded=True)


def make_tables(rig: Rig) -> str:
    """The pipeline's tables once more, empty, in a new keyspace: the ceilings write there, and the books stay right.

    It is never dropped, since Cassandra 5.0.9 ends when its commit log still names a table that is gone; the benchmark
    purges its pipeline when it begins.
    """
    name, there = f"bench_{time.time_ns()}", rig.config.cassandra.keyspace
    with rig.session() as session:
        for row in session.execute(f"DESCRIBE KEYSPACE {there}"):
            kind = row.type.upper()
            session.execute(row.create_statement.replace(f"{kind} {there}", f"{kind} {name}", 1))
    return name
