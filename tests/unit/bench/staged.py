"""A course whose measurements take no time and need no servers, and fail where a test wants them to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import counting, drain, latency, load, producing, reconciling, recovering
from bench.course import USUAL
from bench.rig import SERVERS, Progress

SIZE = replace(
    USUAL,
    small_table=100,
    backlog=1000,
    pairs=2,
    latency_rates=(10.0, 1000.0),
    half_drain=True,
    faults=(("kafka", "kill"), ("flink", "stop")),
    minutes=2.0,
)


class Stage:
    """What a rig does, and what is measured on it, by name: ``calls`` are those so far, each counted from 1.

    ``planted`` is what happens at a call: ``{"counting.cost 2": action}`` calls ``action`` at the second count.
    """

    def __init__(self, folder: Path) -> None:
        self.calls: list[str] = []
        self.planted: dict[str, Callable[[], None]] = {}
        self.records = 0
        self.running = True
        self.changed = 0
        self.pipeline = SimpleNamespace(ends=lambda: {0: self.records}, folder=folder, root=folder / "pipeline")
        self.config = SimpleNamespace(
            event=SimpleNamespace(bytes=1024), cassandra=SimpleNamespace(keyspace="eventlog"), name="first"
        )

    def at(self, name: str) -> None:
        """Something is done."""
        self.calls.append(name)
        self.planted.get(f"{name} {self.calls.count(name)}", lambda: None)()

    # -- the rig ---------------------------------------------------------------------------------------------------

    def play(self, playbook: str, **variables: Any) -> float:
        """A playbook; ``stop`` and ``site`` decide whether all runs."""
        self.at(f"play {playbook}")
        self.running = playbook != "stop"
        return 10.0

    def changes(self, playbook: str) -> tuple[int, float]:
        """As often as ``changed`` says."""
        self.at(f"changes {playbook}")
        return self.changed, 5.0

    def learn(self) -> None:
        """Nothing to learn."""

    def bare_start(self, units: tuple[str, ...]) -> float:
        """Half as long as the playbook."""
        self.at("bare_start")
        return 5.0

    def settle(self) -> None:
        """Needs all to run."""
        self.at("settle")
        assert self.running, "Flink is stopped: nothing is ever settled"

    def delivered(self) -> None:
        """Needs nothing."""

    def stream(self, rate: float | None) -> None:
        """Needs nothing."""

    def resident(self) -> dict[str, int]:
        """A MiB each."""
        return dict.fromkeys((*SERVERS, "producer"), 1 << 20)

    @contextlib.contextmanager
    def further_producer(self, topic: str) -> Iterator[Any]:
        """One with a config of its own."""
        yield SimpleNamespace(name=topic)

    def remove(self) -> None:
        """Remove the pipeline."""
        self.at("remove")

    # -- what is measured ------------------------------------------------------------------------------------------

    def fill(self, config: Any, count: int) -> None:
        """Put so many records into the pipeline's topic."""
        self.at("load.fill")
        self.records += count

    def cost(self, rig: Any) -> counting.Cost:
        """A count of all that is there, and some more are written meanwhile."""
        self.at("counting.cost")
        self.records += 7
        return counting.Cost(self.records - 7, 0.02, 0.4, None)

    def through_the_spool(self, rig: Any, config: Any, events: int) -> float:
        """Half of the bare loop, into a topic of its own."""
        self.at("producing.through_the_spool")
        assert config.name == producing.TOPIC
        return 500.0

    def through_the_job(self, rig: Any, target: int) -> list[Progress]:
        """A drain in 11 looks, a second each."""
        self.at("drain.through_the_job")
        self.running = True
        return [Progress(-1.0, 0), *(Progress(float(look), 100 * look) for look in range(11))]

    @contextlib.contextmanager
    def direct_path(self, rig: Any) -> Iterator[str]:
        """A keyspace."""
        self.at("latency.direct_path")
        yield "direct"

    def latencies(self, rig: Any, rate: float, seconds: float, keyspace: str) -> list[float]:
        """Two events."""
        self.at(f"latency {rate:g} {keyspace}")
        return [0.1, 0.2]

    def rehearse(self, rig: Any, service: str, fault: str, hold: float) -> recovering.Rehearsal:
        """A drill."""
        self.at(f"rehearse {service}")
        return recovering.Rehearsal(service, fault, 4.0, 6.0, 9.0, 4.0)

    def value(self, name: str, found: Any) -> Callable[..., Any]:
        """A measurement that finds this."""

        def measured(*_: Any) -> Any:
            self.at(name)
            return found

        return measured

    def set_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put these measurements in the place of the real ones."""
        for module, name, action in (
            (load, "fill", self.fill),
            (counting, "cost", self.cost),
            (producing, "through_the_spool", self.through_the_spool),
            (producing, "bare_loop", self.value("producing.bare_loop", 1000.0)),
            (drain, "through_the_job", self.through_the_job),
            (drain, "without_flink", self.value("drain.without_flink", 200.0)),
            (drain, "without_kafka", self.value("drain.without_kafka", 20_000.0)),
            (reconciling, "reconciled", self.value("reconciling.reconciled", (12.0, 1100))),
            (reconciling, "read_once", self.value("reconciling.read_once", 10.0)),
            (latency, "direct_path", self.direct_path),
            (latency, "latencies", self.latencies),
            (recovering, "rehearse", self.rehearse),
        ):
            monkeypatch.setattr(module, name, action)


def raising(error: BaseException) -> Callable[[], None]:
    """An action that raises."""

    def act() -> None:
        raise error

    return act
