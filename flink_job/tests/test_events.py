from __future__ import annotations

import base64
import datetime
import json
import struct
from typing import Any

import pytest
from eventlog_job import events
from hypothesis import given
from hypothesis import strategies as st

LARGEST = 4_194_304


def encode(**changes: Any) -> bytes:
    """A good event with some members replaced; `...` removes one."""
    event = {
        "source": "host-1",
        "seq": 1_001,
        "event_time": "2026-11-23T20:11:58.204Z",
        "level": "INFO",
        "service": "checkout",
        "message": "hello",
        **changes,
    }
    return json.dumps({key: value for key, value in event.items() if value is not ...}).encode()


def parse(value: bytes | None) -> events.Row | str:
    return events.parse(value, 1_000, LARGEST)


def test_a_row_has_the_encoded_columns_of_the_event() -> None:
    row = parse(encode(message="grüße"))
    assert isinstance(row, events.Row)
    assert (row.source, row.bucket, row.seq) == ("host-1", 1, 1_001)
    moment = datetime.datetime(2026, 11, 23, 20, 11, 58, 204_000, tzinfo=datetime.UTC)
    assert row.columns == (
        b"host-1",
        struct.pack(">q", 1),
        struct.pack(">q", 1_001),
        struct.pack(">q", round(moment.timestamp() * 1_000)),
        b"INFO",
        b"checkout",
        "grüße".encode(),
    )


