"""The sink: a batch of Kafka records into the tables, and the dead letters of those that do not fit.

`Sink.process` returns only when everything is acknowledged by Cassandra, so that a checkpoint, which waits for it,
never covers a record that is not stored. After a failure Flink hands the records since the last checkpoint over again;
the key of the table makes that harmless.
"""

from __future__ import annotations

import dataclasses
import datetime
import secrets
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from eventlog_job import events
from eventlog_job.config import JobConfig
from eventlog_job.store import Statement, Store, Write

#: Buckets a worker remembers to have registered; forgetting one costs one more write of the same row.
_REMEMBERED_BUCKETS = 10_000
#: Milliseconds.
_HOUR = 3_600_000
#: 1970 in the time of a uuid: units of 100 ns since 1582-10-15 (RFC 9562, section 5.1).
_UUID_EPOCH = 0x01B21DD213814000


class Counter(Protocol):
    """A metric that only grows."""

    def inc(self, n: int = 1) -> None:
        """Adds n."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counters:
    """The metrics of one worker, in records.

    Attributes:
        written: rows acknowledged by Cassandra.
        retried: rows that had to be sent again after a passing error.
        rewritten: written rows whose Kafka offset had been processed before this worker started (replays).
        rejected: records that went to the dead letters.
    """

    written: Counter
    retried: Counter
    rewritten: Counter
    rejected: Counter


@dataclasses.dataclass(slots=True)
class _Lane:
    """A Kafka partition of one incarnation of the topic.

    Attributes:
        processed: every offset below was processed before this worker saw the partition.
        last: the newest offset seen.
        progress: what the table `progress` says.
    """

    partition: int
    topic_id: str
    processed: int
    last: int
    progress: int


@dataclasses.dataclass(slots=True)
class _Share:
    """What a batch holds of one lane; one row of the ingest log."""

    lane: _Lane
    first: int
    last: int
    log_id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid1)
    accepted: int = 0
    rewritten: int = 0
    reasons: dict[int, str] = dataclasses.field(default_factory=dict)

    def accept(self, offset: int, sign: int = 1) -> None:
        """Counts a record as stored, or with sign -1 takes that back."""
        self.accepted += sign
        if offset < self.lane.processed:
            self.rewritten += sign


#: (source, bucket) -> seq -> (index of the record in the batch, encoded columns, bytes of the record)
_Rows = dict[tuple[str, int], dict[int, tuple[int, tuple[bytes, ...], int]]]


@dataclasses.dataclass(slots=True)
class _Batch:
    """A batch under way; `owner` and `reasons` go by the index of the record in it."""

    shares: dict[int, _Share] = dataclasses.field(default_factory=dict)
    owner: list[_Share] = dataclasses.field(default_factory=list)
    rows: _Rows = dataclasses.field(default_factory=dict)
    reasons: dict[int, str] = dataclasses.field(default_factory=dict)

    def refuse(self, index: int, offset: int, reason: str) -> None:
        """Notes why a record is not stored."""
        self.reasons[index] = self.owner[index].reasons[offset] = reason


def new_attempt() -> str:
    """A name for one start of one worker: UTC time, sortable, and a random part."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%S}Z-{secrets.token_hex(4)}"


