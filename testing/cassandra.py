"""A real Cassandra with the pipeline's tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jinja2
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.concurrent import execute_concurrent
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy
from cassandra.query import BatchStatement, BatchType

from testing import ROOT
from testing.ports import free_ports
from testing.processes import Process, Server
from testing.settings import DATACENTER, KEYSPACE
from testing.trees import Trees
from testing.waiting import wait_until

TABLES = ("events", "buckets", "counted", "ingest_log", "progress", "rejected")
START_SECONDS = 180.0

# What Java 17 needs opened for Cassandra 5.0, from the server's own conf/jvm17-server.options.
_EXPORTS = (
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.unsupported/sun.misc",
)
_OPENS = (
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
    "jdk.management/com.sun.management.internal",
)


class CassandraServer(Server):
    """One node below ``folder``: killed, frozen and started again."""

    def __init__(self, trees: Trees, folder: Path) -> None:
        super().__init__()
        self._trees = trees
        self._folder = folder
        self.port, self._storage_port = free_ports(2)
        self._session: Session | None = None
        self._write_configuration()

    # -- acting ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers CQL, with the tables made."""
        self.launch()
        wait_until(self._answers, START_SECONDS, f"Cassandra answers on port {self.port}")
        # A session that outlived the last server needs a moment to find the new one.
        wait_until(lambda: self.session.execute("SELECT key FROM system.local"), 60, "the session answers")
        self.make_tables()

    def launch(self) -> None:
        """Start it without waiting."""
        assert self.process is None, "Cassandra is already running"
        self.process = Process("cassandra", self._command(), self._folder)

    def close(self) -> None:
        """End the session and the server."""
        if self._session is not None:
            self._session.cluster.shutdown()
            self._session = None
        self.kill()

    def make_tables(self) -> None:
        """The pipeline's tables, by the statements of its own schema, for one node."""
        template = ROOT / "roles" / "cassandra" / "templates" / "schema.cql.j2"
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
        text = environment.from_string(template.read_text(encoding="utf-8")).render(
            cassandra_keyspace=KEYSPACE,
            cassandra_datacenter=DATACENTER,
            cassandra_replication_factor=1,
            cassandra_ingest_log_ttl=1_209_600,
        )
        lines = [line for line in text.splitlines() if not line.startswith("--")]
        for statement in filter(str.strip, "\n".join(lines).split(";")):
            self.session.execute(statement)

    def empty(self) -> None:
        """Take every row of every table away."""
        for table in TABLES:
            self.session.execute(f"TRUNCATE {KEYSPACE}.{table}")

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """A session of all tests, kept over restarts of the server; name the keyspace in what it executes."""
        if self._session is None:
            self._session = self.connect(None)
        return self._session

    def connect(self, keyspace: str | None = KEYSPACE) -> Session:
        """A session of its caller's, who shuts its cluster down."""
        profile = ExecutionProfile(load_balancing_policy=DCAwareRoundRobinPolicy(DATACENTER), request_timeout=60)
        cluster = Cluster(
            ["127.0.0.1"],
            port=self.port,
            protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(0.5, None),
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
        )
        try:
            return cluster.connect(keyspace)
        except BaseException:
            cluster.shutdown()
            raise

    def _answers(self) -> bool:
        self.runs()
        self.connect(None).cluster.shutdown()
        return True

    # -- what it runs with -----------------------------------------------------------------------------------------

    def _command(self) -> list[str]:
        jars = self._trees.cassandra / "lib"
        return [
            str(self._trees.java),
            *("-Xms768m", "-Xmx768m", "-Xss256k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            f"-javaagent:{next(jars.glob('jamm-*.jar'))}",
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
            *("-cp", f"{self._folder}:{jars}/*", "org.apache.cassandra.service.CassandraDaemon"),
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
        (self._folder / "cassandra.yaml").write_text(text, encoding="utf-8")
        (self._folder / "cassandra-rackdc.properties").write_text(f"dc={DATACENTER}\nrack=rack1\n", encoding="ascii")
        (self._folder / "logback.xml").write_text(
            '<configuration><appender name="OUT" class="ch.qos.logback.core.ConsoleAppender"><encoder>'
            "<pattern>%-5level %date{ISO8601} %F:%L - %msg%n</pattern></encoder></appender>"
            '<root level="WARN"><appender-ref ref="OUT"/></root></configuration>',
            encoding="ascii",
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

    def add_events(self, events: Iterable[tuple[bytes, tuple[int, int]]]) -> None:
        """The rows of encoded events by ascending seq, each with its partition and offset, as the job writes them."""
        rows = [(json.loads(value), position) for value, position in events]
        size = self._bucket_size
        for source, bucket in sorted({(event["source"], (event["seq"] - 1) // size) for event, _ in rows}):
            self.session.execute("INSERT INTO buckets (source, bucket) VALUES (%s, %s)", (source, bucket))
        batches: dict[tuple[str, int, int], BatchStatement] = {}
        for event, position in rows:
            key = (event["source"], (event["seq"] - 1) // size, event["seq"])
            when = datetime.fromisoformat(event["event_time"])
            columns = (when, event["level"], event["service"], event["message"], position)
            batch = batches.setdefault((*key[:2], event["seq"] // 100), BatchStatement(BatchType.UNLOGGED))
            batch.add(self._event, (*key, *columns))
        writes = [(batch, None) for batch in batches.values()]
        for succeeded, result in execute_concurrent(self.session, writes, concurrency=8):
            assert succeeded, result

    def change_row(self, source: str, seq: int, column: str, value: object, timestamp: int | None = None) -> None:
        """Give a column another value, written at ``timestamp`` (microseconds), as no one but a test does."""
        using = "" if timestamp is None else f" USING TIMESTAMP {timestamp}"
        statement = self.session.prepare(
            f"UPDATE events{using} SET {column} = ? WHERE source = ? AND bucket = ? AND seq = ?"
        )
        self.session.execute(statement, (value, source, (seq - 1) // self._bucket_size, seq))

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
