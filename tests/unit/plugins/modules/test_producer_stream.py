"""The module producer_stream: what it asks for, and what it says when nobody answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.modules import producer_stream

from tests.unit.conftest import RunModule


class Producer:
    """Remembers what it was asked, and does it."""

    def __init__(self, **status: Any) -> None:
        self.status = {"reason": None, "rate": 10.0, **status}
        self.asked: list[str] = []

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request["do"])
        if request["do"] == "rate":
            self.status["rate"] = request["rate"]
        elif request["do"] != "status":
            self.status["reason"] = "paused" if request["do"] == "pause" else None
        return dict(self.status)


@pytest.mark.parametrize(
    ("reason", "streaming", "rate", "asked"),
    [
        (None, True, None, []),
        (None, True, 10.0, []),
        (None, False, None, ["pause"]),
        ("paused", False, None, []),
        ("paused", True, 25.0, ["rate", "resume"]),
        ("paused", None, 25.0, ["rate"]),
        # It cannot stream for want of room, but it was not told to pause.
        ("spool limit", True, None, []),
        ("spool limit", False, None, ["pause"]),
    ],
)
def test_it_asks_for_what_differs(
    reason: str | None, streaming: bool | None, rate: float | None, asked: list[str]
) -> None:
    producer = Producer(reason=reason)

    changed, _ = producer_stream.settle(producer, streaming, rate, check=False)

    assert producer.asked == ["status", *asked]
    assert changed is bool(asked)
    assert producer_stream.settle(producer, streaming, rate, check=False)[0] is False


def test_check_mode_only_looks() -> None:
    producer = Producer()

    changed, status = producer_stream.settle(producer, streaming=False, rate=25.0, check=True)

    assert (changed, status["rate"], producer.asked) == (True, 10.0, ["status"])


def test_a_producer_that_does_not_run_is_said(run_module: RunModule, pipeline_toml: Path) -> None:
    result = run_module(producer_stream, config=str(pipeline_toml), streaming=True)
    assert result["failed"]
    assert "the producer is not running" in result["msg"]


def test_nothing_to_do_is_an_error(run_module: RunModule, pipeline_toml: Path) -> None:
    result = run_module(producer_stream, config=str(pipeline_toml))
    assert "one of the following is required: streaming, rate" in result["msg"]
