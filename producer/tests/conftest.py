"""Fixtures: a real Kafka broker for the tests marked ``kafka``, configuration files, and producers that are ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

# Tests are imported by path (importlib mode), which leaves their folder off the path of their helper.
sys.path.insert(0, str(Path(__file__).parent))

from eventlog.config import Config, load
from producer_harness import KafkaBroker, ProducerProcess


def _required(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).exists():
        pytest.fail(
            f"{variable} is {value or 'not set'}: set it to {what}, or leave these tests out with -m 'not kafka'"
        )
    return Path(value)


@pytest.fixture(scope="session")
def kafka_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KafkaBroker]]:
    """Makes brokers (formatted, not started); all of them are stopped at the end."""
    java = _required("EVENTLOG_JAVA", "a Java 17 binary")
    jars = _required("EVENTLOG_KAFKA_LIB", "the folder of Kafka's jars")
    brokers: list[KafkaBroker] = []

    def make() -> KafkaBroker:
        brokers.append(KafkaBroker(java, jars, tmp_path_factory.mktemp("kafka")))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture(scope="session")
def kafka(kafka_factory: Callable[[], KafkaBroker]) -> KafkaBroker:
    """The session's running broker; a test that stops it starts it again."""
    broker = kafka_factory()
    broker.start()
    return broker


@pytest.fixture
def topic(kafka: KafkaBroker, request: pytest.FixtureRequest) -> str:
    """A fresh topic of four partitions, named after the test."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:100] + f"-{time.time_ns()}"
    kafka.create_topic(name)
    return name


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a whole ``pipeline.toml`` below the test's folder; keyword arguments ``section__key=value`` change it."""

    def write(**changes: Any) -> Path:
        values: dict[str, dict[str, Any]] = {
            "pipeline": {"name": "test", "root": str(tmp_path)},
            "event": {"bytes": 1024, "bucket_size": 1000},
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "topic": "events", "dead_letter_topic": "events-rejected"},
            "cassandra": {"contact_points": ["127.0.0.1"], "port": 1, "keyspace": "eventlog", "datacenter": "dc1"},
            "flink": {
                "rest_url": "http://127.0.0.1:1",
                "job_name": "event-log",
                "group_id": "event-log",
                "state_dir": str(tmp_path / "flink"),
                "parallelism": 2,
            },
            "producer": {
                "spool": str(tmp_path / "spool.db"),
                "socket": str(tmp_path / "p.sock"),
                "rate": 10.0,
                "spool_limit_bytes": 256 << 20,
            },
            "monitor": {"host": "127.0.0.1", "port": 1, "refresh_seconds": 1.0},
        }
        for name, value in changes.items():
            section, key = name.split("__", 1)
            values[section][key] = value
        path = tmp_path / "pipeline.toml"
        path.write_text("\n".join(f"[{section}]\n{_toml(keys)}" for section, keys in values.items()))
        return path

    return write


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Config:
    """A configuration that points at no server."""
    return load(write_config())


def _toml(keys: Mapping[str, Any]) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, list):
            return "[" + ", ".join(literal(item) for item in value) + "]"
        if isinstance(value, dict):
            return "{" + ", ".join(f'"{key}" = {literal(item)}' for key, item in value.items()) + "}"
        return repr(value)

    return "".join(f"{key} = {literal(value)}\n" for key, value in keys.items())


@pytest.fixture
def make_producer(write_config: Callable[..., Path]) -> Iterator[Callable[..., ProducerProcess]]:
    """Makes producer processes from changes of the configuration; they are killed when the test ends."""
    made: list[ProducerProcess] = []

    def make(**changes: Any) -> ProducerProcess:
        path = write_config(**changes)
        made.append(ProducerProcess(load(path), path))
        return made[-1]

    yield make
    for producer in made:
        producer.kill()
