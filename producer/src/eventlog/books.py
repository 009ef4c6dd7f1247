"""The books: every (source, seq) of a window, looked up at every hop.

    python -m eventlog.books --config etc/pipeline.toml --request request.json

The request says which window, and the result says in which seqs each hop holds it; both are JSON objects:

``sources``: source → ``[first, last]``, the seqs of its window. Without it, everything the spool's source has made.
``kafka_from``, ``kafka_to``: partition → offset, the stretch of the topic to be read, its end excluded; by default from
the beginning to the end. Reading begins where the window began, or earlier.
``since``: epoch seconds, from when rewrites count; by default all that the sink's log still knows.
``timeout``: seconds for all of it, 300 by default.

The result's ranges are ``[[first, last], …]``, both included. A hop that could not be read holds nothing, and
``unclosed`` says so.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from eventlog.config import Config, ConfigError, load
from eventlog.hops.cassandra import SERVER_ERRORS, connect, explain
from eventlog.hops.kafka import KafkaHop, KafkaReading
from eventlog.hops.probe import Unreadable
from eventlog.intervals import IntervalSet
from eventlog.spool import SpoolError, read_spool
from eventlog.table_rows import Rejected, Rewrites, Tables
from eventlog.topic_records import ReadError, SourceRuns, TopicRecords, read_topic

T = TypeVar("T")
TIMEOUT = 300.0  # seconds
REQUEST_TIMEOUT = 30.0  # seconds of a single request to Cassandra
MOST_LISTED = 1000  # single records listed by position; all of them are counted


class RequestError(ValueError):
    """The request cannot be used; the text names the key and what is expected."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; see the module's documentation. ``None``: as much as there is."""

    sources: Mapping[str, tuple[int, int]] | None
    kafka_from: Mapping[int, int]
    kafka_to: Mapping[int, int] | None
    since: float
    timeout: float

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Request:
        """Raises RequestError."""
        if not isinstance(document, Mapping):
            raise RequestError("the request must be a JSON object")
        unknown = sorted(set(document) - {"sources", "kafka_from", "kafka_to", "since", "timeout"})
        if unknown:
            raise RequestError(f"{unknown[0]} is not a key of a books request")
        sources = document.get("sources")
        kafka_to = document.get("kafka_to")
        return cls(
            None if sources is None else _windows(sources),
            _offsets("kafka_from", document.get("kafka_from") or {}),
            None if kafka_to is None else _offsets("kafka_to", kafka_to),
            _seconds("since", document.get("since", 0)),
            _seconds("timeout", document.get("timeout", TIMEOUT)),
        )


@dataclass(frozen=True, slots=True)
class _SpoolBooks:
    """What the spool knows: its source has made 1 to ``made``, settled 1 to ``settled`` but for ``refused``."""

    source: str
    made: int
    settled: int
    refused: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known before the tables are read; ``end`` is the topic's stretch."""

    spool: _SpoolBooks | None
    kafka: KafkaReading | None
    end: Mapping[int, int]
    deadline: float


@dataclass(frozen=True, slots=True)
class _TableBooks:
    rows: Mapping[str, IntervalSet]
    rejected: Sequence[Rejected]
    rewrites: Rewrites


def read_books(config: Config, request: Mapping[str, Any]) -> dict[str, Any]:
    """Read the books of a window, the topic and the tables at the same time.

    The result has ``sources`` (per source: ``window``, the ranges ``generated``, ``acked``, ``refused``, ``kafka``,
    ``cassandra``, ``rejected``, ``repeated_ranges``, the number ``repeated`` of further copies in the topic, and
    ``missing`` in Cassandra although in Kafka), ``unexpected``, ``positions`` (per source ``[seq, partition, offset]``
    of missing and repeated seqs), ``rejected`` (record by record), ``rewritten``, ``totals`` and ``unclosed``.
    ``generated``, ``kafka`` and ``cassandra`` also hold what was seen outside the window.

    Raises RequestError. A hop that does not answer is no error: its ranges are missing and ``unclosed`` says so.
    """
    wanted = Request.parse(request)
    began = time.monotonic()
    deadline = began + wanted.timeout
    unclosed: list[str] = []
    spool = _try("spool", unclosed, lambda: _read_spool(config))
    kafka = _try("kafka", unclosed, lambda: KafkaHop(config, min(wanted.timeout, 10.0)).read())
    windows = _windows_of(wanted, spool, unclosed)
    end = wanted.kafka_to if wanted.kafka_to is not None else kafka.partitions if kafka else {}
    with ThreadPoolExecutor(1, thread_name_prefix="books") as pool:
        tables_read = pool.submit(_read_tables, config, wanted, windows, _Known(spool, kafka, end, deadline))
        records = None
        if kafka is not None:
            records = _try("kafka", unclosed, lambda: read_topic(config, wanted.kafka_from, end, deadline))
        tables = _try("cassandra", unclosed, tables_read.result)
    # Read after the tables: a row that was written meanwhile belongs to an event that had been made before.
    spool = _try("spool", [], lambda: _read_spool(config)) or spool
    books = _Assembly(windows, spool, records, tables).books()
    return {"time": round(time.time(), 3), "seconds": round(time.monotonic() - began, 3), **books, "unclosed": unclosed}


