"""A whole pipeline of the tests' own, driven through its playbooks and looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.processes import group_members, port_owner
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PORTS = (9092, 9093, 9042, 7000, 8081, 6123, 6124, 6125, 6126, 5000)
UNITS = ("kafka", "cassandra", "flink-jobmanager", "flink-taskmanager", "producer", "monitor")
LOG_LINES = 30

Key = tuple[str, int]


def wait_for(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of ``look``; fails with its last value or error after ``seconds``."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (OSError, ValueError, KeyError) as error:  # servers that are on their way
            last = error
        else:
            if last:
                return last
        time.sleep(0.25)
    raise AssertionError(f"{what}: not within {seconds:.0f} s; last seen: {last!r}")


def free_offset() -> int:
    """A port offset at which every port of a pipeline is free."""
    # Below the ports that the kernel gives to outgoing connections. Two runs of the tests begin at different ones: what
    # is free now is taken by the first that gets to its servers.
    offsets = list(range(11000, 23000, 100))
    first = os.getpid() % len(offsets)
    for offset in offsets[first:] + offsets[:first]:
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in PORTS:
                held.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            return offset
    raise AssertionError("no free ports for a pipeline")


@dataclass(frozen=True)
class Run:
    """What a playbook did: its exit status and everything it printed."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """Tasks that changed something, of all hosts."""
        return sum(int(count) for count in re.findall(r"changed=(\d+)", self.output))


@dataclass
class Pipeline:
    """One pipeline: its folder, its ports, and ways to act on it and to look at it."""

    folder: Path
    offset: int
    token: str = ""  # of the monitor

    @property
    def root(self) -> Path:
        """Where everything of the pipeline is."""
        return self.folder / "pipeline"

    @property
    def runs(self) -> Path:
        """Where the drills write."""
        return self.folder / "runs"

    def port(self, base: int) -> int:
        """A port of this pipeline."""
        return base + self.offset

    # -- acting ----------------------------------------------------------------------------------------------------

    def command(self, playbook: str, **variables: Any) -> list[str]:
        """The command line that runs a playbook on this pipeline."""
        values = {
            "pipeline_root": str(self.root),
            "pipeline_port_offset": self.offset,
            "drill_runs_dir": str(self.runs),
            "monitor_token": self.token,
            **variables,
        }
        return [
            str(BIN / "ansible-playbook"), "-i", str(ROOT / "inventory" / "local"), "-e", json.dumps(values),
            str(ROOT / "playbooks" / f"{playbook}.yml"),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Of every playbook: plain text, this checkout's configuration."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        }

    def play(self, playbook: str, *flags: str, expect: int | None = 0, seconds: float = 600, **variables: Any) -> Run:
        """Run a playbook; fails with its output when the exit status is not ``expect`` (None: any)."""
        done = subprocess.run(
            [*self.command(playbook, **variables), *flags],
            cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        assert expect is None or (done.returncode == 0) is (expect == 0), done.stdout
        return Run(done.returncode, done.stdout)

    def members(self, unit: str) -> list[int]:
        """Pids of a unit's processes, found by who listens and by the group of that process, not by our records."""
        ports = {"kafka": 9092, "cassandra": 9042, "flink-jobmanager": 8081, "flink-taskmanager": 6126, "monitor": 5000}
        if unit == "producer":
            record = json.loads(self.record("producer").read_text())
            return [member.pid for member in group_members(record["pid"])]
        owner = port_owner(self.port(ports[unit]))
        return [member.pid for member in group_members(owner.pgid)] if owner else []

    def record(self, unit: str) -> Path:
        """The file in which the runtime remembers a unit's process."""
        return self.run_dir / f"{unit}.json"

    @property
    def run_dir(self) -> Path:
        """Where sockets and records are."""
        text = (self.root / "etc" / "supervisord.conf").read_text()
        return Path(re.findall(r"^file=(.*)/supervisor\.sock$", text, re.MULTILINE)[0])

    def kill(self, unit: str) -> list[int]:
        """kill -9 of every process of a unit; returns their pids."""
        pids = self.members(unit)
        assert pids, f"{unit} does not run"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(_lives(pid) for pid in pids), 10, f"{unit} is gone")
        return pids

    def post(self, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask the monitor to control the producer."""
        return self.ask("POST", action, body or {})

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The monitor's answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port(5000)}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    # -- looking ---------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, Any]:
        """The monitor's newest counts."""
        return self.ask("GET", "counts")

    def drained(self, seconds: float) -> dict[str, Any]:
        """Pause the stream and wait until everything that was counted is in Kafka and processed; returns those counts.

        The stream stays paused, so that what is read next holds still.
        """
        self.post("pause")

        def look() -> dict[str, Any] | None:
            counts = self.counts()
            sure = all(counts[hop]["reachable"] for hop in ("producer", "kafka", "cassandra", "lag"))
            done = sure and counts["producer"]["buffered"] == 0 and counts["lag"]["count"] == 0
            return counts if done else None

        found: dict[str, Any] = wait_for(look, seconds, "everything is delivered and processed")
        return found

    def ends(self) -> dict[int, int]:
        """The topic's end offset of every partition."""
        with self._consumer() as consumer:
            partitions = consumer.list_topics("events", timeout=30).topics["events"].partitions
            return {
                number: consumer.get_watermark_offsets(TopicPartition("events", number), timeout=30)[1]
                for number in partitions
            }

    def topic(self, since: Mapping[int, int] | None = None) -> list[dict[str, Any]]:
        """Every record of the topic from the given offsets to now, decoded; nothing of the project reads them."""
        ends = self.ends()
        begins = {number: (since or {}).get(number, 0) for number in ends}
        left = {number for number in ends if begins[number] < ends[number]}
        records: list[dict[str, Any]] = []
        with self._consumer() as consumer:
            consumer.assign([TopicPartition("events", number, begins[number] or OFFSET_BEGINNING) for number in left])
            deadline = time.monotonic() + 120
            while left:
                assert time.monotonic() < deadline, f"partitions {left} were not read to their ends"
                for message in consumer.consume(1000, timeout=1.0):
                    assert message.error() is None, message.error()
                    records.append({**json.loads(message.value()), "at": (message.partition(), message.offset())})
                    if message.offset() >= ends[message.partition()] - 1:
                        left.discard(message.partition())
        return records

    @contextlib.contextmanager
    def _consumer(self) -> Iterator[Any]:
        consumer = Consumer(
            {
                "bootstrap.servers": f"127.0.0.1:{self.port(9092)}",
                "group.id": "tests",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()

    @contextlib.contextmanager
    def cassandra(self) -> Iterator[Any]:
        """A session of the database."""
        profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=60)
        cluster = Cluster(
            ["127.0.0.1"],
            port=self.port(9042),
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
        )
        try:
            yield cluster.connect("eventlog")
        finally:
            cluster.shutdown()

    def rows(self) -> dict[Key, tuple[int, int]]:
        """Every row of the table, by its key, with the Kafka position that it carries."""
        with self.cassandra() as session:
            found = session.execute("SELECT source, seq, position FROM events")
            return {(row.source, row.seq): tuple(row.position) for row in found}

    def verdict(self) -> dict[str, Any]:
        """The verdict of the newest drill."""
        found: dict[str, Any] = json.loads((self.runs / "latest" / "verdict.json").read_text())
        return found

    # -- ending ----------------------------------------------------------------------------------------------------

    def evidence(self) -> str:
        """Which units run and the last lines of every log."""
        lines = [f"port {port}: {port_owner(port) or 'nobody'}" for port in map(self.port, PORTS)]
        for log in sorted((self.root / "logs").glob("*.log")):
            lines += [f"--- {log}", *log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]]
        return "\n".join(line[:300] for line in lines)

    def processes(self) -> list[str]:
        """Command lines of every process that carries this pipeline's folder in its arguments or environment."""
        mark, found = str(self.root).encode(), []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if mark in command or mark in (entry / "environ").read_bytes():
                    found.append(command.replace(b"\0", b" ").decode("utf-8", "replace")[:200])
        return found


@dataclass(frozen=True)
class Monitor:
    """A further monitor of a pipeline, with settings of its own."""

    port: int
    pid: int


@contextlib.contextmanager
def further_monitor(pipeline: Pipeline, folder: Path, **settings: str | float) -> Iterator[Monitor]:
    """A second monitor of the same pipeline meanwhile; ``settings`` are those of the section ``monitor``."""
    port = pipeline.port(5000)
    while port == pipeline.port(5000):
        port = 5000 + free_offset()
    shared, _, _ = (pipeline.root / "etc" / "pipeline.toml").read_text().partition("[monitor]")
    values = {"host": "127.0.0.1", "port": port, "refresh_seconds": 1.0, **settings}
    config = folder / "pipeline.toml"
    config.write_text(
        f"{shared}[monitor]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    )
    with (folder / "monitor.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "eventlog.monitor", "--config", str(config)],
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT / "producer" / "src")},
        )
    try:
        wait_for(lambda: port_owner(port), 60, "the further monitor listens")
        yield Monitor(port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
