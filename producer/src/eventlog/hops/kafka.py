"""Kafka: the end offsets of the topic, its id, and how many records the dead-letter topic has had."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from eventlog.config import Config
from eventlog.hops.probe import Unreadable

# A new topic, or a broker that has just come back: the partition has a leader in a moment.
_MOVING = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
# A connection whose other end was cut off the network outlives its requests' time-outs, and then answers none of them
# for minutes after the network is back: a client that has been without an answer for so long (seconds) is made anew.
_RENEW_SECONDS = 10.0
# The client never frees the id in a topic's description (confluent-kafka 2.16: 96 bytes a time), so descriptions are
# not asked for with every reading: partitions that were added by hand are counted after so many seconds at the latest.
_DESCRIBE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class KafkaReading:
    """End offset per partition (records ever written to it), the topic's id (base64, as
    the job writes it), records ever written to the dead-letter
    topic (None while that topic does not exist)."""

    partitions: Mapping[int, int]
    topic_id: str
    dead_letters: int | None

    @property
    def count(self) -> int:
        """Records ever written to the topic."""
        return sum(self.partitions.values())


def client_properties(config: Config, request_timeout: float) -> dict[str, Any]:
    """librdkafka properties for a client that must come back quickly, from outages too, and keep quiet about them.

    ``request_timeout`` is in seconds. The reconnect back-off is capped at half a second (librdkafka's default of 10 s
    would be seen as an outage that goes on), log level 0 keeps its background reconnects off standard error.
    """
    milliseconds = max(10, int(request_timeout * 1000))
    return {
        "bootstrap.servers": config.kafka.bootstrap_servers,
        "client.id": "eventlog-counts",
        "socket.timeout.ms": milliseconds,
        "socket.connection.setup.timeout.ms": max(1000, milliseconds),
        "api.version.request.timeout.ms": milliseconds,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "log_level": 0,
        **config.kafka.client,
    }


@dataclass(frozen=True, slots=True)
class _Topics:
    """What the two topics consist of, asked for at ``time`` (monotonic): the topic's id, the partitions of both."""

    time: float
    topic_id: str
    partitions: tuple[TopicPartition, ...]
    has_dead_letters: bool

    @property
    def fresh(self) -> bool:
        """Whether nobody need be asked again; a missing dead-letter topic may appear at any moment."""
        return self.has_dead_letters and time.monotonic() - self.time < _DESCRIBE_SECONDS


class KafkaHop:
    """Asks one broker for the end offsets of all partitions of both topics, after their descriptions if need be.

    A topic that was made anew is noticed by its end offsets, which went back, or by the failure while it was away.
    """

    def __init__(self, config: Config, request_timeout: float) -> None:
        self._topic = config.kafka.topic
        self._dead_letter_topic = config.kafka.dead_letter_topic
        self._timeout = request_timeout
        self._properties = client_properties(config, request_timeout)
        self._transport_error: str | None = None
        self._admin: AdminClient | None = None
        self._topics: _Topics | None = None
        self._ends: dict[tuple[str, int], int] = {}
        self._answered = 0.0  # when the client was made or last had an answer

    def read(self) -> KafkaReading:
        """Raises Unreadable when the broker does not answer or the topic does not exist."""
        until = time.monotonic() + self._timeout
        try:
            while True:
                try:
                    reading = self._read()
                except KafkaException as error:
                    if error.args[0].code() not in _MOVING or time.monotonic() > until:
                        raise
                    time.sleep(0.1)  # a leader is being elected, or has just been, which the broker does not announce
                else:
                    self._answered = time.monotonic()
                    return reading
        except KafkaException as error:
            raise Unreadable(self._explain(error.args[0])) from error
        except concurrent.futures.TimeoutError as error:
            raise Unreadable(f"no answer within {self._timeout:g} s") from error
        finally:
            if time.monotonic() - self._answered > _RENEW_SECONDS:
                self._admin = None

    def close(self) -> None:
        self._admin = None

    def _read(self) -> KafkaReading:
        if self._admin is None:
            self._admin = AdminClient({**self._properties, "error_cb": self._remember})
            self._answered = time.monotonic()
        known, self._topics = self._topics, None  # any failure below: ask anew
        topics = known if known is not None and known.fresh else self._describe(self._admin)
        ends = self._end_offsets(self._admin, topics)
        if topics is known and any(end < self._ends.get(partition, 0) for partition, end in ends.items()):
            topics = self._describe(self._admin)
            ends = self._end_offsets(self._admin, topics)
        self._topics, self._ends = topics, ends
        return KafkaReading(
            partitions={number: end for (name, number), end in sorted(ends.items()) if name == self._topic},
            topic_id=topics.topic_id,
            dead_letters=sum(end for (name, _), end in ends.items() if name == self._dead_letter_topic)
            if topics.has_dead_letters
            else None,
        )

    def _describe(self, admin: AdminClient) -> _Topics:
        now = time.monotonic()
        described = admin.describe_topics(
            TopicCollection([self._topic, self._dead_letter_topic]), request_timeout=self._timeout
        )
        topic = described[self._topic].result(self._timeout + 1)
        partitions = [TopicPartition(self._topic, partition.id) for partition in topic.partitions]
        try:
            rejects = described[self._dead_letter_topic].result(self._timeout + 1)
            partitions += [TopicPartition(self._dead_letter_topic, partition.id) for partition in rejects.partitions]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            rejects = None
        return _Topics(now, str(topic.topic_id), tuple(partitions), rejects is not None)

    def _end_offsets(self, admin: AdminClient, topics: _Topics) -> dict[tuple[str, int], int]:
        answers = admin.list_offsets(
            {partition: OffsetSpec.latest() for partition in topics.partitions}, request_timeout=self._timeout
        )
        ends = {
            (partition.topic, partition.partition): int(answer.result(self._timeout + 1).offset)
            for partition, answer in answers.items()
        }
        if any(end < 0 for end in ends.values()):  # how the client reports a request that was not answered in time
            raise Unreadable(f"no answer within {self._timeout:g} s")
        return ends

    def _remember(self, error: KafkaError) -> None:
        if error.code() in {KafkaError._TRANSPORT, KafkaError._RESOLVE}:
            self._transport_error = error.str().split(": ", 1)[-1].split(" (after ")[0]

    def _explain(self, error: KafkaError) -> str:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return f"topic {self._topic} does not exist"
        if error.code() in {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}:
            assert self._admin is not None
            self._transport_error = None
            self._admin.poll(0)  # delivers the error callbacks, which know more than "timed out"
            return self._transport_error or f"no answer within {self._timeout:g} s"
        return str(error.str())
