"""The job on real servers: Kafka and Cassandra, and Flink as two process groups of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from confluent_kafka import KafkaException, Producer, TopicPartition

from testing import ROOT, settings
from testing.cassandra import CassandraServer
from testing.kafka import LARGEST_RECORD, KafkaServer
from testing.ports import free_ports
from testing.processes import Process
from testing.settings import DEAD_LETTERS, GROUP, KEYSPACE, TOPIC
from testing.trees import Trees
from testing.waiting import wait_until

SOURCE = ROOT / "flink_job" / "src"
PARTITIONS = 4


class Stack:
    """Everything that the job needs, below one folder; ``job`` is the table ``[job]`` of its configuration."""

    def __init__(
        self, trees: Trees, folder: Path, kafka: KafkaServer, cassandra: CassandraServer, parallelism: int = 2
    ) -> None:
        self.trees = trees
        self.folder = folder
        self.kafka = kafka
        self.cassandra = cassandra
        self.parallelism = parallelism
        self.rest_port, *self._ports = free_ports(5)
        self.job: Mapping[str, float] = {}
        self.state = folder / "flink"
        self.config = folder / "pipeline.toml"
        self.archive = folder / "flink.jsa"
        self.jobmanager: Process | None = None
        self.taskmanager: Process | None = None
        for name in ("flink", "tmp", "lib", "conf", "log", "pid"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    # -- configuration ---------------------------------------------------------------------------------------------

    def write_config(self) -> None:
        """pipeline.toml, Flink's configuration and its folder of jars."""
        changes = {
            "kafka__bootstrap_servers": self.kafka.bootstrap_servers,
            "cassandra__port": self.cassandra.port,
            "flink__rest_url": f"http://127.0.0.1:{self.rest_port}",
            "flink__parallelism": self.parallelism,
        }
        settings.write(self.config, {**settings.document(self.folder, **changes), "job": dict(self.job)})
        rpc, blob, taskmanager_rpc, taskmanager_data = self._ports
        variables = {
            "flink_jobmanager_host": "127.0.0.1",
            "flink_taskmanager_host": "127.0.0.1",
            "flink_rest_port": self.rest_port,
            "flink_rpc_port": rpc,
            "flink_blob_port": blob,
            "flink_taskmanager_rpc_port": taskmanager_rpc,
            "flink_taskmanager_data_port": taskmanager_data,
            "flink_task_slots": max(2, self.parallelism),
            "flink_parallelism": self.parallelism,
            "flink_checkpoint_interval": "2s",
            "flink_jobmanager_memory": "640m",
            "flink_taskmanager_memory": "896m",
            "flink_state_dir": self.state,
            "flink_tmp_dir": self.folder / "tmp",
            "flink_log_dir": self.folder / "log",
            "flink_python": sys.executable,
            "flink_pyflink_home": self.trees.flink / "pyflink",
            "flink_class_archive": self.archive,
        }
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
        for source in (ROOT / "roles" / "flink" / "templates").glob("*.j2"):
            text = environment.from_string(source.read_text(encoding="utf-8")).render(variables)
            (self.folder / "conf" / source.stem).write_text(text, encoding="utf-8")
        home = self.trees.flink / "pyflink"
        for jar in (*home.glob("lib/*.jar"), *home.glob("opt/flink-python-*.jar")):
            link = self.folder / "lib" / jar.name
            if not link.exists():
                link.symlink_to(jar)

    def environment(self) -> dict[str, str]:
        """What the job's README says its units need."""
        kept = ("PYTHONPYCACHE", "EVENTLOG_", "LANG")
        return {
            "JAVA_HOME": str(self.trees.java_home),
            "PATH": f"{self.trees.java_home}/bin:/usr/bin:/bin",
            "FLINK_CONF_DIR": str(self.folder / "conf"),
            "FLINK_LIB_DIR": str(self.folder / "lib"),
            "FLINK_LOG_DIR": str(self.folder / "log"),
            "FLINK_PID_DIR": str(self.folder / "pid"),
            "PYTHONPATH": f"{SOURCE}:{self.trees.flink}",
            **{key: value for key, value in os.environ.items() if key.startswith(kept)},
        }

    # -- Kafka and Cassandra ---------------------------------------------------------------------------------------

    def create_topics(self) -> None:
        """Both topics, as the pipeline has them, but for the size of a record."""
        self.kafka.create_topic(TOPIC, PARTITIONS, {"max.message.bytes": str(LARGEST_RECORD)})
        self.kafka.create_topic(DEAD_LETTERS, 1)

    def committed(self) -> dict[int, int]:
        """Offsets committed by the job's group; a partition without one is missing."""
        consumer = self.kafka.consumer(GROUP)
        try:
            found = consumer.committed([TopicPartition(TOPIC, number) for number in range(PARTITIONS)], timeout=20)
            return {item.partition: item.offset for item in found if item.offset >= 0}
        finally:
            consumer.close()

    def dead_letters(self) -> list[dict[str, Any]]:
        """All dead letters so far."""
        return [json.loads(value) for _, _, _, value in self.kafka.records(DEAD_LETTERS)]

    def execute(self, statement: str) -> Any:
        """What Cassandra answers; name the keyspace."""
        return self.cassandra.session.execute(statement)

    def rows(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(source, seq) -> (partition, offset) of the whole table."""
        found = self.execute(f"SELECT source, seq, position FROM {KEYSPACE}.events")
        return {(row.source, row.seq): tuple(row.position) for row in found}

    def progress(self) -> dict[int, int]:
        """Partition -> next offset; of the newest topic only, if tests make it anew."""
        found = self.execute(f"SELECT topic_id, partition, next_offset FROM {KEYSPACE}.progress")
        return {row.partition: row.next_offset for row in found}

    def processed(self) -> int:
        """Records that the job has processed."""
        return sum(self.progress().values())

    def empty(self) -> None:
        """New topics, no group, empty tables, no state, the default settings."""
        for name in (TOPIC, DEAD_LETTERS):
            if self.kafka.has_topic(name):
                self.kafka.delete_topic(name)
        self.create_topics()
        admin = self.kafka.admin()
        with contextlib.suppress(KafkaException):
            admin.delete_consumer_groups([GROUP])[GROUP].result(60)
        self.cassandra.empty()
        shutil.rmtree(self.state, ignore_errors=True)
        self.job = {}
        for log in self.folder.glob("flink-*.log"):
            log.unlink()

    # -- Flink -----------------------------------------------------------------------------------------------------

    def start_flink(self) -> None:
        """Both Flink processes; returns at once."""
        self.write_config()
        self.start_jobmanager()
        self.start_taskmanager()

    def start_jobmanager(self) -> None:
        """The JobManager, which is the job."""
        argv = [sys.executable, "-m", "eventlog_job.launch", "--config", str(self.config)]
        self.jobmanager = Process("flink-jobmanager", argv, self.folder, self.environment())

    def start_taskmanager(self) -> None:
        """The TaskManager."""
        argv = [str(self.trees.flink / "pyflink" / "bin" / "taskmanager.sh"), "start-foreground"]
        self.taskmanager = Process("flink-taskmanager", argv, self.folder, self.environment())

    def jobmanager_log(self) -> str:
        """Everything the JobManagers of this test printed."""
        return (self.folder / "flink-jobmanager.log").read_text(errors="replace")

    def make_archive(self) -> dict[str, Any]:
        """The class-data archive: every start of Flink after it takes about half the processor time."""
        self.write_config()
        argv = [sys.executable, "-m", "eventlog_job.archive", "--java-home", str(self.trees.java_home)]
        argv += ["--lib", str(self.folder / "lib"), "--out", str(self.archive)]
        done = subprocess.run(argv, env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def stop_job(self, deadline: float = 30) -> tuple[int, dict[str, Any]]:
        """`eventlog_job.stop`: exit status and what it printed."""
        argv = [sys.executable, "-m", "eventlog_job.stop", "--config", str(self.config), "--deadline", str(deadline)]
        done = subprocess.run(
            argv, env=self.environment(), capture_output=True, text=True, timeout=deadline + 60, check=False
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def stop_flink(self) -> None:
        """SIGTERM to both."""
        for process in (self.jobmanager, self.taskmanager):
            if process is not None:
                process.stop()
        self.jobmanager = self.taskmanager = None

    def kill_flink(self) -> None:
        """SIGKILL to both groups."""
        for process in (self.jobmanager, self.taskmanager):
            if process is not None:
                process.kill()
        self.jobmanager = self.taskmanager = None

    def rest(self, path: str) -> Any:
        """What the JobManager answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}{path}", timeout=5) as answer:
            return json.load(answer)

    def running(self) -> bool:
        """Whether every task of the job runs."""
        jobs = self.rest("/jobs/overview")["jobs"]
        return bool(jobs) and jobs[0]["state"] == "RUNNING" and jobs[0]["tasks"]["running"] == jobs[0]["tasks"]["total"]

    def metrics(self) -> dict[str, int]:
        """The sink's counters, summed over subtasks."""
        job = self.rest("/jobs/overview")["jobs"][0]["jid"]
        total: dict[str, int] = {}
        for vertex in self.rest(f"/jobs/{job}")["vertices"]:
            path = f"/jobs/{job}/vertices/{vertex['id']}/subtasks/metrics"
            wanted = [item["id"] for item in self.rest(path) if ".eventlog." in item["id"]]
            if wanted:
                for item in self.rest(f"{path}?get={','.join(wanted)}&agg=sum"):
                    name = item["id"].rpartition(".")[2]
                    total[name] = total.get(name, 0) + int(item["sum"])
        return total


