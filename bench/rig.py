"""The benchmark's own pipeline, and what every line needs of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.processes import group_members
from cassandra.cluster import Session
from confluent_kafka.admin import AdminClient, NewTopic
from eventlog.config import Config, load
from eventlog.control import control
from eventlog.hops.cassandra import connect, explain
from eventlog.hops.kafka import client_properties
from eventlog_job.config import JobConfig

from testing.bare import ByHand, serves
from testing.pipeline import UNITS, Pipeline, Run
from testing.waiting import wait_until

# Below the ports that the kernel gives to outgoing connections: one of those may be in the way of a server's start.
PORT_OFFSET = 23100
#: Seconds between two looks at how far the job has come; a drain takes a thousand times as long.
LOOK_SECONDS = 0.05
SERVE_SECONDS = 300.0
#: Seconds of one request; none of them reads more than a page or a partition.
REQUEST_SECONDS = 60.0
#: Seconds without any progress after which a drain has come to a stand. Flink's start is in them.
STALL_SECONDS = 120.0
#: Characters of a reason that is one line of the table.
REASON_LENGTH = 200
FLINK = ("flink-jobmanager", "flink-taskmanager")
SERVERS = ("kafka", "cassandra", *FLINK)


class BenchError(Exception):
    """A measurement could not be made; the first line of the text says why, the others what was seen."""


def reason(error: BaseException) -> str:
    """Why something could not be measured, in one line."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, Exception) and not isinstance(error, BenchError):
        text = explain(error)
        text = text if text == kind else f"{kind}: {text}"
    return text.strip().split("\n", 1)[0][:REASON_LENGTH] or kind


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
        self._learned: ByHand | None = None

    def learn(self) -> None:
        """Remember the command lines of all units; they run now, and a stopped one has none."""
        self._learned = ByHand(self.pipeline)

    @property
    def _hand(self) -> ByHand:
        if self._learned is None:
            raise BenchError("the command lines of the units are not known: provisioning failed")
        return self._learned

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
        try:
            run = self.pipeline.play(playbook, expect=None, pipeline_name="bench", **variables)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{playbook}.yml did not end within {error.timeout:.0f} s") from error
        if run.status:
            said = re.search(r"^ failed +(.*)$", run.output, re.MULTILINE)
            cause = said[1] if said else f"status {run.status}"
            raise BenchError(f"{playbook}.yml failed: {cause}\n{run.output[-3000:]}")
        return run, time.monotonic() - began

    def remove(self) -> None:
        """Remove the pipeline and all that it wrote, and what an interruption has left of what was started by hand."""
        try:
            if self._learned is not None:
                self._learned.end()
        finally:
            self.play("teardown", teardown_purge=True)

    def stream(self, rate: float | None, config: Config | None = None) -> None:
        """Let the producer (another, when it has a ``config`` of its own) stream at a rate in events per second.

        None pauses it.
        """
        if rate is None:
            self.control("pause", config)
        else:
            control((config or self.config).producer.socket, {"do": "rate", "rate": rate})
            self.control("resume", config)

    def control(self, what: str, config: Config | None = None) -> dict[str, Any]:
        """Ask the producer: status, pause or resume."""
        return control((config or self.config).producer.socket, {"do": what})

    def settle(self) -> None:
        """Pause the stream, and wait until all that was made is in Kafka and processed."""
        self.stream(None)
        self.delivered()
        self.watch(sum(self.pipeline.ends().values()))

    def delivered(self, seconds: float = 300, config: Config | None = None) -> None:
        """Wait until Kafka has acknowledged all that the producer made."""
        _until(lambda: self.control("status", config)["buffered"] == 0, seconds, "everything is acknowledged")

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
    def session(self, seconds: float = REQUEST_SECONDS) -> Iterator[Session]:
        """A session of the database, with the counters' own client settings but for the ``seconds`` of a request."""
        session = connect(self.config, seconds)
        try:
            yield session
        finally:
            session.cluster.shutdown()

    def watch(self, target: int, check: Callable[[], None] = lambda: None) -> list[Progress]:
        """Look until ``target`` records are processed; every change seen, the state at the begin first.

        ``check`` is called with every look and raises when there is nothing to wait for. Raises BenchError when
        nothing is processed for STALL_SECONDS.
        """
        trail: list[Progress] = []
        with self.session() as session:
            while not trail or trail[-1].records < target:
                found = Progress(time.monotonic(), _processed(session))
                if not trail or found.records != trail[-1].records:
                    trail.append(found)
                if found.at - trail[-1].at > STALL_SECONDS:
                    raise BenchError(
                        f"{trail[-1].records} of {target} records processed, no more in {STALL_SECONDS:g} s"
                    )
                check()
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

        The units must not run. Raises BenchError when one does not serve.
        """
        try:
            with self._hand.started(units) as seconds:
                return seconds
        except AssertionError as error:
            raise BenchError(str(error)) from error

    @contextlib.contextmanager
    def further_producer(self, topic: str) -> Iterator[Config]:
        """A second producer with the settings of the first, but a topic, spool and socket of its own; its config.

        It is paused, and ends with the block. The topic has as many partitions as the pipeline's.
        """
        config, path = self.config, self.pipeline.root / "etc" / f"{topic}.toml"
        own = {
            "topic": topic,
            "spool": str(config.producer.spool.with_name(f"{topic}.db")),
            "socket": str(config.producer.socket.with_name(f"{topic}.sock")),
        }
        text = self._toml.read_text(encoding="utf-8")
        for key, value in own.items():
            text = re.sub(
                rf"^{key} = .*$", f"{key} = {json.dumps(value, ensure_ascii=False)}", text, flags=re.MULTILINE
            )
        path.write_text(text, encoding="utf-8")
        _make_topic(config, topic, len(self.pipeline.ends()))
        command = [word.replace(str(self._toml), str(path)) for word in self._hand.command("producer")]
        try:
            process = self._hand.start("producer", topic, command)
            probe = {"type": "socket", "path": own["socket"], "request": '{"do": "status"}'}
            _so(lambda: serves(probe, topic, process))
            found = load(path)
            self.stream(None, found)
            yield found
        finally:
            self._hand.end()


def _until(look: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition. Raises BenchError, with what was seen last, when it does not come true in time."""
    _so(lambda: wait_until(look, seconds, what))


def _so(wait: Callable[[], object]) -> None:
    try:
        wait()
    except AssertionError as error:
        raise BenchError(str(error)) from error


def _make_topic(config: Config, name: str, partitions: int) -> None:
    client = AdminClient(client_properties(config, request_timeout=REQUEST_SECONDS))
    for made in client.create_topics([NewTopic(name, partitions)]).values():
        made.result(REQUEST_SECONDS)


def _processed(session: Session) -> int:
    return sum(row.next_offset for row in session.execute("SELECT next_offset FROM progress"))


@contextlib.contextmanager
def meanwhile(look: Callable[[], None], every: float) -> Iterator[None]:
    """Call ``look`` at once and every so many seconds on a thread while the block runs."""
    ended = threading.Event()

    def turn() -> None:
        while True:
            look()
            if ended.wait(every):
                return

    thread = threading.Thread(target=turn, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
