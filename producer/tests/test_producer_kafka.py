"""The producer against a real broker: nothing counted is ever missing, whatever is killed, stopped or deleted."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eventlog import event, publisher
from eventlog.acks import Acks
from eventlog.config import load
from eventlog.spool import Block, Spool

from testing.kafka import KafkaServer
from testing.producer import ProducerProcess, sequence
from testing.waiting import wait_until

pytestmark = pytest.mark.servers

Make = Callable[..., ProducerProcess]


def start(make: Make, kafka: KafkaServer, topic: str, **changes: object) -> ProducerProcess:
    producer = make(kafka__bootstrap_servers=kafka.bootstrap_servers, kafka__topic=topic, **changes)
    producer.start()
    return producer


def drained(producer: ProducerProcess, timeout: float = 60) -> int:
    """Pause, wait until nothing is buffered, and return the count."""
    producer.ask("pause")
    producer.until(lambda status: status["buffered"] == 0, "the spool is drained", timeout)
    return int(producer.ask("status")["count"])


def check(kafka: KafkaServer, topic: str, source: str, count: int) -> list[int]:
    """Every counted event is in the topic; returns the seqs, repeats included."""
    seqs = sequence(kafka, topic, source)
    assert set(seqs) == set(range(1, count + 1))
    return seqs


def test_every_event_arrives_once_in_order_under_its_key(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=2000.0)
    producer.until_beyond("count", 3000, 20)
    count = drained(producer)
    status = producer.ask("status")
    assert (status["acked"], status["rejected"], status["in_flight"], status["kafka_error"]) == (count, 0, 0, None)

    records = kafka.records(topic)
    decoded = [(partition, key, event.decode(value)) for partition, _, key, value in records]
    assert sorted(item.seq for _, _, item in decoded) == list(range(1, count + 1))
    assert all(key == event.key(status["source"], item.seq) for _, key, item in decoded)
    assert {len(value) for _, _, _, value in records} == {1024}
    for partition in {partition for partition, _, _ in decoded}:
        seqs = [item.seq for number, _, item in decoded if number == partition]
        assert seqs == sorted(seqs)
    partitions: dict[bytes, int] = {}
    for partition, key, _ in decoded:
        assert partitions.setdefault(key, partition) == partition
    assert len(set(partitions.values())) == 4


def test_the_rate_is_exact(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=1000.0)
    begin, first = time.monotonic(), producer.ask("status")["count"]
    wait_until(lambda: time.monotonic() - begin >= 5, 6, "five seconds have passed", interval=0.5)
    count = producer.ask("status")["count"]
    elapsed = time.monotonic() - begin
    # Either reading may be a group (20 ms) and an answer old.
    assert abs((count - first) - 1000 * elapsed) <= 150


def test_kills_at_a_high_rate_lose_nothing(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=10_000.0)
    source = producer.ask("status")["source"]
    for _ in range(4):
        base = producer.ask("status")["acked"]
        producer.until_beyond("acked", base + 5000, 30)
        seen = producer.ask("status")["count"]
        producer.kill()
        assert producer.reading().count >= seen
        producer.start()
    count = drained(producer)

    seqs = check(kafka, topic, source, count)
    # Each kill may repeat what was in flight, no more.
    assert len(seqs) - count < 4 * 10_000


def test_a_broker_stopped_and_started_is_bridged(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=500.0)
    source = producer.ask("status")["source"]
    producer.until_beyond("acked", 500, 20)
    kafka.stop()
    try:
        away = producer.ask("status")["count"]
        producer.until_beyond("count", away + 2000, 30)
        status = producer.ask("status")
        assert status["streaming"] is True
        assert status["kafka_error"]
        assert status["buffered"] > 1500
    finally:
        kafka.start()
    back = time.monotonic()
    producer.until(lambda status: status["buffered"] < 200, "the spool drains", 60)
    print(f"drained {time.monotonic() - back:.1f} s after Kafka answered")
    check(kafka, topic, source, drained(producer))
    assert producer.log.count("Kafka cannot be reached") >= 1
    assert "Kafka answers again" in producer.log


def test_a_frozen_broker_is_waited_for_without_repeats(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=500.0)
    source = producer.ask("status")["source"]
    producer.until_beyond("acked", 500)
    kafka.freeze()
    try:
        base = producer.ask("status")["count"]
        producer.until_beyond("count", base + 2000)
    finally:
        kafka.thaw()
    count = drained(producer)
    assert len(check(kafka, topic, source, count)) == count


def test_a_silent_client_is_replaced(
    kafka: KafkaServer, topic: str, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher alone, with less patience than it has: silence without an error ends the client, not the flow."""
    monkeypatch.setattr(publisher, "SILENCE_SECONDS", 2.0)
    config = load(write_config(kafka__bootstrap_servers=kafka.bootstrap_servers, kafka__topic=topic))
    spool = Spool(config.producer.spool, config.producer.spool_limit_bytes, config.producer.rate)
    source, acks = spool.state.source, Acks(0)
    factory = event.EventFactory(source, config.event.bytes)
    sender = publisher.Publisher(config, source, spool.blocks(), acks, made=lambda: spool.state.made)
    thread = threading.Thread(target=sender.run)
    thread.start()
    try:
        spool.commit(replace(spool.state, made=100), [Block(1, factory.make(1, 100, 0.0))])
        wait_until(lambda: acks.settled == 100, 30, "the first events are acknowledged")
        kafka.freeze()
        spool.commit(replace(spool.state, made=200), [Block(101, factory.make(101, 100, 0.0))])
        wait_until(lambda: sender.status()["in_flight"] == 100, 10, "the client has the next events")
        wait_until(lambda: sender.status()["in_flight"] == 0, 30, "the client is given up")
        kafka.thaw()
        wait_until(lambda: acks.settled == 200, 60, "a new client sends them")
    finally:
        kafka.thaw()
        sender.stop(within=0)
        thread.join(30)
        spool.close()
    check(kafka, topic, source, 200)


