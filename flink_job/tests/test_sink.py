"""The sink on a real Cassandra and a real Kafka, without Flink."""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from eventlog_job.config import JobConfig
from eventlog_job.sink import Counters, Sink, new_attempt
from eventlog_job.store import Interrupted, Statement, Store, StoreError, Write
from eventlog_job.topic import TopicError, Topics

from testing.job import Stack, event
from testing.settings import TOPIC
from testing.waiting import wait_until

pytestmark = pytest.mark.servers


class Total:
    """A counter that can be read."""

    def __init__(self) -> None:
        self.value = 0

    def inc(self, n: int = 1) -> None:
        self.value += n


class Bench:
    """A sink with everything it needs, as a worker has it."""

    def __init__(self, stack: Stack, **job: float) -> None:
        stack.job = job
        stack.write_config()
        self.config = JobConfig.load(stack.config)
        self.stop = threading.Event()
        self.written, self.retried, self.rewritten, self.rejected = (Total() for _ in range(4))
        self.store = Store(self.config, self.stop, self.retried.inc)
        self.topics = Topics(self.config.bootstrap_servers, {})
        self.attempt = new_attempt()
        counters = Counters(self.written, self.retried, self.rewritten, self.rejected)
        self.sink = Sink(self.config, self.store, lambda: self.topics.topic_id(TOPIC), counters, self.attempt)

    def process(self, values: Sequence[bytes | None], partition: int = 0, offset: int = 0) -> list[str | None]:
        return self.sink.process(values, [partition] * len(values), list(range(offset, offset + len(values))))


@pytest.fixture
def bench(stack: Stack) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**job: float) -> Bench:
        made.append(Bench(stack, **job))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def reasons(letters: Sequence[str | None]) -> list[str | None]:
    return [None if letter is None else json.loads(letter)["reason"] for letter in letters]


def ingest(stack: Stack) -> list[tuple[str, int, int, int, int, int]]:
    found = stack.execute("SELECT * FROM eventlog.ingest_log")
    rows = [(row.attempt, row.partition, row.first_offset, row.last_offset, row.rows, row.rejected) for row in found]
    return sorted(rows)


def test_a_row_holds_the_event_and_its_position(stack: Stack, bench: Callable[..., Bench]) -> None:
    value = event("host", 1_001)
    assert bench().process([value], partition=3, offset=70) == [None]
    expected = json.loads(value)
    row = stack.execute("SELECT * FROM eventlog.events WHERE source = 'host' AND bucket = 1").one()
    moment = datetime.datetime.fromisoformat(expected["event_time"]).replace(tzinfo=None)
    assert (row.seq, row.event_time, row.level, row.service) == (1_001, moment, "INFO", "checkout")
    assert row.message == expected["message"]
    assert tuple(row.position) == (3, 70)
    assert [tuple(row) for row in stack.execute("SELECT source, bucket FROM eventlog.buckets")] == [("host", 1)]


