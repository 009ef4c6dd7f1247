"""Snapshots as the sampler writes them, made to measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Count = Callable[[float], int | None]
START = 1_795_475_000.0


def snapshot(
    moment: float,
    *,
    producer: int | None = 100,
    kafka: int | None = 100,
    cassandra: int | None = 100,
    lag: int | None = 0,
    rate: float = 10.0,
    tasks: int | None = 4,
    **more: Any,
) -> dict[str, Any]:
    """One snapshot at ``moment`` seconds after the start; a count of None is one that could not be read."""

    def hop(count: int | None, **further: Any) -> dict[str, Any]:
        known = count is not None
        error = None if known else "connection refused"
        return {"count": count, "reachable": known, "error": error, "age": 0.0 if known else 5.0, **further}

    return {
        "time": START + moment,
        "producer": hop(
            producer,
            alive=True,
            streaming=more.get("streaming", True),
            reason=None,
            rate=rate,
            acked=producer,
            buffered=more.get("buffered", 0),
            rejected=0,
            spool_bytes=90112,
            source="host-3f9a1c",
        ),
        "kafka": hop(kafka, partitions={"0": kafka or 0}, topic_id="t1", dead_letters=0),
        "cassandra": hop(cassandra, rejected=0, next_offsets={"0": cassandra or 0}),
        "lag": hop(lag),
        "flink": {
            "reachable": tasks is not None,
            "error": None,
            "age": 0.0,
            "state": more.get("state", "RUNNING"),
            "tasks_running": tasks,
            "tasks_total": 4,
            "written": 0,
            "retried": more.get("retried", 0),
            "rejected": 0,
        },
    }


def series(seconds: int, **counts: Any) -> list[dict[str, Any]]:
    """A snapshot a second; a keyword that is a function is called with the second."""
    return [
        snapshot(second, **{name: value(second) if callable(value) else value for name, value in counts.items()})
        for second in range(seconds)
    ]


def outage(seconds: int = 20, rate: int = 10) -> list[dict[str, Any]]:
    """Flink is away: producer, Kafka and lag grow, Cassandra stands still."""
    return series(
        seconds,
        producer=lambda t: 1000 + rate * t,
        kafka=lambda t: 1000 + rate * t,
        cassandra=1000,
        lag=lambda t: rate * t,
        rate=float(rate),
        tasks=None,
    )
