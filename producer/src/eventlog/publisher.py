"""The publisher: hands the spool's events to Kafka in order and settles each one by its delivery report.

The client may fail as a whole (a fatal idempotence error, a deleted topic): it is thrown away and built again, and
the events from the cursor on are sent anew. That repeats events, which the key absorbs; it loses and reorders none
that matter: after the last repeat every event stands behind its predecessor.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from eventlog import event
from eventlog.acks import Acks
from eventlog.config import Config
from eventlog.spool import Block, BlockReader, Reject

log = logging.getLogger(__name__)

QUEUE_KBYTES = 32 << 10
QUEUE_MESSAGES = 40_000
# Of an outage's end the producer should know within a second; librdkafka's own cap is 10 s.
RECONNECT_MAX_MS = 1000
# A missing topic is said after 10 s (librdkafka: 30 s) and waited for all the same.
MISSING_TOPIC_MS = 10_000
POLL_SECONDS = 0.05
BACKOFF_SECONDS = (0.2, 5.0)
# A client that owes an answer and is silent, without errors even, for so many seconds is replaced. One that has already
# delivered waits longer than librdkafka's socket.timeout.ms of 60 s, so that a frozen broker's answer to it still
# counts; a new one that hangs (seen once, when the broker went away during its first handshake) has nothing to lose.
SILENCE_SECONDS = 90.0
SILENCE_AT_START_SECONDS = 20.0
# Unsaved rejects are held in memory with their bodies; beyond this many the publisher waits for the disk.
REJECTS_MAX = 1000

# A record with one of these would be refused again however often it is sent.
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    }
)
_CONNECTION = frozenset({KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT})


def client_properties(config: Config, single: bool) -> dict[str, object]:
    """librdkafka properties of the publisher; ``single``: one event per request, so that a refusal names its event."""
    properties: dict[str, object] = {
        "bootstrap.servers": config.kafka.bootstrap_servers,
        "client.id": "eventlog-producer",
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": 0,  # never: what cannot be sent waits
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "queue.buffering.max.messages": QUEUE_MESSAGES,
        "linger.ms": 5,
        "topic.metadata.propagation.max.ms": MISSING_TOPIC_MS,
        "reconnect.backoff.max.ms": RECONNECT_MAX_MS,
        "retry.backoff.max.ms": RECONNECT_MAX_MS,
        "log_level": 0,  # what matters arrives as errors and is logged once, not with every attempt
        **config.kafka.client,
    }
    if single:
        properties["batch.num.messages"] = 1
    return properties


class _Session:
    """One client and what it has told us; thrown away as a whole."""

    def __init__(self, properties: Mapping[str, object], acks: Acks, single: bool, until: int | None) -> None:
        self.single = single
        # The last event this session may send: a single session first gets to the end of the suspects.
        self.until = until
        self.failure: str | None = None
        self.suspect = 0
        self.refused = 0
        self.delivered = 0
        self.unreachable: str | None = None
        self._connection_error: str | None = None
        self._other_error: str | None = None
        self._acks = acks
        self._heard = time.monotonic()
        self._open = True
        self._client = Producer({**properties, "error_cb": self._on_error})

    def send(self, topic: str, key: bytes, seq: int, body: bytes) -> bool:
        """Queue one event; False when the queue is full or the client has failed."""
        try:
            self._client.produce(topic, body, key, on_delivery=partial(self._on_delivery, seq))
        except BufferError:
            return False
        except KafkaException as exception:
            error = exception.args[0]
            if error.code() not in _REFUSED:
                self.failure = error.str()
                return False
            self._refuse(seq, error, body)
        return True

    def poll(self, timeout: float) -> None:
        """Serve reports and errors, waiting up to ``timeout`` seconds for the first."""
        self._client.poll(timeout)

    def listen(self, waiting: bool) -> None:
        """Fail once Kafka owes an answer (``waiting``) and has been silent for too long."""
        now = time.monotonic()
        limit = SILENCE_SECONDS if self.delivered else SILENCE_AT_START_SECONDS
        if not waiting:
            self._heard = now
        elif now - self._heard > limit:
            self.failure = self.failure or f"no word from Kafka for {limit:g} s"

    def close(self) -> None:
        """Give up what is queued and in flight; acknowledgements that are already here still count."""
        self._client.poll(0)
        self._open = False
        self._client.purge()
        self._client.poll(0)
        # The client refers back to this session through its callbacks: only this lets go of its threads now.
        del self._client

    def _on_delivery(self, seq: int, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._heard = time.monotonic()
            self.delivered += 1
            if self.unreachable is not None:
                log.info("Kafka answers again")
                self.unreachable = None
            self._acks.acknowledge(seq)
        elif not self._open:
            return
        elif error.code() not in _REFUSED:
            self.failure = self.failure or error.str()
        elif self.single:
            self._refuse(seq, error, message.value() or b"")
        else:
            # The broker judges the batch, not the event: only an event that was sent alone is refused for good.
            self.suspect = max(self.suspect, seq)
            self.failure = self.failure or error.str()

    def _refuse(self, seq: int, error: KafkaError, body: bytes) -> None:
        log.warning("event %d of %d bytes is refused for good: %s", seq, len(body), error.str())
        self.refused += 1
        self._acks.reject(Reject(seq, error.str(), body))

    def _on_error(self, error: KafkaError) -> None:
        self._heard = time.monotonic()
        if error.fatal():
            self.failure = self.failure or error.str()
        elif error.code() in _CONNECTION:
            self._connection_error = error.str()  # of one broker; the others may do
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            if self.unreachable is None:
                log.warning("Kafka cannot be reached: %s", self._connection_error or error.str())
            self.unreachable = self._connection_error or error.str()
        elif error.str() != self._other_error:
            self._other_error = error.str()
            log.warning("Kafka: %s", error.str())


class Publisher:
    """Runs in a thread of its own (:meth:`run`).

    ``made`` is the last event that may be sent (it is on disk); :meth:`wake` says that it has grown.
    """

    def __init__(self, config: Config, source: str, blocks: BlockReader, acks: Acks, made: Callable[[], int]) -> None:
        self._config = config
        self._topic = config.kafka.topic
        self._source = source
        self._blocks = blocks
        self._acks = acks
        self._made = made
        self._wake = threading.Event()
        self._drain_until: float | None = None
        self._session: _Session | None = None
        self._handed = acks.settled
        # Up to here events were handed to an earlier session and may be settled out of order.
        self._repeated_to = 0
        self._rest: Block | None = None
        self._single = False
        self._suspect: int | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last_error: str | None = None
        self._errors = 0  # of the sessions before this one
        self._read_error: str | None = None

    def wake(self) -> None:
        """There are new events, or :meth:`stop` was called."""
        self._wake.set()

    def stop(self, within: float) -> None:
        """Send what can be sent within so many seconds, then end; at once while Kafka cannot be reached."""
        self._drain_until = time.monotonic() + within
        self._wake.set()

    def status(self) -> Mapping[str, object]:
        """Events handed to the client and not yet settled, what keeps them (None while nothing does), and how often
        since the start a delivery failed: a client was given up, or an event refused for good."""
        session = self._session
        waiting = self._made() > self._acks.settled
        error = self._read_error
        if session is not None:
            error = error or session.unreachable or session.failure
        if session is None or not session.delivered:
            error = error or self._last_error
        return {
            "in_flight": max(0, self._handed - self._acks.settled),
            "kafka_error": error if waiting else None,
            "delivery_errors": self._errors + (session.refused if session is not None else 0),
        }

    def run(self) -> None:
        """Publish until :meth:`stop`."""
        while not self._ended():
            self._turn()
        if self._session is not None:
            self._session.close()
        self._blocks.close()

    def _ended(self) -> bool:
        if self._drain_until is None:
            return False
        if self._acks.settled >= self._made() or time.monotonic() >= self._drain_until:
            return True
        return self._session is None or self._session.unreachable is not None

    def _turn(self) -> None:
        if self._session is None and time.monotonic() < self._not_before:
            self._wait(self._not_before - time.monotonic())
            return
        if self._session is None:
            if self._handed >= self._made():
                self._wait(0.2)
                return
            self._connect()
        session = self._session
        assert session is not None
        moved = self._fill(session)
        if self._handed > self._acks.settled or session.failure:
            # Nothing to hand over: whatever moves next comes from Kafka, or waits no longer than this.
            session.poll(0 if moved else POLL_SECONDS)
        elif not moved:
            self._wait(0.2)
            session.poll(0)
        session.listen(waiting=self._handed > self._acks.settled)
        if session.failure is not None:
            self._fail(session)
        elif session.until is not None and self._acks.settled >= session.until:
            self._leave_single(session)

    def _wait(self, timeout: float) -> None:
        self._wake.wait(timeout)
        self._wake.clear()

    def _connect(self) -> None:
        self._session = _Session(
            client_properties(self._config, self._single),
            self._acks,
            self._single,
            self._suspect if self._single else None,
        )

    def _fill(self, session: _Session) -> bool:
        """Hand events over until the queue is full or the next block is through; True if any was."""
        if self._acks.waiting_rejects > REJECTS_MAX:
            return False
        last = self._made() if session.until is None else session.until
        if self._handed >= last:
            return False
        try:
            block = self._rest or self._blocks.after(self._handed)
        except sqlite3.OperationalError as error:
            # A full disk can refuse even a reader its share of the index; it is tried again with the next turn.
            self._unreadable(f"the spool cannot be read: {error}")
            return False
        self._read_error = None
        if block is None:
            return False
        before = self._handed
        self._send(session, block, last)
        done = self._handed + 1 - block.first
        self._rest = Block(self._handed + 1, block.events[done:]) if done < len(block.events) else None
        return self._handed > before

    def _unreadable(self, reason: str) -> None:
        if reason != self._read_error:
            log.warning("%s", reason)
        self._read_error = reason

    def _send(self, session: _Session, block: Block, last: int) -> None:
        seq = block.first
        chunk, key = -1, b""
        for body in block.events[: max(0, last + 1 - seq)]:
            if (seq - 1) // event.EVENTS_PER_KEY != chunk:
                chunk, key = (seq - 1) // event.EVENTS_PER_KEY, event.key(self._source, seq)
            if (seq > self._repeated_to or not self._acks.is_settled(seq)) and not session.send(
                self._topic, key, seq, body
            ):
                return
            self._handed = seq
            seq += 1

    def _fail(self, session: _Session) -> None:
        """Throw the client away and go back to the cursor."""
        self._last_error = session.failure
        self._errors += 1
        if session.delivered or session.suspect:
            self._failures = 0
        if session.suspect:
            self._single, self._suspect = True, max(session.suspect, self._suspect or 0)
            log.warning("Kafka refuses a batch (%s): sending its events one by one", session.failure)
        else:
            first, longest = BACKOFF_SECONDS
            self._not_before = time.monotonic() + min(longest, first * 2**self._failures)
            self._failures += 1
            log.warning(
                "the client failed (%s): a new one sends everything after seq %d", session.failure, self._acks.settled
            )
        self._forget(session)

    def _leave_single(self, session: _Session) -> None:
        """All suspects are settled; if none was refused, it was the batches that were too large, and singles go on."""
        self._suspect = None
        if session.refused:
            self._single = False
            self._forget(session)
        else:
            log.warning("topic %s takes no batches of this size: sending single events from now on", self._topic)
            session.until = None

    def _forget(self, session: _Session) -> None:
        session.close()
        self._errors += session.refused
        self._session = None
        self._rest = None
        self._repeated_to = max(self._repeated_to, self._handed)
        self._handed = self._acks.settled
