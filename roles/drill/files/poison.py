"""Plant records that cannot become rows among the good ones, and look where they ended up.

    python poison.py plant CONFIG SEQ         SEQ is the last event before the drill's window; prints what was planted:
                                              [{"name", "partition", "offset", "reason"}, …]
    python poison.py find CONFIG '[…]'        prints where each of these is: [{"letter": reason or null, "row": …,
                                              "beside": good rows of the same batch of the sink}, …]

Runs on the pipeline's host with its clients; takes them from PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from eventlog.config import Config, load
from eventlog.hops.cassandra import connect
from eventlog.hops.kafka import KafkaHop

SOURCE = "poison"
#: Larger than the job takes (largest_record_bytes, 4 MiB) and smaller than what the topic does.
OVERSIZED_BYTES = 5 * 1024 * 1024
#: Smaller than what the job takes and larger than Cassandra's max_mutation_size: an event like any other until the
#: database refuses its row.
UNWRITABLE_BYTES = 3_500_000
UNWRITABLE = "row that only Cassandra refuses"
#: Further copies of events of the topic on either side of it, so that its row stands in a batch with good ones.
COMPANIONS = 4
SECONDS = 20.0


def event(**changes: Any) -> bytes:
    """A good event but for the changes; a change to None removes the member."""
    good = {
        "source": SOURCE,
        "seq": 1,
        "event_time": "2024-05-17T08:00:00.000Z",
        "level": "INFO",
        "service": "poison",
        "message": "planted",
    }
    return json.dumps({name: value for name, value in {**good, **changes}.items() if value is not None}).encode()


#: Name, record, and how the reason of its dead letter begins.
RECORDS: tuple[tuple[str, bytes | None, str], ...] = (
    ("tombstone", None, "no value"),
    ("empty", b"", "empty"),
    ("not JSON", b"2024-05-17 08:00:00 ERROR something broke", "not JSON"),
    ("not UTF-8", b"\xff\xfe\x00", "not UTF-8"),
    ("array", b"[1, 2]", "not a JSON object"),
    ("nested too deeply", b"[" * 100_000, "not JSON that can be read"),
    ("a number too large", b"1e400", "not a JSON object"),
    ("no members", b"{}", "source: missing"),
    ("no message", event(message=None), "message: missing"),
    ("boolean seq", event(seq=True), "seq: must be an integer"),
    ("seq of zero", event(seq=0), "seq: must be 1 to"),
    ("seq out of range", event(seq=2**70), "seq: must be 1 to"),
    ("empty source", event(source=""), "source: 0 characters"),
    ("source of 70 KB", event(source="s" * 70_000), "source: 70000 characters"),
    ("lone surrogate", event(message="\ud800"), "message: lone surrogate"),
    ("event time of another form", event(event_time="17.05.2024 08:00"), "event_time: not of the form"),
    ("event time before 1970", event(event_time="1924-05-17T08:00:00.000Z"), "event_time: before 1970"),
    (UNWRITABLE, event(message="x" * UNWRITABLE_BYTES), "Cassandra refuses it"),
    (
        "oversized",
        event(message="x" * OVERSIZED_BYTES),
        f"{len(event(message='x' * OVERSIZED_BYTES))} bytes, more than",
    ),
)


def client(config: Config) -> dict[str, Any]:
    """librdkafka properties that every client of the pipeline has."""
    return {"bootstrap.servers": config.kafka.bootstrap_servers, **config.kafka.client}


def plant(config: Config, after: int) -> list[dict[str, Any]]:
    """Send every record, spread over the partitions, one of them among further copies of events made after ``after``.

    Raises RuntimeError when one is not acknowledged.
    """
    partitions = sorted(KafkaHop(config, SECONDS).read().partitions)
    planted: list[dict[str, Any]] = []
    home, companions = newest(config, after)
    producer = Producer({**client(config), "acks": "all", "message.max.bytes": 2 * OVERSIZED_BYTES})
    for number, (name, value, reason) in enumerate(RECORDS):

        def delivered(error: Any, message: Any, name: str = name, reason: str = reason) -> None:
            if error is None:
                place = {"partition": message.partition(), "offset": message.offset()}
                planted.append({"name": name, "reason": reason, **place})

        beside = companions if name == UNWRITABLE else []
        partition = home if beside else partitions[number % len(partitions)]
        for companion in beside:
            producer.produce(config.kafka.topic, companion, partition=partition)
        producer.produce(config.kafka.topic, value, partition=partition, on_delivery=delivered)
        for companion in beside:
            producer.produce(config.kafka.topic, companion, partition=partition)
    producer.flush(SECONDS)
    if len(planted) != len(RECORDS):
        raise RuntimeError(f"{len(RECORDS) - len(planted)} of {len(RECORDS)} records were not acknowledged by Kafka")
    return planted


def newest(config: Config, after: int) -> tuple[int, list[bytes]]:
    """A partition and its last good events, COMPANIONS at most, all of them made after the event ``after``.

    A further copy of an older one would be none of the drill's window, and unaccounted for in it.
    """
    consumer = Consumer({**client(config), "group.id": "eventlog-poison", "enable.auto.commit": False})
    until = time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            for partition, end in KafkaHop(config, SECONDS).read().partitions.items():
                begin = max(0, end - COMPANIONS)
                consumer.assign([TopicPartition(config.kafka.topic, partition, begin)])
                messages = consumer.consume(end - begin, timeout=1.0) if end > begin else []
                found = [
                    message.value() for message in messages if not message.error() and made(message.value(), after)
                ]
                if found:
                    return partition, found
        raise RuntimeError(f"no event after {after} is in the topic")
    finally:
        consumer.close()


def made(value: bytes | None, after: int) -> bool:
    """Whether this is a later event of the producer, in its own encoding, which nothing planted has."""
    if not value or not value.startswith(b'{"source":"') or value.startswith(f'{{"source":"{SOURCE}"'.encode()):
        return False
    return int(json.loads(value)["seq"]) > after


def find(config: Config, planted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where each planted record is: its reason in the dead-letter topic and in the table of rejected records."""
    topic_id = KafkaHop(config, SECONDS).read().topic_id
    letters = read_letters(config, topic_id)
    session = connect(config, SECONDS)
    try:
        statement = session.prepare("SELECT reason FROM rejected WHERE topic_id = ? AND partition = ? AND offset = ?")
        found = []
        for record in planted:
            place = (int(record["partition"]), int(record["offset"]))
            row = session.execute(statement, (topic_id, *place)).one()
            found.append({"letter": letters.get(place), "row": row[0] if row else None, "beside": 0})
        for batch in session.execute("SELECT topic_id, partition, first_offset, last_offset, rows FROM ingest_log"):
            for record, where in zip(planted, found, strict=True):
                inside = batch.first_offset <= int(record["offset"]) <= batch.last_offset
                if batch.topic_id == topic_id and batch.partition == int(record["partition"]) and inside:
                    where["beside"] = max(where["beside"], batch.rows)
        return found
    finally:
        session.cluster.shutdown()


def read_letters(config: Config, topic_id: str | None) -> dict[tuple[int, int], str]:
    """Reasons of the dead-letter topic by partition and offset of the refused record."""
    consumer = Consumer(
        {**client(config), "group.id": "eventlog-poison", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    try:
        metadata = consumer.list_topics(config.kafka.dead_letter_topic, timeout=SECONDS)
        partitions = metadata.topics[config.kafka.dead_letter_topic].partitions
        consumer.assign([TopicPartition(config.kafka.dead_letter_topic, number, 0) for number in partitions])
        unread = set(partitions)
        letters = {}
        until = time.monotonic() + SECONDS
        while unread and time.monotonic() < until:
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                continue
            letter = json.loads(message.value())
            if letter.get("topic_id") == topic_id:
                letters[int(letter["partition"]), int(letter["offset"])] = str(letter["reason"])
        return letters
    finally:
        consumer.close()


def main() -> int:
    """Entry point; the text of an error goes to standard error, with exit status 1."""
    config = load(sys.argv[2])
    try:
        result = plant(config, int(sys.argv[3])) if sys.argv[1] == "plant" else find(config, json.loads(sys.argv[3]))
    except Exception as error:  # whatever it is, the drill shows its text
        print(f"poison: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
