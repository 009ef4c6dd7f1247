"""Compare a paused pipeline's topic with its table: compare.py SERVERS TOPIC CASSANDRA PORT KEYSPACE.

Reads both to the end by itself, with nothing of the project in between.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from cassandra.cluster import Cluster
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

SECONDS = 120.0


def topic(servers: str, name: str) -> set[tuple[str, int]]:
    """Every event of the topic by its key."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "compare", "enable.auto.commit": False})
    partitions = consumer.list_topics(name, timeout=SECONDS).topics[name].partitions
    ends = {number: consumer.get_watermark_offsets(TopicPartition(name, number))[1] for number in partitions}
    left = {number for number, end in ends.items() if end}
    consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in left])
    found: set[tuple[str, int]] = set()
    deadline = time.monotonic() + SECONDS
    while left and time.monotonic() < deadline:
        for message in consumer.consume(1000, timeout=1.0):
            event: dict[str, Any] = json.loads(message.value())
            found.add((event["source"], event["seq"]))
            if message.offset() >= ends[message.partition()] - 1:
                left.discard(message.partition())
    consumer.close()
    if left:
        sys.exit(f"partitions {sorted(left)} were not read to their ends")
    return found


def main(servers: str, name: str, host: str, port: str, keyspace: str) -> None:
    """Exit with what is missing, unless both hold the same events within two minutes."""
    deadline = time.monotonic() + SECONDS
    with Cluster([host], port=int(port)) as cluster:
        session = cluster.connect(keyspace)
        while True:
            sent = topic(servers, name)
            rows = {(row.source, row.seq) for row in session.execute("SELECT source, seq FROM events")}
            if sent and sent == rows:
                print(f"{len(rows)} events in the topic, the same {len(rows)} in the table")
                return
            if time.monotonic() > deadline:
                missing, unexpected = sorted(sent - rows)[:10], sorted(rows - sent)[:10]
                sys.exit(
                    f"{len(sent)} events in the topic, {len(rows)} rows; missing {missing}, unexpected {unexpected}"
                )
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
