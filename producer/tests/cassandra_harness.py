"""A real Cassandra for the tests marked ``cassandra``, with the tables that the pipeline has."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.policies import DCAwareRoundRobinPolicy
from cassandra.query import BatchStatement, BatchType
from producer_harness import free_ports, freeze, wait_until

SCHEMA = Path(__file__).parents[2] / "roles" / "cassandra" / "templates" / "schema.cql.j2"
KEYSPACE = "eventlog"
DATACENTER = "dc1"
TABLES = ("events", "buckets", "counted", "ingest_log", "progress", "rejected")
START_DEADLINE = 180.0

# What Java 17 needs opened for Cassandra 5.0, from the project's own conf/jvm17-server.options.
_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)
_OPENS = (
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
)


class CassandraServer:
    """One node in ``folder``; it can be stopped, killed, frozen and started again."""

    def __init__(self, java: Path, jars: Path, folder: Path) -> None:
        self._java = java
        self._jars = jars
        self._folder = folder
        self.port, self._storage_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "cassandra.log"
        self._write_configuration()

    def start(self) -> None:
        """Start it and wait until it answers CQL, with the tables made."""
        self.launch()
        wait_until(self._answers, START_DEADLINE, f"Cassandra answers on port {self.port}", interval=0.2)
        session = self.connect(None)
        for statement in filter(str.strip, _schema().split(";")):
            session.execute(statement)
        session.cluster.shutdown()

    def launch(self) -> None:
        """Start it without waiting."""
        assert self._process is None, "Cassandra is already running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, start_new_session=True)

    def connect(self, keyspace: str | None = KEYSPACE) -> Session:
        """A session of the driver, its caller's to shut down."""
        profile = ExecutionProfile(load_balancing_policy=DCAwareRoundRobinPolicy(DATACENTER), request_timeout=30)
        cluster = Cluster(
            ["127.0.0.1"],
            port=self.port,
            protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
        )
        try:
            return cluster.connect(keyspace)
        except BaseException:
            cluster.shutdown()
            raise

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, how)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise AssertionError(f"Cassandra ended with {self._process.returncode}:\n{tail}")
        try:
            self.connect(None).cluster.shutdown()
        except NoHostAvailable:
            return False
        return True

    def _command(self) -> list[str]:
        jamm = next(self._jars.glob("jamm-*.jar"))
        return [
            str(self._java),
            *("-Xms768m", "-Xmx768m", "-Xss256k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            f"-javaagent:{jamm}",
            "-Djdk.attach.allowAttachSelf=true",
            *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
            "-Dio.netty.tryReflectionSetAccessible=true",
            # A single node has no gossip to wait for.
            *("-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=0"),
            "-Dcassandra.superuser_setup_delay_ms=0",
            f"-Dcassandra.config={(self._folder / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={self._folder / 'data'}",
            f"-Dlogback.configurationFile={self._folder / 'logback.xml'}",
            *("-cp", f"{self._folder}:{self._jars}/*", "org.apache.cassandra.service.CassandraDaemon"),
        ]

    def _write_configuration(self) -> None:
        data = self._folder / "data"
        settings = {
            "cluster_name": "tests",
            "num_tokens": "1",
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "auto_bootstrap": "false",
            "hinted_handoff_enabled": "false",
            "data_file_directories": f"[{data}/data]",
            "commitlog_directory": f"{data}/commitlog",
            "saved_caches_directory": f"{data}/saved_caches",
            "hints_directory": f"{data}/hints",
            "cdc_raw_directory": f"{data}/cdc_raw",
            "commitlog_sync": "batch",
            "commitlog_segment_size": "16MiB",
            "commitlog_disk_access_mode": "legacy",
            "seed_provider": "[{class_name: org.apache.cassandra.locator.SimpleSeedProvider, "
            f'parameters: [{{seeds: "127.0.0.1:{self._storage_port}"}}]}}]',
            "listen_address": "127.0.0.1",
            "rpc_address": "127.0.0.1",
            "storage_port": str(self._storage_port),
            "native_transport_port": str(self.port),
            "concurrent_writes": "128",
            "memtable_allocation_type": "offheap_objects",
            "memtable_heap_space": "128MiB",
            "memtable_offheap_space": "256MiB",
            "file_cache_size": "64MiB",
            "key_cache_size": "16MiB",
            "auto_snapshot": "false",
            "batch_size_warn_threshold": "256KiB",
            "batch_size_fail_threshold": "2048KiB",
            "uuid_sstable_identifiers_enabled": "true",
            "storage_compatibility_mode": "NONE",
        }
        text = "".join(f"{key}: {value}\n" for key, value in settings.items())
        (self._folder / "cassandra.yaml").write_text(text)
        (self._folder / "cassandra-rackdc.properties").write_text(f"dc={DATACENTER}\nrack=rack1\n")
        (self._folder / "logback.xml").write_text(
            '<configuration><appender name="OUT" class="ch.qos.logback.core.ConsoleAppender"><encoder>'
            "<pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder></appender>"
            '<root level="WARN"><appender-ref ref="OUT"/></root></configuration>'
        )


class Tables:
    """What the job writes, written by a test."""

    def __init__(self, session: Session, bucket_size: int) -> None:
        self.session = session
        self._bucket_size = bucket_size
        self._event = session.prepare(
            "INSERT INTO events (source, bucket, seq, event_time, level, service, message, position)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )

    def add_rows(self, source: str, seqs: Sequence[int], message: str = "x" * 20) -> None:
        """Rows of ascending ``seqs``, their buckets registered first; returns when they are acknowledged."""
        size = self._bucket_size
        for bucket in sorted({(seq - 1) // size for seq in seqs}):
            self.session.execute("INSERT INTO buckets (source, bucket) VALUES (%s, %s)", (source, bucket))
        when = datetime(2026, 11, 23, tzinfo=UTC)
        batches: list[tuple[BatchStatement, None]] = []
        last = (-1, 0)
        for seq in seqs:
            bucket = (seq - 1) // size
            if (bucket, (seq - 1) % size // 100) != last:
                last = (bucket, (seq - 1) % size // 100)
                batches.append((BatchStatement(BatchType.UNLOGGED), None))
            row = (source, bucket, seq, when, "INFO", "checkout", message, (0, seq))
            batches[-1][0].add(self._event, row)
        for succeeded, result in execute_concurrent(self.session, batches, concurrency=8):
            assert succeeded, result

    def delete_row(self, source: str, seq: int) -> None:
        """Take a row away, as no one but a test does."""
        bucket = (seq - 1) // self._bucket_size
        self.session.execute("DELETE FROM events WHERE source = %s AND bucket = %s AND seq = %s", (source, bucket, seq))

    def progress(self, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        """How far the job has come."""
        for partition, offset in next_offsets.items():
            self.session.execute(
                "INSERT INTO progress (topic_id, partition, next_offset, attempt) VALUES (%s, %s, %s, 'a')",
                (topic_id, partition, offset),
            )

    def reject(self, topic_id: str, partition: int, offset: int, reason: str) -> None:
        """A rejected record."""
        self.session.execute(
            "INSERT INTO rejected (topic_id, partition, offset, reason) VALUES (%s, %s, %s, %s)",
            (topic_id, partition, offset, reason),
        )

    def log_batch(self, identifier: UUID, hour: datetime, topic_id: str, partition: int, first: int, last: int) -> None:
        """A line of the sink's log."""
        self.session.execute(
            "INSERT INTO ingest_log (hour, id, attempt, topic_id, partition, first_offset, last_offset, rows, rejected)"
            " VALUES (%s, %s, 'a', %s, %s, %s, %s, %s, 0)",
            (hour, identifier, topic_id, partition, first, last, last - first + 1),
        )

    def state(self, source: str) -> tuple[int, frozenset[int]] | None:
        """What `counted` says of a source."""
        row: Any = self.session.execute("SELECT state FROM counted WHERE source = %s", (source,)).one()
        return None if row is None else (row[0][0], frozenset(row[0][1] or ()))


def _schema() -> str:
    """The statements of the pipeline's own schema, for one node."""
    values = {
        "cassandra_keyspace": KEYSPACE,
        "cassandra_datacenter": DATACENTER,
        "cassandra_replication_factor": "1",
        "cassandra_ingest_log_ttl": "1209600",
    }
    lines = [line for line in SCHEMA.read_text(encoding="utf-8").splitlines() if not line.startswith("--")]
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: values[match[1]], "\n".join(lines))


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as ``[[first, last], …]``, the long way round."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
