"""What the tables say about a window: which seqs have rows and what these hold, what was rejected, and what was written
again."""

from __future__ import annotations

import datetime
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cassandra.cluster import EXEC_PROFILE_DEFAULT, ResponseFuture, Session
from cassandra.query import tuple_factory
from cassandra.util import unix_time_from_uuid1

from eventlog.contents import TOLERANCE, RowContents
from eventlog.hops.cassandra import BucketState
from eventlog.intervals import IntervalSet

CONCURRENT_READS = 16  # requests in flight; more gains nothing on a server with a few cores
PAGE_BYTES = 2 << 20  # of rows in one answer; with all requests in flight, what reading needs of memory at most
HOUR = 3600
LOG_KEPT = 14 * 24 * HOUR  # seconds a row of `ingest_log` lives, its table's default TTL
_COLUMNS = ("event_time", "level", "service", "message", "position")
# A time of any year: the driver's own type has years 1 to 9999 only.
_ROWS = (
    f"SELECT seq, toUnixTimestamp(event_time), {', '.join(_COLUMNS[1:])},"
    f" {', '.join(f'WRITETIME({column})' for column in _COLUMNS)}"
    " FROM events WHERE source = ? AND bucket = ? AND seq >= ? AND seq <= ?"
)


class Rejected(NamedTuple):
    """A record that the sink refused."""

    partition: int
    offset: int
    reason: str


class Rewrites(NamedTuple):
    """How often offsets were processed again: in all, per partition, and by which attempts of the sink."""

    total: int
    partitions: dict[int, int]
    attempts: dict[str, int]


