"""What the events of a window hold, so that copies of an event can be compared: eight bytes for each.

An event is a pure function of source, seq, time and size (eventlog.event). So a copy is either what its producer makes,
and then its time and its size say the whole of it, or it is not, and then it is named.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from eventlog.config import EVENT_BYTES_MAX, EVENT_BYTES_MIN
from eventlog.event import EventFactory
from eventlog.intervals import IntervalSet

#: Seconds that the clocks of this host, the producer and the sink's workers may be apart.
TOLERANCE = 60.0
#: A time and a size as one number: 43 bits of milliseconds (until 2248) before 20 bits of bytes. 0 is no event.
_SIZE_BITS = 20
#: A partition and an offset as one number, as they are in any topic; -1 is a place that no topic has.
_OFFSET_BITS = 44
_PARTITIONS = 1 << 18
_NOWHERE = -1
_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

#: What is wrong with records and rows, as the books name it, beside the names of the event's own fields: a record of
#: other bytes with the same fields, and one that differs from an earlier copy; a row's position and time of writing.
BYTES, COPIES = "bytes", "copies"
POSITION, FUTURE = "position", "future"


#: A row of `events`: seq, event_time (milliseconds since the epoch), level, service, message, position (partition and
#: offset), and when each of these five columns was written (microseconds since the epoch); all but seq may be null.
Row = tuple[Any, ...]


@functools.lru_cache(maxsize=4096)
def milliseconds(when: bytes) -> int | None:
    """Since the epoch, of a time as the producer writes it; None for any other text."""
    if not _TIME.fullmatch(when):
        return None
    try:
        return (datetime.fromisoformat(when.decode("ascii")) - _EPOCH) // _MILLISECOND
    except ValueError:
        return None


class Original:
    """What the producer makes of the seqs ``first`` to ``last`` of a source.

    ``earliest`` and ``latest`` (epoch seconds) are the bounds of a sensible event_time. Raises ValueError for a source
    that no producer has.
    """

    def __init__(self, source: str, window: tuple[int, int], earliest: float, latest: float) -> None:
        self.first, self.last = window
        self._factory = EventFactory(source, EVENT_BYTES_MAX)
        self._earliest = max(1, int(earliest * 1000))
        self._latest = min(int(latest * 1000), (1 << 43) - 1)

    def column(self) -> array[int]:
        """A number for every seq of the window, 0 at first."""
        return array("q", bytes(8 * max(0, self.last - self.first + 1)))

    def sensible(self, moment: int | None) -> bool:
        """Whether it is a time, in milliseconds, at which the event can have been made."""
        return moment is not None and self._earliest <= moment <= self._latest

    def record(self, seq: int, value: bytes, when: bytes | None) -> int | str:
        """The content of a record that names this seq, and ``when`` as its time; or what is wrong with it."""
        size = len(value)
        if when is not None and EVENT_BYTES_MIN <= size <= EVENT_BYTES_MAX:
            moment = milliseconds(when)
            if self.sensible(moment) and value == self._factory.event(seq, when, size):
                return _content(moment or 0, size)
        return self._wrong(seq, value)

    def _wrong(self, seq: int, value: bytes) -> str:
        """The fields of a record that the producer cannot have made so."""
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError:
            return BYTES
        when, *texts = (document.get(name) for name in ("event_time", "level", "service", "message"))
        moment = milliseconds(when.encode(errors="replace")) if isinstance(when, str) else None
        return self.differing((seq, moment, *(text if isinstance(text, str) else None for text in texts))) or BYTES

    def row(self, row: Row) -> int:
        """The content of a row, 0 when the producer cannot have made it so."""
        message = row[4]
        if message is None:
            return 0
        level, service, text, size = self._factory.fields(row[0], len(message))
        if message != text or row[2] != level or row[3] != service or not self.sensible(row[1]):
            return 0
        return _content(row[1], size)

    def differing(self, row: Row) -> str:
        """The columns that the producer cannot have made so, and which of them are null."""
        seq, moment, *found = row[:5]
        made = self._factory.fields(seq, len(found[2] or ""))
        wrong = [] if self.sensible(moment) else [_named("event_time", moment)]
        columns = zip(("level", "service", "message"), found, made[:3], strict=True)
        return ", ".join(wrong + [_named(name, value) for name, value, wanted in columns if value != wanted])


class RecordContents:
    """The records of one source's window, as the topic is read."""

    def __init__(self, original: Original) -> None:
        self._original = original
        self.contents = original.column()  #: of the first copy that is as it was made
        self.others: dict[tuple[int, int], int] = {}  #: place → content of the copies that differ from the first
        self.falsified: dict[str, list[tuple[int, int, int]]] = defaultdict(list)  #: what → seq, partition, offset

    def add(self, seq: int, partition: int, offset: int, value: bytes, when: bytes | None) -> None:
        """Note a record; those of other seqs than the window's are of no interest."""
        original = self._original
        if not original.first <= seq <= original.last:
            return
        content = original.record(seq, value, when)
        if isinstance(content, str):
            self.falsified[content].append((seq, partition, offset))
            return
        known = self.contents[seq - original.first]
        if not known:
            self.contents[seq - original.first] = content
        elif known != content:
            self.others[partition, offset] = content
            self.falsified[COPIES].append((seq, partition, offset))

    def wrong_places(self) -> dict[int, set[int]]:
        """Per partition the offsets at which no event stands as it was made."""
        places: dict[int, set[int]] = defaultdict(set)
        for what, copies in self.falsified.items():
            for _, partition, offset in copies if what != COPIES else ():
                places[partition].add(offset)
        return places