class Sink:
    """Stores batches of Kafka records.

    Args:
        config: bucket size, topic and tuning.
        store: where the rows go.
        topic_id: asks Kafka for the id of the topic; waits while Kafka is away.
        counters: the metrics.
        attempt: the name of this start of the worker.
    """

    def __init__(
        self, config: JobConfig, store: Store, topic_id: Callable[[], str], counters: Counters, attempt: str
    ) -> None:
        self._config = config
        self._store = store
        self._topic_id = topic_id
        self._counters = counters
        self._attempt = attempt
        self._lanes: dict[int, _Lane] = {}
        self._buckets: OrderedDict[tuple[str, int], None] = OrderedDict()

    def process(
        self, values: Sequence[bytes | None], partitions: Sequence[int], offsets: Sequence[int]
    ) -> list[str | None]:
        """Stores a batch; the records of a Kafka partition must come in the order of their offsets.

        Returns:
            Per record None if its row is stored, else its dead letter (JSON text).

        Raises:
            StoreError, Interrupted: see `Store.write`. Nothing is confirmed then and everything may be processed
            again.
        """
        batch = _Batch()
        for index, (value, partition, offset) in enumerate(zip(values, partitions, offsets, strict=True)):
            self._take(batch, index, value, partition, offset)
        self._register(batch.rows)
        refused = self._store.write([*self._event_writes(batch.rows), *self._log(batch)])
        for index, reason in refused.items():
            batch.owner[index].accept(offsets[index], -1)
            batch.refuse(index, offsets[index], reason)
        self._account(batch, corrected=bool(refused))
        self._count(batch)
        letters: list[str | None] = [None] * len(values)
        for index in batch.reasons:
            letters[index] = self._letter(batch, index, values[index], offsets[index])
        return letters

    def _take(self, batch: _Batch, index: int, value: bytes | None, partition: int, offset: int) -> None:
        share = self._share(batch, partition, offset)
        batch.owner.append(share)
        row = events.parse(value, self._config.bucket_size, self._config.tuning.largest_record_bytes)
        if isinstance(row, str):
            batch.refuse(index, offset, row)
            return
        share.accept(offset)
        # A second copy of an event in the same batch replaces the first: rows of one batch have one timestamp, and
        # Cassandra would choose between the copies column by column.
        bucket = batch.rows.setdefault((row.source, row.bucket), {})
        bucket[row.seq] = (index, (*row.columns, events.position(partition, offset)), row.size)

    def _share(self, batch: _Batch, partition: int, offset: int) -> _Share:
        lane = self._lanes.get(partition)
        if lane is None or offset <= lane.last:
            lane = self._open_lane(partition)
        share = batch.shares.get(id(lane))
        if share is None:
            share = batch.shares[id(lane)] = _Share(lane, offset, offset)
        lane.last = share.last = offset
        return share

    def _open_lane(self, partition: int) -> _Lane:
        """A partition is new to this worker, or its offsets start again: then the topic was made anew underneath."""
        topic_id = self._topic_id()
        processed = self._store.next_offset(topic_id, partition)
        lane = _Lane(partition, topic_id, processed=processed, last=-1, progress=processed)
        self._lanes[partition] = lane
        return lane

    def _register(self, rows: Iterable[tuple[str, int]]) -> None:
        """Writes the buckets that are new, before any row of them."""
        keys = list(rows)
        self._store.write([Write(Statement.BUCKET, [key]) for key in keys if key not in self._buckets])
        for key in keys:
            self._buckets[key] = None
            self._buckets.move_to_end(key)
        while len(self._buckets) > _REMEMBERED_BUCKETS:
            self._buckets.popitem(last=False)

    def _event_writes(self, rows: _Rows) -> Iterator[Write]:
        tuning = self._config.tuning
        for bucket in rows.values():
            keys: list[int] = []
            columns: list[tuple[bytes, ...]] = []
            size = 0
            for index, encoded, length in bucket.values():
                if keys and (len(keys) == tuning.batch_rows or size + length > tuning.batch_bytes):
                    yield Write(Statement.EVENT, columns, keys, encoded=True)
                    keys, columns, size = [], [], 0
                keys.append(index)
                columns.append(encoded)
                size += length
            yield Write(Statement.EVENT, columns, keys, encoded=True)

    def _log(self, batch: _Batch) -> list[Write]:
        """The ingest log, sent along with the rows: what a dying worker has written is then in the log, as a rule."""
        return [
            Write(
                Statement.INGEST,
                [
                    (
                        _hour(share.log_id),
                        share.log_id,
                        self._attempt,
                        share.lane.topic_id,
                        share.lane.partition,
                        share.first,
                        share.last,
                        share.accepted,
                        len(share.reasons),
                    )
                ],
            )
            for share in batch.shares.values()
        ]

    def _account(self, batch: _Batch, corrected: bool) -> None:
        """What may be said only after the rows are stored: rejected records and progress."""
        writes = self._log(batch) if corrected else []
        for share in batch.shares.values():
            lane = share.lane
            for offset, reason in share.reasons.items():
                writes.append(Write(Statement.REJECTED, [(lane.topic_id, lane.partition, offset, reason)]))
            # After a rewind the records in between are stored already: progress never goes back.
            lane.progress = max(lane.progress, share.last + 1)
            writes.append(Write(Statement.PROGRESS, [(lane.topic_id, lane.partition, lane.progress, self._attempt)]))
        self._store.write(writes)

    def _count(self, batch: _Batch) -> None:
        shares = batch.shares.values()
        self._counters.written.inc(sum(share.accepted for share in shares))
        self._counters.rewritten.inc(sum(share.rewritten for share in shares))
        self._counters.rejected.inc(len(batch.reasons))

    def _letter(self, batch: _Batch, index: int, value: bytes | None, offset: int) -> str:
        lane = batch.owner[index].lane
        return events.dead_letter(
            self._config.topic,
            lane.topic_id,
            lane.partition,
            offset,
            batch.reasons[index],
            value,
            self._config.tuning.dead_letter_bytes,
        )


def _hour(moment: uuid.UUID) -> int:
    """The beginning of the hour of a time-based uuid, in milliseconds since 1970: the log's partition key."""
    milliseconds = (moment.time - _UUID_EPOCH) // 10_000
    return milliseconds // _HOUR * _HOUR
