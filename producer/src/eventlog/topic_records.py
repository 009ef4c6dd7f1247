"""Every record of a stretch of the topic, kept as runs: which (source, seq) stands where.

Events come in blocks of consecutive seqs at consecutive offsets, so a run is an interval of both and a million records
take a few thousand runs.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventlog.config import Config
from eventlog.hops.kafka import client_properties
from eventlog.intervals import IntervalSet

# The producer's encoding begins so. Reading no further is safe: whether the rest is well-formed is the sink's to say,
# and it has said it in `rejected`, by position.
_CANONICAL = re.compile(rb'\{"source":"([ !#-\[\]-~]{1,128})","seq":([1-9][0-9]{0,17}),')
LARGEST_SEQ = 2**63 - 1
LONGEST_SOURCE = 128
BATCH = 10_000  # records per call of the client
SILENCE = 10.0  # seconds without a record after which the broker is given up


class Run(NamedTuple):
    """``length`` events of a source from ``seq`` on, at the offsets from ``offset`` on."""

    seq: int
    length: int
    partition: int
    offset: int

    @property
    def last(self) -> int:
        """The last seq."""
        return self.seq + self.length - 1


class Position(NamedTuple):
    """Where one event stands."""

    seq: int
    partition: int
    offset: int


class ReadError(Exception):
    """The topic could not be read to the end; the text is one short line for a person."""


class SourceRuns:
    """All runs of one source, by seq."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = sorted(runs, key=lambda run: (run.seq, run.partition, run.offset))
        self._starts = [run.seq for run in self._runs]
        self._furthest = list(accumulate((run.last for run in self._runs), max))

    def seqs(self) -> IntervalSet:
        """The seqs that are there at least once."""
        return IntervalSet((run.seq, run.last) for run in self._runs)

    def repeated(self) -> IntervalSet:
        """The seqs that are there more than once."""
        overlaps = []
        for before, run in zip(self._furthest, self._runs[1:], strict=False):
            if run.seq <= before:
                overlaps.append((run.seq, min(before, run.last)))
        return IntervalSet(overlaps)

    def further_copies(self, first: int, last: int) -> int:
        """How many records there are beyond the first of each seq from ``first`` to ``last``."""
        records = sum(max(0, min(last, run.last) - max(first, run.seq) + 1) for run in self._runs)
        return records - len(self.seqs().within(first, last))

    def positions(self, first: int, last: int) -> Iterator[Position]:
        """Where the seqs from ``first`` to ``last`` stand, every copy, in descending order of their runs."""
        index = bisect_right(self._starts, last) - 1
        # No run before one whose furthest seq is too low can reach the wanted ones.
        while index >= 0 and self._furthest[index] >= first:
            run = self._runs[index]
            for seq in range(max(first, run.seq), min(last, run.last) + 1):
                yield Position(seq, run.partition, run.offset + seq - run.seq)
            index -= 1


class Places:
    """Which event stands at an offset of one partition; from (first offset, length, source, first seq) of its runs."""

    def __init__(self, runs: Iterable[tuple[int, int, str, int]]) -> None:
        self._runs = sorted(runs)
        self._offsets = [run[0] for run in self._runs]

    def event(self, offset: int) -> tuple[str, int] | None:
        """Source and seq, None where no event stands."""
        index = bisect_right(self._offsets, offset) - 1
        if index < 0:
            return None
        first, length, source, seq = self._runs[index]
        return (source, seq + offset - first) if offset < first + length else None


