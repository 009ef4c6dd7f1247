"""What the monitor says: the shapes of its answers, made from what it remembers."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from eventlog import __version__
from eventlog.config import Config
from eventlog.counts import FlinkState, HopCount
from eventlog.monitor.drills import Stage
from eventlog.monitor.memory import HOPS, SERVICES, Moment, Point, State
from eventlog.monitor.refresher import Pulse


class Overview(BaseModel):
    """Everything at a glance, flat. Counts are the last known ones; ages are in seconds, rates in events per second,
    moments (``time``, ``…_since``) in epoch seconds."""

    pipeline: str
    time: float = Field(description="when the counts were read")
    producer_count: int | None = Field(description="events generated")
    kafka_count: int | None = Field(description="records ever written to the topic")
    cassandra_count: int | None = Field(description="rows")
    is_streaming: bool = Field(description="whether the producer is generating events")
    lag: int | None = Field(description="records in Kafka that are not processed yet")
    buffered: int | None = Field(description="events generated that Kafka has not acknowledged")
    rejected: int | None = Field(description="records the job has put aside, with their reason")
    dead_letters: int | None = Field(description="records in the dead-letter topic")
    delivery_errors: int | None = Field(description="deliveries to Kafka that failed since the producer was started")
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
    lag_error: str | None
    flink_error: str | None
    producer_state: State
    kafka_state: State
    cassandra_state: State
    flink_state: State
    producer_since: float = Field(description="since when it has its state, as far as the monitor has seen")
    kafka_since: float
    cassandra_since: float
    flink_since: float
    reason: str | None = Field(description="why the producer does not stream")
    source: str | None = Field(description="the source of the producer's events")
    spool_bytes: int | None
    spool_limit_bytes: int
    job_state: str | None = Field(description="the Flink job's state")
    tasks_running: int | None
    tasks_total: int | None
    drill: str | None = Field(description="title of the drill that runs")
    drill_phase: str | None

    @classmethod
    def of(cls, moment: Moment, stage: Stage, config: Config) -> Overview:
        """The overview of a moment."""
        snapshot, rates, states = moment.snapshot, moment.rates, moment.states
        producer, kafka, cassandra, flink = snapshot.producer, snapshot.kafka, snapshot.cassandra, snapshot.flink
        known = snapshot.to_dict()
        hops = (*SERVICES, "lag")
        drill = stage.drill if stage.drill and not stage.drill.verdict else None
        each: dict[str, Any] = {
            f"{hop}_{part}": known[hop][part] for hop in hops for part in ("reachable", "age", "error")
        }
        each |= {f"{service}_state": state for service, (state, _) in states.items()}
        each |= {f"{service}_since": since for service, (_, since) in states.items()}
        return cls(
            pipeline=config.pipeline.name,
            time=known["time"],
            producer_count=producer.count,
            kafka_count=kafka.count,
            cassandra_count=cassandra.count,
            is_streaming=producer.streaming,
            lag=snapshot.lag.count,
            buffered=producer.buffered,
            rejected=cassandra.rejected,
            dead_letters=kafka.dead_letters,
            delivery_errors=producer.delivery_errors,
            rate=producer.rate,
            producer_rate=rates.producer,
            kafka_rate=rates.kafka,
            cassandra_rate=rates.cassandra,
            **each,
            reason=producer.reason,
            source=producer.source,
            spool_bytes=producer.spool_bytes,
            spool_limit_bytes=config.producer.spool_limit_bytes,
            job_state=flink.state,
            tasks_running=flink.tasks_running,
            tasks_total=flink.tasks_total,
            drill=drill.title if drill else None,
            drill_phase=drill.phase.name if drill else None,
        )


class History(BaseModel):
    """The counts over the last ten minutes, a column each; None where a count could not be read."""

    interval: float = Field(description="seconds between two readings; entries are at least half a second apart")
    time: list[float] = Field(description="epoch seconds")
    producer: list[int | None]
    kafka: list[int | None]
    cassandra: list[int | None]
    lag: list[int | None]

    @classmethod
    def of(cls, points: Sequence[Point], interval: float) -> History:
        """The history of ``points``, oldest first."""
        return cls(
            interval=interval,
            time=[point.time for point in points],
            producer=[point.producer for point in points],
            kafka=[point.kafka for point in points],
            cassandra=[point.cassandra for point in points],
            lag=[point.lag for point in points],
        )


class Live(BaseModel):
    """One message of the live feed; the first one of a connection brings the history."""

    now: Overview | None = Field(description="null until the counts have been read for the first time")
    stage: Stage
    history: History | None = None


class _Metrics(Collector):
    def __init__(self, moment: Moment, stage: Stage, pulse: Pulse, config: Config) -> None:
        self._moment = moment
        self._stage = stage
        self._pulse = pulse
        self._config = config

    def collect(self) -> Iterable[Metric]:
        yield from self._hops()
        yield from self._gauges()
        yield from self._counters()
        build = GaugeMetricFamily("eventlog_build_info", "What is running", labels=["version", "python", "pipeline"])
        build.add_metric([__version__, platform.python_version(), self._config.pipeline.name], 1.0)
        yield build

    def _hops(self) -> Iterable[Metric]:
        snapshot = self._moment.snapshot
        hops: dict[str, HopCount] = {hop: getattr(snapshot, hop) for hop in (*HOPS, "lag")}
        records = CounterMetricFamily("eventlog_records", "Records counted at a hop, last known value", labels=["hop"])
        speed = GaugeMetricFamily(
            "eventlog_records_per_second", "Speed of a count over the last ten seconds", labels=["hop"]
        )
        for name in HOPS:
            if (count := hops[name].count) is not None:
                records.add_metric([name], count)
            if (rate := getattr(self._moment.rates, name)) is not None:
                speed.add_metric([name], rate)
        yield records
        yield speed
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
        up = GaugeMetricFamily("eventlog_up", "Whether the service itself answers (1) or not", labels=["service"])
        for service, (state, _) in self._moment.states.items():
            up.add_metric([service], float(state == "up"))
        yield up

    def _gauges(self) -> Iterable[Metric]:
        snapshot = self._moment.snapshot
        producer, flink = snapshot.producer, snapshot.flink
        running = self._stage.drill is not None and self._stage.drill.verdict is None
        gauges: list[tuple[str, str, float | None]] = [
            ("eventlog_lag", "Records in Kafka that are not processed yet", snapshot.lag.count),
            ("eventlog_buffered", "Events generated that Kafka has not acknowledged", producer.buffered),
            ("eventlog_rejected", "Records the job has put aside", snapshot.cassandra.rejected),
            ("eventlog_dead_letters", "Records in the dead-letter topic", snapshot.kafka.dead_letters),
            ("eventlog_spool_bytes", "Bytes in use in the producer's spool", producer.spool_bytes),
            ("eventlog_spool_limit_bytes", "Bytes the spool may use", self._config.producer.spool_limit_bytes),
            ("eventlog_rate", "Events per second asked for", producer.rate),
            ("eventlog_streaming", "Whether the producer is generating events (1) or not", float(producer.streaming)),
            ("eventlog_tasks_running", "Running tasks of the Flink job", flink.tasks_running),
            ("eventlog_tasks", "Tasks of the Flink job", flink.tasks_total),
            ("eventlog_drill_running", "Whether a drill is running (1) or not", float(running)),
            ("eventlog_refresh_age_seconds", "Seconds since the counts were refreshed", self._pulse.age),
        ]
        for name, text, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, text, value)

    def _counters(self) -> Iterable[Metric]:
        counters: list[tuple[str, str, float | None]] = [
            (
                "eventlog_delivery_errors",
                "Deliveries to Kafka that failed since the producer was started",
                self._moment.snapshot.producer.delivery_errors,
            ),
            ("eventlog_refreshes", "Refreshes of the counts", self._pulse.refreshes),
            ("eventlog_refresh_failures", "Refreshes that failed as a whole", self._pulse.failures),
        ]
        for name, text, value in counters:
            if value is not None:
                yield CounterMetricFamily(name, text, value)


def prometheus(moment: Moment, stage: Stage, pulse: Pulse, config: Config) -> bytes:
    """All figures, and those of the monitor's own process, in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Metrics(moment, stage, pulse, config))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
