"""The books on a real Kafka and a real Cassandra: whatever is planted is found, by name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cassandra.util import uuid_from_time
from confluent_kafka import Producer
from eventlog import event
from eventlog.books import main, read_books
from eventlog.config import Config, load
from eventlog.hops.cassandra import CassandraHop
from eventlog.hops.kafka import KafkaHop
from eventlog.spool import Reject, Spool

from testing.cassandra import CassandraServer, Tables
from testing.kafka import KafkaServer

pytestmark = pytest.mark.servers

MADE = 5500


class Books:
    """A pipeline in which 5,500 events have been made and gone all the way."""

    def __init__(self, config_file: Path, kafka: KafkaServer, tables: Tables) -> None:
        self.config_file = config_file
        self.config: Config = load(config_file)
        self.tables = tables
        self._producer = Producer(
            {"bootstrap.servers": kafka.bootstrap_servers, "acks": "all", "linger.ms": 20, "log_level": 0}
        )
        spool = Spool(self.config.producer.spool, self.config.producer.spool_limit_bytes, 10.0)
        self.source = spool.state.source
        spool.commit(replace(spool.state, made=MADE, settled=MADE))
        spool.close()
        self.factory = event.EventFactory(self.source, self.config.event.bytes)
        self.events = [self.factory.make(seq, 1, time.time())[0] for seq in range(1, MADE + 1)]
        for seq, value in enumerate(self.events, 1):
            self.send_raw(position(seq)[1], value, flush=False)
        assert self._producer.flush(30) == 0
        self.tables.add_events((value, position(seq)[1:]) for seq, value in enumerate(self.events, 1))
        self.topic_id = self.ends().topic_id

    def send(self, seqs: list[int], source: str | None = None) -> None:
        """Events to the topic, each to the partition its key says: once more, if they are the pipeline's own."""
        factory = event.EventFactory(source or self.source, self.config.event.bytes)
        for seq in seqs:
            value = factory.make(seq, 1, time.time())[0] if source else self.events[seq - 1]
            self.send_raw(position(seq)[1], value, flush=False)
        assert self._producer.flush(30) == 0

    def send_raw(self, partition: int, value: bytes | None, flush: bool = True) -> None:
        """Any bytes to a partition."""
        self._producer.produce(self.config.kafka.topic, value, partition=partition)
        if flush:
            assert self._producer.flush(30) == 0

    def ends(self) -> Any:
        """The topic as it is."""
        return KafkaHop(self.config, 10.0).read()

    def read(self, **request: Any) -> dict[str, Any]:
        """The books, with the request and the result having gone through JSON."""
        books: dict[str, Any] = json.loads(json.dumps(read_books(self.config, json.loads(json.dumps(request)))))
        return books

    def of_source(self, **request: Any) -> dict[str, Any]:
        """The part about the source."""
        found: dict[str, Any] = self.read(**request)["sources"][self.source]
        return found


def position(seq: int) -> tuple[int, int, int]:
    """Seq, partition and offset of an event: blocks of a hundred go round the four partitions."""
    block = (seq - 1) // 100
    return seq, block % 4, block // 4 * 100 + (seq - 1) % 100


@pytest.fixture
def books(
    kafka: KafkaServer,
    topic: str,
    tables: Tables,
    cassandra_keys: Mapping[str, Any],
    write_config: Callable[..., Path],
) -> Books:
    """The pipeline of a test."""
    changes = {"kafka__bootstrap_servers": kafka.bootstrap_servers, "kafka__topic": topic, **cassandra_keys}
    return Books(write_config(**changes), kafka, tables)