class Tables:
    """The tables of one keyspace, over one session, until ``deadline`` (a moment of ``time.monotonic``).

    Its methods raise what the driver raises, and TimeoutError after the deadline.
    """

    def __init__(self, session: Session, bucket_size: int, deadline: float) -> None:
        self._session = session
        self._bucket_size = bucket_size
        self._deadline = deadline
        self._profile = session.execution_profile_clone_update(EXEC_PROFILE_DEFAULT, row_factory=tuple_factory)

    def rows(self, source: str, contents: RowContents, row_bytes: int) -> None:
        """Read every row of the window into ``contents``; one has about ``row_bytes``."""
        first, last = contents.original.first, contents.original.last
        pieces = [(source, *piece) for piece in _pieces(first, last, self._bucket_size)]
        for answer in self._each(_ROWS, pieces, page=max(1, PAGE_BYTES // row_bytes)):
            latest = int((time.time() + TOLERANCE) * 1_000_000)
            for row in answer:
                contents.add(row, latest)

    def counted(self, source: str) -> BucketState:
        """Which buckets are not counted any more because they are full."""
        row = self._one("SELECT state FROM counted WHERE source = ?", (source,)).one()
        return BucketState(row[0][0], frozenset(row[0][1] or ())) if row and row[0] else BucketState()

    def reopen(self, source: str, contents: RowContents, counted: BucketState) -> dict[int, int]:
        """Have those buckets of the window counted again that ``counted``, which was read before the rows, takes for
        full and that are not: bucket → rows that it has."""
        known: dict[int, int] = {}
        edges = []
        for bucket, low, high in _pieces(contents.original.first, contents.original.last, self._bucket_size):
            if bucket >= counted.next or bucket in counted.open:
                continue
            if high - low + 1 == self._bucket_size:
                known[bucket] = len(contents.present.within(low, high))
            else:
                edges.append((source, bucket))
        answers = self._each("SELECT count(*) FROM events WHERE source = ? AND bucket = ?", edges)
        known.update({bucket: int(answer.one()[0]) for (_, bucket), answer in zip(edges, answers, strict=True)})
        short = {bucket: rows for bucket, rows in sorted(known.items()) if rows != self._bucket_size}
        if short:
            state = self.counted(source).reopened(short)
            self._one("INSERT INTO counted (source, state) VALUES (?, ?)", (source, (state.next, state.open)))
        return short

    def rows_after(self, source: str, seq: int) -> IntervalSet:
        """The seqs of ``source`` above ``seq`` that have a row."""
        listed = self._one(
            "SELECT bucket FROM buckets WHERE source = ? AND bucket >= ?", (source, seq // self._bucket_size)
        )
        query = "SELECT seq FROM events WHERE source = ? AND bucket = ? AND seq > ?"
        present = IntervalSet()
        for answer in self._each(query, [(source, bucket, seq) for (bucket,) in listed]):
            for (found,) in answer:
                present.add(found, found)
        return present

    def rejected(self, topic_id: str, begin: Mapping[int, int], end: Mapping[int, int]) -> list[Rejected]:
        """The rejected records of the topic from the offsets ``begin`` (included) to ``end`` (excluded)."""
        query = (
            "SELECT partition, offset, reason FROM rejected"
            " WHERE topic_id = ? AND partition = ? AND offset >= ? AND offset < ?"
        )
        bounds = [(topic_id, number, begin.get(number, 0), offset) for number, offset in sorted(end.items())]
        return [Rejected(*row) for answer in self._each(query, bounds) for row in answer]

    def rewrites(self, topic_id: str, since: float, now: float) -> Rewrites:
        """What was processed again from ``since`` to ``now`` (epoch seconds), by the sink's own log.

        A batch of that time counts with those of its offsets that any earlier batch had, back to an hour before.
        """
        return count_rewrites(self._batches(topic_id, since - HOUR, now), since)

    def first_offsets(self, topic_id: str, since: float, now: float) -> dict[int, int]:
        """Per partition the first offset of all that was processed from ``since`` to ``now`` (epoch seconds)."""
        found: dict[int, int] = {}
        for moment, _, partition, first, _ in self._batches(topic_id, since, now):
            if moment >= since:
                found[partition] = min(first, found.get(partition, first))
        return found

    def _batches(self, topic_id: str, since: float, now: float) -> list[tuple[float, str, int, int, int]]:
        """What the sink's log says of the hours from ``since`` to ``now``: time, attempt, partition, first and last
        offset of each batch, by time."""
        query = "SELECT id, attempt, topic_id, partition, first_offset, last_offset FROM ingest_log WHERE hour = ?"
        hours = [(hour,) for hour in _hours(max(since, now - LOG_KEPT), now)]
        rows = (row for answer in self._each(query, hours) for row in answer)
        return sorted(
            (unix_time_from_uuid1(identifier), attempt, partition, first, last)
            for identifier, attempt, topic, partition, first, last in rows
            if topic == topic_id
        )

    def _one(self, query: str, arguments: tuple[Any, ...]) -> Any:
        return next(self._each(query, [arguments]))

    def _each(self, query: str, arguments: Iterable[tuple[Any, ...]], page: int | None = None) -> Iterator[Any]:
        """The answers in the order of ``arguments``; the driver's error of the first that failed is raised.

        Of the answers no more than CONCURRENT_READS are in memory, each with ``page`` rows at most.
        """
        statement = self._session.prepare(query)
        if page is not None:
            statement.fetch_size = page
        asked: deque[ResponseFuture] = deque()
        for values in arguments:
            asked.append(self._session.execute_async(statement, values, execution_profile=self._profile))
            if len(asked) == CONCURRENT_READS:
                yield self._answer(asked.popleft())
        while asked:
            yield self._answer(asked.popleft())

    def _answer(self, asked: ResponseFuture) -> Any:
        answer = asked.result()
        if time.monotonic() > self._deadline:
            raise TimeoutError("not read to the end in time")
        return answer


def count_rewrites(batches: Iterable[tuple[float, str, int, int, int]], since: float) -> Rewrites:
    """Offsets that come again in ``batches`` (time, attempt, partition, first and last offset; by time) at or after
    ``since``."""
    seen: dict[int, IntervalSet] = defaultdict(IntervalSet)
    partitions: dict[int, int] = defaultdict(int)
    attempts: dict[str, int] = defaultdict(int)
    for moment, attempt, partition, first, last in batches:
        again = seen[partition].add(first, last)
        if again and moment >= since:
            partitions[partition] += again
            attempts[attempt] += again
    return Rewrites(sum(partitions.values()), dict(sorted(partitions.items())), dict(sorted(attempts.items())))


def _pieces(first: int, last: int, bucket_size: int) -> Iterator[tuple[int, int, int]]:
    """(bucket, first seq, last seq) of an interval, bucket by bucket."""
    for bucket in range((first - 1) // bucket_size, (last - 1) // bucket_size + 1):
        yield bucket, max(first, bucket * bucket_size + 1), min(last, (bucket + 1) * bucket_size)


def _hours(begin: float, end: float) -> Iterator[datetime.datetime]:
    """The beginnings of the hours from that of ``begin`` to that of ``end``."""
    for hour in range(int(begin) // HOUR, int(end) // HOUR + 1):
        yield datetime.datetime.fromtimestamp(hour * HOUR, datetime.UTC)
