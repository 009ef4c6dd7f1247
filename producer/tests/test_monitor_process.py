"""The monitor as the process it is, beside a producer that comes and goes. No server is needed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.ports import free_ports
from testing.producer import Monitor, ProducerProcess
from testing.waiting import wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def changes() -> dict[str, Any]:
    """What the monitor and the producer of a test are configured with."""
    return {"monitor__port": free_ports(1)[0], "monitor__refresh_seconds": 0.2, "monitor__log_seconds": 0.5}


@pytest.fixture
def monitor(changes: dict[str, Any], write_config: Callable[..., Path]) -> Iterator[Monitor]:
    made = Monitor(write_config(**changes), changes["monitor__port"])
    yield made
    made.kill()


def test_it_outlives_the_producer(
    monitor: Monitor, changes: dict[str, Any], make_producer: Callable[..., ProducerProcess]
) -> None:
    monitor.start()
    wait_until(monitor.answers, 30, "the monitor answers, without a producer")
    before = monitor.figures()
    assert (before["producer_count"], before["producer_state"], before["is_streaming"]) == (None, "unknown", False)
    status, problem = monitor.ask("POST", "/api/v1/pause")
    assert status == 503
    assert "the producer is not running" in problem["detail"]

    producer = make_producer(**changes, producer__rate=200.0)
    producer.start()
    wait_until(lambda: monitor.figures()["is_streaming"] is True, 10, "the producer is seen to stream")
    wait_until(lambda: (monitor.figures()["producer_rate"] or 0) > 100, 20, "its rate is seen")
    streaming = monitor.figures()
    assert streaming["producer_count"] > 0
    assert streaming["buffered"] == streaming["producer_count"], "there is no Kafka"
    assert streaming["kafka_count"] is None

    status, paused = monitor.ask("POST", "/api/v1/pause")
    assert (status, paused["changed"], paused["producer"]["streaming"]) == (200, True, False)
    assert monitor.ask("POST", "/api/v1/pause")[1]["changed"] is False
    wait_until(lambda: monitor.figures()["is_streaming"] is False, 10, "the pause is seen")
    assert monitor.figures()["reason"] == "paused"
    status, slowed = monitor.ask("POST", "/api/v1/rate", {"rate": 25})
    assert (status, slowed["changed"], slowed["producer"]["rate"]) == (200, True, 25.0)
    assert monitor.ask("POST", "/api/v1/resume")[1]["changed"] is True

    producer.kill()
    wait_until(lambda: monitor.figures()["producer_state"] == "down", 10, "the producer's end is seen")
    dead = monitor.figures()
    assert dead["producer_count"] >= streaming["producer_count"], "the spool still says how many there are"
    assert dead["is_streaming"] is False
    assert dead["producer_reachable"] is True
    status, history = monitor.ask("GET", "/api/v1/history")
    assert status == 200
    assert len(history["time"]) == len(history["producer"]) == len(history["lag"]) > 1
    assert history["interval"] == 0.2
    assert monitor.end() == 0
    assert "Metrics refreshed producer=" in monitor.log
    assert "Traceback" not in monitor.log
    assert monitor.log.rstrip().endswith("Monitor stopped")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop(monitor: Monitor, how: signal.Signals) -> None:
    monitor.start()
    wait_until(monitor.answers, 30, "the monitor answers")
    assert monitor.end(how) == 0


def test_an_address_in_use_is_one_clear_line(monitor: Monitor) -> None:
    with socket.create_server(("127.0.0.1", monitor.port)):
        monitor.start()
        assert monitor.wait() == 2
    line = monitor.log.strip()
    assert line.count("\n") == 0
    assert f"monitor cannot listen on 127.0.0.1 port {monitor.port}: Address already in use" in line


def test_an_open_address_needs_a_token(changes: dict[str, Any], write_config: Callable[..., Path]) -> None:
    monitor = Monitor(write_config(**changes, monitor__host="0.0.0.0"), changes["monitor__port"])
    monitor.start()
    assert monitor.wait() == 2
    assert "set monitor.token_file" in monitor.log
    assert monitor.log.strip().count("\n") == 0
