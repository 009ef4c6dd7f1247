"""The books: every (source, seq) of a window, looked up at every hop and compared, byte by byte.

    python -m eventlog.books --config etc/pipeline.toml --request request.json

The request says which window, and the result says in which seqs each hop holds it; both are JSON objects:

``sources``: source → ``[first, last]``, the seqs of its window. Without it, everything the spool's source has made.
``kafka_from``, ``kafka_to``: partition → offset, the stretch of the topic to be read, its end excluded; by default from
the beginning to the end. Reading begins where the window began, or earlier.
``since``: epoch seconds, from when rewrites count and before which no event of the window was made; by default all that
the sink's log still knows.
``resumed``: ``{"since": epoch seconds, "offsets": {partition: offset}}``, when the job was started again and where it
should have gone on; without it nothing is said about that.
``timeout``: seconds for all of it, 300 by default.

The result's ranges are ``[[first, last], …]``, both included. A hop that could not be read holds nothing, and
``unclosed`` says so. ``monitor`` is what the pipeline's monitor shows of the counts in the end, or its ``error``.
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
from eventlog.contents import POSITION, TOLERANCE, Original, RecordContents, RowContents
from eventlog.hops.cassandra import SERVER_ERRORS, connect, explain
from eventlog.hops.kafka import KafkaHop, KafkaReading
from eventlog.hops.probe import Unreadable
from eventlog.intervals import IntervalSet
from eventlog.monitor.client import ask
from eventlog.resumption import resumed_at
from eventlog.spool import SpoolError, read_spool
from eventlog.table_rows import Rejected, Rewrites, Tables
from eventlog.topic_records import ReadError, SourceRuns, TopicRecords, read_topic

T = TypeVar("T")
TIMEOUT = 300.0  # seconds
REQUEST_TIMEOUT = 30.0  # seconds of a single request to Cassandra
MOST_LISTED = 1000  # single records listed by position; all of them are counted
MOST_EVENTS = 50_000_000  # of a window; three numbers of eight bytes are kept for each


class RequestError(ValueError):
    """The request cannot be used; the text names the key and what is expected."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; see the module's documentation. ``None``: as much as there is."""

    sources: Mapping[str, tuple[int, int]] | None
    kafka_from: Mapping[int, int]
    kafka_to: Mapping[int, int] | None
    since: float
    resumed: tuple[float, Mapping[int, int]] | None
    timeout: float

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Request:
        """Raises RequestError."""
        if not isinstance(document, Mapping):
            raise RequestError("the request must be a JSON object")
        unknown = sorted(set(document) - {"sources", "kafka_from", "kafka_to", "since", "resumed", "timeout"})
        if unknown:
            raise RequestError(f"{unknown[0]} is not a key of a books request")
        sources = document.get("sources")
        kafka_to, resumed = document.get("kafka_to"), document.get("resumed")
        return cls(
            None if sources is None else _windows(sources),
            _offsets("kafka_from", document.get("kafka_from") or {}),
            None if kafka_to is None else _offsets("kafka_to", kafka_to),
            _seconds("since", document.get("since", 0)),
            None
            if resumed is None
            else (_seconds("resumed.since", resumed.get("since")), _offsets("resumed.offsets", resumed.get("offsets"))),
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
    """``beyond``: rows of events that the spool's source has not made; ``reopened``: buckets not full any more."""

    rows: Mapping[str, RowContents]
    beyond: IntervalSet
    reopened: Mapping[str, Mapping[int, int]]
    rejected: Sequence[Rejected]
    rewrites: Rewrites
    first_offsets: Mapping[int, int]  #: of what was processed since the job was resumed, by partition


def read_books(config: Config, request: Mapping[str, Any]) -> dict[str, Any]:
    """Read the books of a window, the topic and the tables at the same time.

    The result has

    ``sources``: per source ``window``, the ranges ``generated``, ``acked``, ``refused``, ``kafka``, ``cassandra``,
    ``rejected``, ``deleted`` (their row stems from a record that the topic does not hold any more), ``missing`` (in
    Kafka, but without a row), ``repeated_ranges``; ``repeated``, the number of further copies in the topic;
    ``reasons``, ranges by the reason why the producer refused them; and ``altered``: for the hops ``kafka`` and
    ``cassandra`` the ranges by what is not as the producer made it.
    ``positions``: per source ``[seq, partition, offset]`` of missing, repeated and altered seqs.
    ``deleted``: by partition the offsets that were to be read and that the topic does not hold any more.
    ``rejected``: record by record, ``own`` when it is an event of the window as the producer made it.
    ``reopened``: by source and bucket the rows of buckets that were taken for full.
    ``counts``: what spool and topic count in the end, in the shape of a snapshot.
    ``resumed``: by partition the offset at which the job went on, None where that was not seen; None when not asked.
    ``unexpected``, ``rewritten``, ``totals`` and ``unclosed``.

    ``generated``, ``kafka`` and ``cassandra`` also hold what was seen outside the window.

    Raises RequestError. A hop that does not answer is no error: its ranges are missing and ``unclosed`` says so.
    """
    wanted = Request.parse(request)
    began = time.monotonic()
    deadline = began + wanted.timeout
    unclosed: list[str] = []
    topic = KafkaHop(config, min(wanted.timeout, 10.0))
    spool = _try("spool", unclosed, lambda: _read_spool(config))
    kafka = _try("kafka", unclosed, topic.read)
    windows = _windows_of(wanted, spool, unclosed)
    originals = _originals(windows, wanted.since)
    end = wanted.kafka_to if wanted.kafka_to is not None else kafka.partitions if kafka else {}
    with ThreadPoolExecutor(1, thread_name_prefix="books") as pool:
        tables_read = pool.submit(_read_tables, config, wanted, originals, _Known(spool, kafka, end, deadline))
        records = None
        if kafka is not None:
            records = _try("kafka", unclosed, lambda: read_topic(config, wanted.kafka_from, end, deadline, originals))
        tables = _try("cassandra", unclosed, tables_read.result)
    # Read after the tables: a row that was written meanwhile belongs to an event that had been made before, and stems
    # from a record that was in the topic before.
    spool = _try("spool", [], lambda: _read_spool(config)) or spool
    held = (kafka and _try("kafka", [], topic.read)) or kafka
    stretch = _Stretch(end, held.partitions if held else {}, config.event.bytes)
    books = _Assembly(windows, spool, records, tables, stretch).books()
    resumed = None
    if wanted.resumed is not None and tables is not None:
        resumed = resumed_at(config, wanted.resumed[1], tables.first_offsets)
    return {
        "time": round(time.time(), 3),
        "counts": _counts(spool, held),
        "seconds": round(time.monotonic() - began, 3),
        **books,
        "resumed": None if resumed is None else {str(partition): at for partition, at in resumed.items()},
        "unclosed": unclosed,
    }


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The topic was read up to ``end`` and has records up to ``held``; an event has ``size`` bytes."""

    end: Mapping[int, int]
    held: Mapping[int, int]
    size: int

    def unread(self, partition: int, offset: int) -> bool:
        """Whether a record stands there that was not to be read, so that nothing can be said of it."""
        return self.end.get(partition, 0) <= offset < self.held.get(partition, 0)


class _Assembly:
    """Puts what the hops said side by side."""

    def __init__(
        self,
        windows: Mapping[str, tuple[int, int]],
        spool: _SpoolBooks | None,
        records: TopicRecords | None,
        tables: _TableBooks | None,
        stretch: _Stretch,
    ) -> None:
        self._windows = windows
        self._spool = spool
        self._records = records
        self._topic: Mapping[str, SourceRuns] = records.sources() if records else {}
        self._tables = tables
        self._stretch = stretch
        self._rejected = list(_located(tables.rejected, records, windows)) if tables else []
        self._positions: dict[str, list[list[int]]] = {}

    def books(self) -> dict[str, Any]:
        """The result, but for its time and what is unclosed."""
        sources = {source: self._source(source, window) for source, window in self._windows.items()}
        unknown = {source: runs.seqs().ranges() for source, runs in self._topic.items() if source not in self._windows}
        malformed = self._records.malformed if self._records else {}
        return {
            "sources": sources,
            "positions": self._positions,
            "deleted": _by_partition(self._records.deleted if self._records else {}),
            "reopened": {
                source: {str(bucket): rows for bucket, rows in buckets.items()}
                for source, buckets in (self._tables.reopened if self._tables else {}).items()
                if buckets
            },
            "rejected": self._rejected[:MOST_LISTED],
            "rewritten": self._tables.rewrites.total if self._tables else None,
            "rewrites": self._tables.rewrites._asdict() if self._tables else None,
            "unexpected": {
                "sources": unknown,
                "malformed": _by_partition(malformed),
            },
            "totals": self._totals(sources, malformed),
        }

    def _source(self, source: str, window: tuple[int, int]) -> dict[str, Any]:
        spool = self._spool if self._spool and self._spool.source == source else None
        runs = self._topic.get(source, SourceRuns(()))
        kafka = runs.seqs()
        table = self._tables.rows.get(source) if self._tables else None
        rows = table.present if table else IntervalSet()
        rejected = IntervalSet(
            (entry["seq"], entry["seq"]) for entry in self._rejected if entry["source"] == source and entry["seq"]
        )
        # A spool that is gone says nothing any more, but its source had made the window.
        generated = IntervalSet([(1, spool.made) if spool else window])
        refused = IntervalSet((seq, seq) for seq in spool.refused) if spool else IntervalSet()
        acked = IntervalSet([(1, spool.settled)] if spool else []).minus(refused)
        repeated = runs.repeated().within(*window)
        missing = kafka.within(*window).minus(rows) if self._tables and self._records else IntervalSet()
        records = self._records.contents.get(source) if self._records else None
        deleted = self._compare(runs, records, table) if table else IntervalSet()
        altered = {
            "kafka": _falsified(records, self._rejected) if records else {},
            "cassandra": table.altered if table else {},
        }
        different = [seqs for hop in altered.values() for seqs in hop.values()]
        self._positions[source] = [
            [*position]
            for position in _first(MOST_LISTED, *(_positions(runs, seqs) for seqs in (missing, repeated, *different)))
        ]
        beyond = self._tables.beyond if self._tables and spool else IntervalSet()
        return {
            "window": list(window),
            "generated": generated.ranges(),
            "acked": acked.ranges(),
            "refused": refused.ranges(),
            "kafka": kafka.ranges(),
            "cassandra": IntervalSet([*rows, *beyond]).ranges(),
            "rejected": rejected.ranges(),
            "repeated": runs.further_copies(*window),
            "repeated_ranges": repeated.ranges(),
            "missing": missing.ranges(),
            "deleted": deleted.ranges(),
            "reasons": _reasons(spool.refused, window) if spool else {},
            "altered": {hop: {what: seqs.ranges() for what, seqs in found.items()} for hop, found in altered.items()},
        }

    def _compare(self, runs: SourceRuns, records: RecordContents | None, table: RowContents) -> IntervalSet:
        """Compare the rows with the topic; the seqs whose row stems from a record that is deleted."""
        table.compare(records, self._stretch.size)
        deleted = IntervalSet()
        if self._records is None or records is None:
            return deleted
        pointing = table.pointing(runs.runs(), records.wrong_places())
        for first, last in table.present.minus(pointing):
            for seq in range(first, last + 1):
                partition, offset = table.position(seq)
                if offset in self._records.deleted.get(partition, ()):
                    deleted.add(seq, seq)
                elif partition >= 0 and not self._stretch.unread(partition, offset):
                    table.altered[POSITION].add(seq, seq)
        return deleted

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


def _read_tables(config: Config, request: Request, originals: Mapping[str, Original], known: _Known) -> _TableBooks:
    session = connect(config, REQUEST_TIMEOUT)
    try:
        tables = Tables(session, config.event.bucket_size, known.deadline)
        rows = {source: RowContents(original) for source, original in originals.items()}
        reopened = {}
        for source, contents in rows.items():
            counted = tables.counted(source)
            tables.rows(source, contents, config.event.bytes)
            reopened[source] = tables.reopen(source, contents, counted)
        beyond = IntervalSet()
        if known.spool is not None and known.spool.source in rows:
            beyond = tables.rows_after(known.spool.source, known.spool.made)
        if known.kafka is None:  # without the topic's id neither table can be asked for it
            return _TableBooks(rows, beyond, reopened, [], Rewrites(0, {}, {}), {})
        rejected = tables.rejected(known.kafka.topic_id, request.kafka_from, known.end)
        rewrites = tables.rewrites(known.kafka.topic_id, request.since, time.time())
        first = tables.first_offsets(known.kafka.topic_id, request.resumed[0], time.time()) if request.resumed else {}
        return _TableBooks(rows, beyond, reopened, rejected, rewrites, first)
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


def _originals(windows: Mapping[str, tuple[int, int]], since: float) -> dict[str, Original]:
    """What the producer makes of each window. Raises RequestError for a source of no producer, or too many events."""
    if sum(max(0, last - first + 1) for first, last in windows.values()) > MOST_EVENTS:
        raise RequestError(f"sources: more than {MOST_EVENTS} events cannot be compared at once")
    now = time.time()
    try:
        return {
            source: Original(source, window, since - TOLERANCE, now + TOLERANCE) for source, window in windows.items()
        }
    except ValueError as error:
        raise RequestError(f"sources: {error}") from error


def _located(
    rejected: Sequence[Rejected], records: TopicRecords | None, windows: Mapping[str, tuple[int, int]]
) -> Iterator[dict[str, Any]]:
    """The rejected records with the source and seq that stand there, None where there are none, and whether the record
    is the window's own."""
    places = records.at() if records else {}
    wrong = {source: contents.wrong_places() for source, contents in (records.contents if records else {}).items()}
    for partition, offset, reason in rejected:
        found = places[partition].event(offset) if partition in places else None
        source, seq = found or (None, None)
        first, last = windows.get(source or "", (1, 0))
        own = found is not None and first <= found[1] <= last and offset not in wrong[found[0]].get(partition, ())
        yield {"partition": partition, "offset": offset, "reason": reason, "source": source, "seq": seq, "own": own}


def _falsified(records: RecordContents, rejected: Sequence[Mapping[str, Any]]) -> dict[str, IntervalSet]:
    """The seqs by what is wrong with their records, but for those that the sink has refused for that very reason."""
    refused = {(entry["partition"], entry["offset"]) for entry in rejected if not entry["own"]}
    found = {
        what: IntervalSet((seq, seq) for seq, *place in copies if tuple(place) not in refused)
        for what, copies in records.falsified.items()
    }
    return {what: seqs for what, seqs in found.items() if len(seqs)}


def _reasons(refused: Mapping[int, str], window: tuple[int, int]) -> dict[str, list[list[int]]]:
    """Ranges of the window by the reason of their refusal."""
    reasons = sorted({reason for seq, reason in refused.items() if window[0] <= seq <= window[1]})
    return {
        reason: IntervalSet((seq, seq) for seq, why in refused.items() if why == reason).within(*window).ranges()
        for reason in reasons
    }


def _by_partition(offsets: Mapping[int, IntervalSet]) -> dict[str, list[list[int]]]:
    return {str(partition): found.ranges() for partition, found in sorted(offsets.items())}


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


def _counts(spool: _SpoolBooks | None, kafka: KafkaReading | None) -> dict[str, Any]:
    """What spool and topic themselves count at this moment, in the shape of a snapshot."""
    counts = {"producer": spool and spool.made, "kafka": kafka and kafka.count}
    return {
        "time": round(time.time(), 3),
        **{hop: {"count": count, "reachable": count is not None, "age": 0.0} for hop, count in counts.items()},
    }


def _monitor(config_path: Path) -> dict[str, Any]:
    """The monitor's counts of the moment, as it shows them; ``error`` when it does not answer."""
    try:
        found: dict[str, Any] = json.loads(ask(config_path, "GET", "/api/v1/counts"))
    except (OSError, ValueError) as error:
        return {"error": str(error)}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Prints the books as one JSON object. Exit status 0, or 2 when config or request cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m eventlog.books", description="Look every event of a window up.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    parser.add_argument("--request", type=Path, required=True, help="JSON file with the window; - is standard input")
    options = parser.parse_args(arguments)
    try:
        text = sys.stdin.read() if str(options.request) == "-" else options.request.read_text(encoding="utf-8")
        books = {**read_books(load(options.config), json.loads(text)), "monitor": _monitor(options.config)}
    except (ConfigError, RequestError, OSError, ValueError) as error:
        print(f"books: {error}", file=sys.stderr)
        return 2
    json.dump(books, sys.stdout, separators=(",", ":"))
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
