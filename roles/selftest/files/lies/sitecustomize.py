"""Planted on the search path of a drill's sampler: it then says of a hop what the file `lie.json` beside this asks.
The books reader has the same search path, and a monitor may be given it.

The file holds a kind of lie and its hops, as in ``"frozen kafka"``; without any it is Cassandra:

``frozen``: what was read in the moment in which the lie began, for ever. ``slow``: from then on every second row.
``boast``: fifty more than there are. ``blind``: nothing can be read. ``glimpse``: frozen for a second or two, and
then nothing. ``deaf``: the sampler tells the truth, but the books reader looks for the topic where no broker is.

Without the file both tell the truth.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

LIE = Path(__file__).with_name("lie.json")


def asked() -> tuple[str, list[str]]:
    """Kind and hops of the lie."""
    text = str(json.loads(LIE.read_text(encoding="utf-8"))) if LIE.exists() else "none"
    kind, *hops = text.split()
    return kind, hops or ["cassandra"]


if "eventlog.books" in sys.orig_argv and asked()[0] == "deaf":
    from eventlog import topic_records

    NO_BROKER = "127.0.0.1:1"
    consumer = topic_records.Consumer
    topic_records.Consumer = lambda properties: consumer({**properties, "bootstrap.servers": NO_BROKER})

if "eventlog.sampler" in sys.orig_argv or "eventlog.monitor" in sys.orig_argv:
    from eventlog.hops.cassandra import CassandraHop
    from eventlog.hops.kafka import KafkaHop
    from eventlog.hops.probe import Unreadable
    from eventlog.hops.producer import ProducerHop

    BOAST = 50
    GLIMPSE = 1.6  # seconds: three readings
    #: What was read when a lie about a hop began, and when that was.
    begun: dict[tuple[str, str], tuple[Any, float]] = {}

    def told(hop: str, truth: Any) -> Any:
        """The reading that is told instead. Raises Unreadable when the lie is that there is none."""
        kind, about = asked()
        if hop not in about:
            return truth
        first, since = begun.setdefault((kind, hop), (truth, time.monotonic()))
        if kind == "blind" or (kind == "glimpse" and time.monotonic() - since > GLIMPSE):
            raise Unreadable("planted")
        if kind == "slow":
            return replace(truth, count=first.count + (truth.count - first.count) // 2)
        if kind == "boast" and hop == "kafka":
            (partition, end), *_ = truth.partitions.items()
            return replace(truth, partitions={**truth.partitions, partition: end + BOAST})
        if kind == "boast":
            return replace(truth, count=truth.count + BOAST)
        return first if kind in ("frozen", "glimpse") else truth

    def lying(hop: str, honest: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The reading of a hop, and what is told instead."""
        return lambda self: told(hop, honest(self))

    for name, kind_of_hop in (("producer", ProducerHop), ("kafka", KafkaHop), ("cassandra", CassandraHop)):
        kind_of_hop.read = lying(name, kind_of_hop.read)  # type: ignore[attr-defined]
