"""Balance the books of a drill: follow every (source, seq) of the window from hop to hop.

The books reader says which sequence numbers it found at each hop, as inclusive ranges. This module subtracts one hop
from the one before it, so that whatever is missing is named with the hop that lost it, and puts the law of counts
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Range = tuple[int, int]
Ranges = list[Range]

#: The hops in order, and what it means to be in one but not in the next.
HOPS = (
    ("generated", "acked", "generated, but not acknowledged by Kafka", "lost between the producer and Kafka"),
    ("acked", "kafka", "acknowledged by Kafka, but not in the topic", "lost in Kafka"),
    ("kafka", "cassandra", "in Kafka, but not in Cassandra", "lost between Kafka and Cassandra"),
)
#: Who reads each hop, as the books reader names those that did not answer.
_READER_OF = {"generated": "spool", "acked": "spool", "kafka": "kafka", "cassandra": "cassandra"}
_READERS = frozenset(_READER_OF.values())
#: Ranges listed in a sentence before the rest is only counted.
SHOWN_RANGES = 5


def normalise(ranges: Iterable[Sequence[int]]) -> Ranges:
    """Sort inclusive ranges and join those that touch; empty ones (last < first) are dropped."""
    result: Ranges = []
    for first, last in sorted((int(pair[0]), int(pair[1])) for pair in ranges):
        if last < first:
            continue
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def subtract(left: Iterable[Sequence[int]], right: Iterable[Sequence[int]]) -> Ranges:
    """What is in ``left`` but not in ``right``."""
    result: Ranges = []
    holes = normalise(right)
    position = 0
    for first, last in normalise(left):
        start = first
        while position < len(holes) and holes[position][1] < start:
            position += 1
        scan = position
        while scan < len(holes) and holes[scan][0] <= last:
            if holes[scan][0] > start:
                result.append((start, holes[scan][0] - 1))
            start = holes[scan][1] + 1
            scan += 1
        if start <= last:
            result.append((start, last))
    return result


def unite(*parts: Iterable[Sequence[int]]) -> Ranges:
    """What is in any of them."""
    return normalise(pair for part in parts for pair in part)


def intersect(left: Iterable[Sequence[int]], right: Iterable[Sequence[int]]) -> Ranges:
    """What is in both."""
    kept = list(left)
    return subtract(kept, subtract(kept, right))


def size(ranges: Iterable[Sequence[int]]) -> int:
    """How many numbers the ranges hold."""
    return sum(last - first + 1 for first, last in normalise(ranges))


def show(ranges: Iterable[Sequence[int]]) -> str:
    """Ranges as a person writes them: ``88 017-88 019, 88 030`` and how many more there are."""
    whole = normalise(ranges)
    texts = [
        number(first) if first == last else f"{number(first)}-{number(last)}" for first, last in whole[:SHOWN_RANGES]
    ]
    rest = whole[SHOWN_RANGES:]
    if rest:
        texts.append(f"and {number(size(rest))} more in {len(rest)} ranges")
    return ", ".join(texts)


def number(value: int) -> str:
    """An integer with thin groups, so that long sequence numbers can be read and compared."""
    return f"{value:,}".replace(",", " ")


@dataclass(frozen=True)
class Entry:
    """The books of one source within its window."""

    source: str
    window: Range
    counts: dict[str, int]  #: records of the window per hop: generated, acked, kafka, cassandra, rejected
    missing: dict[str, Ranges] = field(default_factory=dict)  #: per hop that lost them
    repeated: int = 0  #: further copies in the topic
    repeated_ranges: Ranges = field(default_factory=list)
    unexpected: dict[str, Ranges] = field(default_factory=dict)  #: seen at a hop although never handed to it


@dataclass(frozen=True)
class Ledger:
    """The books of all sources, and what they say."""

    entries: list[Entry]
    rewritten: int  #: rows that were written more than once, by the sink's own log
    losses: list[str]
    excesses: list[str]
    unclosed: list[str]

    @property
    def lost(self) -> int:
        """Records that are missing at some hop."""
        return sum(size(ranges) for entry in self.entries for ranges in entry.missing.values())

    def total(self, hop: str) -> int:
        """Records of the windows at one hop."""
        return sum(entry.counts.get(hop, 0) for entry in self.entries)

    @property
    def window(self) -> int:
        """Records that the windows hold."""
        return sum(entry.window[1] - entry.window[0] + 1 for entry in self.entries)

    @property
    def repeated(self) -> int:
        """Further copies of records in the topic."""
        return sum(entry.repeated for entry in self.entries)

    def summary(self) -> str:
        """The one line of the terminal."""
        figures = {
            "acked": self.total("acked"),
            "in Kafka": self.total("kafka"),
            "rows": self.total("cassandra"),
            "rejected": self.total("rejected"),
            "lost": self.lost,
            "repeated": self.repeated,
            "rewritten": self.rewritten,
        }
        return f"window {number(self.window)} events: " + " · ".join(f"{k} {number(v)}" for k, v in figures.items())

    def as_dict(self) -> dict[str, Any]:
        """The ledger as JSON values."""
        return {
            **asdict(self),
            "lost": self.lost,
            "repeated": self.repeated,
            "window": self.window,
            "totals": {hop: self.total(hop) for hop in ("generated", "acked", "kafka", "cassandra", "rejected")},
            "summary": self.summary(),
        }


def balance(books: Mapping[str, Any]) -> Ledger:
    """Balance what the books reader found.

    :param books: its result: ``sources`` maps each source to ``window`` and the ranges per hop, ``rewritten``
        counts the rows that the sink wrote again.
    """
    unclosed = [str(text) for text in books.get("unclosed", [])]
    unread = frozenset(hop for hop in _READERS if any(text.startswith(f"{hop}:") for text in unclosed))
    entries = [_entry(source, found, unread) for source, found in sorted(books.get("sources", {}).items())]
    losses, excesses = [], _strangers(books)
    for entry in entries:
        losses += [_loss(entry, hop, ranges, books) for hop, ranges in entry.missing.items()]
        excesses += [
            f"{entry.source} seq {show(ranges)}: in {hop}, but never generated"
            for hop, ranges in entry.unexpected.items()
        ]
    if not entries:
        unclosed.append("the books hold no source: the producer did not say which events belong to the window")
    return Ledger(entries, int(books.get("rewritten") or 0), losses, excesses, unclosed)


def _strangers(books: Mapping[str, Any]) -> list[str]:
    """Events of sources that no producer of this window is, but for those that the job refused."""
    refused: dict[str, Ranges] = {}
    for record in books.get("rejected") or []:
        if record.get("source") and record.get("seq"):
            refused.setdefault(str(record["source"]), []).append((int(record["seq"]), int(record["seq"])))
    texts = []
    for source, ranges in sorted(((books.get("unexpected") or {}).get("sources") or {}).items()):
        strange = subtract(ranges, refused.get(source, []))
        if strange:
            texts.append(
                f"{source} seq {show(strange)}: in Kafka, but of a source that is no producer of this pipeline"
            )
    return texts


def beyond(ledger: Ledger, limits: Mapping[str, int]) -> list[str]:
    """One line for each figure of the books that is larger than a drill allows."""
    figures = {
        "repeated": ledger.repeated,
        "rewritten": ledger.rewritten,
        "rejected": ledger.total("rejected"),
    }
    return [
        f"{number(figures[name])} records {name}, but at most {number(most)} may be"
        for name, most in limits.items()
        if figures[name] > most
    ]


def _entry(source: str, found: Mapping[str, Any], unread: frozenset[str]) -> Entry:
    window = (int(found["window"][0]), int(found["window"][1]))
    within = [window]
    hops = {
        hop: intersect(found.get(hop, []), within) for hop in ("generated", "acked", "kafka", "cassandra", "rejected")
    }
    missing = {"producer": subtract(within, hops["generated"])}
    for before, after, *_ in HOPS:
        if {_READER_OF[before], _READER_OF[after]} & unread:
            # What could not be read is not lost; it is unclosed.
            missing[after] = []
            continue
        arrived = (
            unite(hops[after], hops["rejected"]) if after != "acked" else unite(hops["acked"], found.get("refused", []))
        )
        missing[after] = subtract(hops[before], arrived)
    # A record that Kafka holds was acknowledged in effect: the report of it died with the producer.
    missing["acked"] = subtract(missing["acked"], hops["kafka"])
    # What is in the table has been through Kafka, so a topic that lost it afterwards still lost an acknowledged record.
    unexpected = {
        hop: subtract(found.get(hop, []), unite(found.get("generated", []), within)) for hop in ("kafka", "cassandra")
    }
    repeated = normalise(found.get("repeated_ranges", []))
    return Entry(
        source=source,
        window=window,
        counts={hop: size(ranges) for hop, ranges in hops.items()},
        missing={hop: ranges for hop, ranges in missing.items() if ranges},
        repeated=int(found.get("repeated") or 0),
        repeated_ranges=repeated,
        unexpected={hop: ranges for hop, ranges in unexpected.items() if ranges},
    )


def _loss(entry: Entry, hop: str, ranges: Ranges, books: Mapping[str, Any]) -> str:
    if hop == "producer":
        return f"{entry.source} seq {show(ranges)}: {number(size(ranges))} never generated: lost in the producer"
    what, where = next((what, where) for _, after, what, where in HOPS if after == hop)
    places = _places(books.get("positions", {}).get(entry.source, []), ranges)
    at = f" {places}" if places else ""
    return f"{entry.source} seq {show(ranges)}: {number(size(ranges))} {what}{at}: {where}"


def _places(positions: Iterable[Sequence[int]], ranges: Ranges) -> str:
    """Kafka positions of the lost records, where the reader knew them: triples of seq, partition, offset."""
    found: dict[int, list[int]] = {}
    for seq, partition, offset in positions:
        if any(first <= seq <= last for first, last in ranges):
            found.setdefault(int(partition), []).append(int(offset))
    texts = [
        f"partition {partition} offset {show((offset, offset) for offset in offsets)}"
        for partition, offsets in sorted(found.items())
    ]
    return f"({'; '.join(texts)})" if texts else ""


@dataclass(frozen=True)
class Conservation:
    """The law ``kafka = cassandra + rejected + repeated + lag`` at one moment, less its constants at the begin."""

    kafka: int
    cassandra: int
    rejected: int
    repeated: int
    lag: int

    @property
    def residual(self) -> int:
        """What the law leaves unexplained; 0 when every record is accounted for."""
        return self.kafka - self.cassandra - self.rejected - self.repeated - self.lag

    def text(self) -> str:
        """The law with its figures."""
        return (
            f"kafka {number(self.kafka)} = cassandra {number(self.cassandra)} + rejected {number(self.rejected)}"
            f" + repeated {number(self.repeated)} + lag {number(self.lag)}; residual {self.residual:+d}"
        )
