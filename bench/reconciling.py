"""Books: every event followed through all hops, beside reading topic and table once with the same clients."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from cassandra.concurrent import execute_concurrent_with_args
from eventlog.books import read_books
from eventlog.config import Config
from eventlog.table_rows import CONCURRENT_READS
from eventlog.topic_records import BATCH

from bench import load
from bench.rig import BenchError, Rig

HELD = 8 * CONCURRENT_READS  # buckets in memory at once
TIMEOUT = 300.0  # seconds; 1.5 million events took 15


def reconciled(rig: Rig) -> tuple[float, int]:
    """Seconds to reconcile all that the table knows with topic and spool, and the events in it.

    Raises BenchError when an event is missing: the seconds of books that do not add up mean nothing.
    """
    windows = _windows(rig)
    began = time.monotonic()
    books = read_books(rig.config, {"sources": windows, "timeout": TIMEOUT})
    seconds = time.monotonic() - began
    # The spool knows its own source only; the backlog's other sources are proved by topic and table.
    broken = [
        source
        for source, window in windows.items()
        if not books["sources"][source]["kafka"] == books["sources"][source]["cassandra"] == [window]
    ]
    unknown = sorted(books["unexpected"]["sources"])
    if broken or unknown:
        raise BenchError(f"books: not whole {broken}, unknown {unknown}; unclosed {books['unclosed']}")
    return seconds, sum(last for _, last in windows.values())


def _windows(rig: Rig) -> dict[str, list[int]]:
    """Per source of the table: 1 and its last seq."""
    last: dict[str, int] = {}
    with rig.session() as session:
        for source, bucket in session.execute("SELECT source, bucket FROM buckets"):
            last[source] = max(last.get(source, 0), bucket)
        query = session.prepare("SELECT max(seq) FROM events WHERE source = ? AND bucket = ?")
        return {source: [1, session.execute(query, (source, bucket)).one()[0]] for source, bucket in last.items()}


def read_once(rig: Rig) -> float:
    """Seconds to read every record of the topic and every row, both at the same time, and forget them."""
    config, ends = rig.config, rig.pipeline.ends()
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        table = pool.submit(_table, rig)
        topic = _topic(config, ends)
        rows = table.result()
    seconds = time.monotonic() - began
    if topic != sum(ends.values()) or not rows:
        raise BenchError(f"books: read {topic} of {sum(ends.values())} records and {rows} rows")
    return seconds


def _topic(config: Config, ends: Mapping[int, int]) -> int:
    return sum(len(batch) for batch in load.records(config, {}, ends, BATCH, "bench-books"))


def _table(rig: Rig) -> int:
    with rig.session() as session:
        buckets = [tuple(row) for row in session.execute("SELECT source, bucket FROM buckets")]
        query = session.prepare(
            "SELECT seq, event_time, level, service, message, position FROM events WHERE source = ? AND bucket = ?"
        )
        rows = 0
        for start in range(0, len(buckets), HELD):
            answers = execute_concurrent_with_args(
                session, query, buckets[start : start + HELD], concurrency=CONCURRENT_READS
            )
            rows += sum(1 for _, answer in answers for _ in answer)
        return rows
