"""Who gets in, who does not, and what they are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from eventlog_console.app import create_app
from eventlog_console.guard import ATTEMPTS_PER_MINUTE, CHANGES_PER_MINUTE, COOKIE, Allowance, Sessions
from eventlog_console.jobs import Jobs
from eventlog_console.settings import SettingsError, read_token
from fastapi.testclient import TestClient

from .conftest import MakeRun, MakeSettings

TOKEN = "a-token-that-nobody-guesses"
Open = Callable[..., TestClient]


@pytest.fixture
def open_console(make_settings: MakeSettings) -> Iterator[Open]:
    """A function that opens a console; nothing that it is asked for may start a process."""
    opened: list[TestClient] = []

    def make(**changes: Any) -> TestClient:
        app = create_app(make_settings(**changes))
        found = TestClient(app, base_url="http://127.0.0.1:5050", follow_redirects=False)
        opened.append(found)
        return found

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def guarded(open_console: Open) -> TestClient:
    return open_console(host="0.0.0.0", token=TOKEN)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands, so that a slow machine gives nobody another try."""
    monkeypatch.setattr(Allowance, "clock", staticmethod(lambda: 0.0))


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was started: nothing, the test hopes."""
    started: list[object] = []
    monkeypatch.setattr(Jobs, "start", lambda self, asked: started.append(asked))
    monkeypatch.setattr(Jobs, "cancel", lambda self: started.append("cancel"))
    return started


# -- the token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/catalogue",
        "/api/v1/feed",
        "/api/v1/runs",
        "/openapi.json",
        "/static/main.js",
        "/runs/latest/report.html",
        "/nothing",
    ],
)
def test_without_the_token_there_is_nothing_to_see(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \xe4\xf6"])
def test_a_wrong_token_is_refused(guarded: TestClient, header: str) -> None:
    assert guarded.get("/api/v1/catalogue", headers={"Authorization": header.encode("latin-1")}).status_code == 401


def test_the_token_opens(guarded: TestClient) -> None:
    assert guarded.get("/api/v1/catalogue", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_browser_is_led_to_the_form_and_in(guarded: TestClient) -> None:
    sent = guarded.get("/", headers={"Accept": "text/html,*/*"})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login")
    assert guarded.get("/login").status_code == 200
    assert guarded.get("/static/tokens.css").status_code == 200

    refused = guarded.post("/login", data={"token": "not-the-token-at-all"})
    assert refused.status_code == 401
    assert COOKIE not in refused.cookies
    assert "That is not the token" in refused.text

    admitted = guarded.post("/login", data={"token": TOKEN})
    assert admitted.status_code == 303
    flags = admitted.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert TOKEN not in flags
    assert guarded.get("/", headers={"Accept": "text/html"}).status_code == 200
    guarded.post("/logout")
    assert guarded.get("/api/v1/catalogue").status_code == 401


def test_a_session_ends_and_cannot_be_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(TOKEN)
    cookie = sessions.open()
    end, _, signature = cookie.partition(".")

    assert sessions.valid(cookie)
    assert Sessions(TOKEN).valid(cookie), "a console that was started again knows it"
    assert not Sessions(TOKEN + "x").valid(cookie)
    for wrong in ("", ".", end, f"{int(end) + 1}.{signature}", f"{end}.{signature}0", "x.y", "9" * 5000):
        assert not sessions.valid(wrong)
    monkeypatch.setattr(time, "time", lambda: float(end) + 1)
    assert not sessions.valid(cookie)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("way", ["form", "header"])
def test_guessing_is_slow(guarded: TestClient, way: str) -> None:
    def guess() -> int:
        if way == "form":
            return int(guarded.post("/login", data={"token": "x" * 20}).status_code)
        return int(guarded.get("/api/v1/runs", headers={"Authorization": f"Bearer {'x' * 20}"}).status_code)

    assert [guess() for _ in range(ATTEMPTS_PER_MINUTE)] == [401] * ATTEMPTS_PER_MINUTE
    assert guess() == 429


def test_an_allowance_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(Allowance, "clock", staticmethod(lambda: now[0]))
    allowance = Allowance(60)
    assert sum(allowance.take("a") for _ in range(100)) == 60

    now[0] = 2.0
    assert [allowance.take("a") for _ in range(3)] == [True, True, False]
    assert allowance.take("b"), "another client has its own"


@pytest.mark.usefixtures("still")
def test_the_right_token_is_not_counted(guarded: TestClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}

    assert {guarded.get("/api/v1/runs", headers=headers).status_code for _ in range(3 * ATTEMPTS_PER_MINUTE)} == {200}


@pytest.mark.parametrize(
    ("host", "needed"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.7", True),
        ("myhost", True),
    ],
)
def test_beyond_this_machine_a_token_is_demanded(host: str, needed: bool) -> None:
    if needed:
        with pytest.raises(SettingsError, match="--token-file"):
            read_token(host, None)
    else:
        assert read_token(host, None) is None


@pytest.mark.parametrize("text", ["", "short", "two words of a long token", "öööööööööööööööööö"])
def test_a_token_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(SettingsError, match="token"):
        read_token("0.0.0.0", file)


# -- requests that change something ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_s_page_can_start_nothing(
    open_console: Open, never: list[object], headers: dict[str, str]
) -> None:
    client = open_console()

    for path in ("/api/v1/jobs", "/api/v1/jobs/cancel", "/api/v1/look"):
        assert client.post(path, json={"playbook": "heal"}, headers=headers).status_code == 403
    assert never == []


def test_a_name_that_was_made_to_point_here_is_not_answered_for(open_console: Open) -> None:
    assert open_console().get("/api/v1/catalogue", headers={"Host": "evil.example:5050"}).status_code == 421
    assert open_console().get("/api/v1/catalogue", headers={"Host": "localhost:5050"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"playbook": 1}', 422),
        (b'{"playbook": "teardown"}', 422),
        (b'{"playbook": "stop", "options": {"service": "sshd"}}', 422),
        (b'{"playbook": "stop", "options": {"service": ["kafka"]}}', 422),
        (b'{"playbook": "heal", "more": 1}', 422),
        (b'{"playbook": "drill_flink", "options": {"drill_hold": NaN}}', 422),
        (b'{"playbook": "' + b"x" * 20_000 + b'"}', 413),
    ],
)
def test_bad_input_is_a_problem_and_starts_nothing(
    open_console: Open, never: list[object], body: bytes, status: int
) -> None:
    answer = open_console().post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
    assert never == []


def test_a_body_that_does_not_say_its_size_is_cut_off(open_console: Open, never: list[object]) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"playbook": "'
        for _ in range(40):
            yield b"x" * 1000
        yield b'"}'

    answer = open_console().post("/api/v1/jobs", content=chunks(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert never == []


@pytest.mark.usefixtures("still", "never")
def test_changes_have_a_limit(open_console: Open) -> None:
    client = open_console()

    statuses = [
        client.post("/api/v1/command", json={"playbook": "heal"}).status_code for _ in range(CHANGES_PER_MINUTE)
    ]

    assert set(statuses) == {200}
    assert client.post("/api/v1/command", json={"playbook": "heal"}).status_code == 429


def test_an_error_nobody_foresaw_is_a_problem_without_its_trace(
    open_console: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(journal, "all_runs", broken)
    answer = open_console().get("/api/v1/runs")

    assert answer.status_code == 500
    assert "secret" not in answer.text


# -- what is served --------------------------------------------------------------------------------------------------


def test_a_report_is_served_and_can_do_nothing(open_console: Open, make_run: MakeRun) -> None:
    run = make_run("flink", {"kind": "begin", "drill": "flink", "title": "Drill 2"})
    (run.path / "report.html").write_text("<p>the report")

    answer = open_console().get(f"/runs/{run.name}/report.html")

    assert answer.text == "<p>the report"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    ["/runs/..%2f..%2fetc/passwd", "/runs/%2e%2e/report.html", "/runs/latest/..%2fstate.json", "/runs/x/y/z",
     "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/../../app.py"],
)  # fmt: skip
def test_nothing_outside_is_served(open_console: Open, path: str) -> None:
    assert open_console().get(path).status_code in (404, 405)


def test_the_page_loads_nothing_from_elsewhere(open_console: Open) -> None:
    client = open_console()
    page = client.get("/")

    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for path in ("/", "/static/main.js", "/static/draw.js", "/static/style.css", "/static/tokens.css"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
    assert "<style" not in page.text
    assert " style=" not in page.text
