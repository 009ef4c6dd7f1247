"""Planted on the search path of a drill's sampler: it then says of Cassandra what the file `lie.json` beside this asks.

``"frozen"``: the count of the moment in which the lie began, for ever. ``"slow"``: from then on every second row.
``"boast"``: fifty rows more than there are. ``"blind"``: nothing can be read. Without the file it tells the truth.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

if "eventlog.sampler" in sys.orig_argv:
    from eventlog.hops.cassandra import CassandraHop, CassandraReading
    from eventlog.hops.probe import Unreadable

    LIE = Path(__file__).with_name("lie.json")
    BOAST = 50  # rows
    honest = CassandraHop.read
    first: dict[str, int] = {}  # kind of lie → count when it began

    def told(count: int) -> int:
        """The count that is told instead. Raises Unreadable when the lie is that there is none."""
        lie = json.loads(LIE.read_text(encoding="utf-8")) if LIE.exists() else "none"
        begun = first.setdefault(lie, count)
        if lie == "blind":
            raise Unreadable("planted")
        return {"frozen": begun, "slow": begun + (count - begun) // 2, "boast": count + BOAST}.get(lie, count)

    def read(self: CassandraHop) -> CassandraReading:
        """The true reading with another count."""
        found = honest(self)
        return replace(found, count=told(found.count))

    CassandraHop.read = read  # type: ignore[method-assign]
