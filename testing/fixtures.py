"""Fixtures: real servers, the warm pipeline, configurations, and processes that are gone when a test ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from eventlog.config import Config, load

from testing import settings
from testing.cassandra import CassandraServer, Tables
from testing.kafka import KafkaServer
from testing.pipeline import Pipeline
from testing.ports import free_offset
from testing.producer import ProducerProcess
from testing.trees import Trees
from testing.trees import trees as build_trees

# -- configurations and processes --------------------------------------------------------------------------------------


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a whole ``pipeline.toml`` below the test's folder; keyword arguments ``section__key=value`` change it."""

    def write(**changes: Any) -> Path:
        return settings.write(tmp_path / "pipeline.toml", settings.document(tmp_path, **changes))

    return write


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Config:
    """A configuration that points at no server."""
    return load(write_config())


@pytest.fixture
def make_producer(write_config: Callable[..., Path]) -> Iterator[Callable[..., ProducerProcess]]:
    """Makes producer processes from changes of the configuration; they are killed when the test ends."""
    made: list[ProducerProcess] = []

    def make(**changes: Any) -> ProducerProcess:
        path = write_config(**changes)
        made.append(ProducerProcess(load(path), path))
        return made[-1]

    yield make
    for producer in made:
        producer.kill()


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def trees() -> Trees:
    """The distributions."""
    return build_trees()


@pytest.fixture(scope="session")
def kafka_factory(trees: Trees, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KafkaServer]]:
    """Makes brokers (formatted, not started); all of them are killed at the end."""
    brokers: list[KafkaServer] = []

    def make() -> KafkaServer:
        brokers.append(KafkaServer(trees, tmp_path_factory.mktemp("kafka")))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture(scope="session")
def kafka(kafka_factory: Callable[[], KafkaServer]) -> KafkaServer:
    """The session's running broker; a test that stops it starts it again."""
    broker = kafka_factory()
    broker.start()
    return broker


@pytest.fixture(scope="session")
def cassandra(trees: Trees, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraServer]:
    """The session's running node; a test that stops or freezes it brings it back."""
    server = CassandraServer(trees, tmp_path_factory.mktemp("cassandra"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def topic(kafka: KafkaServer, request: pytest.FixtureRequest) -> str:
    """A fresh topic of four partitions, named after the test."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:100] + f"-{id(request.node):x}"
    kafka.create_topic(name)
    return name


@pytest.fixture
def tables(cassandra: CassandraServer) -> Iterator[Tables]:
    """Empty tables."""
    cassandra.empty()
    session = cassandra.connect()
    yield Tables(session, settings.BUCKET_SIZE)
    session.cluster.shutdown()


@pytest.fixture
def cassandra_keys(cassandra: CassandraServer) -> Mapping[str, Any]:
    """Changes of the configuration that point at the server, for ``write_config``."""
    return {"cassandra__port": cassandra.port}


# -- pipelines ---------------------------------------------------------------------------------------------------------


class Warm:
    """One pipeline for many tests, provisioned when first asked for, and anew after a test that failed on it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._pipeline: Pipeline | None = None
        self.spoiled = False

    def get(self) -> Pipeline:
        """A pipeline that runs."""
        if self.spoiled:
            self.purge()
        if self._pipeline is not None and not self._pipeline.root.exists():  # a test has purged it
            self._pipeline = None
        if self._pipeline is None:
            self._pipeline = Pipeline(self._factory.mktemp("warm"), free_offset())
            self._pipeline.play("site", seconds=1200)
        return self._pipeline

    def purge(self) -> None:
        """Take it away; nothing of it is left."""
        found, self._pipeline, self.spoiled = self._pipeline, None, False
        if found is not None:
            remove(found)


def remove(pipeline: Pipeline) -> None:
    """Purge a pipeline, in whatever state; nothing of it is left."""
    if pipeline.root.exists():
        pipeline.play("teardown", teardown_purge=True, drill_force=True, expect=None)
    assert pipeline.processes() == []
    assert not pipeline.root.exists()
    assert pipeline.left() == []


_WARM = pytest.StashKey[Warm]()


@pytest.fixture(scope="session")
def warm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The warm pipeline's keeper."""
    found = request.session.stash[_WARM] = Warm(tmp_path_factory)
    yield found
    found.purge()


@pytest.fixture
def pipeline(warm: Warm) -> Pipeline:
    """The warm pipeline; a test leaves it as it found it."""
    return warm.get()


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline that is not provisioned yet; whatever a test made of it is removed."""
    found = Pipeline(tmp_path, free_offset())
    yield found
    remove(found)


@pytest.fixture(scope="session")
def spoilable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A provisioned pipeline whose data may be spoiled: the self-test takes only one of this name."""
    found = Pipeline(tmp_path_factory.mktemp("spoilable"), free_offset(), name="selftest")
    try:
        found.play("site", seconds=1200)
        yield found
    finally:
        remove(found)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Evidence of the pipelines under a test that failed; the warm one is replaced for the next test."""
    report = yield
    if report.failed:
        used = getattr(item, "funcargs", {})
        for found in {id(value): value for value in used.values() if isinstance(value, Pipeline)}.values():
            if found.root.exists():
                report.sections.append(("evidence of the pipeline", found.evidence()))
        if isinstance(used.get("pipeline"), Pipeline) and _WARM in item.session.stash:
            item.session.stash[_WARM].spoiled = True
    return report
