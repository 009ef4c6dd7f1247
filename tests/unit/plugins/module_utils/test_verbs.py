"""Starting units of which one, which ran already, ends meanwhile."""

from __future__ import annotations

from typing import Any, cast

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils import verbs
from ansible_collections.eventlog.drills.plugins.module_utils.backend import Backend
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError
from ansible_collections.eventlog.drills.plugins.module_utils.verbs import apply, start

NEW, OLD = Unit("jobmanager", ["new"], "/"), Unit("taskmanager", ["old"], "/")


class Frail:
    """Units in memory; ``dying`` end while somebody waits for them, so often."""

    def __init__(self, dying: dict[str, int]) -> None:
        self.dying = dying
        self.alive = {OLD.name}
        self.started: list[str] = []

    def ensure_daemon(self) -> bool:
        return False

    def start(self, unit: Unit) -> bool:
        if unit.name in self.alive:
            return False
        self.alive.add(unit.name)
        self.started.append(unit.name)
        return True

    def stop(self, unit: Unit) -> bool:
        self.alive.discard(unit.name)
        return True

    def running(self, unit: Unit) -> bool:
        return unit.name in self.alive

    def members(self, name: str) -> list[str]:
        """A worker that outlives its leader is always left."""
        return [name, "worker"] if name in self.alive else ["worker"]

    def unpause(self, unit: Unit) -> bool:
        return unit.name in self.alive

    def observe(self, unit: Unit) -> dict[str, Any]:
        # A process that is started again is another one.
        return {"members": [{"pid": 1 + self.started.count(unit.name)}] if unit.name in self.alive else []}

    def await_ready(self, units: list[Unit], since: float) -> dict[str, Any]:
        for unit in units:
            if self.dying.get(unit.name):
                self.dying[unit.name] -= 1
                self.alive.discard(unit.name)
                raise UnitError(f"{unit.name} ended while it was starting")
        return {unit.name: {"ready": 0.1} for unit in units}


def begin(backend: Frail) -> bool:
    return start(cast(Backend, backend), [NEW, OLD], True, 0.0, {})


def test_one_that_ran_already_and_ends_is_started_again() -> None:
    backend = Frail({OLD.name: 1})

    assert begin(backend) is True
    assert backend.started == [NEW.name, OLD.name]
    assert backend.alive == {NEW.name, OLD.name}


def test_but_only_once() -> None:
    backend = Frail({OLD.name: 2})

    with pytest.raises(UnitError, match="taskmanager ended"):
        begin(backend)
    assert backend.alive == set()


def test_what_was_started_here_and_ends_is_an_error_at_once() -> None:
    backend = Frail({NEW.name: 1})

    with pytest.raises(UnitError, match="jobmanager ended"):
        begin(backend)
    assert backend.started == [NEW.name]
    assert backend.alive == {OLD.name}


def test_what_ends_when_it_wakes_up_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Frail({OLD.name: 1})
    monkeypatch.setattr(verbs, "receipt", lambda unit, _verb, before, after, *_: (unit.name, before, after))

    result = apply(cast(Backend, backend), [OLD], "unpaused", True)

    assert backend.started == [OLD.name]
    assert result["receipts"] == [(OLD.name, {"members": [{"pid": 1}]}, {"members": [{"pid": 2}]})]
