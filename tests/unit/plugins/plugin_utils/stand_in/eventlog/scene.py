"""What the stand-in shows: a producer at a fixed rate, and hops that are there or not, as ``scene.json`` says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

RATE = 100.0


class Scene:
    """Counts that follow the clock; ``away`` in the file names the hops that are away, ``lost`` seqs that are lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = time.time()
        self.kafka = self.cassandra = 1000.0
        self.at = self.began

    def read(self) -> dict[str, Any]:
        """One snapshot of the present moment."""
        away = json.loads(self.path.read_text())["away"]
        now = time.time()
        passed, self.at = now - self.at, now
        producer = 1000 + RATE * (now - self.began)
        if "kafka" not in away:
            self.kafka = min(producer, self.kafka + 20 * RATE * passed)
        if not {"flink", "kafka", "cassandra"} & set(away):
            self.cassandra = min(self.kafka, self.cassandra + 20 * RATE * passed)
        return self._snapshot(now, int(producer), int(self.kafka), int(self.cassandra), away)

    @staticmethod
    def _snapshot(now: float, producer: int, kafka: int, cassandra: int, away: list[str]) -> dict[str, Any]:
        def hop(count: int, known: bool, **more: Any) -> dict[str, Any]:
            error = None if known else "connection refused"
            return {"count": count, "reachable": known, "error": error, "age": 0.0 if known else 9.0, **more}

        flink = "flink" not in away
        return {
            "time": now,
            "producer": hop(
                producer, True, alive=True, streaming=True, reason=None, rate=RATE, acked=kafka,
                buffered=producer - kafka, rejected=0, spool_bytes=0, source="s",
            ),
            "kafka": hop(kafka, "kafka" not in away, partitions={"0": kafka}, topic_id="t", dead_letters=0),
            "cassandra": hop(cassandra, "cassandra" not in away, rejected=0, next_offsets={"0": cassandra}),
            "lag": hop(kafka - cassandra, not {"kafka", "cassandra"} & set(away)),
            "flink": {
                "reachable": flink, "error": None if flink else "connection refused", "age": 0.0, "state": "RUNNING",
                "tasks_running": 1, "tasks_total": 1, "written": 0, "retried": 0, "rejected": 0,
            },
        }  # fmt: skip
