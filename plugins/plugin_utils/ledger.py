"""Balance the books of a drill: follow every (source, seq) of the window from hop to hop.

The books reader says which sequence numbers it found at each hop, as inclusive ranges, and which of them are not as
they were made. This module subtracts one hop from the one before it, so that whatever is missing is named with the hop
that lost it, names what is falsified, and puts the law of counts beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

Range = tuple[int, int]
Ranges = list[Range]

#: The hops in order, and what it means to be in one but not in the next.
HOPS = (
    ("generated", "acked", "generated, but not acknowledged by Kafka", "lost between the producer and Kafka"),
    ("acked", "kafka", "acknowledged by Kafka, but not in the topic", "lost in Kafka"),
    ("kafka", "cassandra", "in Kafka, but not in Cassandra", "lost between Kafka and Cassandra"),
)
#: What may be wrong with something that is there, by hop and by the books reader's word for it. Any other word is the
#: fields of the event that are not as they were made: if those are of the row, the event is not in the table.
ALTERED = {
    "kafka": {"copies": "in Kafka in copies that differ"},
    "cassandra": {
        "position": "in Cassandra, but Kafka holds no true copy of it at the row's position",
        "position is null": "in Cassandra, but without the position of a copy in Kafka",
        "future": "in Cassandra, but written in the future, which hides later writes",
    },
}
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
    altered: dict[str, dict[str, Ranges]] = field(default_factory=dict)  #: there, but not as made: per hop, by what
    deleted: Ranges = field(default_factory=list)  #: in the table, while the topic does not hold them any more
    under_way: Ranges = field(default_factory=list)  #: missing at some hop, where they may still arrive


@dataclass(frozen=True)
class Ledger:
    """The books of all sources, and what they say."""

    entries: list[Entry]
    rewritten: int  #: rows that were written more than once, by the sink's own log
    losses: list[str]
    excesses: list[str]
    unclosed: list[str]
    remarks: list[str] = field(default_factory=list)  #: what should be known, and decides nothing
    deleted: int = 0  #: records that were to be read and that the topic does not hold any more

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

    def unpassed(self, seconds: float, reason: str) -> Ledger:
        """The ledger of a window that has not passed: what is missing may be on its way, so nothing of it is lost.

        :param seconds: for which it was waited for.
        :param reason: what it waits for.
        """
        entries = [replace(entry, missing={}, under_way=unite(*entry.missing.values())) for entry in self.entries]
        texts = [
            f"{entry.source} seq {show(entry.under_way)}: {number(size(entry.under_way))} have not arrived yet"
            for entry in entries
            if entry.under_way
        ]
        unclosed = [f"the window had not passed after {seconds:.0f} s: {reason}", *texts, *self.unclosed]
        return replace(self, entries=entries, losses=[], unclosed=unclosed)

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
        waiting = sum(size(entry.under_way) for entry in self.entries)
        if waiting:
            figures["not arrived yet"] = waiting
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
        losses += _losses(entry, books)
        excesses += [
            f"{entry.source} seq {show(ranges)}: in {hop}, but never generated"
            for hop, ranges in entry.unexpected.items()
        ]
        excesses += [
            _sentence(
                entry,
                ranges,
                ALTERED[hop].get(what, f"in Kafka, but not as the producer makes it ({what})"),
                f"falsified in {hop.capitalize()}",
                books,
            )
            for hop, found in entry.altered.items()
            for what, ranges in found.items()
            if hop == "kafka" or what in ALTERED[hop]
        ]
    if not entries:
        unclosed.append("the books hold no source: the producer did not say which events belong to the window")
    deleted = sum(size(ranges) for ranges in (books.get("deleted") or {}).values())
    return Ledger(
        entries,
        int(books.get("rewritten") or 0),
        losses,
        excesses,
        unclosed,
        [*_deleted(entries, deleted), *_reopened(books)],
        deleted,
    )


def _deleted(entries: Iterable[Entry], deleted: int) -> list[str]:
    rows = sum(size(entry.deleted) for entry in entries)
    if not rows:
        return []
    return [
        f"the topic no longer held {number(rows)} records of the window when the books were closed ({number(deleted)}"
        " were deleted from its stretch): their rows were compared with what the producer makes"
    ]


def _reopened(books: Mapping[str, Any]) -> list[str]:
    return [
        f"{source} bucket {bucket} was counted as full, but holds {number(rows)} rows: it is counted anew"
        for source, buckets in sorted((books.get("reopened") or {}).items())
        for bucket, rows in buckets.items()
    ]


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
    altered = {
        hop: {str(what): intersect(ranges, within) for what, ranges in whats.items()}
        for hop, whats in (found.get("altered") or {}).items()
    }
    # A row that does not hold what the event holds is not the event's.
    rows = hops["cassandra"]
    hops["cassandra"] = subtract(rows, _lost_content(altered))
    # A row that stems from a record which was deleted since has been in the topic.
    topic = unite(hops["kafka"], intersect(found.get("deleted", []), within))
    handed = {**hops, "kafka": topic}
    missing = {"producer": subtract(within, hops["generated"])}
    for before, after, *_ in HOPS:
        # What could not be read is not lost; it is unclosed.
        read = not {_READER_OF[before], _READER_OF[after]} & unread
        missing[after] = subtract(handed[before], handed[after]) if read else []
    if "kafka" in unread and not {"spool", "cassandra"} & unread:
        # What was acknowledged must be in the table, whatever the topic would say.
        missing["cassandra"] = subtract(hops["acked"], hops["cassandra"])
    # A record that Kafka holds was acknowledged in effect: the report of it died with the producer. Without Kafka and
    # the table nothing can be said of it.
    missing["acked"] = subtract(missing["acked"], unite(topic, rows)) if {"kafka", "cassandra"} - unread else []
    # What is in the table has been through Kafka, so a topic that lost it afterwards still lost an acknowledged record.
    known = unite(found.get("generated", []), within)
    unexpected = {
        "kafka": subtract(found.get("kafka", []), unite(known, found.get("rejected", []))),
        "cassandra": subtract(found.get("cassandra", []), known),
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
        altered={
            hop: {what: ranges for what, ranges in whats.items() if ranges}
            for hop, whats in altered.items()
            if any(whats.values())
        },
        deleted=intersect(found.get("deleted", []), within),
    )


def _lost_content(altered: Mapping[str, Mapping[str, Ranges]]) -> Ranges:
    rows = altered.get("cassandra", {})
    return unite(*(ranges for what, ranges in rows.items() if what not in ALTERED["cassandra"]))


def _losses(entry: Entry, books: Mapping[str, Any]) -> list[str]:
    """One sentence for each hop that lost events of a source, and for each way in which it did."""
    texts = []
    for hop, ranges in entry.missing.items():
        left: Ranges = ranges
        for part, what, where in _causes(entry, hop, books):
            named = intersect(left, part)
            if named:
                texts.append(_sentence(entry, named, what, where, books))
                left = subtract(left, named)
    return texts


def _causes(entry: Entry, hop: str, books: Mapping[str, Any]) -> Iterator[tuple[Ranges, str, str]]:
    """Which events a hop can have lost in which way, the more telling first; the last one holds for all of them."""
    everything = [entry.window]
    found = books["sources"][entry.source]
    if hop == "producer":
        yield everything, "never generated", "lost in the producer"
        return
    if hop == "acked":
        for reason, ranges in (found.get("reasons") or {}).items():
            yield normalise(ranges), f"refused ({reason})", "lost in the producer"
        yield normalise(found.get("refused", [])), "refused", "lost in the producer"
    if hop == "kafka" and books.get("deleted"):
        rows = unite(found.get("cassandra", []))
        yield (
            subtract(everything, rows),
            "acknowledged by Kafka, but neither in the topic nor in Cassandra",
            "deleted from Kafka before the job had read them",
        )
    if hop == "cassandra":
        for what, ranges in entry.altered.get("cassandra", {}).items():
            if what not in ALTERED["cassandra"]:
                yield ranges, f"in Cassandra, but not as generated ({what})", "falsified in Cassandra"
        for reason, ranges in _rejections(entry.source, books).items():
            yield ranges, f"in Kafka, but rejected by the sink ({reason})", "lost between Kafka and Cassandra"
        if not entry.counts["kafka"]:  # or the topic could not be read
            yield (
                subtract(everything, entry.deleted),
                "acknowledged by Kafka, but not in Cassandra",
                "lost in Kafka or behind it",
            )
    what, where = next((what, where) for _, after, what, where in HOPS if after == hop)
    yield everything, what, where


def _rejections(source: str, books: Mapping[str, Any]) -> dict[str, Ranges]:
    """Rejected events of a source by the reason; poison under its name is none."""
    reasons: dict[str, Ranges] = {}
    for record in books.get("rejected") or []:
        if record.get("source") == source and record.get("seq") and record.get("own"):
            reasons.setdefault(str(record.get("reason")), []).append((int(record["seq"]), int(record["seq"])))
    return {reason: normalise(ranges) for reason, ranges in reasons.items()}


def _sentence(entry: Entry, ranges: Ranges, what: str, where: str, books: Mapping[str, Any]) -> str:
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
    """The law ``kafka = cassandra + rejected + repeated + lag`` at one moment.

    ``before`` is what it left unexplained when the drill began: further copies in the topic, or events lost earlier;
    negative, rows that no record of the topic explains. It is nothing that the drill has to answer for.
    """

    kafka: int
    cassandra: int
    rejected: int
    repeated: int
    lag: int
    before: int = 0

    @property
    def residual(self) -> int:
        """What the law leaves unexplained; 0 when every record of the drill is accounted for."""
        return self.kafka - self.cassandra - self.rejected - self.repeated - self.lag - self.before

    def text(self) -> str:
        """The law with its figures."""
        before = f" + unaccounted for before this drill {number(self.before)}" if self.before else ""
        return (
            f"kafka {number(self.kafka)} = cassandra {number(self.cassandra)} + rejected {number(self.rejected)}"
            f" + repeated {number(self.repeated)} + lag {number(self.lag)}{before}; residual {self.residual:+d}"
        )

    def remark(self) -> str:
        """What is to be said of the time before the drill; empty when everything was accounted for."""
        if self.before > 0:
            return (
                f"before this drill began {number(self.before)} records were unaccounted for:"
                " further copies in the topic, or events lost earlier"
            )
        if self.before < 0:
            return f"before this drill began there were {number(-self.before)} rows more than records that explain them"
        return ""
