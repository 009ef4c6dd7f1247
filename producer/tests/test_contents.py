"""What events hold: every difference between topic, table and generator is named, and nothing else is."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from eventlog import books, event
from eventlog.contents import Original, RowContents, milliseconds
from eventlog.intervals import IntervalSet
from eventlog.table_rows import Rejected, Rewrites
from eventlog.topic_records import Reading, TopicRecords

SOURCE, SIZE, LAST = "host-ab", 512, 40
NOW = 1_795_000_000.0
LATEST = 10**16  # microseconds


def made(seq: int, seconds: float = NOW, size: int = SIZE) -> bytes:
    """An event as its producer makes it."""
    return event.EventFactory(SOURCE, size).make(seq, 1, seconds)[0]


def row_of(value: bytes, at: tuple[int, int], **changes: Any) -> tuple[Any, ...]:
    """The row that the sink writes for a record, with some columns changed."""
    fields = json.loads(value)
    columns = {
        "seq": fields["seq"],
        "event_time": milliseconds(fields["event_time"].encode()),
        "level": fields["level"],
        "service": fields["service"],
        "message": fields["message"],
        "position": at,
        **{f"written {number}": 1 for number in range(5)},
    }
    return tuple({**columns, **changes}.values())


@dataclass
class Pipeline:
    """The events 1 to 40 in one partition of the topic, from offset 100 on, and in the table."""

    records: dict[int, bytes | None] = field(
        default_factory=lambda: {99 + seq: made(seq) for seq in range(1, LAST + 1)}
    )
    rows: dict[int, tuple[Any, ...]] = field(
        default_factory=lambda: {seq: row_of(made(seq), (0, 99 + seq)) for seq in range(1, LAST + 1)}
    )
    rejected: list[Rejected] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    deleted: tuple[int, int] | None = None

    def send(self, value: bytes) -> int:
        """Append a record; its offset."""
        offset = max(self.records) + 1
        self.records[offset] = value
        return offset

    def change(self, seq: int, **columns: Any) -> None:
        """Change columns of a row."""
        offset = self.rows[seq][5][1]
        self.rows[seq] = row_of(self.records[offset] or made(seq), (0, offset), **columns)

    def delete_records(self, first: int, last: int) -> None:
        """As a retention does."""
        self.deleted = (first, last)
        for offset in range(first, last + 1):
            del self.records[offset]

    def books(self) -> dict[str, Any]:
        """What is found, of the whole result."""
        window = {SOURCE: (1, LAST)}
        originals = {SOURCE: Original(SOURCE, window[SOURCE], NOW - 60, NOW + 60)}
        records = TopicRecords(originals)
        for offset, value in sorted(self.records.items()):
            records.add(0, offset, value)
        if self.deleted:
            records.deleted[0].add(*self.deleted)
        contents = RowContents(originals[SOURCE])
        for _, row in sorted(self.rows.items()):
            contents.add(row, LATEST)
        tables = books._TableBooks(
            {SOURCE: contents}, IntervalSet(), {SOURCE: {}}, self.rejected, Rewrites(0, {}, {}), {}
        )
        spool = books._SpoolBooks(SOURCE, LAST, LAST, self.refused)
        end = {0: max(self.records, default=0) + 1}
        stretch = books._Stretch(end, end, SIZE)
        found = books._Assembly(window, spool, records, tables, stretch).books()
        return dict(json.loads(json.dumps(found)))

    def altered(self) -> dict[str, Any]:
        """What is not as it was made, by hop."""
        return dict(self.books()["sources"][SOURCE]["altered"])


def test_nothing_is_altered_where_nothing_was_planted() -> None:
    found = Pipeline().books()
    assert found["sources"][SOURCE]["altered"] == {"kafka": {}, "cassandra": {}}
    assert found["deleted"] == found["reopened"] == found["unexpected"]["sources"] == {}


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"message": "another"}, "message"),
        ({"message": made(8).decode()}, "message"),
        ({"message": json.loads(made(7, size=600))["message"]}, "message"),
        ({"message": None}, "message is null"),
        ({"level": "FATAL"}, "level"),
        ({"level": None, "service": None}, "level is null, service is null"),
        ({"event_time": int(NOW * 1000) + 1}, "event_time"),
        ({"event_time": None}, "event_time is null"),
        ({"event_time": 2**62}, "event_time"),
        ({"event_time": -1}, "event_time"),
        ({"position": (0, 107)}, "position"),
        ({"position": (0, 10**6)}, "position"),
        ({"position": (3, 106)}, "position"),
        ({"position": (-1, 106)}, "position"),
        ({"position": (0, 2**63 - 1)}, "position"),
        ({"position": None}, "position is null"),
        ({"position": (0, None)}, "position is null"),
        ({"written 2": LATEST + 1}, "future"),
    ],
)
def test_a_row_that_was_overwritten(columns: dict[str, Any], what: str) -> None:
    pipeline = Pipeline()
    pipeline.change(7, **columns)
    assert pipeline.altered() == {"kafka": {}, "cassandra": {what: [[7, 7]]}}


def test_a_row_with_the_content_of_another_event() -> None:
    pipeline = Pipeline()
    pipeline.rows[7] = (7, *row_of(made(8), (0, 107))[1:])
    altered = pipeline.altered()
    assert altered["cassandra"].pop("position") == [[7, 7]]
    (what,) = altered["cassandra"]
    assert "message" in what


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (made(7).replace(b"ERROR", b"FATAL"), "level"),
        (made(7)[:-3] + b'~"}', "message"),
        (made(7).replace(b"event_time", b"event_day_"), "event_time is null"),
        (made(7).replace(b"T", b"t", 1), "event_time is null"),
        (made(7).replace(b"2026-11-", b"2026-13-"), "event_time is null"),
        (made(7) + b" ", "bytes"),
        (json.dumps(json.loads(made(7))).encode(), "bytes"),
        (made(7, size=384)[:-50] + b'"}', "bytes"),
        (made(7)[:-1], "bytes"),
        (b'{"source":"host-ab","seq":7}', "event_time is null, level is null, service is null, message is null"),
        (
            b'{"source":"host-ab","seq":7,"level":5,"message":["a"],"service":null,"event_time":3}',
            "event_time is null,",
        ),
    ],
)
def test_a_record_that_no_producer_made(value: bytes, what: str) -> None:
    pipeline = Pipeline()
    pipeline.records[106] = value
    ((found, seqs),) = pipeline.altered()["kafka"].items()
    assert found.startswith(what)
    assert seqs == [[7, 7]]


def test_a_record_with_the_content_of_another_event() -> None:
    pipeline = Pipeline()
    pipeline.records[106] = made(8).replace(b'"seq":8', b'"seq":7')
    (found,) = pipeline.altered()["kafka"]
    assert "message" in found


@pytest.mark.parametrize("seconds", [1.0, NOW - 90, NOW + 90])
def test_an_event_time_that_cannot_be(seconds: float) -> None:
    pipeline = Pipeline()
    pipeline.records[106] = made(7, seconds)
    assert pipeline.altered()["kafka"] == {"event_time": [[7, 7]]}


@pytest.mark.parametrize("copy", [made(7, NOW + 1), made(7, size=600)])
@pytest.mark.parametrize("replaced", [False, True])
def test_copies_that_differ(copy: bytes, replaced: bool) -> None:
    """Whichever of them the row holds: it agrees with the copy that it points at."""
    pipeline = Pipeline()
    offset = pipeline.send(copy)
    if replaced:
        pipeline.rows[7] = row_of(copy, (0, offset))
    assert pipeline.altered() == {"kafka": {"copies": [[7, 7]]}, "cassandra": {}}


def test_a_row_that_points_at_one_copy_and_holds_the_other() -> None:
    pipeline = Pipeline()
    offset = pipeline.send(made(7, NOW + 1))
    pipeline.rows[7] = row_of(made(7), (0, offset))
    assert pipeline.altered()["cassandra"] == {"event_time": [[7, 7]]}


def test_a_falsified_copy_that_replaced_the_row() -> None:
    pipeline = Pipeline()
    forged = made(7)[:-3] + b'~"}'
    pipeline.rows[7] = row_of(forged, (0, pipeline.send(forged)))
    altered = pipeline.altered()
    assert altered["kafka"] == {"message": [[7, 7]]}
    assert altered["cassandra"] == {"message": [[7, 7]], "position": [[7, 7]]}


def test_equal_copies_are_repeated_and_no_more() -> None:
    pipeline = Pipeline()
    pipeline.rows[7] = row_of(made(7), (0, pipeline.send(made(7))))
    found = pipeline.books()["sources"][SOURCE]
    assert found["repeated_ranges"] == [[7, 7]]
    assert found["altered"] == {"kafka": {}, "cassandra": {}}


def test_poison_under_an_own_name_may_be_refused() -> None:
    pipeline = Pipeline()
    pipeline.rejected = [Rejected(0, pipeline.send(b'{"source":"host-ab","seq":7}'), "event_time: missing")]
    found = pipeline.books()
    assert found["rejected"][0]["own"] is False
    assert found["sources"][SOURCE]["altered"] == {"kafka": {}, "cassandra": {}}


def test_a_good_event_that_was_refused_is_the_windows_own() -> None:
    pipeline = Pipeline()
    del pipeline.rows[7]
    pipeline.rejected = [Rejected(0, 106, "too large")]
    found = pipeline.books()
    assert found["rejected"][0]["own"] is True
    assert found["sources"][SOURCE]["missing"] == [[7, 7]]


def test_the_producers_refusals_have_their_reason() -> None:
    found = Pipeline(refused={5: "too large", 6: "too large", 9: "no leader"}).books()["sources"][SOURCE]
    assert found["reasons"] == {"no leader": [[9, 9]], "too large": [[5, 6]]}


def test_records_deleted_after_the_job_had_read_them() -> None:
    pipeline = Pipeline()
    pipeline.delete_records(100, 109)
    found = pipeline.books()
    assert found["deleted"] == {"0": [[100, 109]]}
    mine = found["sources"][SOURCE]
    assert mine["kafka"] == [[11, LAST]]
    assert mine["deleted"] == [[1, 10]]
    assert mine["altered"] == {"kafka": {}, "cassandra": {}}


def test_the_rows_of_deleted_records_are_compared_with_the_generator() -> None:
    pipeline = Pipeline()
    pipeline.delete_records(100, 109)
    pipeline.rows[3] = row_of(made(3, size=600), (0, 102))
    pipeline.rows[4] = row_of(made(4), (0, 103), message="forged")
    assert pipeline.altered()["cassandra"] == {"message": [[3, 4]]}


def test_records_deleted_ahead_of_the_job() -> None:
    pipeline = Pipeline()
    pipeline.delete_records(100, 109)
    for seq in range(6, 11):
        del pipeline.rows[seq]
    mine = pipeline.books()["sources"][SOURCE]
    assert mine["deleted"] == [[1, 5]]
    assert mine["kafka"] == [[11, LAST]]


class Message:
    """A record, or with an error the end of a partition."""

    def __init__(self, offset: int, end: bool = False) -> None:
        self._offset, self._end = offset, end

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return made(1 + self._offset)

    def error(self) -> Any:
        from confluent_kafka import KafkaError

        return KafkaError(KafkaError._PARTITION_EOF) if self._end else None


@pytest.mark.parametrize(
    ("first", "messages", "deleted", "read"),
    [
        (5, [5, 6, 7, 8, 9, 10], [], 5),
        (0, [5, 6, 7, 8, 9], [], 5),
        (7, [7, 8, 9], [[5, 6]], 3),
        (5, [5, 8, 9], [[6, 7]], 3),  # while they are read
        (12, [], [[5, 9]], 0),
        (5, [5, 6, -10], [[7, 9]], 2),
        (5, [5, 20], [[6, 9]], 1),
    ],
)
def test_deleted_records_are_noted_and_the_others_read(
    first: int, messages: list[int], deleted: list[list[int]], read: int
) -> None:
    records = TopicRecords()
    reading = Reading(records, {0: 5}, {0: 10})
    reading.begins(0, first)
    reading.take([Message(abs(offset), end=offset < 0) for offset in messages])
    assert not reading.left
    assert records.deleted[0].ranges() == deleted
    assert records.records == read


def test_what_a_source_and_a_window_may_be() -> None:
    with pytest.raises(books.RequestError, match="sources: source 'a b' is not"):
        books._originals({"a b": (1, 5)}, 0)
    with pytest.raises(books.RequestError, match="more than 50000000 events"):
        books._originals({"a": (1, 2**62)}, 0)


def test_contents_cost_bytes_and_not_objects() -> None:
    """Of 50,000 events nothing is kept but their numbers."""
    count = 50_000
    original = Original("a", (1, count), 0.0, time.time() + 60)
    records, rows = TopicRecords({"a": original}), RowContents(original)
    factory = event.EventFactory("a", SIZE)
    for seq in range(1, count + 1):
        value = factory.event(seq, b"2026-11-23T08:00:00.000Z", SIZE)
        records.add(0, seq, value)
        rows.add(row_of(value, (0, seq)), LATEST)
    contents = records.contents["a"]
    rows.compare(contents, SIZE)
    assert rows.pointing(records.sources()["a"].runs(), contents.wrong_places()).ranges() == [[1, count]]
    assert [len(column) * column.itemsize for column in (contents.contents, rows.contents, rows.places)] == [
        8 * count
    ] * 3
    assert not contents.others
    assert not contents.falsified
    assert not rows.altered
