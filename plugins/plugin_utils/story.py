"""The journal of a run, read once and put in the order in which reports tell it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, receipts, verdict
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Record, Run

#: Earlier runs of the same drill that are shown beside this one.
EARLIER_RUNS = 5
#: Seconds between two recoveries from which on the order of the restarts is said to matter: two recoveries in the same
#: order differ by up to this.
ORDER_SECONDS = 3.0


@dataclass(frozen=True)
class Band:
    """A stretch of the timeline; times in seconds since the epoch."""

    name: str
    kind: str  #: fault, recovery or phase
    start: float
    end: float


@dataclass(frozen=True)
class Story:
    """One run."""

    name: str
    records: list[Record]
    samples: list[Record]
    earlier: list[Mapping[str, Any]]  #: recovery records of earlier runs of this drill, oldest first, with ``run``
    order: str = ""  #: what the order of the restarts made of the seconds, beside the last run in another order

    @classmethod
    def read(cls, run: Run, runs: Path) -> Story:
        """Read a run's journal and samples.

        :raises JournalError: a file is unreadable or was tampered with.
        """
        records = journal.read_records(run.journal)
        story = cls(run.name, records, journal.read_records(run.samples), [])
        return cls(story.name, records, story.samples, _earlier(run, runs, story.drill), _order(story, run, runs))

    def last(self, kind: str) -> Record | None:
        """The newest record of a kind."""
        return journal.last(self.records, kind)

    def every(self, kind: str) -> list[Record]:
        """All records of a kind."""
        return journal.of_kind(self.records, kind)

    @property
    def begin(self) -> Record:
        """The first record; an empty one when the journal ended before it."""
        return self.last("begin") or {}

    @property
    def drill(self) -> str:
        """Name of the drill."""
        return str(self.begin.get("drill") or self.name[21:] or "unknown")

    @property
    def title(self) -> str:
        """Title of the drill."""
        return str(self.begin.get("title") or self.drill)

    @property
    def judged(self) -> dict[str, Any]:
        """The verdict as journalled, empty when the run has none."""
        record = self.last("verdict")
        return {key: value for key, value in record.items() if key not in ("kind", "time")} if record else {}

    @property
    def outcome(self) -> verdict.Outcome:
        """The verdict, UNKNOWN for a run without one."""
        return verdict.Outcome.from_label(str(self.judged.get("outcome") or "UNKNOWN"))

    @property
    def reason(self) -> str:
        """Why; the run has not ended when there is none."""
        return str(self.judged.get("reason") or "the run has not ended, or was interrupted")

    @property
    def began(self) -> float:
        """Seconds since the epoch."""
        return float(self.records[0]["time"]) if self.records else 0.0

    @property
    def ended(self) -> float:
        """Seconds since the epoch."""
        return float(self.records[-1]["time"]) if self.records else 0.0

    @property
    def bands(self) -> list[Band]:
        """What was away when, and how long it took to recover from it, in order of their start."""
        return sorted([*self._fault_bands(), *self._recovery_bands()], key=lambda band: (band.start, band.end))

    def _fault_bands(self) -> list[Band]:
        bands = []
        away: dict[str, tuple[str, float]] = {}
        for record in self.records:
            for receipt in record.get("receipts", []) if record["kind"] in ("fault", "undo") else []:
                unit = str(receipt["unit"])
                if receipts.kind(receipt) == "fault":
                    away.setdefault(unit, (str(receipt["verb"]), receipts.ended(receipt)))
                elif unit in away:
                    verb, start = away.pop(unit)
                    bands.append(Band(f"{unit} {verb}", "fault", start, float(receipt["time"])))
        bands += [Band(f"{unit} {verb}", "fault", start, self.ended) for unit, (verb, start) in away.items()]
        return _merged(bands)

    def _recovery_bands(self) -> list[Band]:
        return [
            Band("recovery", "recovery", float(record["began"]), _drained(record))
            for record in self.every("recovery")
            if record.get("total") is not None
        ]

    @property
    def phases(self) -> list[Band]:
        """The phases that were watched."""
        found: list[Band] = []
        starts: dict[str, float] = {}
        for record in self.every("phase"):
            if record["state"] == "started":
                starts[record["phase"]] = float(record["at"])
            elif record["phase"] in starts:
                found.append(Band(record["phase"], "phase", starts.pop(record["phase"]), float(record["at"])))
        return found

    @property
    def overhead(self) -> float | None:
        """Seconds of the run that were neither fault, nor watched, nor recovery; None when nothing was watched."""
        bands = [*self.bands, *self.phases]
        if not bands:
            return None
        # Taking a service away and giving it back belongs to the fault. One verb has a receipt for each of its units.
        spans = [(band.start, band.end) for band in bands] + [
            (float(receipt["time"]), receipts.ended(receipt))
            for record in self.records
            if record["kind"] in ("fault", "undo")
            for receipt in record["receipts"]
        ]
        busy, reached = 0.0, self.began
        for start, end in sorted(spans):
            busy += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return max(0.0, self.ended - self.began - busy)

    def summary(self) -> dict[str, Any]:
        """What a table of several runs shows of this one."""
        books, recovered = self.last("books") or {}, self.last("recovery") or {}
        return {
            "drill": self.drill,
            "title": self.title,
            "run": self.name,
            "began": self.began,
            "seconds": self.ended - self.began,
            "outcome": self.outcome.label,
            "reason": self.reason,
            "window": books.get("window"),
            "lost": books.get("lost"),
            "repeated": books.get("repeated"),
            "rewritten": books.get("rewritten"),
            "recovery": recovered.get("total"),
            "overhead": self.overhead,
        }


def _drained(record: Mapping[str, Any]) -> float:
    """When a recovery ended, epoch seconds."""
    return float(record["began"]) + float(record.get("ordered") or 0.0) + float(record["total"])


def _merged(bands: list[Band]) -> list[Band]:
    """Units that went and came back together are one band."""
    merged: list[Band] = []
    for band in sorted(bands, key=lambda found: (found.start, found.end)):
        twin = next((m for m in merged if abs(m.start - band.start) < 1.0 and abs(m.end - band.end) < 1.0), None)
        if twin is None:
            merged.append(band)
            continue
        merged[merged.index(twin)] = Band(f"{twin.name}, {band.name}", band.kind, twin.start, max(twin.end, band.end))
    return merged


def _readable(run: Run) -> list[Record]:
    """The journal of another run; nothing when somebody has damaged it, which is no matter of this one."""
    try:
        return journal.read_records(run.journal)
    except journal.JournalError:
        return []


def _earlier(run: Run, runs: Path, drill: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for other in journal.all_runs(runs):
        if other.name >= run.name or not other.name.endswith(f"-{drill}"):
            continue
        recovered = journal.last(_readable(other), "recovery")
        if recovered and recovered.get("total") is not None:
            found.append({**recovered, "run": other.name})
    return found[-EARLIER_RUNS:]


def _order(story: Story, run: Run, runs: Path) -> str:
    """Whether the order of the restarts matters: this recovery beside that of the last run in another order.

    The two must agree in every other setting. Empty for a drill without an order, or without anything to compare.
    """
    settings = story.begin.get("settings") or {}
    recovered = (story.last("recovery") or {}).get("total")
    if "order" not in settings or recovered is None:
        return ""
    for other in reversed(journal.all_runs(runs)):
        if other.name >= run.name or not other.name.endswith(f"-{story.drill}"):
            continue
        records = _readable(other)
        theirs = (journal.last(records, "begin") or {}).get("settings") or {}
        total = (journal.last(records, "recovery") or {}).get("total")
        if (
            total is not None
            and theirs.get("order") != settings["order"]
            and {**theirs, "order": ""}
            == {
                **settings,
                "order": "",
            }
        ):
            return order_text(str(settings["order"]), float(recovered), str(theirs["order"]), float(total))
    return f"{settings['order']} {recovered:.1f} s; run the other order as well to see whether it matters"


def order_text(order: str, seconds: float, other: str, theirs: float) -> str:
    """Two orders of restart with their seconds of recovery, and what that says."""
    difference = seconds - theirs
    better = order if difference < 0 else other
    said = (
        f"the order matters: {better} is {abs(difference):.1f} s faster"
        if abs(difference) >= ORDER_SECONDS
        else f"the order does not matter here: {abs(difference):.1f} s"
    )
    return f"{order} {seconds:.1f} s, {other} {theirs:.1f} s: {said}"


def moment(seconds: float) -> str:
    """A time for people: UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def now() -> float:
    """Seconds since the epoch."""
    return time.time()
