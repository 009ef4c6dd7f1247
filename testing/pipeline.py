"""A whole pipeline of the tests' own, driven through its playbooks and looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.processes import group_members, port_owner
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from testing import BIN, ROOT
from testing.ports import PORTS, free_offset
from testing.processes import lives, mentioning
from testing.trees import environment
from testing.waiting import wait_until

UNITS = ("kafka", "cassandra", "flink-jobmanager", "flink-taskmanager", "producer", "monitor")
LOG_LINES = 30

Key = tuple[str, int]


@dataclass(frozen=True)
class Run:
    """What a playbook did: its exit status and everything it printed."""

    status: int
    output: str

    @property
    def changed(self) -> int:
        """Tasks that changed something, of all hosts."""
        return sum(int(count) for count in re.findall(r"changed=(\d+)", self.output))


def run(
    command: Sequence[str], folder: Path, expect: int | None, seconds: float, env: Mapping[str, str] | None = None
) -> Run:
    """Run a command in a folder; fails with its output when its status is not as expected (None: any, 1: any but 0)."""
    done = subprocess.run(
        command, cwd=folder, env=env or environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    assert expect is None or (done.returncode == 0) is (expect == 0), done.stdout
    return Run(done.returncode, done.stdout)


@dataclass
class Pipeline:
    """One pipeline: its folder, its ports, and ways to act on it and to look at it."""

    folder: Path
    offset: int
    token: str = ""  # of the monitor
    name: str = "local"
    inventory: Path = ROOT / "inventory" / "local"

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
        """The command line that runs a playbook of the collection, or one by its path, on this pipeline."""
        path = Path(playbook) if "/" in playbook else ROOT / "playbooks" / f"{playbook}.yml"
        return [
            str(BIN / "ansible-playbook"), "-i", str(self.inventory),
            "-e", json.dumps({**self.variables(), **variables}), str(path),
        ]  # fmt: skip

    def variables(self) -> dict[str, Any]:
        """What makes a playbook mean this pipeline."""
        return {
            "pipeline_name": self.name,
            "pipeline_root": str(self.root),
            "pipeline_port_offset": self.offset,
            "drill_runs_dir": str(self.runs),
            "monitor_token": self.token,
        }

    def environment(self) -> dict[str, str]:
        """Of its playbooks: a home and a temporary directory of its own, so that what is left there is found."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        for path in (self.home, self.temporary):
            path.mkdir(parents=True, exist_ok=True)
        return {
            **environment(),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": cache,
        }

    @property
    def home(self) -> Path:
        """The home directory of its playbooks."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """The temporary directory of its playbooks."""
        return self.folder / "tmp"

    def left(self) -> list[str]:
        """Files outside its folders and the cache, but for Ansible's own."""
        found = [path for top in (self.home, self.temporary) for path in top.rglob("*") if path.is_file()]
        return [str(path) for path in found if ".ansible" not in path.relative_to(self.folder).parts]

    def begin(self, playbook: str, **variables: Any) -> subprocess.Popen[bytes]:
        """Run a playbook in a session of its own, beside the test; its output is dropped."""
        return subprocess.Popen(
            # Behind nohup, or in the background of a script, tests and their children would ignore some of the signals.
            ["env", "--default-signal=INT,TERM,HUP", *self.command(playbook, **variables)],
            cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def play(self, playbook: str, *flags: str, expect: int | None = 0, seconds: float = 600, **variables: Any) -> Run:
        """Run a playbook; fails with its output when the exit status is not ``expect`` (None: any, 1: any but 0)."""
        command = [*self.command(playbook, **variables), *flags]
        return run(command, self.folder, expect, seconds, self.environment())

    def make(
        self, target: str, *words: str, expect: int | None = 0, seconds: float = 600, prefix: Sequence[str] = (),
        **variables: Any,
    ) -> Run:  # fmt: skip
        """Run a target of the Makefile on this pipeline, as a user types it but for the pipeline's variables."""
        values = json.dumps({**self.variables(), **variables})
        command = ["make", "--no-print-directory", "-C", str(ROOT), target, *words, f"ARGS=-e '{values}'"]
        return run([*prefix, *command], self.folder, expect, seconds, self.environment())

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
        wait_until(lambda: not any(lives(pid) for pid in pids), 10, f"{unit} is gone")
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

    def metrics(self, port: int | None = None) -> dict[str, float]:
        """The figures for Prometheus, of the monitor at ``port`` or the pipeline's; of those with labels the last."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port(5000)}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {line.split("{")[0].split()[0]: float(line.split()[-1]) for line in lines if not line.startswith("#")}

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

        found: dict[str, Any] = wait_until(look, seconds, "everything is delivered and processed")
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
        return list(mentioning(str(self.root).encode()).values())


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
        wait_until(lambda: port_owner(port), 60, "the further monitor listens")
        yield Monitor(port, process.pid)
    finally:
        process.terminate()
        process.wait(30)
