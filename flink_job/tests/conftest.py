"""Fixtures of the job's tests. The servers are started once; each test finds them empty."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The harness is imported by name in every import mode of pytest.
sys.path.insert(0, str(Path(__file__).parent))

from flink_harness import Stack, Trees, free_ports


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and Cassandra, running."""
    stack = Stack(Trees.from_environment(), tmp_path_factory.mktemp("servers"), free_ports(), parallelism=2)
    try:
        stack.make_archive()
        stack.start_kafka()
        stack.start_cassandra()
        yield stack
    finally:
        stack.close()


@pytest.fixture
def stack(servers: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Kafka and Cassandra with new topics and empty tables, Flink stopped; on failure the ends of the logs."""
    servers.empty()
    shutil.rmtree(servers.state, ignore_errors=True)
    servers.job = {}
    for log in servers.folder.glob("flink-*.out"):
        log.unlink()
    failures = request.session.testsfailed
    yield servers
    servers.kill_flink()
    if request.session.testsfailed > failures:
        for name in ("flink-jobmanager", "flink-taskmanager"):
            log = servers.folder / f"{name}.out"
            if log.exists():
                print(f"--- {name}", *log.read_text(errors="replace").splitlines()[-30:], sep="\n")