class RowContents:
    """The rows of one source's window, as the table is read."""

    def __init__(self, original: Original) -> None:
        self.original = original
        self.contents = original.column()  #: 0 also for a row that cannot have been made so
        self.places = original.column()
        self.altered: dict[str, IntervalSet] = defaultdict(IntervalSet)  #: what → seqs
        self._present = IntervalSet()
        self._run = (1, 0)  # the last rows, which follow each other, not yet among those present

    @property
    def present(self) -> IntervalSet:
        """The seqs that have a row."""
        self._present.add(*self._run)
        self._run = (1, 0)
        return self._present

    def add(self, row: Row, latest: int) -> None:
        """Note a row; ``latest`` (microseconds) is when it can have been written at the latest."""
        seq = row[0]
        begin, end = self._run
        if seq == end + 1:
            self._run = (begin, seq)
        else:
            self._present.add(begin, end)
            self._run = (seq, seq)
        index = seq - self.original.first
        self.contents[index] = content = self.original.row(row)
        if not content:
            self.altered[self.original.differing(row)].add(seq, seq)
        self.places[index] = place = _place(row[5])
        if place == _NOWHERE:
            null = row[5] is None or None in row[5]
            self.altered[f"{POSITION} is null" if null else POSITION].add(seq, seq)
        # A null column was not written, or has been deleted since.
        if max(moment or 0 for moment in row[6:]) > latest:
            self.altered[FUTURE].add(seq, seq)

    def compare(self, records: RecordContents | None, size: int) -> None:
        """Find rows that hold another content than the copy that they point at.

        Where the topic has no such copy any more, the event is of the configured ``size`` in bytes.
        """
        if records is not None and records.contents == self.contents and not records.others:
            return
        first = self.original.first
        topic = records.contents if records is not None else self.original.column()
        others = records.others if records is not None else {}
        fallen = IntervalSet(
            (seq, seq) for copies in (records.falsified.values() if records else ()) for seq, _, _ in copies
        )
        for index, content in enumerate(self.contents):
            copy = topic[index]
            if not content or (content == copy and not others):
                continue
            seq = first + index
            expected = others.get(_position(self.places[index]), copy)
            if not expected:
                if seq not in fallen and _size(content) != size:
                    self.altered["message"].add(seq, seq)
            elif content != expected:
                differing = ["event_time"] if content >> _SIZE_BITS != expected >> _SIZE_BITS else []
                differing += ["message"] if _size(content) != _size(expected) else []
                self.altered[", ".join(differing)].add(seq, seq)

    def pointing(self, runs: Iterable[Sequence[int]], wrong: Mapping[int, set[int]]) -> IntervalSet:
        """The seqs whose row points at a copy of it.

        ``runs``: seq, length, partition and offset of every run in the topic; ``wrong``: per partition the offsets at
        which no event stands as it was made.
        """
        first, last = self.original.first, self.original.last
        found: list[tuple[int, int]] = []
        for seq, length, partition, offset in runs:
            low, high = max(first, seq), min(last, seq + length - 1)
            if low > high:
                continue
            start = (partition << _OFFSET_BITS) + offset + low - seq
            expected = array("q", range(start, start + high - low + 1))
            places = self.places[low - first : high - first + 1]
            if places == expected and partition not in wrong:
                found.append((low, high))
                continue
            bad = wrong.get(partition, ())
            found += (
                (low + at, low + at)
                for at, (place, there) in enumerate(zip(places, expected, strict=True))
                if place == there and offset + low - seq + at not in bad
            )
        return IntervalSet(found)

    def position(self, seq: int) -> tuple[int, int]:
        """The partition and offset that its row points at; partition -1 for a place that no topic has."""
        return _position(self.places[seq - self.original.first])


def _content(moment: int, size: int) -> int:
    return moment << _SIZE_BITS | size


def _size(content: int) -> int:
    return content & ((1 << _SIZE_BITS) - 1)


def _place(position: tuple[int | None, int | None] | None) -> int:
    partition, offset = position or (None, None)
    if partition is None or offset is None:
        return _NOWHERE
    if not (0 <= partition < _PARTITIONS and 0 <= offset < 1 << _OFFSET_BITS):
        return _NOWHERE
    return partition << _OFFSET_BITS | offset


def _position(place: int) -> tuple[int, int]:
    return place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1)


def _named(column: str, value: object) -> str:
    return f"{column} is null" if value is None else column
