"""The benchmark's own pipeline, and what every line needs of it."""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.probes import answers
from ansible_collections.eventlog.drills.plugins.module_utils.processes import group_members
from cassandra.cluster import Session
from eventlog.config import Config, load
from eventlog.control import control
from eventlog.hops.cassandra import connect
from eventlog_job.config import JobConfig

from testing.pipeline import UNITS, Pipeline, Run
from testing.waiting import wait_until

# Below the ports that the kernel gives to outgoing connections: one of those may be in the way of a server's start.
PORT_OFFSET = 23100
#: Seconds between two looks at how far the job has come; a drain takes a thousand times as long.
LOOK_SECONDS = 0.05
SERVE_SECONDS = 300.0
#: Seconds of one request: `SELECT count(*)` reads the whole table.
REQUEST_SECONDS = 600.0
FLINK = ("flink-jobmanager", "flink-taskmanager")
SERVERS = ("kafka", "cassandra", *FLINK)


class BenchError(Exception):
    """A measurement could not be made; the text says which, and what was seen."""


@dataclass(frozen=True)
class Progress:
    """How many records of the topic were processed at a moment of ``time.monotonic``."""

    at: float
    records: int


class Rig:
    """One pipeline below ``folder``, on ports of its own."""

    def __init__(self, folder: Path, offset: int = PORT_OFFSET) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.pipeline = Pipeline(folder, offset)
        self._programs: dict[str, Mapping[str, str]] = {}

    def learn(self) -> None:
        """Remember the command lines of all units; they run now, and a stopped one has none."""
        for unit in UNITS:
            parser = configparser.RawConfigParser()
            parser.read(self.pipeline.root / "etc" / "units" / f"{unit}.conf")
            self._programs[unit] = dict(parser[f"program:{unit}"])

    # -- acting ----------------------------------------------------------------------------------------------------

    def play(self, playbook: str, **variables: Any) -> float:
        """Run a playbook; the seconds it took. Raises BenchError with the end of its output when it fails."""
        return self._timed(playbook, **variables)[1]

    def changes(self, playbook: str) -> tuple[int, float]:
        """Run a playbook; the tasks that changed something, and its seconds."""
        run, seconds = self._timed(playbook)
        return run.changed, seconds

    def _timed(self, playbook: str, **variables: Any) -> tuple[Run, float]:
        began = time.monotonic()
        run = self.pipeline.play(playbook, expect=None, pipeline_name="bench", **variables)
        if run.status:
            raise BenchError(f"{playbook}.yml failed with status {run.status}:\n{run.output[-3000:]}")
        return run, time.monotonic() - began

    def stream(self, rate: float | None) -> None:
        """Let the producer stream at a rate in events per second; None pauses it."""
        if rate is None:
            self.control("pause")
        else:
            control(self.config.producer.socket, {"do": "rate", "rate": rate})
            self.control("resume")

    def control(self, what: str) -> dict[str, Any]:
        """Ask the producer: status, pause or resume."""
        return control(self.config.producer.socket, {"do": what})

    def settle(self, seconds: float = 600) -> None:
        """Pause the stream, and wait until all that was made is in Kafka and processed."""
        self.stream(None)
        self.delivered(seconds)
        _until(lambda: self.processed() >= sum(self.pipeline.ends().values()), seconds, "the backlog is drained")

    def delivered(self, seconds: float = 600) -> None:
        """Wait until Kafka has acknowledged all that the producer made."""
        _until(lambda: self.control("status")["buffered"] == 0, seconds, "everything is acknowledged")

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The pipeline's configuration."""
        return load(self._toml)

    @property
    def job(self) -> JobConfig:
        """The job's view of it."""
        return JobConfig.load(self._toml)

    @property
    def _toml(self) -> Path:
        return self.pipeline.root / "etc" / "pipeline.toml"

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A session of the database, with the counters' own client settings but for the time a request may take."""
        session = connect(self.config, REQUEST_SECONDS)
        try:
            yield session
        finally:
            session.cluster.shutdown()

    def processed(self) -> int:
        """Records that the job has processed."""
        with self.session() as session:
            return _processed(session)

    def watch(self, target: int, seconds: float = 900) -> list[Progress]:
        """Look until ``target`` records are processed; every change seen, the state at the begin first."""
        deadline = time.monotonic() + seconds
        trail: list[Progress] = []
        with self.session() as session:
            while not trail or trail[-1].records < target:
                found = Progress(time.monotonic(), _processed(session))
                if not trail or found.records != trail[-1].records:
                    trail.append(found)
                if found.at > deadline:
                    raise BenchError(f"drain: {trail[-1].records} of {target} records within {seconds:.0f} s")
                time.sleep(LOOK_SECONDS)
        return trail

    def resident(self) -> dict[str, int]:
        """Resident bytes of each unit, all its processes together, and of the supervisor."""
        groups = {unit: os.getpgid(self.pipeline.members(unit)[0]) for unit in UNITS}
        groups["supervisor"] = os.getpgid(int((self.pipeline.run_dir / "supervisord.pid").read_text()))
        return {name: sum(member.rss for member in group_members(group)) for name, group in groups.items()}

    # -- bare processes --------------------------------------------------------------------------------------------

    def bare_start(self, units: Sequence[str]) -> float:
        """Seconds from starting these units' command lines by hand until the last of them serves; they end again.

        The units must not run. Data, settings, probe and the 20 ms between two probes are those of the pipeline.
        """
        processes: list[subprocess.Popen[bytes]] = []
        began = time.monotonic()
        try:
            for unit in units:
                processes.append(self._by_hand(unit))
            for unit, process in zip(units, processes, strict=True):
                _serves(self._probe(unit), unit, process)
            return time.monotonic() - began
        finally:
            for process in reversed(processes):
                _end(process)

    def _by_hand(self, unit: str) -> subprocess.Popen[bytes]:
        program = self._programs[unit]
        with (self.pipeline.root / "logs" / f"bare-{unit}.log").open("ab") as log:
            return subprocess.Popen(
                shlex.split(program["command"]),
                cwd=program["directory"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _probe(self, unit: str) -> Mapping[str, Any]:
        kinds: dict[str, dict[str, Any]] = {
            "kafka": {"type": "kafka", "port": 9092},
            "cassandra": {"type": "cql", "port": 9042},
            "flink-jobmanager": {"type": "http", "port": 8081, "path": "/overview"},
            "flink-taskmanager": {"type": "flink_job", "port": 8081},
        }
        found = kinds[unit]
        return {**found, "host": "127.0.0.1", "port": self.pipeline.port(found["port"])}


def _until(look: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition. Raises BenchError, with what was seen last, when it does not come true in time."""
    try:
        wait_until(look, seconds, what)
    except AssertionError as error:
        raise BenchError(str(error)) from error


def _processed(session: Session) -> int:
    return sum(row.next_offset for row in session.execute("SELECT next_offset FROM progress"))


def _serves(probe: Mapping[str, Any], unit: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVE_SECONDS
    while not answers(probe):
        if process.poll() is not None:
            raise BenchError(f"{unit}, started by hand, ended with status {process.returncode}; see bare-{unit}.log")
        if time.monotonic() > deadline:
            raise BenchError(f"{unit}, started by hand, did not serve within {SERVE_SECONDS:.0f} s")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL, to the whole group: Flink's Python workers are in it."""
    for number, seconds in ((signal.SIGTERM, 60), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            process.poll()
            if not group_members(process.pid):
                return
            time.sleep(0.05)
    raise BenchError(f"the processes of group {process.pid} do not end")


@contextlib.contextmanager
def meanwhile(look: Callable[[], None], every: float) -> Iterator[None]:
    """Call ``look`` every so many seconds on a thread while the block runs."""
    ended = threading.Event()

    def turn() -> None:
        while not ended.wait(every):
            look()

    thread = threading.Thread(target=turn, name="meanwhile")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
