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

WARM_SECONDS = 2.0


def through_the_spool(rig: Rig, seconds: float) -> float:
    """Events per second that the producer brings through its spool to Kafka when asked for more than it can do."""
    rig.stream(RATE_MAX)
    try:
        time.sleep(WARM_SECONDS)
        before, began = rig.control("status")["acked"], time.monotonic()
        time.sleep(seconds)
        after, ended = rig.control("status")["acked"], time.monotonic()
    finally:
        rig.stream(None)
    rig.delivered()
    return float((after - before) / (ended - began))


def bare_loop(config: Config, folder: Path, seconds: float) -> float:
    """Events per second of: make a group, append and fsync it to a file, hand it to the same client."""
    source = make_source()
    factory = event.EventFactory(source, config.event.bytes)
    client = Producer(client_properties(config, single=False))
    group = GROUP_BYTES // (config.event.bytes + 1)
    acked = 0

    def report(error: KafkaError | None, _: Message) -> None:
        nonlocal acked
        if error is not None:
            raise BenchError(f"producer: {error.str()}")
        acked += 1

    path = folder / "group.log"
    seq = 1
    began = time.monotonic()
    with path.open("wb") as file:
        while time.monotonic() - began < seconds:
            bodies = factory.make(seq, group, time.time())
            file.write(b"\n".join(bodies))
            file.flush()
            os.fsync(file.fileno())
            for body in bodies:
                send(client, config.kafka.topic, event.key(source, seq), body, on_delivery=report)
                seq += 1
    left = client.flush(SILENCE_SECONDS)
    elapsed = time.monotonic() - began
    path.unlink()
    if left:
        raise BenchError(f"producer: Kafka did not acknowledge {left} events of the bare loop")
    return acked / elapsed
