"""The figures as Prometheus wants them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eventlog.monitor.refresher import Refresher


class SnapshotCollector(Collector):
    """Makes metrics of the last snapshot. A figure that is not known is left out rather than reported as zero."""

    def __init__(self, refresher: Refresher) -> None:
        self._refresher = refresher

    def collect(self) -> Iterator[Metric]:
        """One family per kind of figure."""
        snapshot = self._refresher.latest()
        count = GaugeMetricFamily("eventlog_events", "Events counted at a hop, last known.", labels=["hop"])
        age = GaugeMetricFamily("eventlog_count_age_seconds", "Age of a hop's count.", labels=["hop"])
        reachable = GaugeMetricFamily("eventlog_reachable", "Whether a hop could be read just now.", labels=["hop"])
        families: list[Metric] = [count, age, reachable]
        if snapshot is not None:
            hops = {name: getattr(snapshot, name) for name in ("producer", "kafka", "cassandra", "lag")}
            for name, hop in hops.items():
                reachable.add_metric([name], float(hop.reachable))
                if hop.count is not None:
                    count.add_metric([name], hop.count)
                if hop.age is not None:
                    age.add_metric([name], hop.age)
            reachable.add_metric(["flink"], float(snapshot.flink.reachable))
            producer = snapshot.producer
            for name, text, value in (
                ("eventlog_buffered_events", "Events in the producer's spool.", producer.buffered),
                ("eventlog_spool_bytes", "Size of the producer's spool.", producer.spool_bytes),
                ("eventlog_refused_events", "Events that Kafka refused for good.", producer.rejected),
                ("eventlog_offered_rate", "Events per second that the producer is to make.", producer.rate),
            ):
                if value is not None:
                    families.append(GaugeMetricFamily(name, text, value=float(value)))
        yield from families
