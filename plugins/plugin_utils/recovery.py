"""Split a recovery into its phases: undo, process, port, ready, first new record, drained.

The first three come from the receipts of the undo, the last two from the samples; all are seconds since the undo began.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Snapshot, Steady, converged, good, readings

#: Milestones in the order in which they happen; each phase ends with one.
MILESTONES = ("process", "port", "ready", "first record", "drained")
#: A phase longer than this is worth naming the setting that owns it.
LONG_PHASE_SECONDS = 3.0


@dataclass(frozen=True)
class Recovery:
    """When each milestone was reached, in seconds since the undo began; None when it never was."""

    began: float  #: when the undo began, seconds since the epoch
    at: dict[str, float | None]
    owners: dict[str, str] = field(default_factory=dict)  #: the setting that owns a long phase

    @property
    def total(self) -> float | None:
        """Seconds from the undo until drained."""
        return self.at.get("drained")

    @property
    def segments(self) -> list[tuple[str, float]]:
        """Phases and their lengths in seconds, up to the last milestone that was reached."""
        found, before = [], 0.0
        for name in MILESTONES:
            moment = self.at.get(name)
            if moment is not None:
                found.append((name, round(moment - before, 3)))
                before = moment
        return found

    @property
    def longest(self) -> str:
        """The longest phase with its seconds and the setting that owns it, empty when nothing was reached."""
        if not self.segments:
            return ""
        name, seconds = max(self.segments, key=lambda segment: segment[1])
        owner = self.owners.get(name)
        return f"{name} {seconds:.1f} s" + (f" ({owner})" if owner else "")

    def as_dict(self) -> dict[str, Any]:
        """The recovery as JSON values."""
        return {**asdict(self), **self.at, "total": self.total, "segments": self.segments, "longest": self.longest}


def split(
    undos: Iterable[Mapping[str, Any]],
    samples: Sequence[Snapshot],
    steady: Steady,
    *,
    since: float,
    owners: Mapping[str, str] | None = None,
) -> Recovery | None:
    """Split the recovery that follows these undo records; None when there is no receipt to start from.

    With several undos (a cascade) the clock starts with the first one, and a milestone is reached when the last service
    reaches it.

    :param undos: records with ``receipts``, whose times are on the sampler's clock.
    :param since: when the last change was done, be it the last undo or the stream that was resumed after it: nothing
        counts as drained before.
    :param owners: setting per milestone, named when its phase is long.
    """
    receipts = [receipt for undo in undos for receipt in undo.get("receipts", [])]
    if not receipts:
        return None
    began = min(float(receipt["time"]) for receipt in receipts)
    at: dict[str, float | None] = {name: _latest(receipts, name, began) for name in ("process", "port", "ready")}
    at["first record"] = _first_record(samples, began)
    drained = converged(samples, steady, since=since)
    at["drained"] = None if drained is None else drained - began
    # Milliseconds: nothing here is measured more finely.
    at = _in_order({name: None if moment is None else round(moment, 3) for name, moment in at.items()})
    lengths = dict(Recovery(began, at).segments)
    named = {name: text for name, text in (owners or {}).items() if lengths.get(name, 0.0) >= LONG_PHASE_SECONDS}
    return Recovery(began, at, named)


def _latest(receipts: Iterable[Mapping[str, Any]], name: str, began: float) -> float | None:
    moments = [
        float(receipt["time"]) + float(receipt["milestones"][name]) - began
        for receipt in receipts
        if (receipt.get("milestones") or {}).get(name) is not None
    ]
    return max(moments) if moments else None


def _first_record(samples: Iterable[Snapshot], began: float) -> float | None:
    """Seconds until the table showed a row that it did not have when the undo began."""
    count: int | None = None
    for reading in good(readings(samples, "cassandra")):
        if reading.at <= began:
            count = reading.count
        elif count is None:
            # The database itself was away, so there is no reading right before the undo; the first one after it counts
            # as the state before, because what it shows was written before the database went.
            count = reading.count
        elif reading.count is not None and reading.count > count:
            return reading.at - began
    return None


def _in_order(at: Mapping[str, float | None]) -> dict[str, float | None]:
    """Milestones cannot overtake each other: a probe may answer a moment after a sample saw the first row."""
    result: dict[str, float | None] = {}
    ceiling = math.inf
    for name in reversed(MILESTONES):
        moment = at.get(name)
        if moment is not None:
            ceiling = min(ceiling, moment)
            moment = max(0.0, ceiling)
        result[name] = moment
    return {name: result[name] for name in MILESTONES}


def catch_up_rate(samples: Iterable[Snapshot], since: float) -> float | None:
    """Highest rate, in events per second, at which rows were added after ``since``; None when none were."""
    values = [(reading.at, reading.count) for reading in good(readings(samples, "cassandra", since=since))]
    best = 0.0
    for (at, count), (later, more) in itertools.pairwise(values):
        if later > at and count is not None and more is not None:
            best = max(best, (more - count) / (later - at))
    return best or None
