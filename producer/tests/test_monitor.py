"""The monitor without servers: its figures, who may talk to it, and its errors."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eventlog.config import Config, ConfigError, load
from eventlog.counts import Counters, HopCount, Snapshot, read_once
from eventlog.monitor.app import create_app
from eventlog.monitor.memory import Point, rate, state
from eventlog.monitor.refresher import Refresher, describe
from eventlog.monitor.settings import Settings, is_loopback, read_settings
from eventlog.monitor.views import History
from fastapi import FastAPI
from fastapi.testclient import TestClient

from testing.waiting import wait_until

OPEN = Settings(token=None, log_seconds=10.0)
GUARDED = Settings(token="a-token-that-is-long", log_seconds=10.0)
MONITOR = "http://127.0.0.1:5000"


@pytest.fixture
def refresher(config: Config) -> Iterator[Refresher]:
    """A refresher that has not been started."""
    counters = Counters(config)
    yield Refresher(counters, 0.2, 10.0)
    counters.close()


@pytest.fixture
def app(config: Config, refresher: Refresher) -> FastAPI:
    """An application over it."""
    return create_app(config, OPEN, refresher)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """A client of that application, on the same machine."""
    return TestClient(app, base_url=MONITOR, raise_server_exceptions=False)


def assert_problem(answer: Any, status: int, detail: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert detail in body["detail"]


def test_errors_are_problems(client: TestClient) -> None:
    assert_problem(client.get("/nothing"), 404, "Not Found")
    assert_problem(client.put("/monitor"), 405, "Method Not Allowed")
    assert_problem(client.get("/api/v1/history?since=yesterday"), 422, "since: Input should be a valid number")
    assert_problem(client.post("/api/v1/pause"), 503, "the producer is not running (nobody listens on ")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", "body: Field required"),
        ('{"rate":', "body: JSON decode error"),
        ("{}", "rate: Field required"),
        ('{"rate": "fast"}', "rate: Input should be a valid number"),
        ('{"rate": 0}', "rate: Input should be greater than or equal to 0.001"),
        ('{"rate": 1e9}', "rate: Input should be less than or equal to 100000"),
        ('{"rate": 5, "unit": "s"}', "unit: Extra inputs are not permitted"),
        ("[1]", "body: Input should be a valid dictionary"),
    ],
)
def test_rates_that_are_none(client: TestClient, body: str, detail: str) -> None:
    answer = client.post("/api/v1/rate", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, detail)


def test_requests_that_are_too_large(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert_problem(client.post("/api/v1/rate", content=b"x" * 20_000, headers=headers), 413, "at most 16384 bytes")
    parts = (b"[" * 1000 for _ in range(30))
    assert_problem(client.post("/api/v1/rate", content=parts, headers=headers), 413, "at most 16384 bytes")
    assert_problem(client.post("/api/v1/pause", headers={"Content-Length": "many"}), 413, "at most")


@pytest.mark.parametrize("name", ["evil.example", "evil.example:5000", "[::", ""])
def test_other_names_for_this_machine_are_refused(client: TestClient, name: str) -> None:
    assert_problem(client.get("/healthz", headers={"Host": name}), 421, "does not answer for the host name")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:5000", "[::1]:5000", "127.9.9.9"])
def test_the_names_of_this_machine_are_good(client: TestClient, name: str) -> None:
    assert client.get("/healthz", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:5001"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": MONITOR},
    ],
)
def test_pages_of_others_may_change_nothing(client: TestClient, headers: dict[str, str]) -> None:
    assert_problem(client.post("/api/v1/pause", headers=headers), 403, "the monitor's own pages")
    assert client.get("/healthz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": MONITOR},
        {"Origin": MONITOR, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},  # our own form, whose page sends no referrer
    ],
)
def test_our_own_page_and_no_page_may(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/v1/pause", headers=headers).status_code == 503


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Basic a-token-that-is-long", "Bearer", "a-token-that-is-long"]
)
def test_without_the_token_only_health_is_told(config: Config, refresher: Refresher, header: str | None) -> None:
    client = TestClient(create_app(config, GUARDED, refresher), base_url=MONITOR)
    headers = {} if header is None else {"Authorization": header}
    for path in ("/monitor", "/api/v1/counts", "/metrics", "/openapi.json", "/nothing"):
        answer = client.get(path, headers=headers)
        assert_problem(answer, 401, "a token is needed")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert_problem(client.post("/api/v1/pause", headers=headers), 401, "a token is needed")
    assert client.get("/healthz").status_code == 200
    good = {"Authorization": "Bearer a-token-that-is-long", "Host": "pipeline.example"}
    assert client.get("/openapi.json", headers=good).status_code == 200


def test_an_unforeseen_error_is_a_problem_without_its_trace(
    app: FastAPI, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    app.state.refresher = None
    assert_problem(client.get("/monitor"), 500, "its log says why")
    assert "Traceback" in caplog.text


def test_the_interface_describes_itself(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {
        *("/monitor", "/healthz", "/metrics", "/api/v1/counts", "/api/v1/history"),
        *("/api/v1/pause", "/api/v1/resume", "/api/v1/rate", "/api/v1/drill"),
    }
    for methods in paths.values():
        for operation in methods.values():
            assert operation["description"]


def test_a_rate_needs_two_readings_that_succeeded() -> None:
    def hop(count: int | None, age: float, reachable: bool = True) -> HopCount:
        return HopCount(count, reachable, None, age)

    assert rate([]) is None
    assert rate([(10.0, hop(5, 0.0))]) is None
    assert rate([(10.0, hop(5, 0.0)), (12.0, hop(25, 0.0))]) == 10.0
    assert rate([(10.0, hop(5, 0.0)), (12.5, hop(25, 0.5))]) == 10.0, "a value counts for the time it was read"
    assert rate([(10.0, hop(5, 0.0)), (12.0, hop(5, 2.0, reachable=False))]) is None, "unobservable is not static"


def test_states() -> None:
    assert [state(True, 0.1), state(False, 3.0), state(False, None)] == ["up", "down", "unknown"]


def test_history_leaves_out_what_could_not_be_read(config: Config) -> None:
    snapshot = read_once(config, 0.5)
    known: Snapshot = replace(snapshot, lag=HopCount(7, True, None, 0.0))
    stale: Snapshot = replace(snapshot, lag=HopCount(7, False, "gone", 3.0))
    history = History.of([Point.of(known), Point.of(stale)], 1.0)
    assert history.lag == [7, None]
    assert history.time == [round(snapshot.time, 3)] * 2
    assert describe(stale) == "Metrics refreshed producer=unknown kafka=unknown cassandra=unknown lag=7(3s-ago)"
    assert describe(known).endswith("lag=7")


def test_the_refresher_survives_its_counters(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Counters):
        broken = True

        def read(self, deadline: float, patience: float = 0.25) -> Snapshot:
            if self.broken:
                raise RuntimeError("boom")
            return super().read(deadline, patience)

    caplog.set_level(logging.INFO, "eventlog.monitor")
    counters = Broken(config, request_timeout=0.5)
    refresher = Refresher(counters, 0.1, 0.5)
    refresher.start()
    try:
        wait_until(lambda: caplog.text.count("could not be refreshed; trying again") >= 3, 10, "it fails thrice")
        assert refresher.latest(timeout=0.0) is None
        counters.broken = False
        wait_until(lambda: caplog.text.count("Metrics refreshed producer=unknown") >= 2, 20, "it refreshes again")
        assert refresher.pulse().age < 5
        known = refresher.latest()
        assert known is not None
        assert known.rates.kafka is None
        assert refresher.pulse().failures >= 3
    finally:
        refresher.stop()


def test_a_monitor_that_does_not_refresh_is_unhealthy(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    monkeypatch.setattr(app.state.refresher, "_refreshed", time.monotonic() - 60)
    assert_problem(client.get("/healthz"), 503, "have not been refreshed for 60 s")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("pipeline.example", False),
    ],
)
def test_what_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_settings(write_config: Callable[..., Path], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")

    def read(**changes: Any) -> Settings:
        path = write_config(**{f"monitor__{key}": value for key, value in changes.items()})
        return read_settings(path, load(path))

    assert read() == Settings(None, 10.0)
    assert read(log_seconds=1) == Settings(None, 1.0)
    assert read(host="0.0.0.0", token_file=str(token)) == Settings("0123456789abcdef", 10.0)
    with pytest.raises(
        ConfigError, match=r"monitor\.host is 0\.0\.0\.0, which others can reach: set monitor\.token_file"
    ):
        read(host="0.0.0.0")
    with pytest.raises(ConfigError, match="expected an absolute path"):
        read(token_file="token")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(token_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"monitor\.log_seconds is True"):
        read(log_seconds=True)
    token.write_text("short")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        read(token_file=str(token))


def test_counts_are_in_the_documented_shape(app: FastAPI, client: TestClient) -> None:
    app.state.refresher.start()
    try:
        body = client.get("/api/v1/counts").json()
        assert set(body) == {"time", "producer", "kafka", "cassandra", "lag", "flink"}
        flat = client.get("/monitor")
        assert flat.headers["vary"] == "Accept"
        assert not [key for key, value in flat.json().items() if isinstance(value, dict | list)], "it is flat"
        assert flat.json()["kafka_state"] == "unknown"
        assert client.get(f"/api/v1/history?since={time.time() + 60}").json()["time"] == []
        metrics = client.get("/metrics").text
        assert 'eventlog_reachable{hop="kafka"} 0.0' in metrics
        assert "eventlog_records_total{" not in metrics, "an unknown count is not zero"
        json.dumps(body)
    finally:
        app.state.refresher.stop()