class TopicRecords:
    """What was read: the runs of every source, and per partition the offsets of records without a usable key."""

    def __init__(self) -> None:
        self.malformed: dict[int, IntervalSet] = defaultdict(IntervalSet)
        self.records = 0
        self._runs: dict[str, list[Run]] = defaultdict(list)
        # The run that each partition is in: source, its first seq and offset, the next seq and offset.
        self._open: dict[int, tuple[bytes, int, int, int, int]] = {}

    def add(self, partition: int, offset: int, value: bytes | None) -> None:
        """Note one record; those of a partition come in the order of their offsets."""
        self.records += 1
        match = _CANONICAL.match(value) if value else None
        if match is not None:
            source, seq = match[1], int(match[2])
        else:
            parsed = _parse(value)
            if parsed is None:
                self._end_run(partition)
                self.malformed[partition].add(offset, offset)
                return
            source, seq = parsed
        run = self._open.get(partition)
        if run is not None and run[3] == seq and run[4] == offset and run[0] == source:
            self._open[partition] = (source, run[1], run[2], seq + 1, offset + 1)
            return
        self._end_run(partition)
        self._open[partition] = (source, seq, offset, seq + 1, offset + 1)

    def sources(self) -> dict[str, SourceRuns]:
        """The runs by source, all records added so far."""
        for partition in list(self._open):
            self._end_run(partition)
        return {source: SourceRuns(runs) for source, runs in self._runs.items()}

    def at(self) -> dict[int, Places]:
        """The same by position, per partition."""
        placed: dict[int, list[tuple[int, int, str, int]]] = defaultdict(list)
        for partition in list(self._open):
            self._end_run(partition)
        for source, runs in self._runs.items():
            for run in runs:
                placed[run.partition].append((run.offset, run.length, source, run.seq))
        return {partition: Places(places) for partition, places in placed.items()}

    def _end_run(self, partition: int) -> None:
        run = self._open.pop(partition, None)
        if run is not None:
            source, seq, offset, following, _ = run
            self._runs[source.decode()].append(Run(seq, following - seq, partition, offset))


def _parse(value: bytes | None) -> tuple[bytes, int] | None:
    """Source and seq of a record in another encoding than the producer's; None when none could be stored."""
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    source, seq = document.get("source"), document.get("seq")
    if not isinstance(source, str) or not 1 <= len(source) <= LONGEST_SOURCE:
        return None
    if not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= LARGEST_SEQ:
        return None
    return source.encode(), seq


def read_topic(config: Config, begin: Mapping[int, int], end: Mapping[int, int], deadline: float) -> TopicRecords:
    """Read the topic from the offsets ``begin`` (included) to ``end`` (excluded), per partition.

    ``deadline`` is a moment of ``time.monotonic``. Raises ReadError when the broker does not answer, the deadline
    passes, or records of the stretch have been removed by retention.
    """
    wanted = {partition: offset for partition, offset in end.items() if offset > begin.get(partition, 0)}
    records = TopicRecords()
    if not wanted:
        return records
    consumer = Consumer(
        {
            **client_properties(config, request_timeout=SILENCE),
            "client.id": "eventlog-books",
            "group.id": "eventlog-books",  # required by the client; nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "queued.max.messages.kbytes": 65536,
            "fetch.message.max.bytes": 4194304,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        _check_retention(consumer, config.kafka.topic, begin, wanted)
        consumer.assign([TopicPartition(config.kafka.topic, number, begin.get(number, 0)) for number in wanted])
        _consume(consumer, records, wanted, deadline)
    except KafkaException as error:
        raise ReadError(str(error.args[0].str())) from error
    finally:
        consumer.close()
    return records


def _check_retention(consumer: Consumer, topic: str, begin: Mapping[int, int], wanted: Mapping[int, int]) -> None:
    for partition in wanted:
        first = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SILENCE)[0]
        if first > begin.get(partition, 0):
            raise ReadError(
                f"partition {partition} begins at offset {first}, the window at {begin.get(partition, 0)}:"
                " the records between were removed by the topic's retention"
            )


def _consume(consumer: Consumer, records: TopicRecords, end: Mapping[int, int], deadline: float) -> None:
    left = dict(end)
    heard = time.monotonic()
    while left:
        now = time.monotonic()
        if now > deadline or now - heard > SILENCE:
            raise ReadError(f"no answer for {now - heard:.0f} s; {len(left)} partitions were not read to the end")
        batch = consumer.consume(BATCH, timeout=0.2)
        if batch:
            heard = time.monotonic()
        _take(records, batch, left)


def _take(records: TopicRecords, batch: Sequence[Message], left: dict[int, int]) -> None:
    """Note the records of a batch that are wanted; partitions that have been read to their end leave ``left``."""
    add = records.add
    for message in batch:
        partition, offset = message.partition(), message.offset()
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.retriable() or error.code() in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
                continue
            raise KafkaException(error)
        if partition not in left:
            continue
        if error is None and offset < left[partition]:
            add(partition, offset, message.value())
        if offset + (error is None) >= left[partition]:
            del left[partition]
