"""The units of a pipeline without the pipeline: their command lines, started by hand on the same data."""

from __future__ import annotations

import configparser
import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.probes import answers
from ansible_collections.eventlog.drills.plugins.module_utils.processes import group_members

from testing.pipeline import UNITS, Pipeline
from testing.processes import Process
from testing.waiting import wait_until

SERVE_SECONDS = 300.0
_PROBES: Mapping[str, Mapping[str, Any]] = {
    "kafka": {"type": "kafka", "port": 9092},
    "cassandra": {"type": "cql", "port": 9042},
    "flink-jobmanager": {"type": "http", "port": 8081, "path": "/overview"},
    "flink-taskmanager": {"type": "flink_job", "port": 8081},
}


class ByHand:
    """Starts units by hand; it learns from a pipeline that runs, since a stopped unit has no command line."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._programs = {unit: _program(pipeline.root / "etc" / "units" / f"{unit}.conf", unit) for unit in UNITS}
        self._running: list[Process] = []

    def command(self, unit: str) -> list[str]:
        """The unit's command line."""
        return shlex.split(self._programs[unit]["command"])

    def start(self, unit: str, name: str, command: Sequence[str] | None = None) -> Process:
        """Start a unit, with its own command line or another; its log is ``<name>.log`` beside the pipeline."""
        cwd = Path(self._programs[unit]["directory"])
        self._running.append(Process(name, command or self.command(unit), self._pipeline.folder, cwd=cwd))
        return self._running[-1]

    def end(self, processes: Sequence[Process] | None = None) -> None:
        """End these, or all that was started, the last first; an interruption may have left some of it."""
        for process in list(reversed(self._running if processes is None else processes)):
            process.stop(60)
            _gone(process)
            self._running.remove(process)

    @contextlib.contextmanager
    def started(self, units: Sequence[str]) -> Iterator[float]:
        """Seconds from starting these units at once until the last of them serves; they end with the block.

        The units must not run. Data, settings, probe and the 20 ms between two probes are those of the pipeline.
        Raises AssertionError when one ends, or does not serve within SERVE_SECONDS.
        """
        processes: list[Process] = []
        began = time.monotonic()
        try:
            for unit in units:
                processes.append(self.start(unit, f"bare-{unit}"))
            for unit, process in zip(units, processes, strict=True):
                probe = _PROBES[unit]
                serves({**probe, "host": "127.0.0.1", "port": self._pipeline.port(probe["port"])}, unit, process)
            yield time.monotonic() - began
        finally:
            self.end(processes)


def _gone(process: Process) -> None:
    """Flink's Python workers are in its group, too."""
    wait_until(lambda: not group_members(process.pid), 10, f"group {process.pid} has ended", 0.05)


def serves(probe: Mapping[str, Any], name: str, process: Process) -> None:
    """Wait until a process that was started by hand answers a probe. Raises AssertionError when it ends, or is late."""

    def look() -> bool:
        assert process.status is None, f"{name}, started by hand, ended with {process.status}:\n{process.tail()}"
        return answers(probe)

    wait_until(look, SERVE_SECONDS, f"{name}, started by hand, serves", 0.02)


def _program(file: Path, unit: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser()
    parser.read(file)
    return dict(parser[f"program:{unit}"])
