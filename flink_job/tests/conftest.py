"""Fixtures of the job's tests: each finds the servers empty and Flink stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.cassandra import CassandraServer
from testing.job import Stack
from testing.kafka import KafkaServer
from testing.trees import Trees


@pytest.fixture(scope="module")
def servers(trees: Trees, kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and Cassandra, running, with everything that a job needs to start.

    Tables that tests drop make a Cassandra that is started again refuse its commit log, so each module has its own.
    """
    cassandra = CassandraServer(trees, tmp_path_factory.mktemp("cassandra"))
    stack = Stack(trees, tmp_path_factory.mktemp("job"), kafka, cassandra)
    try:
        stack.make_archive()
        cassandra.start()
        yield stack
    finally:
        stack.kill_flink()
        cassandra.close()


@pytest.fixture
def stack(servers: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The servers with new topics and empty tables; on failure the ends of Flink's logs."""
    servers.empty()
    failures = request.session.testsfailed
    yield servers
    logs = [process.tail() for process in (servers.jobmanager, servers.taskmanager) if process is not None]
    servers.kill_flink()
    if request.session.testsfailed > failures:
        print(*logs, sep="\n---\n")
