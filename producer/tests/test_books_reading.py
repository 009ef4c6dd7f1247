"""The books from the request to the result, with a topic, tables and a spool that are in memory or on disk."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from eventlog import books, topic_records
from eventlog.config import Config
from eventlog.contents import RowContents, milliseconds
from eventlog.event import EventFactory
from eventlog.hops.cassandra import BucketState
from eventlog.hops.kafka import KafkaReading
from eventlog.intervals import IntervalSet
from eventlog.spool import Spool
from eventlog.table_rows import Rejected, Rewrites

MADE = 400


class Message:
    """A record, or the end of a partition."""

    def __init__(self, partition: int, offset: int, value: bytes | None) -> None:
        self._place, self._value = (partition, offset), value

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def value(self) -> bytes | None:
        return self._value

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._PARTITION_EOF) if self._value is None else None


class Pipeline:
    """400 events in two partitions, a hundred after the other, all of them with their rows; a client of either."""

    def __init__(self, config: Config) -> None:
        config.producer.spool.parent.mkdir(parents=True, exist_ok=True)
        spool = Spool(config.producer.spool, config.producer.spool_limit_bytes, 10.0)
        self.source = spool.state.source
        spool.commit(dataclasses.replace(spool.state, made=MADE, settled=MADE))
        spool.close()
        self.size = config.event.bytes
        self.logs: dict[int, list[bytes]] = {0: [], 1: []}
        self.begins = {0: 0, 1: 0}
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.rejected: list[Rejected] = []
        self.assigned: list[tuple[int, int]] = []
        self.away = False
        factory = EventFactory(self.source, self.size)
        for seq in range(1, MADE + 1):
            value = factory.make(seq, 1, time.time())[0]
            partition = (seq - 1) // 100 % 2
            when = value[value.index(b'"event_time":"') + 14 :][:24]
            level, service, message, _ = factory.fields(seq, self.size - value.index(b'"message":"') - 13)
            place = (partition, len(self.logs[partition]))
            self.rows[seq] = (seq, milliseconds(when), level, service, message, place, 1, 1, 1, 1, 1)
            self.logs[partition].append(value)

    # -- Kafka -----------------------------------------------------------------------------------------------------

    def read(self) -> KafkaReading:
        """As KafkaHop does."""
        return KafkaReading({number: len(log) for number, log in self.logs.items()}, "topic-id", 0)

    def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        return self.begins[place.partition], len(self.logs[place.partition])

    def assign(self, places: Sequence[Any]) -> None:
        self.assigned = [(place.partition, place.offset) for place in places]

    def consume(self, count: int, timeout: float) -> list[Message]:
        batch = [
            Message(partition, offset, value)
            for partition, begin in self.assigned
            for offset, value in [*enumerate(self.logs[partition])][begin:]
        ]
        self.assigned = []
        return batch

    def close(self) -> None: ...

    # -- Cassandra -------------------------------------------------------------------------------------------------

    def tables(self, session: object, bucket_size: int, deadline: float) -> Any:
        """As Tables does."""

        def rows(source: str, contents: RowContents, size: int) -> None:
            assert (source, size) == (self.source, self.size)
            for seq, row in sorted(self.rows.items()):
                if contents.original.first <= seq <= contents.original.last:
                    contents.add(row, int(time.time() * 1e6))

        return SimpleNamespace(
            counted=lambda source: BucketState(),
            rows=rows,
            reopen=lambda source, contents, counted: {0: 7} if len(contents.present) < MADE - 50 else {},
            rows_after=lambda source, seq: IntervalSet(),
            rejected=lambda topic, begin, end: self.rejected,
            rewrites=lambda topic, since, now: Rewrites(0, {}, {}),
        )


@pytest.fixture
def pipeline(config: Config, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The pipeline of a test."""
    made = Pipeline(config)
    session = SimpleNamespace(cluster=SimpleNamespace(shutdown=lambda: None))
    monkeypatch.setattr(books, "KafkaHop", lambda config, timeout: made)
    monkeypatch.setattr(books, "connect", lambda config, timeout: session)
    monkeypatch.setattr(books, "Tables", made.tables)
    monkeypatch.setattr(topic_records, "Consumer", lambda properties: made)
    return made


def read(config: Config, pipeline: Pipeline, **request: Any) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The books, and the part about the source."""
    found = books.read_books(config, {"sources": {pipeline.source: [1, MADE]}, **request})
    return found, found["sources"][pipeline.source]


def test_whole_books(config: Config, pipeline: Pipeline) -> None:
    found, mine = read(config, pipeline, since=time.time() - 5)
    assert found["unclosed"] == []
    assert mine["kafka"] == mine["cassandra"] == mine["acked"] == [[1, MADE]]
    assert mine["altered"] == {"kafka": {}, "cassandra": {}}
    assert found["totals"]["read"] == MADE


def test_everything_that_was_changed_is_found(config: Config, pipeline: Pipeline) -> None:
    pipeline.rows[7] = (*pipeline.rows[7][:4], "forged", *pipeline.rows[7][5:])
    pipeline.logs[1][5] = pipeline.logs[1][5].replace(b"seq", b"sec")
    pipeline.logs[0][9] = pipeline.logs[0][9][:-3] + b'~"}'
    pipeline.rejected = [Rejected(1, 5, "seq: missing"), Rejected(1, 50, "planted")]
    found, mine = read(config, pipeline)
    assert mine["altered"] == {
        "kafka": {"message": [[10, 10]]},
        "cassandra": {"message": [[7, 7]], "position": [[10, 10], [106, 106]]},
    }
    assert [(entry["seq"], entry["own"]) for entry in found["rejected"]] == [(None, False), (151, True)]
    assert [7, 0, 6] in found["positions"][pipeline.source]


def test_deleted_records_on_either_side_of_the_job(config: Config, pipeline: Pipeline) -> None:
    pipeline.begins = {0: 150, 1: 200}
    del pipeline.rows[220]
    found, mine = read(config, pipeline, kafka_from={"0": 20})
    assert found["deleted"] == {"0": [[20, 149]], "1": [[0, 199]]}
    assert mine["kafka"] == [[251, 300]]
    assert mine["deleted"] == [[21, 219], [221, 250], [301, 400]]
    assert mine["altered"]["kafka"] == {}
    assert found["reopened"] == {}


def test_a_broker_that_is_away_leaves_the_topic_unread(config: Config, pipeline: Pipeline) -> None:
    pipeline.away = True
    found, mine = read(config, pipeline)
    assert [text.partition(":")[0] for text in found["unclosed"]] == ["kafka"]
    assert mine["cassandra"] == [[1, MADE]]
    assert mine["altered"] == {"kafka": {}, "cassandra": {}}


def test_opened_buckets_are_said(config: Config, pipeline: Pipeline) -> None:
    for seq in range(1, 60):
        del pipeline.rows[seq]
    found, mine = read(config, pipeline)
    assert found["reopened"] == {pipeline.source: {"0": 7}}
    assert mine["missing"] == [[1, 59]]
