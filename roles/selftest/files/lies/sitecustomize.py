"""Planted on the search path of a drill's sampler: it then says of Cassandra what the file `lie.json` beside this asks.
The books reader has the same search path.

``"frozen"``: the count of the moment in which the lie began, for ever. ``"slow"``: from then on every second row.
``"boast"``: fifty rows more than there are. ``"blind"``: nothing can be read. ``"deaf"``: the sampler tells the truth,
but the books reader looks for the topic where no broker is. Without the file both tell the truth.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

LIE = Path(__file__).with_name("lie.json")


def asked() -> str:
    """The kind of the lie."""
    return str(json.loads(LIE.read_text(encoding="utf-8"))) if LIE.exists() else "none"


if "eventlog.books" in sys.orig_argv and asked() == "deaf":
    from eventlog import topic_records

    NO_BROKER = "127.0.0.1:1"
    consumer = topic_records.Consumer
    topic_records.Consumer = lambda properties: consumer({**properties, "bootstrap.servers": NO_BROKER})

if "eventlog.sampler" in sys.orig_argv:
    from eventlog.hops.cassandra import CassandraHop, CassandraReading
    from eventlog.hops.probe import Unreadable

    BOAST = 50  # rows
    honest = CassandraHop.read
    first: dict[str, int] = {}  # kind of lie → count when it began

    def told(count: int) -> int:
        """The count that is told instead. Raises Unreadable when the lie is that there is none."""
        lie = asked()
        begun = first.setdefault(lie, count)
        if lie == "blind":
            raise Unreadable("planted")
        return {"frozen": begun, "slow": begun + (count - begun) // 2, "boast": count + BOAST}.get(lie, count)

    def read(self: CassandraHop) -> CassandraReading:
        """The true reading with another count."""
        found = honest(self)
        return replace(found, count=told(found.count))

    CassandraHop.read = read  # type: ignore[method-assign]
