"""What the job reads of etc/pipeline.toml.

Every default of the optional `[job]` table is in `JobTuning`, and nowhere else.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self


class ConfigError(ValueError):
    """The configuration is unusable; the message is one line for a person and names file, key and remedy."""


@dataclasses.dataclass(frozen=True, slots=True)
class JobTuning:
    """The optional `[job]` table. Times are in the unit their name says.

    Attributes:
        batch_rows: most rows in one Cassandra batch (always one partition, unlogged).
        batch_bytes: most bytes of event text in one Cassandra batch; a single larger event goes alone.
        in_flight: most Cassandra requests outstanding per worker.
        request_timeout_seconds: after this one request counts as failed and is tried again.
        write_timeout_seconds: after this a batch that still meets only passing errors fails the task. Must stay below
            Flink's checkpoint time-out.
        first_retry_seconds, longest_retry_seconds: pause before the first repetition, doubled up to the second value.
        start_timeout_seconds: how long the job waits for Kafka and its topics when it starts.
        bundle_milliseconds: longest time a record waits for others before Python sees it.
        bundle_records: most records between two hand-overs from Java to Python.
        arrow_batch: most records in one call of the sink.
        largest_record_bytes: a longer record is refused unseen. One that Cassandra finds too long (max_mutation_size)
            is found out row by row.
        dead_letter_bytes: bytes of a refused record kept in its dead letter; the rest is cut off. In base64 it must
        fit
            the max.message.bytes of the dead-letter topic (1 MiB by default).
        keep_savepoints: number of former savepoints kept in state_dir.
    """

    batch_rows: int = 100
    batch_bytes: int = 262_144
    in_flight: int = 16
    request_timeout_seconds: float = 10.0
    write_timeout_seconds: float = 300.0
    first_retry_seconds: float = 0.1
    longest_retry_seconds: float = 2.0
    start_timeout_seconds: float = 600.0
    bundle_milliseconds: int = 100
    bundle_records: int = 4_000
    arrow_batch: int = 2_000
    largest_record_bytes: int = 4_194_304
    dead_letter_bytes: int = 524_288
    keep_savepoints: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class JobConfig:
    """Everything the job knows; picklable, since it travels to the Python workers."""

    bucket_size: int
    bootstrap_servers: str
    topic: str
    dead_letter_topic: str
    kafka_client: Mapping[str, str]
    contact_points: tuple[str, ...]
    cassandra_port: int
    keyspace: str
    datacenter: str
    rest_url: str
    job_name: str
    group_id: str
    state_dir: str
    parallelism: int
    tuning: JobTuning

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a pipeline.toml. Raises ConfigError."""
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: is not TOML: {error}") from None
        return cls.from_document(document, str(path))

    @classmethod
    def from_document(cls, document: Mapping[str, Any], origin: str) -> Self:
        """Checks a parsed document; `origin` is what the messages call it. Raises ConfigError."""
        event = _Table(document, "event", origin)
        kafka = _Table(document, "kafka", origin)
        cassandra = _Table(document, "cassandra", origin)
        flink = _Table(document, "flink", origin)
        return cls(
            bucket_size=event.whole("bucket_size"),
            bootstrap_servers=kafka.text("bootstrap_servers"),
            topic=kafka.text("topic"),
            dead_letter_topic=kafka.text("dead_letter_topic"),
            kafka_client=kafka.texts("client"),
            contact_points=cassandra.list_of_text("contact_points"),
            cassandra_port=cassandra.whole("port"),
            keyspace=cassandra.text("keyspace"),
            datacenter=cassandra.text("datacenter"),
            rest_url=flink.text("rest_url").rstrip("/"),
            job_name=flink.text("job_name"),
            group_id=flink.text("group_id"),
            state_dir=flink.text("state_dir"),
            parallelism=flink.whole("parallelism"),
            tuning=_tuning(document, origin),
        )


class _Table:
    """One table of the document, with typed access and errors that name the key."""

    def __init__(self, document: Mapping[str, Any], name: str, origin: str) -> None:
        content = document.get(name)
        if not isinstance(content, dict):
            raise ConfigError(f"{origin}: table [{name}] is missing")
        self._content: dict[str, Any] = content
        self._name = name
        self._origin = origin

    def text(self, key: str) -> str:
        value = self._content.get(key)
        if not isinstance(value, str) or not value:
            raise self._error(key, "a non-empty string", value)
        return value

    def whole(self, key: str) -> int:
        value = self._content.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._error(key, "a whole number of at least 1", value)
        return value

    def list_of_text(self, key: str) -> tuple[str, ...]:
        value = self._content.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
            raise self._error(key, "a list of strings", value)
        return tuple(value)

    def texts(self, key: str) -> dict[str, str]:
        value = self._content.get(key, {})
        if not isinstance(value, dict) or any(isinstance(item, dict | list) for item in value.values()):
            raise self._error(key, "a table of plain values", value)
        return {name: str(item).lower() if isinstance(item, bool) else str(item) for name, item in value.items()}

    def _error(self, key: str, expected: str, value: object) -> ConfigError:
        found = "it is missing" if value is None else f"found {value!r}"
        return ConfigError(f"{self._origin}: {key} in [{self._name}] must be {expected}, {found}")


def _tuning(document: Mapping[str, Any], origin: str) -> JobTuning:
    given = document.get("job", {})
    if not isinstance(given, dict):
        raise ConfigError(f"{origin}: [job] must be a table, found {given!r}")
    defaults = JobTuning()
    values: dict[str, Any] = {}
    known = {field.name: type(getattr(defaults, field.name)) for field in dataclasses.fields(JobTuning)}
    for key, value in given.items():
        kind = known.get(key)
        if kind is None:
            raise ConfigError(f"{origin}: unknown key {key} in [job]; known are {', '.join(sorted(known))}")
        number = isinstance(value, int) or (kind is float and isinstance(value, float))
        if isinstance(value, bool) or not number or not value > 0:
            expected = "number above 0" if kind is float else "whole number above 0"
            raise ConfigError(f"{origin}: {key} in [job] must be a {expected}, found {value!r}")
        values[key] = kind(value)
    return dataclasses.replace(defaults, **values)
