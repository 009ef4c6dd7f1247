"""What the monitor says: the shapes of its answers, made from snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from eventlog.counts import FlinkState, HopCount, Snapshot
from eventlog.monitor.refresher import HOPS, Rates

State = Literal["up", "down", "unknown"]


class Overview(BaseModel):
    """Everything at a glance, flat. Counts are the last known ones; ages are in seconds, rates in events per second."""

    time: float = Field(description="when the counts were read, epoch seconds")
    producer_count: int | None = Field(description="events generated")
    kafka_count: int | None = Field(description="records ever written to the topic")
    cassandra_count: int | None = Field(description="rows")
    is_streaming: bool = Field(description="whether the producer is generating events")
    lag: int | None = Field(description="records in Kafka that are not processed yet")
    buffered: int | None = Field(description="events generated that Kafka has not acknowledged")
    rejected: int | None = Field(description="records the job has put aside, with their reason")
    dead_letters: int | None = Field(description="records in the dead-letter topic")
    rate: float | None = Field(description="events per second asked for")
    producer_rate: float | None
    kafka_rate: float | None
    cassandra_rate: float | None
    producer_reachable: bool
    kafka_reachable: bool
    cassandra_reachable: bool
    lag_reachable: bool
    flink_reachable: bool
    producer_age: float | None
    kafka_age: float | None
    cassandra_age: float | None
    lag_age: float | None
    flink_age: float | None
    producer_error: str | None
    kafka_error: str | None
    cassandra_error: str | None
    flink_error: str | None
    producer_state: State
    kafka_state: State
    cassandra_state: State
    flink_state: State
    reason: str | None = Field(description="why the producer does not stream")
    source: str | None = Field(description="the source of the producer's events")
    spool_bytes: int | None
    job_state: str | None = Field(description="the Flink job's state")
    tasks_running: int | None
    tasks_total: int | None

    @classmethod
    def of(cls, snapshot: Snapshot, rates: Rates) -> Overview:
        """The overview of a snapshot."""
        producer, kafka, cassandra, flink = snapshot.producer, snapshot.kafka, snapshot.cassandra, snapshot.flink
        known = snapshot.to_dict()
        hops = ("producer", "kafka", "cassandra", "flink")
        return cls(
            time=known["time"],
            producer_count=producer.count,
            kafka_count=kafka.count,
            cassandra_count=cassandra.count,
            is_streaming=producer.streaming,
            lag=snapshot.lag.count,
            buffered=producer.buffered,
            rejected=cassandra.rejected,
            dead_letters=kafka.dead_letters,
            rate=producer.rate,
            producer_rate=rates.producer,
            kafka_rate=rates.kafka,
            cassandra_rate=rates.cassandra,
            **{f"{hop}_reachable": known[hop]["reachable"] for hop in (*hops, "lag")},
            **{f"{hop}_age": known[hop]["age"] for hop in (*hops, "lag")},
            **{f"{hop}_error": known[hop]["error"] for hop in hops},
            producer_state=state(producer.alive, producer.age),
            kafka_state=state(kafka.reachable, kafka.age),
            cassandra_state=state(cassandra.reachable, cassandra.age),
            flink_state=state(flink.reachable, flink.age),
            reason=producer.reason,
            source=producer.source,
            spool_bytes=producer.spool_bytes,
            job_state=flink.state,
            tasks_running=flink.tasks_running,
            tasks_total=flink.tasks_total,
        )


class History(BaseModel):
    """The counts over the last ten minutes, a column each; None where a count could not be read."""

    interval: float = Field(description="seconds between two entries")
    time: list[float] = Field(description="epoch seconds")
    producer: list[int | None]
    kafka: list[int | None]
    cassandra: list[int | None]
    lag: list[int | None]

    @classmethod
    def of(cls, snapshots: Sequence[Snapshot], interval: float) -> History:
        """The history of ``snapshots``, oldest first."""

        def column(name: str) -> list[int | None]:
            hops: list[HopCount] = [getattr(snapshot, name) for snapshot in snapshots]
            return [hop.count if hop.reachable else None for hop in hops]

        return cls(
            interval=interval,
            time=[round(snapshot.time, 3) for snapshot in snapshots],
            producer=column("producer"),
            kafka=column("kafka"),
            cassandra=column("cassandra"),
            lag=column("lag"),
        )


def state(answers: bool, age: float | None) -> State:
    """``unknown`` as long as a service has never been seen."""
    if answers:
        return "up"
    return "unknown" if age is None else "down"


class _Metrics(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        snapshot = self._snapshot
        hops: dict[str, HopCount] = {hop: getattr(snapshot, hop) for hop in (*HOPS, "lag")}
        records = CounterMetricFamily("eventlog_records", "Records counted at a hop, last known value", labels=["hop"])
        for name in HOPS:
            if (count := hops[name].count) is not None:
                records.add_metric([name], count)
        yield records
        reachable = GaugeMetricFamily(
            "eventlog_reachable", "Whether the count could be read (1) or not", labels=["hop"]
        )
        age = GaugeMetricFamily("eventlog_age_seconds", "Age of the last known count", labels=["hop"])
        seen: dict[str, HopCount | FlinkState] = {**hops, "flink": snapshot.flink}
        for name, hop in seen.items():
            reachable.add_metric([name], float(hop.reachable))
            if hop.age is not None:
                age.add_metric([name], hop.age)
        yield reachable
        yield age
        yield from self._gauges()

    def _gauges(self) -> Iterable[Metric]:
        snapshot = self._snapshot
        producer, flink = snapshot.producer, snapshot.flink
        gauges: list[tuple[str, str, float | None]] = [
            ("eventlog_lag", "Records in Kafka that are not processed yet", snapshot.lag.count),
            ("eventlog_buffered", "Events generated that Kafka has not acknowledged", producer.buffered),
            ("eventlog_rejected", "Records the job has put aside", snapshot.cassandra.rejected),
            ("eventlog_dead_letters", "Records in the dead-letter topic", snapshot.kafka.dead_letters),
            ("eventlog_spool_bytes", "Bytes in use in the producer's spool", producer.spool_bytes),
            ("eventlog_rate", "Events per second asked for", producer.rate),
            ("eventlog_streaming", "Whether the producer is generating events (1) or not", float(producer.streaming)),
            ("eventlog_tasks_running", "Running tasks of the Flink job", flink.tasks_running),
            ("eventlog_tasks", "Tasks of the Flink job", flink.tasks_total),
        ]
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, text, value)


def prometheus(snapshot: Snapshot) -> bytes:
    """The snapshot in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Metrics(snapshot))
    return generate_latest(registry)
