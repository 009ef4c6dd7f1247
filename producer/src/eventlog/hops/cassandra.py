"""Cassandra: the exact number of rows at a cost that does not depend on their number, and how far the job has come."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cassandra import DriverException, OperationTimedOut
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy
from cassandra.protocol import ErrorMessage
from cassandra.query import ConsistencyLevel

from eventlog.config import Config
from eventlog.hops.probe import Unreadable

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 5  # CQL native protocol of Cassandra 4.0 and later; fixed, so that connecting needs no negotiation
CONCURRENT_READS = 16  # measured: 1,000 buckets of 1,000 rows take 3.5 s one by one, 1.4 s sixteen at a time
EXACT_BUCKETS = 4  # buckets of a source whose rows are looked at one by one, about 15 µs each, and not only counted
AHEAD_SECONDS = 5.0  # a time of writing that lies less ahead of ours is the difference of two clocks
AUDITED = 4  # full buckets of a source that are counted again with every reading, in turn
CHUNK = 256  # buckets counted between two saves of the state: what a first count of a big table gets done in a second
MOST_OPEN = 1000  # buckets that `counted.state` may list as not full; keeps the value small whatever the events say
REBUILD_AFTER = 10.0  # seconds of failures after which the driver's own reconnecting is not trusted any longer
CONNECT_TIMEOUT = 2.0  # seconds for each step of a first connect

# What the driver raises when a server is away, slow or refuses; its exceptions have no base of their own.
SERVER_ERRORS = (DriverException, NoHostAvailable, ConnectionException, ErrorMessage, OSError)


@dataclass(frozen=True, slots=True)
class CassandraReading:
    """Rows of `events`; per topic id, the next offset to be processed per partition and the rows of `rejected`.

    All three are of one moment, that of the next offsets: rows and rejections of a batch that the sink has not finished
    belong to the records that are still to be processed.

    ``ahead`` is, per topic id, by how many seconds the next offset of a partition was written in the future, where it
    was: no later one shows before that time has come.
    """

    count: int
    next_offsets: Mapping[str, Mapping[int, int]]
    rejected: Mapping[str, int]
    ahead: Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class BucketState:
    """What `counted` says of a source: every bucket below ``next`` is full, but those in ``open``."""

    next: int = 0
    open: frozenset[int] = frozenset()

    def full_buckets(self) -> int:
        """How many buckets need not be counted again."""
        return self.next - len(self.open)

    def advanced(self, counts: Mapping[int, int], bucket_size: int) -> BucketState:
        """The state after the buckets in ``counts`` (bucket → rows) were counted.

        Buckets below the new ``next`` that were not counted have not been registered, so they hold nothing yet and are
        open; so is one that holds more rows than it may. ``next`` stops before a full bucket that would make more than
        MOST_OPEN buckets open: a stray event with a huge seq then costs one count per reading instead of an endless
        list.
        """
        still_open = {bucket for bucket in self.open if counts.get(bucket, 0) != bucket_size}
        following = self.next
        for bucket in sorted(bucket for bucket, rows in counts.items() if bucket >= self.next and rows == bucket_size):
            if len(still_open) + bucket - following > MOST_OPEN:
                break
            still_open.update(range(following, bucket))
            following = bucket + 1
        return BucketState(following, frozenset(still_open))

    def reopened(self, buckets: Iterable[int]) -> BucketState:
        """The state after these buckets were found not to be full any more; it lists no more than MOST_OPEN either."""
        listed = sorted(self.open.union(buckets))
        if len(listed) <= MOST_OPEN:
            return BucketState(self.next, frozenset(listed))
        return BucketState(listed[MOST_OPEN], frozenset(listed[:MOST_OPEN]))

    def to_audit(self, after: int) -> list[int]:
        """The AUDITED full buckets that follow bucket ``after``, beginning again at 0 behind the last."""
        following = itertools.chain(range(after + 1, self.next), range(min(after + 1, self.next)))
        return list(itertools.islice((bucket for bucket in following if bucket not in self.open), AUDITED))


@dataclass(frozen=True, slots=True)
class Rejections:
    """Rejected records of a partition that need not be read again.

    The sink finishes one batch before it begins the next, so once `progress` has moved from ``seen`` to a later offset,
    all that it says about the records below ``seen`` is written: ``rows`` of them, below ``settled``, are final.
    """

    settled: int = 0
    rows: int = 0
    seen: int = 0

    def advanced(self, offsets: Sequence[int], next_offset: int) -> Rejections:
        """After `rejected` was read from ``settled`` on (``offsets``) while `progress` said ``next_offset``."""
        if next_offset == self.seen:
            return self
        return Rejections(self.seen, self.rows + sum(offset < self.seen for offset in offsets), next_offset)


def connect(config: Config, request_timeout: float) -> Session:
    """A session for reading: quick to connect, and for ever reconnecting in the background once it was connected.

    ``request_timeout`` is in seconds. Raises NoHostAvailable (and stops everything it had started) when no server
    answers; that takes at most about CONNECT_TIMEOUT.
    """
    # The driver reports every attempt to reconnect; what could not be read is already said by the reading itself.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    profile = ExecutionProfile(
        load_balancing_policy=DCAwareRoundRobinPolicy(config.cassandra.datacenter),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=request_timeout,
    )
    cluster = Cluster(
        list(config.cassandra.contact_points),
        port=config.cassandra.port,
        protocol_version=PROTOCOL_VERSION,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        # The default policy gives up for good after 64 attempts and waits up to ten minutes between them.
        reconnection_policy=ConstantReconnectionPolicy(0.5, max_attempts=None),
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
        connect_timeout=CONNECT_TIMEOUT,
        control_connection_timeout=CONNECT_TIMEOUT,
        idle_heartbeat_interval=2,
        idle_heartbeat_timeout=2,
        executor_threads=2,
    )
    try:
        session = cluster.connect()
        # Only now, because the driver explains a missing keyspace as a server that cannot be reached.
        session.set_keyspace(config.cassandra.keyspace)
    except BaseException:
        cluster.shutdown()
        raise
    return session


def explain(error: Exception) -> str:
    """One short line about what the driver raised."""
    if isinstance(error, OperationTimedOut):
        return "no answer in time"
    if isinstance(error, NoHostAvailable):
        reasons = list(error.errors.values()) if isinstance(error.errors, dict) else []
        if not reasons:
            return "not connected, trying again"
        text = explain(reasons[0]) if isinstance(reasons[0], Exception) else str(reasons[0])
        return text if len(reasons) == 1 else f"{text} ({len(reasons)} servers)"
    text = str(error).split("\n", 1)[0]
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text[:200] or type(error).__name__


class CassandraHop:
    """Counts rows by bucket: full buckets are known from `counted`, only the open ones are counted, and a few full ones
    again with every reading: one that has lost a row since is open again, for every reader.

    Reads with LOCAL_QUORUM, as the sink writes. The state is read anew every time, so an emptied keyspace is noticed.
    """

    def __init__(self, config: Config, request_timeout: float) -> None:
        self._config = config
        self._timeout = request_timeout
        self._session: Session | None = None
        self._statements: dict[str, Any] = {}
        self._rejections: dict[str, dict[int, Rejections]] = {}  # topic id → partition
        self._audited: dict[str, int] = {}  # source → full bucket that was counted again last
        self._failing_since: float | None = None

    def read(self) -> CassandraReading:
        """Raises Unreadable when the server does not answer or the tables do not exist."""
        try:
            reading = self._read(self._connected())
        except SERVER_ERRORS as error:
            self._note_failure()
            raise Unreadable(explain(error)) from error
        self._failing_since = None
        return reading

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.cluster.shutdown()

    def _note_failure(self) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since > REBUILD_AFTER:
            self.close()
            self._failing_since = None

    def _connected(self) -> Session:
        if self._session is None:
            self._session = connect(self._config, self._timeout)
            self._statements = {}
        return self._session

    def _prepared(self, session: Session, query: str) -> Any:
        if query not in self._statements:
            self._statements[query] = session.prepare(query)
        return self._statements[query]

    def _read(self, session: Session) -> CassandraReading:
        progress = session.execute_async(
            self._prepared(session, "SELECT topic_id, partition, next_offset, WRITETIME(next_offset) FROM progress")
        )
        states = session.execute_async(self._prepared(session, "SELECT source, state FROM counted"))
        sources = session.execute_async(self._prepared(session, "SELECT DISTINCT source FROM buckets"))
        next_offsets: dict[str, dict[int, int]] = {}
        ahead: dict[str, dict[int, float]] = {}
        furthest: dict[int, int] = {}
        now = time.time()
        for topic_id, partition, offset, written in progress.result():
            next_offsets.setdefault(topic_id, {})[partition] = offset
            furthest[partition] = max(offset, furthest.get(partition, 0))
            if written / 1e6 - now > AHEAD_SECONDS:
                ahead.setdefault(topic_id, {})[partition] = written / 1e6 - now
        known = {source: BucketState(state[0], frozenset(state[1] or ())) for source, state in states.result() if state}
        rows = sum(
            self._count(session, source, known.get(source, BucketState()), furthest) for (source,) in sources.result()
        )
        rejected = {topic: self._count_rejected(session, topic, offsets) for topic, offsets in next_offsets.items()}
        ordered = {topic: dict(sorted(offsets.items())) for topic, offsets in next_offsets.items()}
        return CassandraReading(rows, ordered, rejected, ahead)

    def _count(self, session: Session, source: str, state: BucketState, progress: Mapping[int, int]) -> int:
        state = self._audit(session, source, state)
        listed = session.execute(
            self._prepared(session, "SELECT bucket FROM buckets WHERE source = ? AND bucket >= ?"), (source, state.next)
        )
        to_count = sorted(state.open) + [bucket for (bucket,) in listed]
        size = self._config.event.bucket_size
        total = state.full_buckets() * size
        for start in range(0, len(to_count), CHUNK):
            buckets = to_count[start : start + CHUNK]
            counts = (
                self._count_finished(session, source, buckets, progress)
                if len(to_count) <= EXACT_BUCKETS
                else self._count_buckets(session, source, buckets)
            )
            total += sum(counts.values())
            advanced = state.advanced(counts, size)
            if advanced != state:
                state = advanced
                self._save(session, source, state)
        return total

    def _audit(self, session: Session, source: str, state: BucketState) -> BucketState:
        """Count some full buckets again; the state with those open that are not full any more."""
        buckets = state.to_audit(self._audited.get(source, -1))
        if not buckets:
            return state
        size = self._config.event.bucket_size
        counts = self._count_buckets(session, source, buckets)
        self._audited[source] = buckets[-1]
        short = {bucket: rows for bucket, rows in counts.items() if rows != size}
        if not short:
            return state
        for bucket, rows in short.items():
            log.warning("bucket %d of %s was full, but holds %d rows of %d: counted anew", bucket, source, rows, size)
        state = state.reopened(short)
        self._save(session, source, state)
        return state

    def _count_buckets(self, session: Session, source: str, buckets: Sequence[int]) -> dict[int, int]:
        statement = self._prepared(session, "SELECT count(*) FROM events WHERE source = ? AND bucket = ?")
        answers = execute_concurrent_with_args(
            session, statement, [(source, bucket) for bucket in buckets], concurrency=CONCURRENT_READS
        )
        return {bucket: answer.result_or_exc.one()[0] for bucket, answer in zip(buckets, answers, strict=True)}

    def _count_finished(
        self, session: Session, source: str, buckets: Sequence[int], progress: Mapping[int, int]
    ) -> dict[int, int]:
        """Rows per bucket, but for those of a batch that the sink is still writing: they lie beyond ``progress``.

        Of several topics ``progress`` has the furthest offset of each partition, so that no row of an earlier topic is
        taken for one that is under way; nor is a row of a partition that has none.
        """
        statement = self._prepared(session, "SELECT position FROM events WHERE source = ? AND bucket = ?")
        answers = execute_concurrent_with_args(
            session, statement, [(source, bucket) for bucket in buckets], concurrency=CONCURRENT_READS
        )

        def finished(position: tuple[int, int] | None) -> bool:
            end = None if position is None else progress.get(position[0])
            return position is None or end is None or position[1] < end

        return {
            bucket: sum(finished(position) for (position,) in answer.result_or_exc)
            for bucket, answer in zip(buckets, answers, strict=True)
        }

    def _save(self, session: Session, source: str, state: BucketState) -> None:
        statement = self._prepared(session, "INSERT INTO counted (source, state) VALUES (?, ?)")
        session.execute(statement, (source, (state.next, state.open)))

    def _count_rejected(self, session: Session, topic_id: str, next_offsets: Mapping[int, int]) -> int:
        known = self._rejections.setdefault(topic_id, {})
        statement = self._prepared(
            session, "SELECT offset FROM rejected WHERE topic_id = ? AND partition = ? AND offset >= ?"
        )
        asked = {}
        for partition, next_offset in next_offsets.items():
            before = known.get(partition, Rejections())
            if next_offset < before.seen:  # progress never goes back: the tables were emptied
                before = Rejections()
            asked[partition] = (before, session.execute_async(statement, (topic_id, partition, before.settled)))
        total = 0
        for partition, (before, answer) in asked.items():
            offsets = [offset for (offset,) in answer.result()]
            known[partition] = before.advanced(offsets, next_offsets[partition])
            total += before.rows + sum(offset < next_offsets[partition] for offset in offsets)
        return total
