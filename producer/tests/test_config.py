"""The configuration: what is read, and the one line that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from eventlog.config import ConfigError, load


def test_everything_is_read(write_config: Callable[..., Path], tmp_path: Path) -> None:
    config = load(write_config(kafka__client={"security.protocol": "SSL", "linger.ms": 5, "enable.x": True}))

    assert config.pipeline.name == "test"
    assert config.pipeline.root == tmp_path
    assert (config.event.bytes, config.event.bucket_size) == (1024, 1000)
    assert config.kafka.client == {"security.protocol": "SSL", "linger.ms": "5", "enable.x": "true"}
    assert config.cassandra.contact_points == ("127.0.0.1",)
    assert config.flink.state_dir == tmp_path / "flink"
    assert config.producer.rate == 10.0
    assert config.monitor.refresh_seconds == 1.0


def test_client_properties_are_optional(write_config: Callable[..., Path]) -> None:
    assert load(write_config()).kafka.client == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event__bytes": "1024"}, "event.bytes is '1024' (string), expected an integer from 384 to 1000000"),
        ({"event__bytes": True}, "event.bytes is true (boolean), expected an integer from 384 to 1000000"),
        ({"event__bytes": 100}, "event.bytes is 100 (integer), expected an integer from 384 to 1000000"),
        ({"event__bucket_size": 0}, "event.bucket_size is 0 (integer), expected an integer from 1 to 1000000"),
        ({"kafka__topic": " "}, "kafka.topic is ' ' (string), expected a non-empty string"),
        ({"kafka__client": 5}, "kafka.client is 5 (integer), expected a table of client properties"),
        (
            {"kafka__client": {"a.b": ["x"]}},
            "kafka.client.\"a.b\" is ['x'] (array), expected a string, a number or a boolean",
        ),
        ({"cassandra__contact_points": []}, "cassandra.contact_points is [] (array), expected a non-empty list"),
        ({"cassandra__port": 70000}, "cassandra.port is 70000 (integer), expected an integer from 1 to 65535"),
        ({"producer__spool": "spool.db"}, "producer.spool is 'spool.db' (string), expected an absolute path"),
        ({"producer__rate": 0}, "producer.rate is 0 (integer), expected a number from 0.001 to 100000"),
        ({"producer__rate": float("nan")}, "producer.rate is nan (float), expected a number from 0.001 to 100000"),
        ({"producer__rate": "fast"}, "producer.rate is 'fast' (string), expected a number"),
        ({"producer__spool_limit_bytes": 1000}, "producer.spool_limit_bytes is 1000 (integer), expected an integer"),
    ],
)
def test_a_wrong_value_is_named(write_config: Callable[..., Path], change: dict[str, object], message: str) -> None:
    path = write_config(**change)

    with pytest.raises(ConfigError, match=re.escape(f"{path}: {message}")) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named(write_config: Callable[..., Path]) -> None:
    path = write_config()
    path.write_text(path.read_text().replace("topic = ", "topics = ", 1))

    with pytest.raises(ConfigError, match=r"kafka\.topic is missing, expected a non-empty string"):
        load(path)


def test_a_missing_section_is_named(write_config: Callable[..., Path]) -> None:
    path = write_config()
    path.write_text(path.read_text().replace("[monitor]", "[watcher]"))

    with pytest.raises(ConfigError, match=r"section \[monitor\] is missing"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[pipeline\n", "is not TOML"), (b"\xff\xfe", "is not UTF-8"), (b"pipeline = 3\n", "expected the section")],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml")
