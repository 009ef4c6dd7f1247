"""The producer and the monitor as the processes they are, without a playbook."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventlog.config import Config
from eventlog.control import control
from eventlog.event import decode
from eventlog.spool import SpoolReading, read_spool

from testing import ROOT
from testing.kafka import KafkaServer
from testing.processes import resident
from testing.waiting import wait_until

SOURCE = ROOT / "producer" / "src"


class ProducerProcess:
    """``python -m eventlog.producer`` as a process of its own; what it says is in ``log``."""

    def __init__(self, config: Config, config_file: Path) -> None:
        self.config = config
        self._config_file = config_file
        self._log = config_file.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        wait_until(self._answers, 20, f"the producer answers; it says:\n{self.log}")

    def launch(self) -> None:
        """Start it without waiting."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stderr=log, env=environment())

    def run_to_end(self, timeout: float = 20) -> tuple[int, str]:
        """Start it where it is expected to end by itself: exit status and what it said."""
        done = subprocess.run(
            self._command(), capture_output=True, text=True, timeout=timeout, check=False, env=environment()
        )
        return done.returncode, done.stderr

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """An orderly stop: exit status and the seconds it took."""
        assert self._process is not None
        begin = time.monotonic()
        self._process.send_signal(how)
        status = self._process.wait(20)
        self._process = None
        return status, time.monotonic() - begin

    def wait(self, timeout: float = 20) -> int:
        """The exit status, once it ends by itself."""
        assert self._process is not None
        status = self._process.wait(timeout)
        self._process = None
        return status

    def ask(self, do: str, timeout: float = 10, **more: Any) -> dict[str, Any]:
        """One request on the control socket."""
        return control(self.config.producer.socket, {"do": do, **more}, timeout)

    def until(self, condition: Callable[[dict[str, Any]], bool], what: str, timeout: float = 30) -> dict[str, Any]:
        """The first status for which ``condition`` holds."""
        last: dict[str, Any] = {}

        def holds() -> bool:
            last.update(self.ask("status"))
            return condition(last)

        try:
            wait_until(holds, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast status: {last}\nthe producer says:\n{self.log}") from None
        return last

    def until_beyond(self, key: str, value: int, timeout: float = 30) -> dict[str, Any]:
        """The first status whose ``key`` is greater than ``value``."""
        return self.until(lambda status: int(status[key]) > value, f"{key} is beyond {value}", timeout)

    def reading(self) -> SpoolReading:
        return read_spool(self.config.producer.spool)

    def resident_bytes(self) -> int:
        return resident(self.pid)

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "eventlog.producer", "--config", str(self._config_file)]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the producer ended with {self._process.returncode}:\n{self.log}"
        return bool(self.ask("status", timeout=2))


class Monitor:
    """``python -m eventlog.monitor``; what it says is in ``log``."""

    def __init__(self, config: Path, port: int) -> None:
        self._config = config
        self.port = port
        self._log = config.with_name("monitor.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        command = [sys.executable, "-m", "eventlog.monitor", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, env=environment())

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


def environment() -> dict[str, str]:
    """The child finds the package in this checkout, installed or not."""
    return {**os.environ, "PYTHONPATH": str(SOURCE)}


def sequence(broker: KafkaServer, topic: str, source: str) -> list[int]:
    """The seqs of ``source`` in ``topic``, repeats included, in order of partition and offset."""
    events = (decode(value) for _, _, _, value in broker.records(topic))
    return [event.seq for event in events if event.source == source]