def test_books_of_a_batch(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench(batch_rows=3)
    values = [event("host", seq) for seq in range(995, 1_006)]
    values.insert(4, b"nonsense")
    letters = one.process(values, partition=2, offset=100)
    assert [index for index, letter in enumerate(letters) if letter is not None] == [4]
    assert {key[1] for key in stack.rows()} == set(range(995, 1_006))
    assert ingest(stack) == [(one.attempt, 2, 100, 111, 11, 1)]
    row = stack.execute("SELECT * FROM eventlog.rejected").one()
    topic_id = one.topics.topic_id(TOPIC)
    assert (row.topic_id, row.partition, row.offset) == (topic_id, 2, 104)
    assert row.reason == "not JSON: Expecting value at character 0"
    progress = stack.execute("SELECT * FROM eventlog.progress").one()
    assert (progress.topic_id, progress.partition, progress.next_offset, progress.attempt) == (
        topic_id,
        2,
        112,
        one.attempt,
    )
    assert (one.written.value, one.rejected.value, one.rewritten.value) == (11, 1, 0)
    hours = {row.hour for row in stack.execute("SELECT hour FROM eventlog.ingest_log")}
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert all(datetime.timedelta(0) <= now - hour < datetime.timedelta(hours=1, minutes=1) for hour in hours)


def test_a_replay_is_counted_and_progress_never_goes_back(stack: Stack, bench: Callable[..., Bench]) -> None:
    values = [event("host", seq) for seq in range(1, 101)]
    bench().process(values)
    again = bench()
    again.process(values[40:60], offset=40)
    assert stack.progress() == {0: 100}
    again.process([*values[60:], event("host", 101)], offset=60)
    assert stack.progress() == {0: 101}
    assert (again.written.value, again.rewritten.value) == (61, 60)
    assert len(stack.rows()) == 101


def test_the_later_copy_in_a_batch_is_the_row(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench()
    assert one.process([event("host", 1), event("host", 2), event("host", 1)]) == [None] * 3
    assert stack.rows() == {("host", 1): (0, 2), ("host", 2): (0, 1)}
    assert one.written.value == 3


def test_a_row_that_cassandra_refuses_is_isolated(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench(largest_record_bytes=33_554_432, batch_bytes=33_554_432)
    values = [event("host", 1), event("host", 2, 12_582_912), event("host", 3)]
    letters = reasons(one.process(values))
    assert letters[0] is letters[2] is None
    assert letters[1] is not None
    assert letters[1].startswith("Cassandra refuses it: InvalidRequest: ")
    assert set(stack.rows()) == {("host", 1), ("host", 3)}
    assert ingest(stack) == [(one.attempt, 0, 0, 2, 2, 1)]
    assert [row.offset for row in stack.execute("SELECT offset FROM eventlog.rejected")] == [1]
    assert (one.written.value, one.rejected.value) == (2, 1)


def test_a_missing_table_is_waited_for(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench()
    one.process([event("host", 1)])
    create = "CREATE TABLE eventlog.events (source text, bucket bigint, seq bigint, event_time timestamp, level text, "
    create += "service text, message text, position frozen<tuple<int, bigint>>, PRIMARY KEY ((source, bucket), seq))"
    stack.execute("DROP TABLE eventlog.events")
    done: list[list[str | None]] = []
    thread = threading.Thread(target=lambda: done.append(one.process([event("host", 2)], offset=1)))
    try:
        thread.start()
        wait_until(lambda: one.retried.value >= 2, 60, "repetitions")
    finally:
        stack.execute(create)
    thread.join(60)
    assert done == [[None]]
    assert set(stack.rows()) == {("host", 2)}


def test_gives_up_after_the_time_limit_with_a_reason(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench(write_timeout_seconds=1)
    stack.execute("DROP TABLE eventlog.rejected")
    try:
        with pytest.raises(
            StoreError, match=r"gave up after 1 s \(write_timeout_seconds\): InvalidRequest: .*rejected"
        ):
            one.process([event("host", 1)])
    finally:
        stack.cassandra.make_tables()


def test_a_wait_can_be_interrupted(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench()
    one.config = JobConfig.load(stack.config)
    stack.execute("DROP TABLE eventlog.rejected")
    caught: list[BaseException] = []

    def run() -> None:
        try:
            one.process([event("host", 1)])
        except Interrupted as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    try:
        thread.start()
        time.sleep(1)
        begin = time.monotonic()
        one.stop.set()
        thread.join(30)
        assert time.monotonic() - begin < 10
    finally:
        stack.cassandra.make_tables()
    assert len(caught) == 1


def test_a_topic_made_anew_has_books_of_its_own(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench()
    one.process([event("host", seq) for seq in range(1, 51)])
    former = one.topics.topic_id(TOPIC)
    stack.kafka.delete_topic(TOPIC)
    with pytest.raises(TopicError, match=f"topic {TOPIC}: "):
        one.topics.topic_id(TOPIC)
    stack.create_topics()
    one.process([event("host", seq) for seq in range(51, 61)])
    found = stack.execute("SELECT topic_id, next_offset FROM eventlog.progress")
    assert {row.topic_id: row.next_offset for row in found} == {former: 50, one.topics.topic_id(TOPIC): 10}
    assert one.rewritten.value == 0
    assert len(stack.rows()) == 60


def test_every_error_of_the_store_is_one_line(stack: Stack, bench: Callable[..., Bench]) -> None:
    one = bench(largest_record_bytes=33_554_432)
    key = ("x" * 70_000, 0)
    refused = one.store.write([Write(Statement.BUCKET, [key], keys=[7])])
    assert list(refused) == [7]
    assert "\n" not in refused[7]
    assert len(refused[7]) < 250
