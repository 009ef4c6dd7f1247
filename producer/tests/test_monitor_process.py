"""The monitor as the process it is, beside a producer that comes and goes. No server is needed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from producer_harness import ProducerProcess, free_ports, wait_until

SOURCE = Path(__file__).parents[1] / "src"


class Monitor:
    """``python -m eventlog.monitor``; what it says is in ``log``."""

    def __init__(self, config: Path, port: int) -> None:
        self._config = config
        self.port = port
        self._log = config.with_name("monitor.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        command = [sys.executable, "-m", "eventlog.monitor", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": str(SOURCE)})

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def figures(self) -> dict[str, Any]:
        status, body = self.ask("GET", "/monitor")
        assert status == 200, body
        return dict(body)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(15)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(30)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


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
