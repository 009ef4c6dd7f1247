"""Writes to Cassandra, and waits for it when it is away.

An error of a request is *passing* (Cassandra is away, busy, too slow) and the request is repeated, or *lasting* (the
server understood and refuses this very row) and the row is reported back. Everything is written by plain, idempotent
INSERTs, so a repetition does no harm.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from cassandra import ConsistencyLevel, InvalidRequest, ProtocolVersion
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, ResponseFuture, Session
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, FallthroughRetryPolicy
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from eventlog_job.config import JobConfig, JobTuning

_LOG = logging.getLogger(__name__)
#: Seconds between two log lines about the same outage.
_SAY_EVERY = 10.0
_Result = TypeVar("_Result")


class Statement(enum.Enum):
    """The statements of the sink; the value is the CQL."""

    EVENT = (
        "INSERT INTO events (source, bucket, seq, event_time, level, service, message, position) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    BUCKET = "INSERT INTO buckets (source, bucket) VALUES (?, ?)"
    INGEST = (
        "INSERT INTO ingest_log (hour, id, attempt, topic_id, partition, first_offset, last_offset, rows, rejected) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    )
    PROGRESS = "INSERT INTO progress (topic_id, partition, next_offset, attempt) VALUES (?, ?, ?, ?)"
    REJECTED = "INSERT INTO rejected (topic_id, partition, offset, reason) VALUES (?, ?, ?, ?)"
    READ_PROGRESS = "SELECT next_offset FROM progress WHERE topic_id = ? AND partition = ?"


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One request: rows of one statement, all of the same Cassandra partition.

    Attributes:
        statement: what is executed.
        rows: the values of each row; encoded bytes if `encoded`, Python values for the driver to encode otherwise.
        keys: the caller's name for each row, returned with a row that was refused.
    """

    statement: Statement
    rows: Sequence[Sequence[Any]]
    keys: Sequence[int] = ()
    encoded: bool = False

    def singly(self) -> Iterable[Write]:
        """The same rows in requests of their own."""
        keys = self.keys or [0] * len(self.rows)
        return (dataclasses.replace(self, rows=[row], keys=[key]) for row, key in zip(self.rows, keys, strict=True))


class StoreError(Exception):
    """Cassandra could not be written to for longer than the configured time; the message is for a person."""


class Interrupted(Exception):
    """The worker is being stopped while it waits for Cassandra."""


class Patience:
    """Decides how long to wait after a passing error, and when to give up.

    Args:
        tuning: pauses and time limit.
        stop: ends a wait at once.
        what: what is being waited for, for messages.
    """

    def __init__(self, tuning: JobTuning, stop: threading.Event, what: str) -> None:
        self._tuning = tuning
        self._stop = stop
        self._what = what
        self._pause = tuning.first_retry_seconds
        self._since: float | None = None
        self._said = 0.0

    def success(self) -> None:
        """Something worked: the clock starts anew."""
        if self._since is not None:
            _LOG.info("%s answers again after %.1f s", self._what, time.monotonic() - self._since)
            self._since = None
            self._pause = self._tuning.first_retry_seconds

    def failure(self, error: BaseException) -> None:
        """Waits before the next attempt. Raises StoreError when the time is up, Interrupted when stopped."""
        now = time.monotonic()
        if self._since is None:
            self._since = self._said = now
            _LOG.warning("%s: %s; trying again", self._what, describe(error))
        elif now - self._said >= _SAY_EVERY:
            self._said = now
            _LOG.warning("%s: still %s after %.0f s; trying again", self._what, describe(error), now - self._since)
        if now - self._since >= self._tuning.write_timeout_seconds:
            limit = f"{self._tuning.write_timeout_seconds:g} s (write_timeout_seconds)"
            raise StoreError(f"{self._what}: gave up after {limit}: {describe(error)}") from error
        if self._stop.wait(self._pause):
            raise Interrupted(f"{self._what}: stopped while waiting")
        self._pause = min(self._pause * 2, self._tuning.longest_retry_seconds)