def test_a_killed_broker_and_a_killed_producer_together(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=2000.0)
    source = producer.ask("status")["source"]
    producer.until_beyond("acked", 2000, 20)
    kafka.kill()
    try:
        away = producer.ask("status")["count"]
        producer.until_beyond("count", away + 2000, 30)
        producer.kill()
        producer.start()
        assert producer.ask("status")["count"] > away + 2000
    finally:
        kafka.start()
    check(kafka, topic, source, drained(producer))


def test_memory_stays_flat_while_kafka_is_away(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    """At 20,000/s the client's queue of 32 MB is full within two seconds; all the rest has to stay on disk."""
    producer = start(make_producer, kafka, topic, producer__rate=20_000.0, producer__spool_limit_bytes=512 << 20)
    source = producer.ask("status")["source"]
    kafka.stop()
    try:
        producer.until_beyond("buffered", 60_000, 60)
        early = producer.resident_bytes()
        producer.until_beyond("buffered", 180_000, 60)
        late = producer.resident_bytes()
    finally:
        kafka.start()
    assert late - early < 8 << 20
    assert late < 160 << 20
    check(kafka, topic, source, drained(producer, 120))
    path = producer.config.producer.spool
    wait_until(lambda: path.stat().st_size < 16 << 20, 30, f"space is given back, {path.stat().st_size} bytes are held")


def test_a_full_disk_keeps_nothing_from_kafka(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    """What is on disk is sent while nothing can be written (RLIMIT_FSIZE); with room, it is forgotten and goes on."""
    producer = start(make_producer, kafka, topic, producer__rate=5000.0)
    source = producer.ask("status")["source"]
    resource.prlimit(producer.pid, resource.RLIMIT_FSIZE, (9 << 20, resource.RLIM_INFINITY))
    kafka.stop()
    try:
        producer.until(lambda status: not status["streaming"], "the disk is full", 60)
        # What the spool had written before its limit could be written over: from now on nothing can.
        resource.prlimit(producer.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    finally:
        kafka.start()
    full = producer.until(lambda status: status["in_flight"] == 0, "everything is sent", 60)
    assert full["buffered"] > 5000
    assert set(range(1, full["count"] + 1)) <= set(sequence(kafka, topic, source))

    resource.prlimit(producer.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    producer.until_beyond("acked", full["count"] + 1000)
    check(kafka, topic, source, drained(producer))


def test_a_topic_deleted_and_created_again_is_filled(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=500.0)
    source = producer.ask("status")["source"]
    for _ in range(2):
        base = producer.ask("status")["acked"]
        producer.until_beyond("acked", base + 500, 60)
        kafka.delete_topic(topic)
        # Once nothing is acknowledged any more, every further event belongs to the new topic.
        acked = -1
        while acked != (acked := producer.ask("status")["acked"]):
            time.sleep(1)
        gone = producer.ask("status")["count"]
        producer.until_beyond("count", gone + 500, 20)
        kafka.create_topic(topic)
        created = producer.ask("status")["count"]
        producer.until_beyond("acked", created, 90)
    count = drained(producer)
    seqs = set(sequence(kafka, topic, source))
    assert set(range(gone + 1, count + 1)) <= seqs


def test_a_topic_that_comes_late_is_waited_for(make_producer: Make, kafka: KafkaServer) -> None:
    topic = f"late-{time.time_ns()}"
    producer = start(make_producer, kafka, topic, producer__rate=200.0)
    producer.until_beyond("count", 500, 20)
    producer.until(lambda status: "Unknown topic" in str(status["kafka_error"]), "the missing topic is said")
    assert producer.ask("status")["acked"] == 0
    kafka.create_topic(topic)
    check(kafka, topic, producer.ask("status")["source"], drained(producer))


def test_a_new_spool_changes_no_old_event(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=1000.0)
    first = producer.ask("status")["source"]
    producer.until_beyond("count", 500, 20)
    old = drained(producer)
    producer.stop()
    before = kafka.records(topic)
    for file in producer.config.producer.spool.parent.glob("spool.db*"):
        file.unlink()

    producer.start()
    second = producer.ask("status")["source"]
    assert second != first
    producer.until_beyond("count", 500, 20)
    new = drained(producer)
    after = kafka.records(topic)
    assert [record for record in after if record in set(before)] == before
    check(kafka, topic, first, old)
    check(kafka, topic, second, new)


def test_an_oversized_event_is_rejected_and_blocks_nothing(make_producer: Make, kafka: KafkaServer) -> None:
    """Two sizes in one spool, of which the topic takes the smaller only."""
    topic = f"narrow-{time.time_ns()}"
    kafka.create_topic(topic, settings={"max.message.bytes": "20000"})
    away = {"kafka__bootstrap_servers": "127.0.0.1:1", "kafka__topic": topic, "producer__rate": 200.0}
    counts = []
    for size in (1024, 30_000, 1024):
        producer = make_producer(**away, event__bytes=size)
        producer.start()
        base = producer.ask("status")["count"]
        producer.until_beyond("count", base + 50, 10)
        producer.stop()
        counts.append(producer.reading().count)

    producer = start(make_producer, kafka, topic, event__bytes=1024)
    source = producer.ask("status")["source"]
    count = drained(producer)
    refused = set(range(counts[0] + 1, counts[1] + 1))
    status = producer.ask("status")
    assert (status["rejected"], status["acked"]) == (len(refused), count - len(refused))
    assert set(sequence(kafka, topic, source)) == set(range(1, count + 1)) - refused
    assert f"event {counts[0] + 1} of 30000 bytes is refused for good: Broker: Message size too large" in producer.log


def test_an_event_the_client_itself_refuses_is_rejected(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(
        make_producer, kafka, topic, producer__rate=50.0, event__bytes=5000, kafka__client={"message.max.bytes": 2000}
    )
    producer.until_beyond("rejected", 20, 20)
    count = drained(producer)
    assert producer.ask("status")["rejected"] == count
    assert kafka.records(topic) == []


def test_batches_too_large_for_the_topic_are_sent_singly(make_producer: Make, kafka: KafkaServer) -> None:
    """The topic takes each event, but not two of them in one batch: none may be taken for oversized."""
    topic = f"single-{time.time_ns()}"
    kafka.create_topic(topic, settings={"max.message.bytes": "1300"})
    producer = start(make_producer, kafka, topic, producer__rate=1000.0)
    producer.until_beyond("acked", 1000, 30)
    count = drained(producer)
    assert producer.ask("status")["rejected"] == 0
    check(kafka, topic, producer.ask("status")["source"], count)
    assert "sending single events from now on" in producer.log


def test_an_orderly_stop_flushes(make_producer: Make, kafka: KafkaServer, topic: str) -> None:
    producer = start(make_producer, kafka, topic, producer__rate=5000.0)
    source = producer.ask("status")["source"]
    producer.until_beyond("acked", 5000, 20)
    status, seconds = producer.stop()
    assert status == 0
    assert seconds < 6
    reading = producer.reading()
    assert reading.buffered == 0
    assert len(check(kafka, topic, source, reading.count)) == reading.count
