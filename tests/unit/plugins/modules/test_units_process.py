"""The module process_units: verbs, check mode, and what it says when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import supervisor
from ansible_collections.eventlog.drills.plugins.module_utils import supervised
from ansible_collections.eventlog.drills.plugins.modules import process_units

from tests.unit.conftest import RunModule

pytestmark = pytest.mark.programs

SITE = str(Path(supervisor.__file__).parent.parent)
LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        listener.accept()[0].close()
"""

Verb = Callable[..., dict[str, Any]]


@pytest.fixture
def unit(short_dir: Path, free_port: Callable[[], int]) -> dict[str, Any]:
    """A unit that listens on a port."""
    script, port = short_dir / "listen.py", free_port()
    script.write_text(LISTEN)
    return {
        "name": "listener",
        "argv": [sys.executable, str(script), str(port)],
        "cwd": "/",
        "ports": [port],
        "probe": {"type": "tcp", "host": "127.0.0.1", "port": port},
        "ready_timeout": 10,
        "stop_timeout": 5,
    }


@pytest.fixture
def verb(short_dir: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verb]:
    """A function that brings units to a state; whatever it started is gone when the test ends."""
    monkeypatch.setattr(supervised, "SWEEP_SECONDS", 0.2)
    where = {
        "root": str(short_dir / "root"),
        "run": str(short_dir / "run"),
        "python": sys.executable,
        "pythonpath": SITE,
    }

    def apply(state: str, *units: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        return run_module(process_units, check=check, **where, state=state, units=list(units), **more)

    yield apply
    apply("absent")


def test_a_unit_goes_through_its_life(verb: Verb, unit: dict[str, Any]) -> None:
    port = str(unit["ports"][0])

    started = verb("started", unit)
    assert started["changed"]
    proof = started["receipts"][0]
    assert proof["before"] == []
    assert len(proof["after"]) == 1
    assert proof["ports"][port] == {"before": False, "after": True}
    assert list(proof["milestones"]) == ["process", "port", "ready"]

    assert not verb("started", unit)["changed"]
    assert not verb("ready", unit)["changed"]
    assert verb("observed", unit)["receipts"][0]["answers"] == {"before": True, "after": True}

    assert [member["state"] for member in verb("paused", unit)["receipts"][0]["after"]] == ["T"]
    assert not verb("paused", unit)["changed"]
    woken = verb("unpaused", unit)
    assert woken["changed"]
    assert "ready" in woken["receipts"][0]["milestones"]

    killed = verb("killed", unit)["receipts"][0]
    assert killed["gone"]
    assert killed["after"] == []
    assert killed["ports"][port] == {"before": True, "after": False}
    assert not verb("killed", unit)["changed"]
    assert not verb("stopped", unit)["changed"]

    assert verb("started", unit)["changed"]
    assert verb("stopped", unit)["receipts"][0]["gone"]
    assert verb("absent")["changed"]
    assert not verb("absent")["changed"]


def test_check_mode_says_what_would_happen_and_does_nothing(verb: Verb, unit: dict[str, Any]) -> None:
    def would(state: str, *units: dict[str, Any]) -> bool:
        return bool(verb(state, *units, check=True)["changed"])

    assert [would(state, unit) for state in ("installed", "started")] == [True, True]
    assert not any(
        would(state, unit) for state in ("ready", "observed", "stopped", "killed", "paused", "unpaused", "absent")
    )
    assert not would("absent")
    assert verb("observed", unit)["receipts"][0]["after"] == []

    verb("started", unit)
    assert not any(would(state, unit) for state in ("installed", "started", "unpaused", "observed", "ready"))
    assert all(would(state, unit) for state in ("stopped", "killed", "paused", "absent"))
    assert would("absent")
    assert len(verb("observed", unit)["receipts"][0]["after"]) == 1

    verb("paused", unit)
    assert would("unpaused", unit)
    assert not would("paused", unit)


def test_check_mode_sees_a_changed_configuration_file(verb: Verb, unit: dict[str, Any], short_dir: Path) -> None:
    config = short_dir / "config"
    config.write_text("one")
    unit["config_files"] = [str(config)]
    verb("started", unit)
    assert not verb("started", unit, check=True)["changed"]

    config.write_text("two")

    assert verb("started", unit, check=True)["changed"]


def test_a_unit_that_does_not_come_up_is_stopped_and_its_lines_are_shown(verb: Verb, unit: dict[str, Any]) -> None:
    unit.update(argv=["/bin/sh", "-c", "echo still thinking; sleep 600"], ready_timeout=1)

    result = verb("started", unit)

    assert result["failed"]
    assert "listener is not ready after" in result["msg"]
    assert "  still thinking" in result["msg"]
    assert verb("observed", unit)["receipts"][0]["after"] == []


def test_waking_what_does_not_run_is_no_mistake(verb: Verb, unit: dict[str, Any]) -> None:
    result = verb("unpaused", unit)

    assert not result["failed"]
    assert not result["changed"]


def test_a_start_that_shall_not_wait_returns_at_once(verb: Verb, unit: dict[str, Any], short_dir: Path) -> None:
    script = short_dir / "sleeps.py"
    script.write_text("import time; time.sleep(600)")
    unit.update(argv=[sys.executable, str(script)])

    result = verb("started", unit, wait=False)

    assert not result["failed"]
    assert result["receipts"][0]["milestones"] == {}
    assert verb("killed", unit)["changed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ports": ["many"]}, "'many'"),
        ({"stop_timeout": "soon"}, "stop_timeout"),
        ({"colour": "red"}, "colour"),
        ({"stop_signal": "HAMMER"}, "stop_signal 'HAMMER' is no signal"),
        ({"probe": {"type": "gopher"}}, "unit listener: the probe's type is 'gopher'"),
    ],
)
def test_a_wrong_option_is_named(verb: Verb, unit: dict[str, Any], change: dict[str, Any], said: str) -> None:
    result = verb("started", {**unit, **change})

    assert result["failed"]
    assert said in result["msg"]


def test_a_start_needs_to_know_how_to_run_supervisord(run_module: RunModule, short_dir: Path) -> None:
    result = run_module(process_units, root=str(short_dir), run=str(short_dir / "run"), state="started", units=[])

    assert result["failed"]
    assert "python, pythonpath" in result["msg"]