class _Assembly:
    """Puts what the hops said side by side."""

    def __init__(
        self,
        windows: Mapping[str, tuple[int, int]],
        spool: _SpoolBooks | None,
        records: TopicRecords | None,
        tables: _TableBooks | None,
    ) -> None:
        self._windows = windows
        self._spool = spool
        self._records = records
        self._topic: Mapping[str, SourceRuns] = records.sources() if records else {}
        self._tables = tables
        self._rejected = list(_located(tables.rejected, records)) if tables else []
        self._positions: dict[str, list[list[int]]] = {}

    def books(self) -> dict[str, Any]:
        """The result, but for its time and what is unclosed."""
        sources = {source: self._source(source, window) for source, window in self._windows.items()}
        unknown = {source: runs.seqs().ranges() for source, runs in self._topic.items() if source not in self._windows}
        malformed = self._records.malformed if self._records else {}
        return {
            "sources": sources,
            "positions": self._positions,
            "rejected": self._rejected[:MOST_LISTED],
            "rewritten": self._tables.rewrites.total if self._tables else None,
            "rewrites": self._tables.rewrites._asdict() if self._tables else None,
            "unexpected": {
                "sources": unknown,
                "malformed": {str(partition): offsets.ranges() for partition, offsets in sorted(malformed.items())},
            },
            "totals": self._totals(sources, malformed),
        }

    def _source(self, source: str, window: tuple[int, int]) -> dict[str, Any]:
        spool = self._spool if self._spool and self._spool.source == source else None
        runs = self._topic.get(source, SourceRuns(()))
        kafka = runs.seqs()
        rows = self._tables.rows.get(source, IntervalSet()) if self._tables else IntervalSet()
        rejected = IntervalSet(
            (entry["seq"], entry["seq"]) for entry in self._rejected if entry["source"] == source and entry["seq"]
        )
        # A spool that is gone says nothing any more, but its source had made the window.
        generated = IntervalSet([(1, spool.made) if spool else window])
        refused = IntervalSet((seq, seq) for seq in spool.refused) if spool else IntervalSet()
        acked = IntervalSet([(1, spool.settled)] if spool else []).minus(refused)
        repeated = runs.repeated().within(*window)
        missing = kafka.within(*window).minus(rows).minus(rejected) if self._tables and self._records else IntervalSet()
        self._positions[source] = [
            [*position] for position in _first(MOST_LISTED, _positions(runs, missing), _positions(runs, repeated))
        ]
        return {
            "window": list(window),
            "generated": generated.ranges(),
            "acked": acked.ranges(),
            "refused": refused.ranges(),
            "kafka": kafka.ranges(),
            "cassandra": rows.ranges(),
            "rejected": rejected.ranges(),
            "repeated": runs.further_copies(*window),
            "repeated_ranges": repeated.ranges(),
            "missing": missing.ranges(),
        }

    def _totals(self, sources: Mapping[str, Mapping[str, Any]], malformed: Mapping[int, IntervalSet]) -> dict[str, int]:
        """Of the windows, summed over the sources; ``read`` is every record of the stretch of the topic."""
        totals = {
            hop: sum(len(IntervalSet(map(tuple, entry[hop])).within(*entry["window"])) for entry in sources.values())
            for hop in ("generated", "acked", "refused", "kafka", "cassandra", "rejected", "missing")
        }
        totals["window"] = sum(entry["window"][1] - entry["window"][0] + 1 for entry in sources.values())
        totals["repeated"] = sum(entry["repeated"] for entry in sources.values())
        totals["read"] = self._records.records if self._records else 0
        totals["malformed"] = sum(len(offsets) for offsets in malformed.values())
        totals["dead_letters"] = len(self._rejected)
        return totals


def _read_spool(config: Config) -> _SpoolBooks:
    path = config.producer.spool
    reading = read_spool(path)  # also checks that the file is a spool of this version
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2)
    try:
        made, settled = connection.execute("SELECT made, settled FROM state").fetchone()
        refused = dict(connection.execute("SELECT seq, reason FROM rejects WHERE seq <= ?", (settled,)))
    except sqlite3.Error as error:
        raise SpoolError(f"spool {path} cannot be read: {error}") from error
    finally:
        connection.close()
    return _SpoolBooks(reading.source, made, settled, refused)


