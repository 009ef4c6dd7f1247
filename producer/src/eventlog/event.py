"""The event: its JSON form of an exact size, its Kafka key and its Cassandra bucket.

The message is a slice of pseudo-random log text made once per process from a fixed seed, so that an event is a pure
function of source, seq, time and size, costs about a microsecond, and compresses like a real log (LZ4 to 0.4–0.7 of
its size), which keeps the figures for disk and speed honest.
"""

from __future__ import annotations

import functools
import json
import random
import re
import time
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

from eventlog.config import EVENT_BYTES_MAX, EVENT_BYTES_MIN

# Events of one key follow each other in one partition; 100 of them keep the load spread over the partitions.
EVENTS_PER_KEY = 100
SOURCE_LENGTH_MAX = 128
# Cassandra's bigint, and SQLite's row id.
SEQ_MAX = (1 << 63) - 1
# Characters that need no escape in JSON, so that a source's length is its size.
SOURCE_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,128}")

# A million characters: further apart than LZ4's window of 64 KiB, so that slices seldom repeat within a window.
_POOL_SIZE = 1 << 20
_POOL_SEED = 20261123
# The golden ratio of 2^32 (Knuth's multiplicative hash): neighbouring seqs take slices that are far apart.
_SPREAD = 2654435761

_LEVELS = ("INFO", "INFO", "INFO", "INFO", "DEBUG", "DEBUG", "WARN", "ERROR")
_SERVICES = ("checkout", "catalog", "payments", "search", "sessions", "shipping", "accounts")
_NAMES = tuple((level, service) for level in _LEVELS for service in _SERVICES)
_COMBINATIONS = len(_NAMES)
# The name of the member before it, and a time as format_time writes it.
_TIME_BYTES = len(',"event_time":"2026-11-23T08:00:00.000Z')

_TEMPLATES = (
    "request {hex16} from 10.{n255}.{n255}.{n255} finished in {n999} ms with status {status}; ",
    "cache miss for key user/{n99999}/profile on shard {n99}, loaded {n9999} bytes from replica {n9}; ",
    "order {hex8} moved to state {word}, {n9} items, total {n999}.{n99} EUR; ",
    "connection {hex8} to node-{n99} closed after {n9999} ms, {n99999} bytes sent; ",
    "retry {n9} of {n9} for job {hex16}: {word} did not answer within {n9999} ms; ",
    "session {hex16} renewed for account {n99999}, token {hex32}; ",
    "queue {word} holds {n9999} entries, oldest {n999} s, consumer lag {n99}; ",
    "checksum {hex32} verified for part {n999} of upload {hex8}; ",
)
_WORDS = ("accepted", "ledger", "inventory", "packed", "gateway", "pending", "mailer", "billing", "refunded", "indexer")


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as decoded; ``event_time`` is aware, in UTC, with milliseconds."""

    source: str
    seq: int
    event_time: datetime
    level: str
    service: str
    message: str


class MalformedEvent(ValueError):
    """The bytes are not an event; the text says why in one line."""


def key(source: str, seq: int) -> bytes:
    """The Kafka key, ``source/((seq - 1) div 100)`` in ASCII."""
    return f"{source}/{(seq - 1) // EVENTS_PER_KEY}".encode("ascii")


def bucket(seq: int, bucket_size: int) -> int:
    """The Cassandra bucket, ``(seq - 1) div bucket_size``."""
    return (seq - 1) // bucket_size


def format_time(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601, UTC, milliseconds, ``Z``."""
    milliseconds = int(seconds * 1000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03d}Z"


