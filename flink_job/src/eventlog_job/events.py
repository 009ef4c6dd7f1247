"""One Kafka record to one table row, or the reason why not. Pure: no Kafka, no Cassandra, no clock.

The columns of a row are kept in the bytes of Cassandra's native protocol: they have to be encoded anyway to find what
cannot be stored (a lone surrogate, a key that is too long), and nothing can go wrong with them afterwards.
"""

from __future__ import annotations

import base64
import datetime
import json
import re
import struct
from typing import Any, NamedTuple

#: A source is a partition key; 128 characters are at most 512 bytes, far below Cassandra's 65,535.
LONGEST_SOURCE = 128
#: Signed 64 bits, Cassandra's bigint.
LARGEST_SEQ = 2**63 - 1

_EVENT_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_EPOCH = datetime.datetime(1970, 1, 1)
_MILLISECOND = datetime.timedelta(milliseconds=1)
_BIGINT = struct.Struct(">q")
#: tuple<int, bigint>: each element after its length in bytes.
_POSITION = struct.Struct(">iiiq")
_LONGEST_REASON = 200


class Row(NamedTuple):
    """An event that can be stored.

    Attributes:
        source, bucket, seq: the key.
        columns: source, bucket, seq, event_time, level, service and message, encoded.
        size: bytes of the Kafka record.
    """

    source: str
    bucket: int
    seq: int
    columns: tuple[bytes, ...]
    size: int


class _Refused(Exception):
    """The record cannot become a row; the message is the reason."""


def parse(value: bytes | None, bucket_size: int, largest: int) -> Row | str:
    """Turns the value of a Kafka record into a row.

    Args:
        value: the record's bytes, None for a tombstone.
        bucket_size: events per Cassandra partition.
        largest: most bytes accepted.

    Returns:
        The row, or a short reason of at most 200 printable characters. Never raises, whatever the bytes are.
    """
    if value is None:
        return "no value (a tombstone)"
    if len(value) > largest:
        return f"{len(value)} bytes, more than {largest}"
    try:
        return _row(_decode(value), bucket_size, len(value))
    except _Refused as refused:
        return _printable(str(refused))


def position(partition: int, offset: int) -> bytes:
    """The encoded position column: Kafka partition and offset as one value."""
    return _POSITION.pack(4, partition, 8, offset)


def dead_letter(
    topic: str, topic_id: str, partition: int, offset: int, reason: str, value: bytes | None, keep: int
) -> str:
    """The JSON text that goes to the dead-letter topic for a refused record.

    Its members: topic, topic_id, partition, offset (where the record is), reason, bytes (length of the record, null
    for a tombstone), value (base64 of the first `keep` bytes, null for a tombstone), truncated (whether bytes are
    missing).
    """
    kept = None if value is None else base64.b64encode(value[:keep]).decode("ascii")
    return json.dumps(
        {
            "topic": topic,
            "topic_id": topic_id,
            "partition": partition,
            "offset": offset,
            "reason": reason,
            "bytes": None if value is None else len(value),
            "value": kept,
            "truncated": value is not None and len(value) > keep,
        },
        separators=(",", ":"),
    )


def _decode(value: bytes) -> dict[str, Any]:
    if not value:
        raise _Refused("empty")
    try:
        # Decoded first: json.loads would also take UTF-16 and UTF-32.
        document = json.loads(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Refused(f"not UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _Refused(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _Refused("not JSON that can be read: nested too deeply") from None
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise _Refused("not JSON that can be read: a number with too many digits") from None
    if not isinstance(document, dict):
        raise _Refused(f"not a JSON object but {_kind(document)}")
    return document


def _row(event: dict[str, Any], bucket_size: int, size: int) -> Row:
    encoded_source = _text(event, "source")
    source: str = event["source"]
    if not 1 <= len(source) <= LONGEST_SOURCE:
        raise _Refused(f"source: {len(source)} characters, must be 1 to {LONGEST_SOURCE}")
    seq = _seq(event)
    bucket = (seq - 1) // bucket_size
    columns = (
        encoded_source,
        _BIGINT.pack(bucket),
        _BIGINT.pack(seq),
        _BIGINT.pack(_event_time(event)),
        _text(event, "level"),
        _text(event, "service"),
        _text(event, "message"),
    )
    return Row(source, bucket, seq, columns, size)


def _text(event: dict[str, Any], name: str) -> bytes:
    value = event.get(name)
    if not isinstance(value, str):
        raise _Refused(_wrong(event, name, "a string"))
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Refused(f"{name}: lone surrogate at character {error.start}") from None


def _seq(event: dict[str, Any]) -> int:
    value = event.get("seq")
    # bool is a subclass of int.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Refused(_wrong(event, "seq", "an integer"))
    if not 1 <= value <= LARGEST_SEQ:
        raise _Refused("seq: must be 1 to 2^63 - 1")
    return value


def _event_time(event: dict[str, Any]) -> int:
    """Milliseconds since 1970."""
    value = event.get("event_time")
    if not isinstance(value, str):
        raise _Refused(_wrong(event, "event_time", "a string"))
    if _EVENT_TIME.fullmatch(value) is None:
        raise _Refused("event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ")
    try:
        moment = datetime.datetime.fromisoformat(value[:-1])
    except ValueError:
        raise _Refused("event_time: no such day or time") from None
    if moment < _EPOCH:
        raise _Refused("event_time: before 1970")
    return (moment - _EPOCH) // _MILLISECOND


def _wrong(event: dict[str, Any], name: str, expected: str) -> str:
    if name not in event:
        return f"{name}: missing"
    return f"{name}: must be {expected}, is {_kind(event[name])}"


def _kind(value: object) -> str:
    """The JSON name of a value's type."""
    names: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "a boolean"),
        (str, "a string"),
        ((int, float), "a number"),
        (list, "an array"),
        (dict, "an object"),
    ]
    return next((name for kind, name in names if isinstance(value, kind)), "null")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_LONGEST_REASON]
