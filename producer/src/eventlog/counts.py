"""The counts of all hops at one moment, each with its age and whether it could be read.

:class:`Counters` keeps the connections and asks every hop on a thread of its own, so that a server that is frozen,
gone or slow stalls only its own figure. :func:`read_once` is the same for a single look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from eventlog.config import Config
from eventlog.hops.cassandra import CassandraHop, CassandraReading
from eventlog.hops.flink import FlinkHop, FlinkReading
from eventlog.hops.kafka import KafkaHop, KafkaReading
from eventlog.hops.probe import Probe, Seen
from eventlog.hops.producer import ProducerHop, ProducerReading

REQUEST_TIMEOUT = 2.0  # seconds a single request to a server may take before the reading is given up
PATIENCE = 0.25  # seconds to wait for a hop whose last reading failed; a recovered one is seen one reading later


@dataclass(frozen=True, slots=True)
class HopCount:
    """What every hop has: last known count (None before the first), whether this reading succeeded, why not, and the
    age of the count in seconds."""

    count: int | None
    reachable: bool
    error: str | None
    age: float | None


@dataclass(frozen=True, slots=True)
class ProducerCount(HopCount):
    """``count`` is events generated. ``alive``: the producer answered on its control socket; ``streaming``, ``reason``
    (why it does not stream) and ``rate`` (events per second asked for) are its answer, and so is ``delivery_errors``
    (failed deliveries since it was started), which nobody else knows."""

    alive: bool
    streaming: bool
    reason: str | None
    rate: float | None
    acked: int | None
    buffered: int | None
    rejected: int | None
    spool_bytes: int | None
    source: str | None
    delivery_errors: int | None


@dataclass(frozen=True, slots=True)
class KafkaCount(HopCount):
    """``count`` is records ever written to the topic, ``partitions`` the same per partition, ``dead_letters`` records
    ever written to the dead-letter topic."""

    partitions: Mapping[str, int]
    topic_id: str | None
    dead_letters: int | None


@dataclass(frozen=True, slots=True)
class CassandraCount(HopCount):
    """``count`` is rows; ``rejected`` and ``next_offsets`` (per partition) are of the topic that Kafka has now. So is
    ``ahead``: by how many seconds the next offset of a partition was written in the future."""

    rejected: int | None
    next_offsets: Mapping[str, int]
    ahead: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FlinkState:
    """``state`` is the job's, None when there is no job of that name; the counters are the sink's since its tasks
    started, None when not reported."""

    reachable: bool
    error: str | None
    age: float | None
    state: str | None
    tasks_running: int | None
    tasks_total: int | None
    written: int | None
    retried: int | None
    rejected: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All hops at ``time`` (epoch seconds). ``lag`` counts records in Kafka that are not processed yet."""

    time: float
    producer: ProducerCount
    kafka: KafkaCount
    cassandra: CassandraCount
    lag: HopCount
    flink: FlinkState

    def to_dict(self) -> dict[str, Any]:
        """The shape that docs/architecture.md gives, ready for JSON; times in seconds, rounded to milliseconds."""
        shape = asdict(self)
        shape["time"] = round(self.time, 3)
        for hop in ("producer", "kafka", "cassandra", "lag", "flink"):
            if shape[hop]["age"] is not None:
                shape[hop]["age"] = round(shape[hop]["age"], 3)
        return shape


