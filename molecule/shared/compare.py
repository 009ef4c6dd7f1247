"""Compare a paused pipeline's spool, topic and table: compare.py SERVERS TOPIC CASSANDRA PORT KEYSPACE SPOOL.

Reads all three to the end by itself, with nothing of the project in between: every event that the producer counted is
in the topic, once, and in the table, at a position where the topic holds exactly that event. What the sink refused is
no event.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections import Counter
from typing import Any

from cassandra.cluster import Cluster, Session
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

SECONDS = 120.0
Key = tuple[str, int]
Position = tuple[int, int]


def topic(servers: str, name: str) -> dict[Position, bytes | None]:
    """Every record of the topic by its partition and offset."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "compare", "enable.auto.commit": False})
    partitions = consumer.list_topics(name, timeout=SECONDS).topics[name].partitions
    ends = {number: consumer.get_watermark_offsets(TopicPartition(name, number))[1] for number in partitions}
    left = {number for number, end in ends.items() if end}
    consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in left])
    found: dict[Position, bytes | None] = {}
    deadline = time.monotonic() + SECONDS
    while left and time.monotonic() < deadline:
        for message in consumer.consume(1000, timeout=1.0):
            found[message.partition(), message.offset()] = message.value()
            if message.offset() >= ends[message.partition()] - 1:
                left.discard(message.partition())
    consumer.close()
    if left:
        sys.exit(f"partitions {sorted(left)} were not read to their ends")
    return found


def counted(spool: str) -> Key:
    """The producer's source and how many events of it there are."""
    with sqlite3.connect(f"file:{spool}?mode=ro", uri=True) as database:
        source, made = database.execute("SELECT source, made FROM state").fetchone()
    return str(source), int(made)


def problems(session: Session, servers: str, name: str, spool: str) -> tuple[list[str], int]:
    """What does not agree, and the number of events."""
    records = topic(servers, name)
    rejected = {(row.partition, row.offset) for row in session.execute("SELECT partition, offset FROM rejected")}
    keys: dict[Position, Key] = {}
    for position, value in records.items():
        if position not in rejected:
            event: dict[str, Any] = json.loads(value or b"null")
            keys[position] = (event["source"], event["seq"])
    copies = Counter(keys.values())
    rows = {
        (row.source, row.seq): tuple(row.position)
        for row in session.execute("SELECT source, seq, position FROM events")
    }
    source, made = counted(spool)
    differing = {
        "lost before Kafka": [(source, seq) for seq in range(1, made + 1) if (source, seq) not in copies],
        "more than once in the topic": [key for key, count in copies.items() if count > 1],
        "lost between Kafka and Cassandra": [key for key in copies if key not in rows],
        "in the table only": [key for key in rows if key not in copies],
        "a row that points at another record": [key for key, at in rows.items() if keys.get(at) != key],
    }
    return [f"{len(keys)} {what}: {sorted(keys)[:10]}" for what, keys in differing.items() if keys], len(copies)


def main(servers: str, name: str, host: str, port: str, keyspace: str, spool: str) -> None:
    """Exit with what does not agree, unless all do within two minutes."""
    deadline = time.monotonic() + SECONDS
    with Cluster([host], port=int(port)) as cluster:
        session = cluster.connect(keyspace)
        while True:
            found, events = problems(session, servers, name, spool)
            if events and not found:
                print(f"{events} events counted, each once in the topic and in the table at its position")
                return
            if time.monotonic() > deadline:
                sys.exit("; ".join(found) or "there is no event")
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
