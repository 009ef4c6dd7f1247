"""The console's API, asked everything that its own description allows, and much that it does not.

What it lets through really runs: the collection's playbooks, on an inventory of which no host matches.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from eventlog_console.app import create_app
from eventlog_console.guard import Allowance
from eventlog_console.jobs import Jobs
from eventlog_console.settings import Settings
from fastapi import FastAPI
from hypothesis import given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection

from .conftest import ROOT, MakeSettings

pytestmark = pytest.mark.programs

EXAMPLES = 25  # of each operation, valid and invalid ones
JOB_SECONDS = 60
TOO_LARGE = 413
ENDLESS = "GET /api/v1/feed"  # a stream; what it refuses is refused before any route


@pytest.fixture
def console(make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings over an inventory without hosts; a minute of the allowances passes in a tenth of a second."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'console' / 'src'}:{ROOT / 'collections'}")
    monkeypatch.setattr(Allowance, "clock", staticmethod(lambda: time.monotonic() * 600))
    inventory = tmp_path / "nobody.yml"
    inventory.write_text("all: {hosts: {}}\n", encoding="utf-8")
    return make_settings(inventory=str(inventory))


@pytest.fixture
def jobs(console: Settings) -> Iterator[Jobs]:
    """What runs; it has ended when the test has."""
    found = Jobs(console.state)
    yield found
    found.cancel()
    settled(found)


def settled(jobs: Jobs) -> list[str]:
    """Every job's name, when none runs any more."""
    deadline = time.monotonic() + JOB_SECONDS
    while jobs.running() is not None:
        assert time.monotonic() < deadline, "a playbook without hosts did not end"
        time.sleep(0.05)
    return [job.name for job in jobs.all()]


@pytest.fixture
def app(console: Settings) -> FastAPI:
    """The console itself."""
    return create_app(console)


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """Where it serves."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=server.run, args=([listener],))
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        serving.join()


def test_nothing_breaks_it_and_nothing_refused_changes_anything(app: FastAPI, url: str, jobs: Jobs) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried: dict[str, set[int]] = {}

    def judge(case: Case[Any], label: str) -> None:
        before = settled(jobs)
        answer = case.call()
        tried.setdefault(label, set()).add(answer.status_code)
        # A request that is too large is refused for that, whatever else is wrong with it.
        case.validate_response(answer, excluded_checks=[negative_data_rejection] * (answer.status_code == TOO_LARGE))
        if answer.status_code >= 400:
            assert settled(jobs) == before, f"refused with {answer.status_code}, but something ran"

    def exercise(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Case[Any]) -> None:
            judge(case, operation.label)

        holds()

    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.label == ENDLESS:
            continue
        exercise(operation, GenerationMode.POSITIVE)
        if operation.body:
            exercise(operation, GenerationMode.NEGATIVE)

    assert {200, 422} <= tried["POST /api/v1/command"], tried
    assert {202, 422} <= tried["POST /api/v1/jobs"], tried
    assert tried["POST /api/v1/jobs/cancel"] <= {202, 409}, tried