class Counters:
    """Kept connections to all hops. A context manager; ``read`` may be called from one thread at a time.

    ``request_timeout`` (seconds) bounds a single request, so how long a hop stays stalled after its server is back.
    Raises ConfigError for an address that is none.
    """

    def __init__(self, config: Config, request_timeout: float = REQUEST_TIMEOUT) -> None:
        self._producer: Probe[ProducerReading] = Probe("producer", ProducerHop(config, request_timeout))
        self._kafka: Probe[KafkaReading] = Probe("kafka", KafkaHop(config, request_timeout))
        self._cassandra: Probe[CassandraReading] = Probe("cassandra", CassandraHop(config, request_timeout))
        self._flink: Probe[FlinkReading] = Probe("flink", FlinkHop(config, request_timeout))
        self._lag: int | None = None  # the last known one, and the moment it was true
        self._lag_time = 0.0

    def __enter__(self) -> Counters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, deadline: float, patience: float = PATIENCE) -> Snapshot:
        """Ask every hop and return what is known after at most ``deadline`` seconds.

        Waits the whole deadline only for hops that did not fail before; for others ``patience`` seconds, and not at
        all for one whose earlier reading has not come back.
        """
        began = time.monotonic()
        waits = []
        for probe in self._probes:
            promising = probe.promising
            if probe.ask():
                waits.append((began + (deadline if promising else min(patience, deadline)), probe))
        for until, probe in sorted(waits, key=lambda wait: wait[0]):
            probe.wait(until)
        return self._snapshot()

    def close(self, timeout: float = 1.0) -> None:
        """Close the connections; waits at most ``timeout`` seconds for servers that do not answer."""
        until = time.monotonic() + timeout
        for probe in self._probes:
            probe.close()
        for probe in self._probes:
            probe.close(max(0.0, until - time.monotonic()))

    @property
    def _probes(self) -> tuple[Probe[Any], ...]:
        return (self._producer, self._kafka, self._cassandra, self._flink)

    def _snapshot(self) -> Snapshot:
        kafka, cassandra = self._kafka.seen(), self._cassandra.seen()
        flink, producer = self._flink.seen(), self._producer.seen()
        topic_id = kafka.value.topic_id if kafka.value else None
        offsets = _offsets(cassandra.value, topic_id)
        return Snapshot(
            time=time.time(),
            producer=_producer_count(producer),
            kafka=_kafka_count(kafka),
            cassandra=_cassandra_count(cassandra, topic_id),
            lag=self._lag_count(kafka, cassandra, offsets),
            flink=_flink_state(flink),
        )

    def _lag_count(
        self, kafka: Seen[KafkaReading], cassandra: Seen[CassandraReading], offsets: Mapping[int, int]
    ) -> HopCount:
        now = time.monotonic()
        if (
            kafka.reachable
            and cassandra.reachable
            and kafka.value
            and cassandra.age is not None
            and kafka.age is not None
        ):
            # The two are read a few milliseconds apart, so the job may seem to be ahead of Kafka.
            lag = sum(max(0, end - offsets.get(partition, 0)) for partition, end in kafka.value.partitions.items())
            oldest = max(kafka.age, cassandra.age)
            self._lag, self._lag_time = lag, now - oldest
            return HopCount(lag, True, None, oldest)
        name, error = ("kafka", kafka.error) if not kafka.reachable else ("cassandra", cassandra.error)
        return HopCount(self._lag, False, f"{name}: {error}", None if self._lag is None else now - self._lag_time)


def read_once(config: Config, timeout: float) -> Snapshot:
    """One look at all hops within ``timeout`` seconds; what did not answer by then is reported so."""
    counters = Counters(config, request_timeout=timeout)
    try:
        return counters.read(timeout, patience=timeout)
    finally:
        counters.close(timeout=0.2)


def _producer_count(seen: Seen[ProducerReading]) -> ProducerCount:
    value = seen.value
    # Whether it is alive is only known from this very reading; the figures are the last known ones.
    alive = bool(value and seen.reachable and value.alive)
    return ProducerCount(
        count=value.count if value else None,
        reachable=seen.reachable,
        error=seen.error,
        age=seen.age,
        alive=alive,
        streaming=bool(value and alive and value.streaming),
        reason=value.reason if value and seen.reachable else seen.error,
        rate=value.rate if value else None,
        acked=value.acked if value else None,
        buffered=value.buffered if value else None,
        rejected=value.rejected if value else None,
        spool_bytes=value.spool_bytes if value else None,
        source=value.source if value else None,
        delivery_errors=value.delivery_errors if value else None,
    )


def _kafka_count(seen: Seen[KafkaReading]) -> KafkaCount:
    value = seen.value
    return KafkaCount(
        count=value.count if value else None,
        reachable=seen.reachable,
        error=seen.error,
        age=seen.age,
        partitions={str(partition): end for partition, end in value.partitions.items()} if value else {},
        topic_id=value.topic_id if value else None,
        dead_letters=value.dead_letters if value else None,
    )


def _cassandra_count(seen: Seen[CassandraReading], topic_id: str | None) -> CassandraCount:
    value = seen.value
    topic_id = _current(value, topic_id)
    return CassandraCount(
        count=value.count if value else None,
        reachable=seen.reachable,
        error=seen.error,
        age=seen.age,
        rejected=value.rejected.get(topic_id or "", 0) if value else None,
        next_offsets={str(partition): offset for partition, offset in _offsets(value, topic_id).items()},
        ahead={str(partition): round(by, 3) for partition, by in _ahead(value, topic_id).items()},
    )


def _flink_state(seen: Seen[FlinkReading]) -> FlinkState:
    value = seen.value
    return FlinkState(
        reachable=seen.reachable,
        error=seen.error,
        age=seen.age,
        state=value.state if value else None,
        tasks_running=value.tasks_running if value else None,
        tasks_total=value.tasks_total if value else None,
        written=value.written if value else None,
        retried=value.retried if value else None,
        rejected=value.rejected if value else None,
    )


def _offsets(reading: CassandraReading | None, topic_id: str | None) -> Mapping[int, int]:
    """Next offset per partition of the current topic; empty before the first."""
    current = _current(reading, topic_id)
    return reading.next_offsets.get(current, {}) if reading and current else {}


def _ahead(reading: CassandraReading | None, topic_id: str | None) -> Mapping[int, float]:
    return reading.ahead.get(topic_id, {}) if reading and topic_id else {}


def _current(reading: CassandraReading | None, topic_id: str | None) -> str | None:
    """The topic's id; while Kafka has not been seen yet, the only one that Cassandra knows, if it is the only one."""
    if topic_id is None and reading is not None and len(reading.next_offsets) == 1:
        return next(iter(reading.next_offsets))
    return topic_id
