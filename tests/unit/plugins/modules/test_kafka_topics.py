"""The module kafka_topics without a broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.eventlog.drills.plugins.modules import kafka_topics

from tests.unit.conftest import RunModule


def test_a_broker_that_is_away_is_named(run_module: RunModule, free_port: Callable[[], int]) -> None:
    servers = f"127.0.0.1:{free_port()}"
    args: dict[str, Any] = {"bootstrap_servers": servers, "topics": [{"name": "events"}], "timeout": 0.5}

    result = run_module(kafka_topics, **args)

    assert result["failed"]
    assert result["msg"].startswith(f"Kafka at {servers}: ")
    planned = run_module(kafka_topics, check=True, **args)
    assert planned["created"] == ["events"]


def test_an_unknown_client_property_is_named(run_module: RunModule) -> None:
    result = run_module(kafka_topics, bootstrap_servers="127.0.0.1:1", client={"no.such.thing": "1"}, topics=[])

    assert result["failed"]
    assert "no.such.thing" in result["msg"]


def test_a_wrong_topic_is_named(run_module: RunModule) -> None:
    result = run_module(kafka_topics, bootstrap_servers="127.0.0.1:1", topics=[{"name": "events", "partitions": "few"}])

    assert result["failed"]
    assert "partitions" in result["msg"]
