"""What the tables say about a window: which seqs have rows, what was rejected, and what was written again."""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.util import unix_time_from_uuid1

from eventlog.intervals import IntervalSet

CONCURRENT_READS = 16  # requests in flight; more gains nothing on a server with a few cores
HOUR = 3600
LOG_KEPT = 14 * 24 * HOUR  # seconds a row of `ingest_log` lives, its table's default TTL


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

    def rows(self, source: str, first: int, last: int) -> IntervalSet:
        """The seqs of ``source`` from ``first`` to ``last`` that have a row.

        A bucket is asked for the number of its rows within bounds first: seq is the clustering key, so a bucket that
        has as many rows as there are numbers has each of them. Only where some are missing are the seqs read.
        """
        pieces = list(_pieces(first, last, self._bucket_size))
        present = IntervalSet()
        count = "SELECT count(*) FROM events WHERE source = ? AND bucket = ? AND seq >= ? AND seq <= ?"
        broken = []
        for piece, answer in zip(pieces, self._each(count, [(source, *piece) for piece in pieces]), strict=True):
            bucket, low, high = piece
            found = answer.one()[0]
            if found == high - low + 1:
                present.add(low, high)
            elif found:
                broken.append((source, bucket, low, high))
        seqs = "SELECT seq FROM events WHERE source = ? AND bucket = ? AND seq >= ? AND seq <= ?"
        for answer in self._each(seqs, broken):
            for (seq,) in answer:
                present.add(seq, seq)
        return present

    def rows_after(self, source: str, seq: int) -> IntervalSet:
        """The seqs of ``source`` above ``seq`` that have a row."""
        listed = self._session.execute(
            self._session.prepare("SELECT bucket FROM buckets WHERE source = ? AND bucket >= ?"),
            (source, seq // self._bucket_size),
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
        query = "SELECT id, attempt, topic_id, partition, first_offset, last_offset FROM ingest_log WHERE hour = ?"
        hours = [(hour,) for hour in _hours(max(since - HOUR, now - LOG_KEPT), now)]
        rows = (row for answer in self._each(query, hours) for row in answer)
        batches = sorted(
            (unix_time_from_uuid1(identifier), attempt, partition, first, last)
            for identifier, attempt, topic, partition, first, last in rows
            if topic == topic_id
        )
        return count_rewrites(batches, since)

    def _each(self, query: str, arguments: list[tuple[Any, ...]]) -> Iterator[Any]:
        """The answers in the order of ``arguments``; the driver's error of the first that failed is raised."""
        if not arguments:
            return
        results = execute_concurrent_with_args(
            self._session, self._session.prepare(query), arguments, concurrency=CONCURRENT_READS, results_generator=True
        )
        for _, result in results:
            if time.monotonic() > self._deadline:
                raise TimeoutError("not read to the end in time")
            yield result


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
