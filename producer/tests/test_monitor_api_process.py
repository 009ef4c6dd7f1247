"""The monitor's API, asked everything that its own description allows, and much that it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import APIOperation, Case, GenerationMode, Response
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection

from testing.ports import free_ports
from testing.producer import Monitor, ProducerProcess
from testing.waiting import wait_until

pytestmark = pytest.mark.programs

EXAMPLES = 40  # of each operation, valid and invalid ones
TOO_LARGE, TOO_MANY = 413, 429


@pytest.fixture
def changes() -> dict[str, Any]:
    """A small spool, because the rates that are tried are high and there is no Kafka."""
    return {
        "monitor__port": free_ports(1)[0],
        "monitor__refresh_seconds": 0.2,
        "producer__spool_limit_bytes": 16 << 20,
    }


@pytest.fixture
def producer(changes: dict[str, Any], make_producer: Callable[..., ProducerProcess]) -> ProducerProcess:
    """A producer that streams into its spool."""
    found = make_producer(**changes)
    found.start()
    return found


@pytest.fixture
def monitor(changes: dict[str, Any], write_config: Callable[..., Path], producer: ProducerProcess) -> Iterator[Monitor]:
    """A monitor that sees the producer."""
    found = Monitor(write_config(**changes), changes["monitor__port"])
    found.start()
    wait_until(lambda: found.answers() and found.figures()["producer_state"] == "up", 30, "the monitor sees it")
    yield found
    found.kill()


def patient(case: Case[Any]) -> Response:
    """The answer to a case; one that came too soon after the others is sent again when the monitor says so."""
    while True:
        answer = case.call()
        if answer.status_code != TOO_MANY:
            return answer
        time.sleep(float(answer.headers["retry-after"][0]))


def test_nothing_breaks_it_and_nothing_refused_changes_anything(monitor: Monitor, producer: ProducerProcess) -> None:
    schema = schemathesis.openapi.from_url(f"{monitor.url}/openapi.json")
    tried: dict[str, set[int]] = {}

    def state() -> tuple[Any, ...]:
        status = producer.ask("status")
        return status["rate"], status["reason"] == "paused", monitor.ask("GET", "/api/v1/drill")

    def exercise(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Case[Any]) -> None:
            before = state()
            answer = patient(case)
            tried.setdefault(operation.label, set()).add(answer.status_code)
            # A request that is too large is refused for that, whatever else is wrong with it.
            case.validate_response(
                answer, excluded_checks=[negative_data_rejection] * (answer.status_code == TOO_LARGE)
            )
            if answer.status_code >= 400:
                assert state() == before, f"refused with {answer.status_code}, but something changed"

        holds()

    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        exercise(operation, GenerationMode.POSITIVE)
        if operation.body or list(operation.iter_parameters()):  # without, nothing can be wrong with a request
            exercise(operation, GenerationMode.NEGATIVE)

    changing = {"POST /api/v1/rate", "PUT /api/v1/drill"}
    assert all({200, 422} <= tried[label] for label in changing), tried
    assert monitor.figures()["producer_count"] > 0
    assert monitor.answers()
    assert "Traceback" not in monitor.log
