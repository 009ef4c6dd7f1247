"""Every record of a stretch of the topic, kept as runs: which (source, seq) stands where, and whether it holds what it
should.

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
from eventlog.contents import Original, RecordContents
from eventlog.hops.kafka import client_properties
from eventlog.intervals import IntervalSet

# The producer's encoding begins so. Which event a record is needs no more; whether the rest is as the producer makes it
# is compared for the events of the window, whether it can be stored is the sink's to say, in `rejected`, by position.
_CANONICAL = re.compile(
    rb'\{"source":"([ !#-\[\]-~]{1,128})","seq":([1-9][0-9]{0,17}),(?:"event_time":"([-0-9T:.]{23}Z)")?'
)
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

    def runs(self) -> Sequence[Run]:
        """All of them."""
        return self._runs

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
    """What was read: the runs of every source, per partition the offsets of records without a usable key and of those
    that the topic no longer held, and the contents of the events of ``originals``."""

    def __init__(self, originals: Mapping[str, Original] | None = None) -> None:
        self.malformed: dict[int, IntervalSet] = defaultdict(IntervalSet)
        self.deleted: dict[int, IntervalSet] = defaultdict(IntervalSet)
        self.records = 0
        self.contents = {source: RecordContents(original) for source, original in (originals or {}).items()}
        self._contents = {source.encode(): contents for source, contents in self.contents.items()}
        self._runs: dict[str, list[Run]] = defaultdict(list)
        # The run that each partition is in: source, its first seq and offset, the next seq and offset.
        self._open: dict[int, tuple[bytes, int, int, int, int]] = {}

    def add(self, partition: int, offset: int, value: bytes | None) -> None:
        """Note one record; those of a partition come in the order of their offsets."""
        self.records += 1
        match = _CANONICAL.match(value) if value else None
        if match is not None:
            source, seq, when = match[1], int(match[2]), match[3]
        else:
            parsed = _parse(value)
            if parsed is None:
                self._end_run(partition)
                self.malformed[partition].add(offset, offset)
                return
            (source, seq), when = parsed, None
        contents = self._contents.get(source)
        if contents is not None:
            contents.add(seq, partition, offset, value or b"", when)
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


def read_topic(
    config: Config,
    begin: Mapping[int, int],
    end: Mapping[int, int],
    deadline: float,
    originals: Mapping[str, Original] | None = None,
) -> TopicRecords:
    """Read the topic from the offsets ``begin`` (included) to ``end`` (excluded), per partition, and compare the events
    of ``originals`` with what their producer makes.

    ``deadline`` is a moment of ``time.monotonic``. Records that have been deleted are noted as such, and what the topic
    still holds is read. Raises ReadError when the broker does not answer or the deadline passes.
    """
    wanted = {partition: offset for partition, offset in end.items() if offset > begin.get(partition, 0)}
    records = TopicRecords(originals)
    if not wanted:
        return records
    consumer = Consumer(
        {
            **client_properties(config, request_timeout=SILENCE),
            "client.id": "eventlog-books",
            "group.id": "eventlog-books",  # required by the client; nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # for records that are deleted while they are read
            "queued.max.messages.kbytes": 65536,
            "fetch.message.max.bytes": 4194304,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        starts = {number: _first_held(consumer, config.kafka.topic, number) for number in wanted}
        reading = Reading(records, {number: begin.get(number, 0) for number in wanted}, wanted)
        consumer.assign(
            [
                TopicPartition(config.kafka.topic, number, max(starts[number], begin.get(number, 0)))
                for number in wanted
                if reading.begins(number, starts[number])
            ]
        )
        _consume(consumer, reading, deadline)
    except KafkaException as error:
        raise ReadError(str(error.args[0].str())) from error
    finally:
        consumer.close()
    return records


def _first_held(consumer: Consumer, topic: str, partition: int) -> int:
    """The offset of the first record that has not been deleted."""
    return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=SILENCE)[0])


class Reading:
    """How far each partition has been read, from ``begin`` to ``end``; offsets that are passed over were deleted."""

    def __init__(self, records: TopicRecords, begin: Mapping[int, int], end: Mapping[int, int]) -> None:
        self._records = records
        self._next = dict(begin)
        self.left = dict(end)  #: of the partitions that have not been read to their end

    def begins(self, partition: int, first: int) -> bool:
        """Note where the records of a partition begin; whether any of them are wanted."""
        self._reach(partition, first)
        return partition in self.left

    def take(self, batch: Sequence[Message]) -> None:
        """Note the records of a batch that are wanted. Raises KafkaException for an error that does not pass."""
        add = self._records.add
        for message in batch:
            partition, offset = message.partition(), message.offset()
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                if error.retriable() or error.code() in {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
                    continue
                raise KafkaException(error)
            if partition not in self.left:
                continue
            self._reach(partition, offset)
            if error is None and partition in self.left:
                add(partition, offset, message.value())
                self._next[partition] = offset + 1
                if offset + 1 >= self.left[partition]:
                    del self.left[partition]

    def _reach(self, partition: int, offset: int) -> None:
        """Everything before an offset has been read or is gone."""
        end, following = self.left[partition], self._next[partition]
        if offset > following:
            self._records.deleted[partition].add(following, min(offset, end) - 1)
            self._next[partition] = offset
        if offset >= end:
            del self.left[partition]


def _consume(consumer: Consumer, reading: Reading, deadline: float) -> None:
    heard = time.monotonic()
    while reading.left:
        now = time.monotonic()
        if now > deadline or now - heard > SILENCE:
            raise ReadError(
                f"no answer for {now - heard:.0f} s; {len(reading.left)} partitions were not read to the end"
            )
        batch = consumer.consume(BATCH, timeout=0.2)
        if batch:
            heard = time.monotonic()
        reading.take(batch)