@pytest.mark.parametrize(("seq", "bucket"), [(1, 0), (1_000, 0), (1_001, 1), (2**63 - 1, (2**63 - 2) // 1_000)])
def test_buckets_begin_after_a_full_one(seq: int, bucket: int) -> None:
    row = parse(encode(seq=seq))
    assert isinstance(row, events.Row)
    assert (row.seq, row.bucket) == (seq, bucket)


@pytest.mark.parametrize(
    "value",
    [
        encode(source="x" * 128),
        encode(source="\U0001f600" * 128),
        encode(source=" "),
        encode(source="a\x00b"),
        encode(message="", level="", service=""),
        encode(message="\x00"),
        encode(event_time="1970-01-01T00:00:00.000Z"),
        encode(event_time="9999-12-31T23:59:59.999Z"),
        encode(more={"deep": [1, 2]}, seq=5),
        encode().replace(b"1001", b"1001 "),
        b" \n" + encode() + b"\n",
        encode(message="x" * (LARGEST - 200)),
    ],
)
def test_odd_but_storable(value: bytes) -> None:
    assert isinstance(parse(value), events.Row)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value (a tombstone)"),
        (b"", "empty"),
        (b" ", "not JSON: Expecting value at character 1"),
        (b"hello", "not JSON: Expecting value at character 0"),
        (encode()[:-1], "not JSON: Expecting ',' delimiter at character 134"),
        (encode() + b"{}", "not JSON: Extra data at character 135"),
        (b"\xff\xfe{}", "not UTF-8: byte 0"),
        (b'{"source":"\xc3("}', "not UTF-8: byte 11"),
        (encode().decode().encode("utf-16"), "not UTF-8: byte 0"),
        (
            encode().decode().encode("utf-8-sig"),
            "not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig) at character 0",
        ),
        (b"[]", "not a JSON object but an array"),
        (b"null", "not a JSON object but null"),
        (b"true", "not a JSON object but a boolean"),
        (b"1e400", "not a JSON object but a number"),
        (b'"x"', "not a JSON object but a string"),
        (b"[" * 100_000, "not JSON that can be read: nested too deeply"),
        (b'{"a":' * 100_000, "not JSON that can be read: nested too deeply"),
        (b'{"seq":' + b"9" * 5_000 + b"}", "not JSON that can be read: a number with too many digits"),
        (b"{}", "source: missing"),
        (encode(source=...), "source: missing"),
        (encode(source=None), "source: must be a string, is null"),
        (encode(source=7), "source: must be a string, is a number"),
        (encode(source=["a"]), "source: must be a string, is an array"),
        (encode(source=""), "source: 0 characters, must be 1 to 128"),
        (encode(source="x" * 129), "source: 129 characters, must be 1 to 128"),
        (encode(source="x" * 70_000), "source: 70000 characters, must be 1 to 128"),
        (encode(source="a\ud800b"), "source: lone surrogate at character 1"),
        (encode(seq=...), "seq: missing"),
        (encode(seq=True), "seq: must be an integer, is a boolean"),
        (encode(seq="1"), "seq: must be an integer, is a string"),
        (encode(seq=1.0), "seq: must be an integer, is a number"),
        (encode(seq=None), "seq: must be an integer, is null"),
        (encode(seq=float("nan")), "seq: must be an integer, is a number"),
        (encode().replace(b"1001", b"1e400"), "seq: must be an integer, is a number"),
        (encode(seq=0), "seq: must be 1 to 2^63 - 1"),
        (encode(seq=-5), "seq: must be 1 to 2^63 - 1"),
        (encode(seq=2**63), "seq: must be 1 to 2^63 - 1"),
        (encode(seq=2**70), "seq: must be 1 to 2^63 - 1"),
        (encode(event_time=...), "event_time: missing"),
        (encode(event_time=1_795_477_715), "event_time: must be a string, is a number"),
        (encode(event_time=-1), "event_time: must be a string, is a number"),
        (encode(event_time=""), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="2026-11-23"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="2026-11-23T20:11:58.204+00:00"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="12026-11-23T20:11:58.204Z"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="-001-11-23T20:11:58.204Z"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="٢٠٢٦-11-23T20:11:58.204Z"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="2026-11-23T20:11:58.204Z\n"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
        (encode(event_time="2026-02-30T20:11:58.204Z"), "event_time: no such day or time"),
        (encode(event_time="2026-02-03T24:11:58.204Z"), "event_time: no such day or time"),
        (encode(event_time="0000-02-03T21:11:58.204Z"), "event_time: no such day or time"),
        (encode(event_time="1969-12-31T23:59:59.999Z"), "event_time: before 1970"),
        (encode(level=None), "level: must be a string, is null"),
        (encode(service={}), "service: must be a string, is an object"),
        (encode(message=...), "message: missing"),
        (encode(message="\udfff"), "message: lone surrogate at character 0"),
        (encode(message="x" * LARGEST), f"{LARGEST + 135 - 5} bytes, more than {LARGEST}"),
        (b"x" * 12_582_912, f"12582912 bytes, more than {LARGEST}"),
    ],
)
def test_refused_with_a_short_reason(value: bytes | None, reason: str) -> None:
    assert parse(value) == reason


def check(value: bytes) -> None:
    found = parse(value)
    if isinstance(found, str):
        assert 0 < len(found) <= 200
        assert found.isprintable()
    else:
        assert all(isinstance(column, bytes) for column in found.columns)


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(value: bytes) -> None:
    check(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_random_json_never_raises(value: Any) -> None:
    check(json.dumps(value).encode())


@given(
    st.sampled_from(["source", "seq", "event_time", "level", "service", "message"]),
    JSON | st.text(alphabet=st.characters(categories=["Cs", "Lu", "Cc"])),
)
def test_a_random_member_never_raises(name: str, value: Any) -> None:
    check(encode(**{name: value}))


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_event_never_raises(at: int, byte: int) -> None:
    value = bytearray(encode())
    value[at % len(value)] = byte
    check(bytes(value))


@given(st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31)))
def test_every_moment_keeps_its_milliseconds(moment: datetime.datetime) -> None:
    text = moment.isoformat(timespec="milliseconds") + "Z"
    row = parse(encode(event_time=text))
    assert isinstance(row, events.Row)
    (milliseconds,) = struct.unpack(">q", row.columns[3])
    back = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=milliseconds)
    assert back.isoformat(timespec="milliseconds") + "Z" == text


def test_position_is_one_encoded_tuple() -> None:
    assert events.position(3, 2**40) == struct.pack(">iiiq", 4, 3, 8, 2**40)


@pytest.mark.parametrize(
    ("value", "keep", "expected"),
    [
        (b"\xff\x00", 10, {"bytes": 2, "value": base64.b64encode(b"\xff\x00").decode(), "truncated": False}),
        (b"abcdef", 4, {"bytes": 6, "value": base64.b64encode(b"abcd").decode(), "truncated": True}),
        (b"", 4, {"bytes": 0, "value": "", "truncated": False}),
        (None, 4, {"bytes": None, "value": None, "truncated": False}),
    ],
)
def test_dead_letter(value: bytes | None, keep: int, expected: dict[str, Any]) -> None:
    letter = json.loads(events.dead_letter("events", "id", 3, 77, 'why "so"', value, keep))
    assert letter == {
        "topic": "events",
        "topic_id": "id",
        "partition": 3,
        "offset": 77,
        "reason": 'why "so"',
        **expected,
    }