class EventFactory:
    """Makes the encoded events of one source, each of exactly ``size`` bytes.

    ``source``: 1–128 characters of ``[A-Za-z0-9._-]``; ``size``: EVENT_BYTES_MIN to EVENT_BYTES_MAX. Raises ValueError
    for anything else.
    """

    def __init__(self, source: str, size: int) -> None:
        if not SOURCE_PATTERN.fullmatch(source):
            raise ValueError(f"source {source!r} is not 1 to 128 characters of A-Z a-z 0-9 . _ -")
        if not EVENT_BYTES_MIN <= size <= EVENT_BYTES_MAX:
            raise ValueError(f"an event of {size} bytes is outside {EVENT_BYTES_MIN} to {EVENT_BYTES_MAX}")
        self._size = size
        self._start = zlib.crc32(source.encode("ascii"))
        text = _pool()
        # Any slice of up to `size` characters may start anywhere in the pool.
        self._pool = text + (text * (size // len(text) + 1))[:size]
        # One template per combination of level and service, with the room its message leaves to fill.
        self._heads = [
            (
                f'{{"source":"{source}","seq":'.encode("ascii"),
                f'","level":"{level}","service":"{service}","message":"'.encode("ascii"),
            )
            for level, service in _NAMES
        ]

    def make(self, first: int, count: int, seconds: float) -> list[bytes]:
        """The events ``first`` to ``first + count - 1``, made at ``seconds`` since the epoch."""
        when, size = format_time(seconds).encode("ascii"), self._size
        return [self.event(seq, when, size) for seq in range(first, first + count)]

    def event(self, seq: int, when: bytes, size: int) -> bytes:
        """One event of ``size`` bytes, at most the factory's, with ``when`` as its event_time."""
        spread = (seq * _SPREAD + self._start) & 0xFFFFFFFF
        head, middle = self._heads[spread % _COMBINATIONS]
        opening = b'%b%d,"event_time":"%b%b' % (head, seq, when, middle)
        at = spread % _POOL_SIZE
        return b'%b%b"}' % (opening, self._pool[at : at + size - len(opening) - 2])

    @functools.cached_property
    def _text(self) -> str:
        return self._pool.decode("ascii")

    def fields(self, seq: int, length: int) -> tuple[str, str, str, int]:
        """Level, service and message of one event whose message has ``length`` characters, and the event's bytes."""
        spread = (seq * _SPREAD + self._start) & 0xFFFFFFFF
        number = spread % _COMBINATIONS
        head, middle = self._heads[number]
        at = spread % _POOL_SIZE
        level, service = _NAMES[number]
        size = len(head) + len(str(seq)) + _TIME_BYTES + len(middle) + length + 2
        return level, service, self._text[at : at + length], size


def decode(data: bytes) -> Event:
    """The event in ``data``; raises MalformedEvent when a field is missing, of the wrong type or out of range."""
    try:
        fields = json.loads(data)
    except ValueError as error:
        raise MalformedEvent(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedEvent(f"a JSON {type(fields).__name__} is not an object")
    source, seq = fields.get("source"), fields.get("seq")
    if not isinstance(source, str) or not 1 <= len(source) <= SOURCE_LENGTH_MAX:
        raise MalformedEvent(f"source is not a string of 1 to {SOURCE_LENGTH_MAX} characters")
    if isinstance(seq, bool) or not isinstance(seq, int) or not 1 <= seq <= SEQ_MAX:
        raise MalformedEvent(f"seq is not an integer from 1 to {SEQ_MAX}")
    level, service, message = (_text(fields, name) for name in ("level", "service", "message"))
    return Event(source, seq, _parse_time(fields.get("event_time")), level, service, message)


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedEvent(f"{name} is not a string")
    return value


def _parse_time(value: object) -> datetime:
    if not isinstance(value, str) or not value.endswith("Z"):
        raise MalformedEvent("event_time is not an ISO 8601 time in UTC, ending in Z")
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedEvent(f"event_time: {error}") from error


@functools.cache
def _pool() -> bytes:
    """The seeded log text all messages are cut from: ASCII without quote, backslash or control character."""
    random_ = random.Random(_POOL_SEED)
    parts: list[str] = []
    length = 0
    while length < _POOL_SIZE:
        part = _line(random_)
        parts.append(part)
        length += len(part)
    return "".join(parts)[:_POOL_SIZE].encode("ascii")


def _line(random_: random.Random) -> str:
    bits = random_.getrandbits
    return random_.choice(_TEMPLATES).format(
        hex8=f"{bits(32):08x}",
        hex16=f"{bits(64):016x}",
        hex32=f"{bits(128):032x}",
        n9=bits(20) % 10,
        n99=bits(20) % 100,
        n255=bits(20) % 256,
        n999=bits(20) % 1000,
        n9999=bits(20) % 10_000,
        n99999=bits(20) % 100_000,
        status=random_.choice((200, 200, 200, 201, 204, 404, 503)),
        word=random_.choice(_WORDS),
    )
