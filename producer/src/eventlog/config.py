"""``etc/pipeline.toml``, read once into frozen dataclasses; whatever is wrong with it becomes one clear line.

Every key is required but ``[kafka.client]``: the file is rendered by the deployment, which is the one home of every
value, so there are no defaults here that could disagree with it. Keys this package does not know are left to the
other readers of the file.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The largest envelope (128 characters of source, 19 digits of seq, the longest level and service) is 286 bytes; the
# rest keeps room for a message worth compressing.
EVENT_BYTES_MIN = 384
# librdkafka refuses messages above message.max.bytes, 1,000,000 unless it is raised.
EVENT_BYTES_MAX = 1_000_000
RATE_MIN, RATE_MAX = 0.001, 100_000.0
# Room for the largest event, the write-ahead log and the reserve that gets a full disk going again (eventlog.spool).
SPOOL_LIMIT_MIN = 16 << 20


class ConfigError(ValueError):
    """The configuration cannot be used; the text is one line naming file, key, what was found and what is expected."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """``root`` is the folder below which everything belongs to this pipeline."""

    name: str
    root: Path


@dataclass(frozen=True, slots=True)
class Event:
    """``bytes`` is the size of one encoded event, ``bucket_size`` the rows of one Cassandra partition."""

    bytes: int
    bucket_size: int


@dataclass(frozen=True, slots=True)
class Kafka:
    """``client`` holds further librdkafka properties (security and the like), passed on untouched."""

    bootstrap_servers: str
    topic: str
    dead_letter_topic: str
    client: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cassandra:
    """Where the table is; ``datacenter`` is the local one of the load balancing policy."""

    contact_points: tuple[str, ...]
    port: int
    keyspace: str
    datacenter: str


@dataclass(frozen=True, slots=True)
class Flink:
    """Where the job is, and the folder of its checkpoints, savepoints and resume file."""

    rest_url: str
    job_name: str
    group_id: str
    state_dir: Path
    parallelism: int


@dataclass(frozen=True, slots=True)
class Producer:
    """``rate`` (events per second) holds at the first start only; afterwards the spool remembers it."""

    spool: Path
    socket: Path
    rate: float
    spool_limit_bytes: int


@dataclass(frozen=True, slots=True)
class Monitor:
    """Where the monitor listens, and how often it reads every hop, in seconds."""

    host: str
    port: int
    refresh_seconds: float


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of ``etc/pipeline.toml``."""

    pipeline: Pipeline
    event: Event
    kafka: Kafka
    cassandra: Cassandra
    flink: Flink
    producer: Producer
    monitor: Monitor


class _Section:
    """One table of the file; each getter returns a checked value or raises ConfigError."""

    def __init__(self, path: Path, name: str, document: Mapping[str, object]) -> None:
        self._path = path
        self._name = name
        value = document.get(name)
        if value is None:
            raise ConfigError(f"{path}: section [{name}] is missing")
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} is {_describe(value)}, expected the section [{name}]")
        self._values: dict[str, object] = value

    def _wrong(self, key: str, found: object, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}: {self._name}.{key} is {_describe(found)}, expected {expected}")

    def _required(self, key: str, expected: str) -> object:
        if key not in self._values:
            raise ConfigError(f"{self._path}: {self._name}.{key} is missing, expected {expected}")
        return self._values[key]

    def text(self, key: str) -> str:
        expected = "a non-empty string"
        value = self._required(key, expected)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, value, expected)
        return value

    def path(self, key: str) -> Path:
        expected = "an absolute path"
        value = self._required(key, expected)
        if not isinstance(value, str) or not Path(value).is_absolute():
            raise self._wrong(key, value, expected)
        return Path(value)

    def whole(self, key: str, low: int, high: int) -> int:
        expected = f"an integer from {low} to {high}"
        value = self._required(key, expected)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(key, value, expected)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        expected = f"a number from {low:g} to {high:g}"
        value = self._required(key, expected)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, value, expected)
        if not math.isfinite(value) or not low <= value <= high:
            raise self._wrong(key, value, expected)
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        expected = "a non-empty list of strings"
        value = self._required(key, expected)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, value, expected)
        return tuple(value)

    def properties(self, key: str) -> dict[str, str]:
        """A table of librdkafka properties, all as text, which is what librdkafka parses; absent means none."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, value, "a table of client properties")
        checked: dict[str, str] = {}
        for name, item in value.items():
            if isinstance(item, bool):
                checked[name] = "true" if item else "false"
            elif isinstance(item, str | int | float):
                checked[name] = str(item)
            else:
                raise self._wrong(f'{key}."{name}"', item, "a string, a number or a boolean")
        return checked


def _describe(value: object) -> str:
    """The value as a person would look for it in the file, with its TOML type."""
    if isinstance(value, bool):
        return f"{str(value).lower()} (boolean)"
    names = {str: "string", int: "integer", float: "float", list: "array", dict: "table"}
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({names.get(type(value), type(value).__name__)})"


def load(path: Path | str) -> Config:
    """Read ``path``. Raises ConfigError, whose text is one line for a person."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return parse(path, document)


def parse(path: Path, document: Mapping[str, object]) -> Config:
    """The checked configuration of an already parsed ``document``; ``path`` is only named in errors."""
    pipeline, event, kafka, cassandra, flink, producer, monitor = (
        _Section(path, name, document)
        for name in ("pipeline", "event", "kafka", "cassandra", "flink", "producer", "monitor")
    )
    return Config(
        pipeline=Pipeline(name=pipeline.text("name"), root=pipeline.path("root")),
        event=Event(
            bytes=event.whole("bytes", EVENT_BYTES_MIN, EVENT_BYTES_MAX),
            bucket_size=event.whole("bucket_size", 1, 1_000_000),
        ),
        kafka=Kafka(
            bootstrap_servers=kafka.text("bootstrap_servers"),
            topic=kafka.text("topic"),
            dead_letter_topic=kafka.text("dead_letter_topic"),
            client=kafka.properties("client"),
        ),
        cassandra=Cassandra(
            contact_points=cassandra.texts("contact_points"),
            port=cassandra.whole("port", 1, 65535),
            keyspace=cassandra.text("keyspace"),
            datacenter=cassandra.text("datacenter"),
        ),
        flink=Flink(
            rest_url=flink.text("rest_url"),
            job_name=flink.text("job_name"),
            group_id=flink.text("group_id"),
            state_dir=flink.path("state_dir"),
            parallelism=flink.whole("parallelism", 1, 1024),
        ),
        producer=Producer(
            spool=producer.path("spool"),
            socket=producer.path("socket"),
            rate=producer.number("rate", RATE_MIN, RATE_MAX),
            spool_limit_bytes=producer.whole("spool_limit_bytes", SPOOL_LIMIT_MIN, 1 << 50),
        ),
        monitor=Monitor(
            host=monitor.text("host"),
            port=monitor.whole("port", 1, 65535),
            refresh_seconds=monitor.number("refresh_seconds", 0.05, 3600),
        ),
    )
