"""The event: exact size, key, bucket, time, and filler that compresses like a log."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import lz4.block
import pytest
from eventlog.config import EVENT_BYTES_MAX, EVENT_BYTES_MIN
from eventlog.event import SEQ_MAX, EventFactory, MalformedEvent, bucket, decode, format_time, key
from hypothesis import given, settings
from hypothesis import strategies as st

SOURCES = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True)
SEQS = st.integers(1, SEQ_MAX - 1000)
# Seconds of the years 1970 to 9999, which is what the format can say.
TIMES = st.floats(0, 253402300799, allow_nan=False)


@settings(deadline=None)  # the first event of a process waits for the filler
@given(source=SOURCES, first=SEQS, size=st.integers(EVENT_BYTES_MIN, 8192), seconds=TIMES)
def test_an_event_has_its_size_and_comes_back(source: str, first: int, size: int, seconds: float) -> None:
    events = EventFactory(source, size).make(first, 3, seconds)

    assert [len(event) for event in events] == [size] * 3
    assert b"\n" not in b"".join(events)
    decoded = [decode(event) for event in events]
    assert [event.seq for event in decoded] == [first, first + 1, first + 2]
    assert {event.source for event in decoded} == {source}
    assert {event.event_time.timestamp() for event in decoded} == {int(seconds * 1000) / 1000}


@pytest.mark.parametrize("size", [EVENT_BYTES_MIN, EVENT_BYTES_MAX])
def test_the_bounds_of_the_size_hold(size: int) -> None:
    longest = EventFactory("s" * 128, size).make(SEQ_MAX, 1, time.time())

    assert len(longest[0]) == size
    assert decode(longest[0]).message


@pytest.mark.parametrize("seq", [1, 99, 12_345_678_901])
@pytest.mark.parametrize("size", [384, 1024, 4096])
def test_an_event_can_be_told_by_its_fields(seq: int, size: int) -> None:
    (data,) = EventFactory("host-ab", size).make(seq, 1, 1_795_000_000.0)
    factory = EventFactory("host-ab", 1_000_000)
    found = decode(data)
    assert factory.event(seq, format_time(1_795_000_000.0).encode(), size) == data
    assert factory.fields(seq, len(found.message)) == (found.level, found.service, found.message, size)


def test_the_same_event_is_made_again() -> None:
    assert EventFactory("a", 1024).make(7, 5, 1.5) == EventFactory("a", 1024).make(7, 5, 1.5)
    assert EventFactory("a", 1024).make(7, 1, 1.5) != EventFactory("b", 1024).make(7, 1, 1.5)


@given(source=SOURCES, seq=SEQS)
def test_a_key_spans_a_hundred_events(source: str, seq: int) -> None:
    text = key(source, seq).decode("ascii")

    assert text == f"{source}/{(seq - 1) // 100}"
    start = (seq - 1) // 100 * 100 + 1
    assert {key(source, start), key(source, start + 99)} == {key(source, seq)}
    assert key(source, start + 100) != key(source, seq)


@given(seq=SEQS, size=st.integers(1, 10_000))
def test_a_bucket_holds_its_size(seq: int, size: int) -> None:
    number = bucket(seq, size)

    assert number * size + 1 <= seq <= (number + 1) * size


def test_the_first_events_stand_in_key_and_bucket_zero() -> None:
    assert key("a", 1) == b"a/0"
    assert key("a", 100) == b"a/0"
    assert key("a", 101) == b"a/1"
    assert (bucket(1, 1000), bucket(1000, 1000), bucket(1001, 1000)) == (0, 0, 1)


@given(seconds=TIMES)
def test_times_are_utc_milliseconds(seconds: float) -> None:
    text = format_time(seconds)

    expected = datetime.fromtimestamp(int(seconds * 1000) // 1000, UTC).strftime("%H:%M:%S")
    assert text[11:19] == expected
    assert text[19] == "."
    assert int(text[20:23]) == int(seconds * 1000) % 1000
    assert text.endswith("Z")


@pytest.mark.parametrize("chunk", [16 << 10, 64 << 10, 1 << 20], ids=lambda size: f"{size >> 10} KiB")
def test_the_filler_compresses_like_a_log(chunk: int) -> None:
    """Cassandra compresses 16 KiB at a time, Kafka whole batches: LZ4 makes 0.4–0.7 of either."""
    data = b"\n".join(EventFactory("host-3f9a1c", 1024).make(1, 4096, time.time()))
    parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]

    ratio = sum(len(lz4.block.compress(part, store_size=False)) for part in parts) / len(data)

    assert 0.4 <= ratio <= 0.7


def test_fifty_thousand_events_a_second_are_made_on_one_core() -> None:
    factory = EventFactory("host-3f9a1c", 1024)
    best = min(_seconds_for(factory, 10_000) for _ in range(5))

    assert 10_000 / best >= 50_000


def _seconds_for(factory: EventFactory, count: int) -> float:
    begin = time.thread_time()
    factory.make(1, count, 0.0)
    return time.thread_time() - begin


@pytest.mark.parametrize("source", ["", "a" * 129, 'a"b', "a b", "ä", "a/b", "a\n"])
def test_a_source_that_needs_escapes_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="is not 1 to 128 characters"):
        EventFactory(source, 1024)


@pytest.mark.parametrize("size", [0, EVENT_BYTES_MIN - 1, EVENT_BYTES_MAX + 1])
def test_a_size_out_of_bounds_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="outside 384 to 1000000"):
        EventFactory("a", size)


GOOD = {
    "source": "a",
    "seq": 1,
    "event_time": "2026-11-23T20:11:58.123Z",
    "level": "INFO",
    "service": "search",
    "message": "m",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": ""}, "source is not a string"),
        ({"source": "a" * 129}, "source is not a string"),
        ({"source": 5}, "source is not a string"),
        ({"seq": 0}, "seq is not an integer"),
        ({"seq": 1 << 63}, "seq is not an integer"),
        ({"seq": True}, "seq is not an integer"),
        ({"seq": "1"}, "seq is not an integer"),
        ({"seq": 1.0}, "seq is not an integer"),
        ({"event_time": None}, "event_time is not"),
        ({"event_time": "2026-11-23T20:11:58.123"}, "event_time is not"),
        ({"event_time": "2026-13-23T20:11:58.123Z"}, "event_time: "),
        ({"level": None}, "level is not a string"),
        ({"service": []}, "service is not a string"),
        ({"message": {}}, "message is not a string"),
    ],
)
def test_what_is_not_an_event_is_said(change: dict[str, object], message: str) -> None:
    assert decode(json.dumps(GOOD).encode()).seq == 1
    with pytest.raises(MalformedEvent, match=message):
        decode(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"7", b"null", b"\xff", b'"text"'])
def test_what_is_not_an_object_is_said(data: bytes) -> None:
    with pytest.raises(MalformedEvent, match=r"not JSON|is not an object"):
        decode(data)
