from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventlog_job.config import ConfigError, JobConfig, JobTuning

Document = dict[str, dict[str, Any]]


@pytest.fixture
def document() -> Document:
    return {
        "event": {"bucket_size": 1_000, "bytes": 1_024},
        "kafka": {
            "bootstrap_servers": "127.0.0.1:9092",
            "topic": "events",
            "dead_letter_topic": "rejected",
            "client": {},
        },
        "cassandra": {"contact_points": ["127.0.0.1"], "port": 9_042, "keyspace": "eventlog", "datacenter": "dc1"},
        "flink": {
            "rest_url": "http://127.0.0.1:8081/",
            "job_name": "event-log",
            "group_id": "event-log",
            "state_dir": "/data/flink",
            "parallelism": 2,
        },
    }


def test_reads_every_key(document: Document) -> None:
    config = JobConfig.from_document(document, "pipeline.toml")
    assert config.contact_points == ("127.0.0.1",)
    assert config.rest_url == "http://127.0.0.1:8081"
    assert config.tuning == JobTuning()


def test_job_table_overrides_single_defaults(document: Document) -> None:
    document["job"] = {"batch_rows": 7, "write_timeout_seconds": 5}
    tuning = JobConfig.from_document(document, "pipeline.toml").tuning
    assert (tuning.batch_rows, tuning.write_timeout_seconds) == (7, 5.0)
    assert isinstance(tuning.write_timeout_seconds, float)
    assert tuning.in_flight == JobTuning().in_flight


def test_client_properties_become_text(document: Document) -> None:
    document["kafka"]["client"] = {"enable.ssl.certificate.verification": True, "socket.timeout.ms": 5}
    client = JobConfig.from_document(document, "pipeline.toml").kafka_client
    assert client == {"enable.ssl.certificate.verification": "true", "socket.timeout.ms": "5"}


def change(table: str, key: str, value: object) -> Callable[[Document], None]:
    def apply(document: Document) -> None:
        if value is None:
            del document[table][key]
        else:
            document.setdefault(table, {})[key] = value

    return apply


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda document: document.pop("kafka"), "p.toml: table [kafka] is missing"),
        (change("kafka", "topic", None), "p.toml: topic in [kafka] must be a non-empty string, it is missing"),
        (change("kafka", "topic", ""), "p.toml: topic in [kafka] must be a non-empty string, found ''"),
        (change("kafka", "client", {"a": []}), "p.toml: client in [kafka] must be a table of plain values"),
        (
            change("event", "bucket_size", 0),
            "p.toml: bucket_size in [event] must be a whole number of at least 1, found 0",
        ),
        (
            change("event", "bucket_size", True),
            "p.toml: bucket_size in [event] must be a whole number of at least 1, found True",
        ),
        (
            change("cassandra", "contact_points", []),
            "p.toml: contact_points in [cassandra] must be a list of strings, found []",
        ),
        (change("job", "batch_row", 1), "p.toml: unknown key batch_row in [job]; known are arrow_batch, "),
        (change("job", "batch_rows", 1.5), "p.toml: batch_rows in [job] must be a whole number above 0, found 1.5"),
        (change("job", "batch_rows", 0), "p.toml: batch_rows in [job] must be a whole number above 0, found 0"),
        (
            change("job", "request_timeout_seconds", "9"),
            "p.toml: request_timeout_seconds in [job] must be a number above 0, found '9'",
        ),
        (change("job", "in_flight", True), "p.toml: in_flight in [job] must be a whole number above 0, found True"),
    ],
)
def test_errors_name_file_key_and_remedy(document: Document, alter: Callable[[Document], None], message: str) -> None:
    alter(document)
    with pytest.raises(ConfigError) as caught:
        JobConfig.from_document(document, "p.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        JobConfig.load(path)
    path.write_text("[kafka\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        JobConfig.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not TOML"):
        JobConfig.load(path)
