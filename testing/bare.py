"""The servers of a pipeline without the pipeline: their command lines, started by hand on the same data."""

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


class BareServers:
    """What is learned from a pipeline while it runs: a stopped unit has no command line."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._programs = {unit: _program(pipeline.root / "etc" / "units" / f"{unit}.conf", unit) for unit in UNITS}

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
                program = self._programs[unit]
                words, cwd = shlex.split(program["command"]), Path(program["directory"])
                # The log is beside the pipeline's folder, which takes no strange files.
                processes.append(Process(f"bare-{unit}", words, self._pipeline.folder, cwd=cwd))
            for unit, process in zip(units, processes, strict=True):
                self._serves(unit, process)
            yield time.monotonic() - began
        finally:
            for process in reversed(processes):
                process.stop(60)
                _gone(process)

    def _serves(self, unit: str, process: Process) -> None:
        probe = {**_PROBES[unit], "host": "127.0.0.1", "port": self._pipeline.port(_PROBES[unit]["port"])}

        def serves() -> bool:
            assert process.status is None, f"{unit}, started by hand, ended with {process.status}:\n{process.tail()}"
            return answers(probe)

        wait_until(serves, SERVE_SECONDS, f"{unit}, started by hand, serves", 0.02)


def _gone(process: Process) -> None:
    """Flink's Python workers are in its group, too."""
    wait_until(lambda: not group_members(process.pid), 10, f"group {process.pid} has ended", 0.05)


def _program(file: Path, unit: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser()
    parser.read(file)
    return dict(parser[f"program:{unit}"])