def _read_tables(
    config: Config, request: Request, windows: Mapping[str, tuple[int, int]], known: _Known
) -> _TableBooks:
    session = connect(config, REQUEST_TIMEOUT)
    try:
        tables = Tables(session, config.event.bucket_size, known.deadline)
        rows = {source: tables.rows(source, *window) for source, window in windows.items()}
        if known.spool is not None and known.spool.source in rows:
            for first, last in tables.rows_after(known.spool.source, known.spool.made):
                rows[known.spool.source].add(first, last)
        if known.kafka is None:  # without the topic's id neither table can be asked for it
            return _TableBooks(rows, [], Rewrites(0, {}, {}))
        rejected = tables.rejected(known.kafka.topic_id, request.kafka_from, known.end)
        return _TableBooks(rows, rejected, tables.rewrites(known.kafka.topic_id, request.since, time.time()))
    finally:
        session.cluster.shutdown()


def _try(hop: str, unclosed: list[str], read: Callable[[], T]) -> T | None:
    """What ``read`` returns; None when the hop cannot be read, and a line in ``unclosed`` why."""
    try:
        return read()
    except (SpoolError, Unreadable, ReadError) as error:
        unclosed.append(f"{hop}: {error}")
    except SERVER_ERRORS as error:
        unclosed.append(f"{hop}: {explain(error)}")
    return None


def _windows_of(request: Request, spool: _SpoolBooks | None, unclosed: list[str]) -> Mapping[str, tuple[int, int]]:
    if request.sources is None:
        return {spool.source: (1, spool.made)} if spool else {}
    if spool is not None:
        for source in sorted(set(request.sources) - {spool.source}):
            unclosed.append(f"spool: it is of source {spool.source}, so what {source} made is not known any more")
    return request.sources


def _located(rejected: Sequence[Rejected], records: TopicRecords | None) -> Iterator[dict[str, Any]]:
    """The rejected records with the source and seq that stand there, None where there are none."""
    places = records.at() if records else {}
    for partition, offset, reason in rejected:
        found = places[partition].event(offset) if partition in places else None
        source, seq = found or (None, None)
        yield {"partition": partition, "offset": offset, "reason": reason, "source": source, "seq": seq}


def _positions(runs: SourceRuns, seqs: IntervalSet) -> Iterator[tuple[int, int, int]]:
    return (position for first, last in seqs for position in runs.positions(first, last))


def _first(most: int, *parts: Iterator[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """At most ``most`` of each part, sorted, each once."""
    return sorted({position for part in parts for _, position in zip(range(most), part, strict=False)})


def _windows(value: object) -> dict[str, tuple[int, int]]:
    expected = 'sources must map each source to its window, as in {"host-ab": [1, 1000]}'
    if not isinstance(value, Mapping):
        raise RequestError(expected)
    windows = {}
    for source, window in value.items():
        if not isinstance(window, Sequence) or len(window) != 2 or not all(type(seq) is int for seq in window):
            raise RequestError(expected)
        if window[0] < 1:
            raise RequestError(f"sources: the window of {source} begins at {window[0]}, the first seq is 1")
        windows[str(source)] = (window[0], window[1])
    return windows


def _offsets(key: str, value: object) -> dict[int, int]:
    expected = f'{key} must map partitions to offsets, as in {{"0": 1200, "1": 1190}}'
    if not isinstance(value, Mapping):
        raise RequestError(expected)
    try:
        offsets = {int(partition): offset for partition, offset in value.items()}
    except ValueError as error:
        raise RequestError(expected) from error
    if not all(type(offset) is int and offset >= 0 for offset in offsets.values()):
        raise RequestError(expected)
    return offsets


def _seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise RequestError(f"{key} must be a number of seconds, not {value!r}")
    return float(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Prints the books as one JSON object. Exit status 0, or 2 when config or request cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m eventlog.books", description="Look every event of a window up.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    parser.add_argument("--request", type=Path, required=True, help="JSON file with the window; - is standard input")
    options = parser.parse_args(arguments)
    try:
        text = sys.stdin.read() if str(options.request) == "-" else options.request.read_text(encoding="utf-8")
        books = read_books(load(options.config), json.loads(text))
    except (ConfigError, RequestError, OSError, ValueError) as error:
        print(f"books: {error}", file=sys.stderr)
        return 2
    json.dump(books, sys.stdout, separators=(",", ":"))
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
