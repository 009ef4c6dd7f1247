"""The scenarios' comparison of spool, topic and table: whatever is planted is said."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from eventlog import event
from eventlog.config import Config, load
from eventlog.spool import Spool

from testing import ROOT
from testing.cassandra import CassandraServer, Tables
from testing.kafka import KafkaServer

pytestmark = pytest.mark.servers

MADE = 20


def compare() -> ModuleType:
    """The program, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("compare", ROOT / "molecule" / "shared" / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pipeline:
    """A pipeline in which some events have been made; a test has them delivered, or not."""

    def __init__(self, config: Config, kafka: KafkaServer, cassandra: CassandraServer) -> None:
        self.config, self.kafka, self.cassandra = config, kafka, cassandra
        spool = Spool(config.producer.spool, config.producer.spool_limit_bytes, 10.0)
        self.source = spool.state.source
        spool.commit(replace(spool.state, made=MADE, settled=MADE))
        spool.close()
        self.offset = 0

    def send(self, seq: int) -> int:
        """An event to the topic; its offset."""
        body = event.EventFactory(self.source, 1024).make(seq, 1, time.time())[0]
        producer = self.kafka.producer()
        producer.produce(self.config.kafka.topic, body, partition=0)
        assert producer.flush(30) == 0
        self.offset += 1
        return self.offset - 1

    def store(self, seq: int, offset: int) -> None:
        """A row at a position."""
        session = self.cassandra.session
        insert = session.prepare("INSERT INTO eventlog.events (source, bucket, seq, position) VALUES (?, 0, ?, ?)")
        session.execute(insert, (self.source, seq, (0, offset)))

    def problems(self) -> list[str]:
        """What the comparison says."""
        session = self.cassandra.connect()
        try:
            topic, spool = self.config.kafka.topic, str(self.config.producer.spool)
            found: list[str] = compare().problems(session, self.kafka.bootstrap_servers, topic, spool)[0]
            return found
        finally:
            session.cluster.shutdown()


@pytest.fixture
def pipeline(
    kafka: KafkaServer,
    cassandra: CassandraServer,
    topic: str,
    tables: Tables,
    cassandra_keys: Mapping[str, Any],
    write_config: Callable[..., Path],
) -> Pipeline:
    config = load(write_config(kafka__bootstrap_servers=kafka.bootstrap_servers, kafka__topic=topic, **cassandra_keys))
    return Pipeline(config, kafka, cassandra)


def test_all_that_was_made_and_stored_is_no_problem(pipeline: Pipeline) -> None:
    for seq in range(1, MADE + 1):
        pipeline.store(seq, pipeline.send(seq))

    assert pipeline.problems() == []


def test_every_planted_difference_is_said(pipeline: Pipeline) -> None:
    offsets = {seq: pipeline.send(seq) for seq in range(1, MADE)}  # the last one is lost before Kafka
    pipeline.send(3)
    for seq in range(2, MADE):  # the first one is lost between Kafka and Cassandra
        pipeline.store(seq, offsets[seq])
    pipeline.store(5, offsets[6])
    pipeline.store(999, offsets[7])

    source = pipeline.source
    assert pipeline.problems() == [
        f"1 lost before Kafka: [('{source}', {MADE})]",
        f"1 more than once in the topic: [('{source}', 3)]",
        f"1 lost between Kafka and Cassandra: [('{source}', 1)]",
        f"1 in the table only: [('{source}', 999)]",
        f"2 a row that points at another record: [('{source}', 5), ('{source}', 999)]",
    ]
