"""End-to-end latency: from the event_time in a record until its row can be read."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import UTC

from confluent_kafka import Consumer, TopicPartition
from eventlog import event
from eventlog.hops.kafka import client_properties
from eventlog_job.sink import Counters, Sink, new_attempt
from eventlog_job.store import Store
from eventlog_job.topic import Topics

from bench.drain import Total, make_tables
from bench.rig import BenchError, Rig

TICK_SECONDS = 0.01  # the resolution of what is measured
#: An event is asked for until it is there; one that is not there after so long ends the measurement.
PATIENCE_SECONDS = 60.0


def latencies(rig: Rig, rate: float, seconds: float, keyspace: str) -> list[float]:
    """Seconds from event_time to readable, of events that are picked before they are made; in ascending order."""
    rig.stream(rate)
    try:
        time.sleep(1.0)
        return sorted(_picked(rig, seconds, keyspace))
    finally:
        rig.stream(None)
        rig.delivered()


def _picked(rig: Rig, seconds: float, keyspace: str) -> Iterator[float]:
    source, size = rig.control("status")["source"], rig.config.event.bucket_size
    waiting: dict[int, float] = {}
    began = time.monotonic()
    with rig.session() as session:
        query = session.prepare(f"SELECT event_time FROM {keyspace}.events WHERE source = ? AND bucket = ? AND seq = ?")
        while waiting or time.monotonic() - began < seconds:
            turn = time.monotonic()
            if turn - began < seconds:
                waiting.setdefault(rig.control("status")["count"] + 1, turn)
            answers = {seq: session.execute_async(query, (source, event.bucket(seq, size), seq)) for seq in waiting}
            for seq, answer in answers.items():
                row = answer.result().one()
                if row is not None:
                    yield time.time() - row.event_time.replace(tzinfo=UTC).timestamp()
                    del waiting[seq]
            # The last pick is of an event that is made only if the stream goes on; it does until all are there.
            late = [seq for seq, since in waiting.items() if time.monotonic() - since > PATIENCE_SECONDS]
            if late:
                raise BenchError(f"latency: event {late[0]} was not readable within {PATIENCE_SECONDS:.0f} s")
            time.sleep(max(0.0, TICK_SECONDS - (time.monotonic() - turn)))


@contextlib.contextmanager
def direct_path(rig: Rig) -> Iterator[str]:
    """A plain consumer and the job's sink in Flink's place, which is stopped; yields the keyspace they write to."""
    job = dataclasses.replace(rig.job, keyspace=make_tables(rig))
    ended = threading.Event()
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            follow()
        except BaseException as error:
            failure.append(error)

    def follow() -> None:
        total = Total()
        store, topics = Store(job, ended, total.inc), Topics(job.bootstrap_servers, job.kafka_client)
        ask = topics.topic_id(job.topic)
        sink = Sink(job, store, lambda: ask, Counters(total, total, total, total), new_attempt())
        properties = client_properties(rig.config, request_timeout=30.0)
        consumer = Consumer({**properties, "group.id": "bench-latency", "enable.auto.commit": False})
        consumer.assign([TopicPartition(job.topic, number, end) for number, end in ends.items()])
        ready.set()
        try:
            while not ended.is_set():
                found = consumer.consume(job.tuning.arrow_batch, timeout=TICK_SECONDS / 2)
                batch = [message for message in found if message.error() is None]
                if batch:
                    sink.process(
                        [message.value() for message in batch],
                        [message.partition() for message in batch],
                        [message.offset() for message in batch],
                    )
        finally:
            consumer.close()
            store.close()

    ends, ready = rig.pipeline.ends(), threading.Event()
    thread = threading.Thread(target=guarded, name="direct-path", daemon=True)
    thread.start()
    try:
        ready.wait(30)
        yield job.keyspace
    finally:
        ended.set()
        thread.join()
    if failure:
        raise BenchError(f"latency: the direct path failed: {failure[0]}") from failure[0]


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank)."""
    if not ordered:
        raise BenchError("latency: nothing was measured")
    return ordered[max(0, -(-len(ordered) * int(share * 100) // 100) - 1)]
