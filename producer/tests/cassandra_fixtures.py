"""Fixtures around a real Cassandra; a test module gets them by naming this one in ``pytest_plugins``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cassandra_harness import DATACENTER, KEYSPACE, TABLES, CassandraServer, Tables


def _required(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).exists():
        pytest.fail(
            f"{variable} is {value or 'not set'}: set it to {what}, or leave these tests out with -m 'not cassandra'"
        )
    return Path(value)


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraServer]:
    """The session's running node; a test that stops or freezes it brings it back."""
    java = _required("EVENTLOG_JAVA", "a Java 17 binary")
    jars = _required("EVENTLOG_CASSANDRA_LIB", "the folder of Cassandra's jars")
    server = CassandraServer(java, jars, tmp_path_factory.mktemp("cassandra"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def tables(cassandra: CassandraServer) -> Iterator[Tables]:
    """Empty tables, with buckets of 1,000."""
    session = cassandra.connect()
    for table in TABLES:
        session.execute(f"TRUNCATE {table}")
    yield Tables(session, 1000)
    session.cluster.shutdown()


@pytest.fixture
def cassandra_keys(cassandra: CassandraServer) -> Mapping[str, Any]:
    """Changes of the configuration that point at the server, for ``write_config``."""
    return {"cassandra__port": cassandra.port, "cassandra__datacenter": DATACENTER, "cassandra__keyspace": KEYSPACE}
