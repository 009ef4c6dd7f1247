"""Counting records in a real Kafka."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from eventlog.config import Config, load
from eventlog.hops.kafka import KafkaHop, KafkaReading
from eventlog.hops.probe import Probe, Unreadable

from testing.kafka import KafkaServer
from testing.waiting import wait_until

pytestmark = pytest.mark.servers
READINGS = 1000


@pytest.fixture
def hop_config(kafka: KafkaServer, topic: str, write_config: Callable[..., Path]) -> Config:
    """A configuration that points at the test's topic."""
    changes = {"kafka__bootstrap_servers": kafka.bootstrap_servers, "kafka__topic": topic}
    return load(write_config(**changes, kafka__dead_letter_topic=f"{topic}-rejected"))


@pytest.fixture
def hop(hop_config: Config) -> Iterator[KafkaHop]:
    """A hop that is closed afterwards."""
    made = KafkaHop(hop_config, request_timeout=5.0)
    yield made
    made.close()


def send(kafka: KafkaServer, topic: str, partitions: dict[int, int]) -> None:
    """So many records to each partition, acknowledged."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all", "log_level": 0})
    for partition, count in partitions.items():
        for _ in range(count):
            producer.produce(topic, b"x", partition=partition)
    assert producer.flush(20) == 0


def test_end_offsets_of_all_partitions(kafka: KafkaServer, topic: str, hop: KafkaHop) -> None:
    empty = hop.read()
    assert (empty.count, dict(empty.partitions), empty.dead_letters) == (0, {0: 0, 1: 0, 2: 0, 3: 0}, None)
    kafka.create_topic(f"{topic}-rejected", partitions=2)
    send(kafka, topic, {0: 3, 2: 500})
    send(kafka, f"{topic}-rejected", {0: 1, 1: 2})
    reading = hop.read()
    assert (reading.count, dict(reading.partitions)) == (503, {0: 3, 1: 0, 2: 500, 3: 0})
    assert reading.dead_letters == 3
    assert reading.topic_id == empty.topic_id


def test_a_topic_that_is_made_anew_has_another_id(kafka: KafkaServer, topic: str, hop: KafkaHop) -> None:
    send(kafka, topic, {1: 10})
    before = hop.read()
    kafka.delete_topic(topic)
    with pytest.raises(Unreadable, match=f"topic {topic} does not exist"):
        hop.read()
    kafka.create_topic(topic, partitions=2)
    probe = Probe("kafka", hop)
    wait_until(lambda: _read(probe), 10, "the new topic is read")
    after = probe.seen().value
    assert after is not None
    assert after.topic_id != before.topic_id
    assert dict(after.partitions) == {0: 0, 1: 0}


def test_a_topic_that_is_made_anew_between_two_readings_is_noticed(
    kafka: KafkaServer, topic: str, hop: KafkaHop
) -> None:
    kafka.create_topic(f"{topic}-rejected", partitions=1)
    send(kafka, topic, {1: 10})
    before = hop.read()
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=4)
    send(kafka, topic, {0: 20, 1: 2})
    after = hop.read()
    assert after.topic_id != before.topic_id
    assert dict(after.partitions) == {0: 20, 1: 2, 2: 0, 3: 0}


def test_readings_leave_nothing_in_memory(kafka: KafkaServer, topic: str, hop: KafkaHop) -> None:
    kafka.create_topic(f"{topic}-rejected", partitions=1)
    send(kafka, topic, {0: 1})
    hop.read()
    before = sys.getallocatedblocks()
    for _ in range(READINGS):
        hop.read()
    gc.collect()
    assert sys.getallocatedblocks() - before < READINGS / 2


def test_a_frozen_broker_stalls_and_comes_back(kafka: KafkaServer, topic: str, hop_config: Config) -> None:
    send(kafka, topic, {0: 7})
    probe = Probe("kafka", KafkaHop(hop_config, request_timeout=1.0))
    wait_until(lambda: _read(probe), 10, "the topic is read")
    kafka.freeze()
    try:
        probe.ask()
        assert not probe.wait(time.monotonic() + 0.5)
        stuck = probe.seen()
        assert not stuck.reachable
        assert stuck.value is not None
        assert stuck.value.count == 7
        assert probe.wait(time.monotonic() + 5), "a reading gives up by itself"
        assert probe.seen().error == "no answer within 1 s"
        fresh = KafkaHop(hop_config, request_timeout=1.0)
        began = time.monotonic()
        with pytest.raises(Unreadable):
            fresh.read()
        assert time.monotonic() - began < 3, "so does one that connects for the first time"
    finally:
        kafka.thaw()
    wait_until(lambda: _read(probe), 15, "it is read again")
    probe.close(5)


def test_a_stopped_broker_is_found_again_and_nothing_is_printed(
    kafka: KafkaServer, topic: str, hop_config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    send(kafka, topic, {0: 7})
    probe = Probe("kafka", KafkaHop(hop_config, request_timeout=1.0))
    wait_until(lambda: _read(probe), 10, "the topic is read")
    capfd.readouterr()
    kafka.stop()
    try:
        wait_until(lambda: "refused" in (_error(probe) or ""), 10, "it is said that the connection is refused")
        assert capfd.readouterr().err == ""
    finally:
        kafka.start()
    began = time.monotonic()
    wait_until(lambda: _read(probe), 15, "it is read again")
    assert time.monotonic() - began < 5
    probe.close(5)


def _read(probe: Probe[KafkaReading]) -> bool:
    probe.ask()
    probe.wait(time.monotonic() + 3)
    seen = probe.seen()
    return seen.reachable


def _error(probe: Probe[KafkaReading]) -> str | None:
    probe.ask()
    probe.wait(time.monotonic() + 3)
    return probe.seen().error
