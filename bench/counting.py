"""Counting: the exact number of rows while rows are being written, at a cost that must not grow with the table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from eventlog.hops.cassandra import SERVER_ERRORS, CassandraHop

from bench.rig import BenchError, Rig

REPEATS = 15
COLD_REPEATS = 5
WRITING_RATE = 1000.0  # events per second meanwhile
#: Seconds that the server may take for its own count, which reads the whole table.
SERVER_SECONDS = 60.0
_COLD = """
import sys
from pathlib import Path
from eventlog.config import load
from eventlog.hops.cassandra import CassandraHop
print(CassandraHop(load(Path(sys.argv[1])), 60.0).read().count)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of one count of ``rows`` rows: on a kept connection, from a new process, and by the server itself.

    ``server`` is None when the server did not count them within SERVER_SECONDS.
    """

    rows: int
    kept: float
    cold: float
    server: float | None


def cost(rig: Rig) -> Cost:
    """Medians of several counts, with rows being written all the while; then the server's, while the table rests.

    That one takes as long as the table is large: with a stream beside it, its speed would decide the table's size.
    """
    rig.stream(WRITING_RATE)
    try:
        hop = CassandraHop(rig.config, 60.0)
        try:
            rows = hop.read().count  # the first one also looks at what was filled since the last count
            kept = statistics.median(_seconds(hop.read) for _ in range(REPEATS))
        finally:
            hop.close()
        cold = statistics.median(_seconds(lambda: _cold(rig)) for _ in range(COLD_REPEATS))
    finally:
        rig.stream(None)
    return Cost(rows, kept, cold, _by_the_server(rig))


def _by_the_server(rig: Rig) -> float | None:
    with rig.session(SERVER_SECONDS) as session:
        try:
            return _seconds(lambda: session.execute("SELECT count(*) FROM events").one())
        except SERVER_ERRORS:
            return None


def _cold(rig: Rig) -> None:
    command = [sys.executable, "-c", _COLD, str(rig.pipeline.root / "etc" / "pipeline.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.splitlines() or [f"status {done.returncode}"])[-1]
        raise BenchError(f"counting from a new process failed: {last}\n{done.stderr[-1000:]}")


def _seconds(action: object) -> float:
    assert callable(action)
    began = time.monotonic()
    action()
    return time.monotonic() - began
