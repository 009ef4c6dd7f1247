"""Producer: events per second spooled durably and acknowledged, beside a bare loop that does the same with a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer
from eventlog import event
from eventlog.config import RATE_MAX, Config
from eventlog.publisher import client_properties
from eventlog.spool import GROUP_BYTES, make_source

from bench.load import SILENCE_SECONDS, send
from bench.rig import BenchError, Rig

#: The topic of both sides: what they write is as much as the machine is fast, and may be in no table that is measured.
TOPIC = "bench"
WARM_EVENTS = 100_000
#: Seconds between two questions of how far it is; each takes it a moment.
LOOK_SECONDS = 0.05


def through_the_spool(rig: Rig, config: Config, events: int) -> float:
    """Events per second that a producer brings through its spool to Kafka when asked for more than it can do.

    ``config`` is the producer's; ``events`` are measured, after WARM_EVENTS that are not.
    """
    rig.stream(RATE_MAX, config)
    try:
        begin, began = _acked(rig, config, rig.control("status", config)["acked"] + WARM_EVENTS)
        end, ended = _acked(rig, config, begin + events)
    finally:
        rig.stream(None, config)
    rig.delivered(config=config)
    return (end - begin) / (ended - began)


def _acked(rig: Rig, config: Config, wanted: int) -> tuple[int, float]:
    """How many events are acknowledged, ``wanted`` at least, and the moment of ``time.monotonic``."""
    acked, heard = -1, time.monotonic()
    while True:
        found, now = int(rig.control("status", config)["acked"]), time.monotonic()
        if found >= wanted:
            return found, now
        if found > acked:
            acked, heard = found, now
        elif now - heard > SILENCE_SECONDS:
            raise BenchError(f"Kafka acknowledged no event for {SILENCE_SECONDS:g} s, {wanted - found} were to come")
        time.sleep(LOOK_SECONDS)


def bare_loop(config: Config, folder: Path, events: int) -> float:
    """Events per second of: make a group, append and fsync it to a file, hand it to the same client."""
    source = make_source()
    factory = event.EventFactory(source, config.event.bytes)
    client = Producer(client_properties(config, single=False))
    group = GROUP_BYTES // (config.event.bytes + 1)
    acked = 0

    def report(error: KafkaError | None, _: Message) -> None:
        nonlocal acked
        if error is not None:
            raise BenchError(f"Kafka refused an event of the bare loop: {error.str()}")
        acked += 1

    path = folder / "group.log"
    began = time.monotonic()
    try:
        with path.open("wb") as file:
            for first in range(1, events + 1, group):
                bodies = factory.make(first, min(group, events + 1 - first), time.time())
                file.write(b"\n".join(bodies))
                file.flush()
                os.fsync(file.fileno())
                for seq, body in enumerate(bodies, first):
                    send(client, config.kafka.topic, event.key(source, seq), body, on_delivery=report)
        left = client.flush(SILENCE_SECONDS)
        elapsed = time.monotonic() - began
    finally:
        path.unlink()
    if left:
        raise BenchError(f"Kafka did not acknowledge {left} events of the bare loop")
    return acked / elapsed
