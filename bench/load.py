"""A backlog: the producer's events, put into the topic by a plain client, and read back by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from eventlog import event
from eventlog.config import Config
from eventlog.hops.kafka import client_properties as reader_properties
from eventlog.publisher import client_properties
from eventlog.spool import make_source

from bench.rig import BenchError

GROUP = 1000
SILENCE_SECONDS = 30.0


def fill(config: Config, count: int) -> str:
    """Put ``count`` events of a new source into the topic, with the publisher's settings and keys; the source.

    Returns when Kafka has acknowledged all of them. Raises BenchError when it does not.
    """
    source = make_source()
    factory = event.EventFactory(source, config.event.bytes)
    client = Producer(client_properties(config, single=False))
    for first in range(1, count + 1, GROUP):
        for seq, body in enumerate(factory.make(first, min(GROUP, count + 1 - first), time.time()), first):
            send(client, config.kafka.topic, event.key(source, seq), body)
    left = client.flush(SILENCE_SECONDS)
    if left:
        raise BenchError(f"backlog: Kafka did not acknowledge {left} of {count} events")
    return source


def send(client: Producer, topic: str, key: bytes, body: bytes, **report: object) -> None:
    """Queue one event, waiting while the client's queue is full."""
    while True:
        try:
            client.produce(topic, body, key, **report)
        except BufferError:
            client.poll(0.01)
        else:
            client.poll(0)
            return


def records(
    config: Config, begin: Mapping[int, int], end: Mapping[int, int], batch: int, client: str
) -> Iterator[list[Message]]:
    """The topic's records from the offsets ``begin`` to ``end`` (excluded), per partition, in lists of up to ``batch``.

    Raises BenchError when the broker is silent.
    """
    left = {number: offset for number, offset in end.items() if offset > begin.get(number, 0)}
    consumer = Consumer(
        {
            **reader_properties(config, request_timeout=SILENCE_SECONDS),
            "client.id": client,
            "group.id": client,  # required by the client; nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            # What the books' own reader takes.
            "queued.max.messages.kbytes": 65536,
            "fetch.message.max.bytes": 4194304,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        consumer.assign([TopicPartition(config.kafka.topic, number, begin.get(number, 0)) for number in left])
        heard = time.monotonic()
        while left:
            found = _wanted(consumer.consume(batch, timeout=0.2), end, left)
            if found:
                heard = time.monotonic()
                yield found
            elif time.monotonic() - heard > SILENCE_SECONDS:
                raise BenchError(f"no record for {SILENCE_SECONDS:.0f} s; partitions {sorted(left)} were not read")
    finally:
        consumer.close()


def _wanted(batch: list[Message], end: Mapping[int, int], left: dict[int, int]) -> list[Message]:
    found = []
    for message in batch:
        error = message.error()
        if error is not None:
            if error.retriable() or error.code() == KafkaError._TRANSPORT:
                continue
            raise KafkaException(error)
        number, offset = message.partition(), message.offset()
        if offset < end[number]:
            found.append(message)
        if offset >= end[number] - 1:
            left.pop(number, None)
    return found
