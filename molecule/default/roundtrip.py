"""Send a hundred records with their acknowledgements, and read them back in order: roundtrip.py SERVERS TOPIC."""

from __future__ import annotations

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

COUNT = 100
SECONDS = 30.0


def main(servers: str, topic: str) -> None:
    """Exit with a message when a record is refused, or is not read back as it was sent."""
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True})
    mark = time.time_ns()
    sent = [f"{mark} {number}" for number in range(COUNT)]
    for text in sent:
        producer.produce(topic, text.encode(), partition=0)
    if producer.flush(SECONDS):
        sys.exit("not every record was acknowledged")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "roundtrip", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found: list[str] = []
    deadline = time.monotonic() + SECONDS
    while len(found) < COUNT and time.monotonic() < deadline:
        texts = [message.value().decode() for message in consumer.consume(COUNT, timeout=1.0)]
        found += [text for text in texts if text.startswith(f"{mark} ")]
    consumer.close()
    if found != sent:
        sys.exit(f"{len(found)} of {COUNT} records were read back, or in another order")


if __name__ == "__main__":
    main(*sys.argv[1:])
