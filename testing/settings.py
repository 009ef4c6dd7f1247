"""``pipeline.toml`` as a test wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w

Document = dict[str, dict[str, Any]]

TOPIC = "events"
DEAD_LETTERS = "events-rejected"
KEYSPACE = "eventlog"
DATACENTER = "dc1"
GROUP = "event-log"
BUCKET_SIZE = 1000


def document(folder: Path, **changes: Any) -> Document:
    """The whole of a configuration below ``folder`` that points at no server.

    Keyword arguments ``section__key=value`` change it.
    """
    values: Document = {
        "pipeline": {"name": "test", "root": str(folder)},
        "event": {"bytes": 1024, "bucket_size": BUCKET_SIZE},
        "kafka": {"bootstrap_servers": "127.0.0.1:1", "topic": TOPIC, "dead_letter_topic": DEAD_LETTERS},
        "cassandra": {"contact_points": ["127.0.0.1"], "port": 1, "keyspace": KEYSPACE, "datacenter": DATACENTER},
        "flink": {
            "rest_url": "http://127.0.0.1:1",
            "job_name": "event-log",
            "group_id": GROUP,
            "state_dir": str(folder / "flink"),
            "parallelism": 2,
        },
        "producer": {
            "spool": str(folder / "spool.db"),
            "socket": str(folder / "p.sock"),
            "rate": 10.0,
            "spool_limit_bytes": 256 << 20,
        },
        "monitor": {"host": "127.0.0.1", "port": 1, "refresh_seconds": 1.0},
    }
    for name, value in changes.items():
        section, key = name.split("__", 1)
        values.setdefault(section, {})[key] = value
    return values


def write(path: Path, values: Document) -> Path:
    """Write a configuration; returns its path."""
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return path
