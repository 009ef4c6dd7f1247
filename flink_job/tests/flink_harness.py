"""Real Kafka, Cassandra and Flink on loopback, each a process group of its own, for tests and measurements."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "flink_job" / "src"
BUCKET_SIZE = 1_000
TOPIC = "events"
DEAD_LETTERS = "events-rejected"
PARTITIONS = 4
_Result = TypeVar("_Result")


def wait_for(look: Callable[[], _Result | None], seconds: float, what: str) -> _Result:
    """The first true result of `look`; AssertionError with its last error after `seconds`."""
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            found = look()
        except Exception as error:  # servers on their way up fail in many ways
            last = error
        else:
            if found:
                return found
            last = found
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds} s; last: {last!r}")


@dataclasses.dataclass(frozen=True)
class Trees:
    """Where the distributions are."""

    java_home: Path
    kafka_lib: Path
    cassandra_lib: Path
    flink_site: Path
    connector_lib: Path

    @classmethod
    def from_environment(cls) -> Trees:
        """Raises KeyError with the name of what is missing."""
        names = ["JAVA_HOME", "KAFKA_LIB", "CASSANDRA_LIB", "FLINK_SITE", "CONNECTOR_LIB"]
        return cls(*(Path(os.environ[f"EVENTLOG_{name}"]) for name in names))


class Process:
    """A server in its own process group, its output in a file."""

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.out"
        with self.log.open("ab") as out:
            self._popen = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def alive(self) -> bool:
        """Whether the leader runs."""
        return self._popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """To every member of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """kill -9 of the group."""
        self.signal(signal.SIGKILL)
        self._popen.wait(10)

    def stop(self, seconds: float = 40) -> None:
        """TERM to the leader, then the rest of the group is killed."""
        if self.alive():
            self._popen.terminate()
        try:
            self._popen.wait(seconds)
        finally:
            self.signal(signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        """The exit status."""
        return self._popen.wait(seconds)

    def tail(self, lines: int = 40) -> str:
        """The last lines of the output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def listening(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_ports() -> int:
    """The first of ten free ports."""
    return next(base for base in range(23_100, 32_000, 10) if not any(listening(base + at) for at in range(10)))


class Stack:
    """The servers of one test run, below one folder, on ports counted from one base.

    Args:
        trees: the distributions.
        folder: everything is below.
        base: first of ten ports.
        job: the `[job]` table.
        parallelism: of the job.
    """

    def __init__(
        self, trees: Trees, folder: Path, base: int, job: Mapping[str, float] | None = None, parallelism: int = 1
    ) -> None:
        self.trees = trees
        self.folder = folder
        self.parallelism = parallelism
        self.kafka_port, self._controller_port = base, base + 1
        self.cassandra_port, self._storage_port = base + 2, base + 3
        self.rest_port, self._rpc_port, self._blob_port, self._tm_rpc_port, self._tm_data_port = range(
            base + 4, base + 9
        )
        self.job = dict(job or {})
        self.state = folder / "flink"
        self.config = folder / "pipeline.toml"
        self.archive = folder / "flink.jsa"
        self.kafka: Process | None = None
        self.cassandra: Process | None = None
        self.jobmanager: Process | None = None
        self.taskmanager: Process | None = None
        self._cluster: Cluster | None = None
        for name in ("flink", "tmp", "lib", "conf", "log", "pid"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    # --- configuration --------------------------------------------------------------------------------------------

    def write_config(self) -> None:
        """pipeline.toml, Flink's configuration and its folder of jars."""
        tuning = "".join(f"{key} = {value}\n" for key, value in self.job.items())
        self.config.write_text(
            f"""
[event]
bucket_size = {BUCKET_SIZE}
[kafka]
bootstrap_servers = "127.0.0.1:{self.kafka_port}"
topic = "{TOPIC}"
dead_letter_topic = "{DEAD_LETTERS}"
[cassandra]
contact_points = ["127.0.0.1"]
port = {self.cassandra_port}
keyspace = "eventlog"
datacenter = "dc1"
[flink]
rest_url = "http://127.0.0.1:{self.rest_port}"
job_name = "event-log"
group_id = "event-log"
state_dir = "{self.state}"
parallelism = {self.parallelism}
[job]
{tuning}"""
        )
        variables = {
            "flink_jobmanager_host": "127.0.0.1",
            "flink_taskmanager_host": "127.0.0.1",
            "flink_rest_port": self.rest_port,
            "flink_rpc_port": self._rpc_port,
            "flink_blob_port": self._blob_port,
            "flink_taskmanager_rpc_port": self._tm_rpc_port,
            "flink_taskmanager_data_port": self._tm_data_port,
            "flink_task_slots": max(2, self.parallelism),
            "flink_parallelism": self.parallelism,
            "flink_checkpoint_interval": os.environ.get("EVENTLOG_CHECKPOINT_INTERVAL", "2s"),
            "flink_jobmanager_memory": "640m",
            "flink_taskmanager_memory": "896m",
            "flink_state_dir": self.state,
            "flink_tmp_dir": self.folder / "tmp",
            "flink_log_dir": self.folder / "log",
            "flink_python": sys.executable,
            "flink_pyflink_home": self.trees.flink_site / "pyflink",
            "flink_class_archive": self.archive,
        }
        templates = ROOT / "roles" / "flink" / "templates"
        for source in templates.glob("*.j2"):
            (self.folder / "conf" / source.stem).write_text(_render(source, variables))
        home = self.trees.flink_site / "pyflink"
        jars = [*home.glob("lib/*.jar"), *home.glob("opt/flink-python-*.jar"), *self.trees.connector_lib.glob("*.jar")]
        for jar in jars:
            link = self.folder / "lib" / jar.name
            if not link.exists():
                link.symlink_to(jar)

    def flink_environment(self) -> dict[str, str]:
        """What README.md says the units need."""
        return {
            "JAVA_HOME": str(self.trees.java_home),
            "PATH": f"{self.trees.java_home}/bin:/usr/bin:/bin",
            "FLINK_CONF_DIR": str(self.folder / "conf"),
            "FLINK_LIB_DIR": str(self.folder / "lib"),
            "FLINK_LOG_DIR": str(self.folder / "log"),
            "FLINK_PID_DIR": str(self.folder / "pid"),
            "PYTHONPATH": f"{SOURCE}:{self.trees.flink_site}",
            **{
                key: value
                for key, value in os.environ.items()
                if key.startswith(("PYTHONPYCACHE", "EVENTLOG_", "LANG"))
            },
        }

    # --- Kafka ----------------------------------------------------------------------------------------------------

    def start_kafka(self) -> None:
        """Starts the broker and waits until it serves; makes the topics the first time."""
        data, properties = self.folder / "kafka", self.folder / "kafka.properties"
        properties.write_text(
            f"""
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{self._controller_port}
listeners=PLAINTEXT://127.0.0.1:{self.kafka_port},CONTROLLER://127.0.0.1:{self._controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.kafka_port},CONTROLLER://127.0.0.1:{self._controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
message.max.bytes=33554432
"""
        )
        if not data.exists():
            self._kafka_tool(
                "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c", properties, "--standalone"
            )
        argv = [
            *self._java("-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", lib=self.trees.kafka_lib),
            "kafka.Kafka",
            str(properties),
        ]
        self.__dict__.pop("admin", None)  # a client of the last broker may hang on its coordinator
        self.kafka = Process("kafka", argv, {"LOG_DIR": str(self.folder)}, self.folder)
        wait_for(lambda: TOPIC in self.topics() or self._make_topics(), 180, f"Kafka: {self.kafka.log}")

    @functools.cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": f"127.0.0.1:{self.kafka_port}", "log_level": 0})

    def topics(self) -> set[str]:
        return set(self.admin.list_topics(timeout=2).topics)

    def _make_topics(self) -> bool:
        self.make_topic(TOPIC, PARTITIONS)
        self.make_topic(DEAD_LETTERS, 1)
        return True

    def make_topic(self, name: str, partitions: int) -> None:
        config = {"max.message.bytes": "33554432"} if name == TOPIC else {}
        for future in self.admin.create_topics([NewTopic(name, partitions, 1, config=config)]).values():
            future.result(60)

    def delete_topic(self, name: str) -> None:
        for future in self.admin.delete_topics([name]).values():
            future.result(60)

    def producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": f"127.0.0.1:{self.kafka_port}",
                "acks": "all",
                "enable.idempotence": True,
                "message.max.bytes": 33_554_432,
                "linger.ms": 5,
                "log_level": 0,
            }
        )

    def committed(self) -> dict[int, int]:
        """Offsets committed by the job's group; a partition without one is missing."""
        consumer = Consumer(
            {"bootstrap.servers": f"127.0.0.1:{self.kafka_port}", "group.id": "event-log", "log_level": 0}
        )
        try:
            found = consumer.committed([TopicPartition(TOPIC, number) for number in range(PARTITIONS)], timeout=20)
            return {item.partition: item.offset for item in found if item.offset >= 0}
        finally:
            consumer.close()

    def end_offsets(self, topic: str = TOPIC, partitions: int = PARTITIONS) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{self.kafka_port}", "group.id": "looker", "log_level": 0})
        try:
            return {
                number: int(consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1])
                for number in range(partitions)
            }
        finally:
            consumer.close()

    def dead_letters(self) -> list[dict[str, Any]]:
        """All dead letters so far."""
        consumer = Consumer(
            {
                "bootstrap.servers": f"127.0.0.1:{self.kafka_port}",
                "group.id": "letters",
                "log_level": 0,
                "fetch.message.max.bytes": 33_554_432,
            }
        )
        letters: list[dict[str, Any]] = []
        try:
            end = consumer.get_watermark_offsets(TopicPartition(DEAD_LETTERS, 0), timeout=20)[1]
            consumer.assign([TopicPartition(DEAD_LETTERS, 0, 0)])
            while len(letters) < end:
                message = consumer.poll(20)
                if message is None or message.error() is not None:
                    raise KafkaException(None if message is None else message.error())
                letters.append(json.loads(message.value()))
        finally:
            consumer.close()
        return letters

    # --- Cassandra ------------------------------------------------------------------------------------------------

    def start_cassandra(self) -> None:
        """Starts Cassandra and waits until it serves; makes the schema."""
        home = self.folder / "cassandra"
        home.mkdir(exist_ok=True)
        (home / "cassandra.yaml").write_text(
            _CASSANDRA_YAML.format(data=home, storage=self._storage_port, native=self.cassandra_port)
        )
        (home / "cassandra-rackdc.properties").write_text("dc=dc1\nrack=rack1\n")
        (home / "logback.xml").write_text(_LOGBACK)
        jamm = next(self.trees.cassandra_lib.glob("jamm-*.jar"))
        options = [
            *_CASSANDRA_OPTIONS,
            f"-javaagent:{jamm}",
            f"-Dcassandra.config=file://{home}/cassandra.yaml",
            f"-Dcassandra.storagedir={home}",
            f"-Dlogback.configurationFile={home}/logback.xml",
        ]
        argv = self._java(*options, lib=f"{home}:{self.trees.cassandra_lib}/*")
        self.cassandra = Process("cassandra", [*argv, "org.apache.cassandra.service.CassandraDaemon"], {}, self.folder)
        wait_for(lambda: listening(self.cassandra_port), 180, f"Cassandra: {self.cassandra.log}")
        # A session that outlived the last server needs a moment to find the new one.
        wait_for(lambda: self.cql().execute("SELECT key FROM system.local"), 60, "answer to CQL")
        self.make_schema()

    def make_schema(self) -> None:
        """From the role's template."""
        template = ROOT / "roles" / "cassandra" / "templates" / "schema.cql.j2"
        variables = {
            "cassandra_keyspace": "eventlog",
            "cassandra_datacenter": "dc1",
            "cassandra_replication_factor": 1,
            "cassandra_ingest_log_ttl": 1_209_600,
        }
        text = "\n".join(line for line in _render(template, variables).splitlines() if not line.startswith("--"))
        session = self.cql()
        for statement in filter(None, (part.strip() for part in text.split(";"))):
            session.execute(statement)
        session.set_keyspace("eventlog")

    def cql(self) -> Session:
        """A session; made when first asked for and kept over restarts of the server."""
        if self._cluster is None:
            self._cluster = Cluster(
                ["127.0.0.1"],
                port=self.cassandra_port,
                protocol_version=5,
                execution_profiles={
                    EXEC_PROFILE_DEFAULT: ExecutionProfile(DCAwareRoundRobinPolicy("dc1"), request_timeout=60)
                },
                reconnection_policy=ConstantReconnectionPolicy(0.5, None),
                schema_metadata_enabled=False,
                token_metadata_enabled=False,
            )
            self._session = wait_for(self._cluster.connect, 60, "CQL session")
        return self._session

    def rows(self) -> dict[tuple[str, int], tuple[int, int]]:
        """(source, seq) -> (partition, offset) of the whole table."""
        found = self.cql().execute("SELECT source, seq, position FROM eventlog.events")
        return {(row.source, row.seq): tuple(row.position) for row in found}

    def count(self) -> int:
        """Rows of the table."""
        return int(self.cql().execute("SELECT count(*) FROM eventlog.events").one()[0])

    def progress(self) -> dict[int, int]:
        """Partition -> next offset; of the newest topic only, if tests make it anew."""
        found = self.cql().execute("SELECT topic_id, partition, next_offset FROM eventlog.progress")
        return {row.partition: row.next_offset for row in found}

    def processed(self) -> int:
        return sum(self.progress().values())

    # --- Flink ----------------------------------------------------------------------------------------------------

    def start_flink(self) -> None:
        """Both Flink processes; returns at once."""
        self.write_config()
        self.start_jobmanager()
        self.start_taskmanager()

    def start_jobmanager(self) -> None:
        argv = [sys.executable, "-m", "eventlog_job.launch", "--config", str(self.config)]
        self.jobmanager = Process("flink-jobmanager", argv, self.flink_environment(), self.folder)

    def jobmanager_log(self) -> str:
        """Everything the JobManagers of this test printed."""
        return (self.folder / "flink-jobmanager.out").read_text(errors="replace")

    def start_taskmanager(self) -> None:
        argv = [str(self.trees.flink_site / "pyflink" / "bin" / "taskmanager.sh"), "start-foreground"]
        self.taskmanager = Process("flink-taskmanager", argv, self.flink_environment(), self.folder)

    def make_archive(self) -> dict[str, Any]:
        """The class-data archive: every start of Flink after it takes about half the processor time."""
        self.write_config()
        argv = [sys.executable, "-m", "eventlog_job.archive", "--java-home", str(self.trees.java_home)]
        argv += ["--lib", str(self.folder / "lib"), "--out", str(self.archive)]
        done = subprocess.run(argv, env=self.flink_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def stop_job(self, deadline: float = 30) -> tuple[int, dict[str, Any]]:
        """`eventlog_job.stop`: exit status and what it printed."""
        argv = [sys.executable, "-m", "eventlog_job.stop", "--config", str(self.config), "--deadline", str(deadline)]
        done = subprocess.run(
            argv, env=self.flink_environment(), capture_output=True, text=True, timeout=deadline + 60, check=False
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def stop_flink(self) -> None:
        """TERM to both."""
        for process in (self.jobmanager, self.taskmanager):
            if process is not None:
                process.stop()
        self.jobmanager = self.taskmanager = None

    def kill_flink(self) -> None:
        """kill -9 of both groups."""
        for process in (self.jobmanager, self.taskmanager):
            if process is not None:
                process.kill()
        self.jobmanager = self.taskmanager = None

    def rest(self, path: str) -> Any:
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

    def empty(self) -> None:
        """New topics, no group, empty tables."""
        self.delete_topic(TOPIC)
        self.delete_topic(DEAD_LETTERS)
        wait_for(lambda: not {TOPIC, DEAD_LETTERS} & self.topics(), 60, "deletion of the topics")
        self._make_topics()
        with contextlib.suppress(KafkaException):
            self.admin.delete_consumer_groups(["event-log"])["event-log"].result(60)
        for table in ("events", "buckets", "ingest_log", "progress", "rejected"):
            self.cql().execute(f"TRUNCATE eventlog.{table}")

    # --- all ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stops everything."""
        if self._cluster is not None:
            self._cluster.shutdown()
        for process in (self.jobmanager, self.taskmanager, self.cassandra, self.kafka):
            if process is not None:
                process.kill()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def _java(self, *options: str, lib: Path | str) -> list[str]:
        path = f"{lib}/*" if isinstance(lib, Path) else lib
        return [str(self.trees.java_home / "bin" / "java"), *options, "-cp", path]

    def _kafka_tool(self, *arguments: object) -> None:
        argv = [*self._java("-XX:TieredStopAtLevel=1", lib=self.trees.kafka_lib), *map(str, arguments)]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)


def event(source: str, seq: int, size: int = 1_024) -> bytes:
    """An event as the producer makes it."""
    day, rest = 20_000 + seq // 86_400_000, seq % 86_400_000
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(day * 86_400 + rest // 1_000))
    head = (
        f'{{"source":"{source}","seq":{seq},"event_time":"{moment}.{rest % 1_000:03d}Z","level":"INFO",'
        f'"service":"checkout","message":"'
    )
    return (head + f"x{seq:07d}" * ((size - len(head)) // 8 + 1))[: size - 2].encode() + b'"}'


def produce(producer: Producer, source: str, numbers: Iterator[int] | range, size: int = 1_024) -> None:
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


def _render(template: Path, variables: Mapping[str, object]) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template.read_text(encoding="utf-8")).render(variables)


_LOGBACK = """<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="STDOUT"/></root>
</configuration>
"""

_CASSANDRA_YAML = """
cluster_name: test
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
auto_bootstrap: false
hinted_handoff_enabled: false
authenticator:
  class_name: AllowAllAuthenticator
authorizer:
  class_name: AllowAllAuthorizer
role_manager:
  class_name: CassandraRoleManager
data_file_directories: [{data}/data]
commitlog_directory: {data}/commitlog
saved_caches_directory: {data}/saved_caches
hints_directory: {data}/hints
cdc_raw_directory: {data}/cdc_raw
commitlog_sync: batch
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
commitlog_disk_access_mode: legacy
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:{storage}"
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage}
start_native_transport: true
native_transport_port: {native}
endpoint_snitch: GossipingPropertyFileSnitch
concurrent_writes: 128
memtable_allocation_type: offheap_objects
memtable_heap_space: 128MiB
memtable_offheap_space: 256MiB
file_cache_size: 64MiB
counter_cache_size: 0MiB
concurrent_compactors: 1
auto_snapshot: false
uuid_sstable_identifiers_enabled: true
sstable:
  selected_format: big
storage_compatibility_mode: NONE
"""

_OPENED = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac",
    "jdk.management/com.sun.management.internal",
]
_EXPORTED = [
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
]
_CASSANDRA_OPTIONS = [
    "-Xms768m",
    "-Xmx768m",
    "-Xss256k",
    "-XX:+UseG1GC",
    "-XX:G1HeapRegionSize=4m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:MaxDirectMemorySize=512M",
    "-Djava.net.preferIPv4Stack=true",
    "-Djdk.attach.allowAttachSelf=true",
    *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED),
    *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTED),
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.superuser_setup_delay_ms=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra-foreground=yes",
]