def event(source: str, seq: int, size: int = 1_024) -> bytes:
    """An event as the producer makes it."""
    day, rest = 20_000 + seq // 86_400_000, seq % 86_400_000
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(day * 86_400 + rest // 1_000))
    head = (
        f'{{"source":"{source}","seq":{seq},"event_time":"{moment}.{rest % 1_000:03d}Z","level":"INFO",'
        f'"service":"checkout","message":"'
    )
    return (head + f"x{seq:07d}" * ((size - len(head)) // 8 + 1))[: size - 2].encode() + b'"}'


def produce(producer: Producer, source: str, numbers: Iterable[int], size: int = 1_024) -> None:
    """Sends events keyed as the contract says, and waits for every acknowledgement."""
    for seq in numbers:
        value = event(source, seq, size)
        while True:
            try:
                producer.produce(TOPIC, value, key=f"{source}/{(seq - 1) // 100}".encode())
                break
            except BufferError:
                producer.poll(0.5)
        producer.poll(0)
    assert producer.flush(120) == 0


def wait_caught_up(stack: Stack, seconds: float) -> None:
    """Wait until every record of the topic is processed."""

    def caught_up() -> bool:
        ends, progress = stack.kafka.end_offsets(TOPIC), stack.progress()
        return all(progress.get(partition, 0) == end for partition, end in ends.items())

    wait_until(caught_up, seconds, "the end of the topic is reached")