def test_books_without_a_defect(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    found = books.read(sources={books.source: [1001, 5500]})
    everything = [[1, MADE]]
    assert found["sources"][books.source] == {
        "window": [1001, 5500],
        "generated": everything,
        "acked": everything,
        "refused": [],
        "kafka": everything,
        "cassandra": [[1001, 5500]],
        "rejected": [],
        "repeated": 0,
        "repeated_ranges": [],
        "missing": [],
        "deleted": [],
        "reasons": {},
        "altered": {"kafka": {}, "cassandra": {}},
    }
    assert found["unclosed"] == []
    assert found["rewritten"] == 0
    assert found["unexpected"] == {"sources": {}, "malformed": {}}
    assert found["totals"]["window"] == found["totals"]["cassandra"] == 4500
    assert found["totals"]["read"] == MADE

    request = books.config_file.with_name("request.json")
    request.write_text("{}")
    assert main(["--config", str(books.config_file), "--request", str(request)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["sources"][books.source]["window"] == [1, MADE]
    assert printed["totals"]["missing"] == 0


def test_missing_rows_are_named_with_their_position(books: Books) -> None:
    lost = [*range(1499, 1502), 2000, 5500]
    for seq in lost:
        books.tables.delete_row(books.source, seq)
    found = books.read(sources={books.source: [1, MADE]})
    mine = found["sources"][books.source]
    assert mine["missing"] == ranges(lost)
    assert mine["cassandra"] == ranges(set(range(1, MADE + 1)) - set(lost))
    assert found["totals"]["missing"] == len(lost)

    assert found["positions"][books.source] == [list(position(seq)) for seq in lost]


def test_repeats_are_counted_and_placed(books: Books) -> None:
    books.send([*range(301, 304), 302])
    found = books.read(sources={books.source: [1, MADE]})
    mine = found["sources"][books.source]
    assert mine["repeated"] == 4
    assert mine["repeated_ranges"] == [[301, 303]]
    assert mine["kafka"] == [[1, MADE]]
    end = books.ends().partitions[3]
    copies = [[seq, partition, offset] for seq, partition, offset in found["positions"][books.source]]
    assert len([copy for copy in copies if copy[0] == 302]) == 3
    assert [302, 3, end - 1] in copies
    assert found["totals"]["repeated"] == 4


def test_lost_in_kafka_refused_buffered_and_never_made(books: Books) -> None:
    """Made but not acknowledged, refused by Kafka, and acknowledged but not in the topic are three things."""
    spool = Spool(books.config.producer.spool, books.config.producer.spool_limit_bytes, 10.0)
    refused = Reject(5550, "too large", b"x")
    state = replace(spool.state, made=5600, settled=5590, rejected=1)
    spool.commit(state, rejects=[refused])
    spool.close()
    mine = books.of_source(sources={books.source: [5401, 5700]})
    assert mine["generated"] == [[1, 5600]]
    assert mine["acked"] == [[1, 5549], [5551, 5590]]
    assert mine["refused"] == [[5550, 5550]]
    assert mine["reasons"] == {"too large": [[5550, 5550]]}
    assert mine["kafka"] == [[1, 5500]]
    assert mine["cassandra"] == [[5401, 5500]]


def test_rejected_malformed_and_strange_records(books: Books) -> None:
    ends = books.ends().partitions
    books.send_raw(0, b"not json")
    books.send_raw(0, None)
    books.send([5], source="stranger")
    books.tables.reject(books.topic_id, 0, ends[0], "not JSON")
    books.tables.reject(books.topic_id, 1, 0, "level: missing")  # seq 101
    books.tables.delete_row(books.source, 101)
    books.tables.reject("another topic", 1, 1, "of no interest")
    found = books.read(sources={books.source: [1, MADE]})
    mine = found["sources"][books.source]
    assert mine["rejected"] == [[101, 101]]
    assert mine["missing"] == [[101, 101]], "a good event that was rejected is lost"
    assert found["rejected"] == [
        {"partition": 0, "offset": ends[0], "reason": "not JSON", "source": None, "seq": None, "own": False},
        {"partition": 1, "offset": 0, "reason": "level: missing", "source": books.source, "seq": 101, "own": True},
    ]
    assert found["unexpected"] == {
        "sources": {"stranger": [[5, 5]]},
        "malformed": {"0": [[ends[0], ends[0] + 1]]},
    }
    assert found["totals"]["dead_letters"] == 2


def test_rows_of_events_that_were_never_made(books: Books) -> None:
    books.tables.add_rows(books.source, [5501, 9000])
    mine = books.of_source(sources={books.source: [5001, 5500]})
    assert mine["cassandra"] == [[5001, 5501], [9000, 9000]]


def test_only_the_stretch_asked_for_is_read(books: Books) -> None:
    found = books.read(
        sources={books.source: [1, MADE]},
        kafka_from={"0": 100, "1": 100, "2": 50},
        kafka_to={"0": 300, "1": 100, "2": 60},
    )
    assert found["totals"]["read"] == 210
    assert found["sources"][books.source]["kafka"] == [[251, 260], [401, 500], [801, 900]]


def test_rewrites_by_the_sinks_log(books: Books) -> None:
    now = time.time()

    def log(age: float, partition: int, first: int, last: int, topic_id: str = books.topic_id) -> None:
        identifier = uuid_from_time(now - age)
        hour = datetime.fromtimestamp((now - age) // 3600 * 3600, UTC)
        books.tables.log_batch(identifier, hour, topic_id, partition, first, last)

    log(100, 0, 0, 99)
    log(90, 0, 50, 149)  # before the window
    log(50, 0, 100, 199)  # 50 of them again
    log(40, 1, 0, 9)
    log(30, 1, 5, 5)  # 1 again
    log(20, 1, 0, 9, topic_id="another topic")
    found = books.read(sources={books.source: [1, MADE]}, since=now - 60)
    assert found["rewritten"] == 51
    assert found["rewrites"]["partitions"] == {"0": 50, "1": 1}
    assert books.read(sources={books.source: [1, 10]})["rewritten"] == 101


def test_another_source_in_the_spool_is_said(books: Books) -> None:
    found = books.read(sources={books.source: [1, MADE], "gone": [1, 5]})
    assert found["unclosed"] == [f"spool: it is of source {books.source}, so what gone made is not known any more"]
    assert found["sources"]["gone"]["generated"] == [[1, 5]]
    assert found["sources"]["gone"]["acked"] == []


def delete_records(kafka: KafkaServer, topic: str, partition: int, before: int) -> None:
    """Delete the records of a partition before an offset."""
    from confluent_kafka import TopicPartition

    admin = kafka.admin()  # its answers come only as long as it lives
    for answer in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        answer.result(10)


def test_what_remains_of_a_topic_is_read(kafka: KafkaServer, books: Books) -> None:
    books.tables.delete_row(books.source, 50)
    books.tables.change_row(books.source, 60, "message", "another")
    delete_records(kafka, books.config.kafka.topic, 0, 500)
    gone = [seq for seq in range(1, MADE + 1) if position(seq)[1] == 0 and position(seq)[2] < 500]
    found = books.read(sources={books.source: [1, MADE]})
    assert found["unclosed"] == []
    assert found["deleted"] == {"0": [[0, 499]]}
    mine = found["sources"][books.source]
    assert mine["kafka"] == ranges(set(range(1, MADE + 1)) - set(gone))
    assert mine["deleted"] == ranges(set(gone) - {50})
    assert mine["missing"] == []
    assert mine["altered"] == {"kafka": {}, "cassandra": {"message": [[60, 60]]}}
    assert books.read(sources={books.source: [1, MADE]}, kafka_from={"0": 500})["deleted"] == {}


def test_a_topic_that_was_emptied(kafka: KafkaServer, books: Books) -> None:
    for partition, end in books.ends().partitions.items():
        delete_records(kafka, books.config.kafka.topic, partition, end)
    found = books.read(sources={books.source: [1, MADE]})
    assert found["unclosed"] == []
    mine = found["sources"][books.source]
    assert mine["kafka"] == []
    assert mine["deleted"] == [[1, MADE]]
    assert mine["altered"] == {"kafka": {}, "cassandra": {}}


def test_rows_that_were_overwritten(books: Books) -> None:
    future = int((time.time() + 3600) * 1_000_000)
    changes: list[tuple[int, str, Any, int | None]] = [
        (11, "message", "another", None),
        (12, "level", None, None),
        (13, "service", "nobody", None),
        (14, "event_time", datetime(2026, 1, 1, tzinfo=UTC), None),
        (15, "event_time", None, None),
        (16, "position", (0, 16), None),
        (17, "position", None, None),
        (18, "level", json.loads(books.events[17])["level"], future),
    ]
    for seq, column, value, timestamp in changes:
        books.tables.change_row(books.source, seq, column, value, timestamp)
    since = time.time() - 1000
    assert books.of_source(sources={books.source: [1, MADE]}, since=since)["altered"] == {
        "kafka": {},
        "cassandra": {
            "message": [[11, 11]],
            "level is null": [[12, 12]],
            "service": [[13, 13]],
            "event_time": [[14, 14]],
            "event_time is null": [[15, 15]],
            "position": [[16, 16]],
            "position is null": [[17, 17]],
            "future": [[18, 18]],
        },
    }


def test_records_that_were_falsified(books: Books) -> None:
    books.send_raw(0, books.events[6][:-3] + b'~"}')
    later = books.factory.make(8, 1, time.time() + 5)[0]
    end = books.ends().partitions[0]
    books.send_raw(0, later)
    books.tables.add_events([(later, (0, end))])
    found = books.read(sources={books.source: [1, MADE]})
    assert found["sources"][books.source]["altered"] == {
        "kafka": {"message": [[7, 7]], "copies": [[8, 8]]},
        "cassandra": {},
    }
    assert [8, 0, end] in found["positions"][books.source]


def test_full_buckets_of_the_window_are_counted_again(books: Books) -> None:
    hop = CassandraHop(books.config, 10.0)
    try:
        assert hop.read().count == MADE
        for seq in (1500, 1501, 4800):
            books.tables.delete_row(books.source, seq)
        found = books.read(sources={books.source: [901, 4900]})
        assert found["reopened"] == {books.source: {"1": 998, "4": 999}}
        assert books.tables.state(books.source) == (5, frozenset({1, 4}))
        assert hop.read().count == MADE - 3
    finally:
        hop.close()


def test_a_frozen_server_leaves_its_hop_unclosed(cassandra: CassandraServer, books: Books) -> None:
    cassandra.freeze()
    try:
        began = time.monotonic()
        found = books.read(sources={books.source: [1, MADE]})
        assert time.monotonic() - began < 20
    finally:
        cassandra.thaw()
    assert [text.partition(":")[0] for text in found["unclosed"]] == ["cassandra"]
    assert found["sources"][books.source]["kafka"] == [[1, MADE]]
    assert found["rewritten"] is None
    assert books.read(sources={books.source: [1, MADE]})["unclosed"] == []


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as ``[[first, last], …]``, the long way round."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
