"""Reading Flink's REST answers, as Flink 2.2 gives them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from eventlog.config import ConfigError, load
from eventlog.hops.flink import FlinkHop, FlinkReading
from eventlog.hops.probe import Unreadable

METRICS = "/jobs/j2/vertices/v1/subtasks/metrics"


def job(identifier: str, state: str, start: int, running: int = 0, name: str = "event-log") -> dict[str, Any]:
    tasks = {"running": running, "total": 4, "canceled": 0, "failed": 0}
    return {"jid": identifier, "name": name, "state": state, "start-time": start, "tasks": tasks}


class Rest:
    """Answers by path; what is not there is Flink's 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.connections = 0
        rest = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                rest.connections += 1
                super().setup()

            def do_GET(self) -> None:
                found = rest.answers.get(self.path)
                body = json.dumps({"errors": ["Not found"]} if found is None else found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def rest() -> Iterator[Rest]:
    made = Rest()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def hop(rest: Rest, write_config: Callable[..., Path]) -> Iterator[FlinkHop]:
    made = FlinkHop(load(write_config(flink__rest_url=rest.url)), request_timeout=5.0)
    yield made
    made.close()


def test_no_job_of_that_name(rest: Rest, hop: FlinkHop) -> None:
    rest.answers["/jobs/overview"] = {"jobs": [job("j1", "RUNNING", 1, 4, name="another")]}
    assert hop.read() == FlinkReading(None, 0, 0, None, None, None)


def test_the_running_job_with_its_counters(rest: Rest, hop: FlinkHop) -> None:
    """The newest job that has not ended; counters of a vertex's operators and subtasks are summed."""
    jobs = [job("j3", "FAILED", 30), job("j2", "RUNNING", 20, 4), job("j1", "RUNNING", 10, 4)]
    rest.answers["/jobs/overview"] = {"jobs": jobs}
    rest.answers["/jobs/j2"] = {"vertices": [{"id": "v0"}, {"id": "v1"}]}
    rest.answers["/jobs/j2/vertices/v0/subtasks/metrics"] = [{"id": "numRecordsOut"}]
    written, retried = "PythonCalc[2].eventlog.written", "PythonCalc[2].eventlog.retried"
    rest.answers[METRICS] = [{"id": "numRecordsIn"}, {"id": written}, {"id": retried}]
    asked = METRICS + "?get=PythonCalc%5B2%5D.eventlog.written,PythonCalc%5B2%5D.eventlog.retried&agg=sum"
    rest.answers[asked] = [{"id": written, "sum": 1201.0}, {"id": retried, "sum": 7.0}]
    for _ in range(3):
        assert hop.read() == FlinkReading("RUNNING", 4, 4, 1201, 7, None)
    assert rest.connections == 1
    rest.answers[asked] = []  # the tasks are being restarted
    assert hop.read() == FlinkReading("RUNNING", 4, 4, None, None, None)


def test_a_job_that_has_ended_has_no_counters(rest: Rest, hop: FlinkHop) -> None:
    rest.answers["/jobs/overview"] = {"jobs": [job("j1", "FINISHED", 1)]}
    assert hop.read() == FlinkReading("FINISHED", 0, 4, None, None, None)


def test_answers_that_are_not_flinks(rest: Rest, hop: FlinkHop) -> None:
    with pytest.raises(Unreadable, match="404 for /jobs/overview"):
        hop.read()
    rest.answers["/jobs/overview"] = {"jobs": [{"name": "event-log"}]}
    with pytest.raises(Unreadable, match="KeyError"):
        hop.read()
    rest.answers["/jobs/overview"] = {"jobs": []}
    assert hop.read().state is None


def test_a_wrong_address_is_refused(write_config: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"flink\.rest_url"):
        FlinkHop(load(write_config(flink__rest_url="ftp://127.0.0.1")), 1.0)