class Store:
    """One connection to Cassandra; connects at first use and for as long as it takes.

    Args:
        config: where Cassandra is, and the tuning.
        stop: set to end every wait.
        retried: called with the number of rows that have to be sent again.
    """

    def __init__(self, config: JobConfig, stop: threading.Event, retried: Callable[[int], None]) -> None:
        self._config = config
        self._stop = stop
        self._retried = retried
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._prepared: dict[Statement, PreparedStatement] = {}

    def write(self, writes: Iterable[Write]) -> dict[int, str]:
        """Executes every write and returns when all are acknowledged.

        Returns:
            For each row that Cassandra refuses for good its key and the reason; all other rows are stored.

        Raises:
            StoreError: nothing but passing errors for `write_timeout_seconds`.
            Interrupted: `stop` was set meanwhile.
        """
        refused: dict[int, str] = {}
        patience = self._patience()
        pending = deque(writes)
        while pending:
            session = self._patiently(self._connected, patience)
            error = self._round(session, pending, refused, patience)
            if error is not None:
                patience.failure(error)
        return refused

    def next_offset(self, topic_id: str, partition: int) -> int:
        """The `progress` of a Kafka partition, 0 if there is none. Raises as `write` does."""

        def read() -> int:
            row = self._connected().execute(self._prepared[Statement.READ_PROGRESS], (topic_id, partition)).one()
            return 0 if row is None or row[0] is None else int(row[0])

        return self._patiently(read, self._patience())

    def close(self) -> None:
        """Ends the connection."""
        cluster, self._cluster, self._session = self._cluster, None, None
        if cluster is not None:
            cluster.shutdown()

    def _patience(self) -> Patience:
        where = ", ".join(self._config.contact_points)
        return Patience(self._config.tuning, self._stop, f"Cassandra at {where} port {self._config.cassandra_port}")

    def _patiently(self, action: Callable[[], _Result], patience: Patience) -> _Result:
        while True:
            try:
                result = action()
            except Exception as error:  # the driver's errors have no common base; each is worth another try
                patience.failure(error)
            else:
                return result

    def _connected(self) -> Session:
        if self._session is None:
            cluster = _cluster(self._config)
            try:
                session = cluster.connect(self._config.keyspace)
                self._prepared = {statement: _prepare(session, statement) for statement in Statement}
            except BaseException:
                # Also frees the threads and sockets of a half-made connection.
                cluster.shutdown()
                raise
            self._cluster, self._session = cluster, session
        return self._session

    def _round(
        self, session: Session, pending: deque[Write], refused: dict[int, str], patience: Patience
    ) -> Exception | None:
        """Sends what is pending; what met a passing error is pending again, and the error is returned.

        After the first passing error nothing more is sent: while Cassandra hangs, every request costs its time-out.
        """
        error: Exception | None = None
        again: list[Write] = []
        outstanding: deque[tuple[Write, ResponseFuture]] = deque()
        while outstanding or (pending and error is None):
            while pending and error is None and len(outstanding) < self._config.tuning.in_flight:
                write = pending.popleft()
                outstanding.append((write, session.execute_async(self._statement(write))))
            write, future = outstanding.popleft()
            try:
                future.result()
                patience.success()
            except InvalidRequest as invalid:
                reason = self._lasting(session, write, invalid)
                if reason is None:
                    error = invalid
                    again.append(write)
                elif len(write.rows) > 1:
                    pending.extend(write.singly())
                else:
                    refused[write.keys[0]] = reason
            except Exception as passing:  # see _patiently
                error = passing
                again.append(write)
        self._retried(sum(len(write.rows) for write in again))
        pending.extendleft(reversed(again))
        return error

    def _statement(self, write: Write) -> BatchStatement | BoundStatement:
        prepared = self._prepared[write.statement]
        bound = [_bind(prepared, row, write.encoded) for row in write.rows]
        if len(bound) == 1:
            return bound[0]
        batch = BatchStatement(BatchType.UNLOGGED)
        batch.is_idempotent = True
        for statement in bound:
            batch.add(statement)
        return batch

    def _lasting(self, session: Session, write: Write, invalid: InvalidRequest) -> str | None:
        """The reason why a row can never be stored, None if the statement itself does not work at the moment.

        The server uses the same error for a row that is too large and for a table that is not there. The second must
        never send good rows to the dead letters: a statement that can still be prepared is a good one.
        """
        if not write.keys:
            return None
        try:
            _prepare(session, write.statement)
        except Exception as error:  # see _patiently
            _LOG.warning("cannot prepare %s: %s", write.statement.name, describe(error))
            return None
        return f"Cassandra refuses it: {describe(invalid)}"


def describe(error: BaseException) -> str:
    """An error as one line of at most 200 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__


def _cluster(config: JobConfig) -> Cluster:
    profile = ExecutionProfile(
        load_balancing_policy=DCAwareRoundRobinPolicy(config.datacenter),
        retry_policy=FallthroughRetryPolicy(),  # repetitions are counted and bounded here, in one place
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=config.tuning.request_timeout_seconds,
    )
    return Cluster(
        contact_points=list(config.contact_points),
        port=config.cassandra_port,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        # The default gives up for good after 64 attempts and pauses up to ten minutes between them.
        reconnection_policy=ConstantReconnectionPolicy(1.0, None),
        protocol_version=ProtocolVersion.V5,  # spares the negotiation; Cassandra 4.0 and later speak it
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
        connect_timeout=5.0,
    )


def _prepare(session: Session, statement: Statement) -> PreparedStatement:
    prepared = session.prepare(statement.value)
    prepared.is_idempotent = True
    return prepared


def _bind(prepared: PreparedStatement, row: Sequence[Any], encoded: bool) -> BoundStatement:
    if not encoded:
        return prepared.bind(row)
    bound = BoundStatement(prepared)
    bound.values = list(row)
    return bound
