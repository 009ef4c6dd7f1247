"""Split a recovery into its phases: undo, process, port, ready, first new record, drained.

The first three come from the receipts of the undo, the last two from the samples. All are seconds since the undo began,
without the waiting that the drill itself ordered: between two undos of a cascade nothing is expected to come back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.owners import Owner
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Snapshot, Steady, converged, good, readings

#: Milestones in the order in which they happen; each phase ends with one.
MILESTONES = ("process", "port", "ready", "first record", "drained")
#: Seconds around Kafka's return within which a reading says how much had been buffered.
FLUSH_REACH_SECONDS = 2.0
#: A phase longer than this is worth saying what it is spent on, also when no setting owns it.
LONG_PHASE_SECONDS = 3.0
#: A shorter phase is nobody's: samples are not taken more often.
SHORT_PHASE_SECONDS = 0.5


@dataclass(frozen=True)
class Recovery:
    """When each milestone was reached, in seconds of recovery; None when it never was."""

    began: float  #: when the first undo began, seconds since the epoch
    at: dict[str, float | None]
    ordered: float = 0.0  #: seconds between the undos, which are no part of the recovery
    owners: dict[str, str] = field(default_factory=dict)  #: what a phase was spent on

    @property
    def total(self) -> float | None:
        """Seconds from the undo until drained, without those that were ordered."""
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
    owners: Mapping[str, Owner] | None = None,
) -> Recovery | None:
    """Split the recovery that follows these undo records; None when there is no receipt to start from.

    With several undos (a cascade) the clock starts with the first one, stands still from the end of each until the next
    begins, and a milestone is reached when the last service reaches it.

    :param undos: records with ``receipts``, whose times are on the sampler's clock.
    :param since: when the last change was done, be it the last undo or the stream that was resumed after it: nothing
        counts as drained before.
    :param owners: what each phase is spent on; settings are always named, anything else when the phase is long.
    """
    receipts = [receipt for undo in undos for receipt in undo.get("receipts", [])]
    if not receipts:
        return None
    began = min(float(receipt["time"]) for receipt in receipts)
    gaps = _gaps(receipts, since)
    moments: dict[str, float | None] = {name: _latest(receipts, name) for name in ("process", "port", "ready")}
    moments["first record"] = _first_record(samples, began)
    moments["drained"] = converged(samples, steady, since=since)
    # Milliseconds: nothing here is measured more finely.
    at = _in_order(
        {
            name: None if moment is None else round(moment - began - _within(gaps, moment), 3)
            for name, moment in moments.items()
        }
    )
    lengths = dict(Recovery(began, at).segments)
    named = {
        name: owner.text
        for name, owner in (owners or {}).items()
        if lengths.get(name, 0.0) >= (SHORT_PHASE_SECONDS if owner.setting else LONG_PHASE_SECONDS)
    }
    return Recovery(began, at, round(sum(end - start for start, end in gaps), 3), named)


def ordered(undos: Iterable[Mapping[str, Any]], since: float) -> float:
    """Seconds between these undos, and up to the last change ``since``, which the drill ordered."""
    receipts = [receipt for undo in undos for receipt in undo.get("receipts", [])]
    return sum(end - start for start, end in _gaps(receipts, since))


def _gaps(receipts: Iterable[Mapping[str, Any]], since: float) -> list[tuple[float, float]]:
    """The stretches, in epoch seconds, from the end of one undo to the begin of the next, and to the last change."""
    gaps = []
    reached = -math.inf
    changes = [(float(r["time"]), float(r["time"]) + float(r.get("seconds") or 0.0)) for r in receipts]
    for start, end in sorted([*changes, (since, since)]):
        if -math.inf < reached < start:
            gaps.append((reached, start))
        reached = max(reached, end)
    return gaps


def _within(gaps: Iterable[tuple[float, float]], moment: float) -> float:
    """Seconds of the gaps that had passed at a moment."""
    return sum(max(0.0, min(end, moment) - start) for start, end in gaps)


def _latest(receipts: Iterable[Mapping[str, Any]], name: str) -> float | None:
    moments = [
        float(receipt["time"]) + float(receipt["milestones"][name])
        for receipt in receipts
        if (receipt.get("milestones") or {}).get(name) is not None
    ]
    return max(moments) if moments else None


def _first_record(samples: Iterable[Snapshot], began: float) -> float | None:
    """When the table showed a row that it did not have when the undo began, epoch seconds."""
    count: int | None = None
    for reading in good(readings(samples, "cassandra")):
        if reading.at <= began:
            count = reading.count
        elif count is None:
            # The database itself was away, so there is no reading right before the undo; the first one after it counts
            # as the state before, because what it shows was written before the database went.
            count = reading.count
        elif reading.count is not None and reading.count > count:
            return reading.at
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


def flush(undos: Iterable[Mapping[str, Any]], samples: Sequence[Snapshot], steady: Steady) -> dict[str, Any] | None:
    """How long the producer took to send what it had buffered while Kafka was away.

    :returns: ``events`` that waited in the spool when Kafka answered again, ``seconds`` from then until no more were
        left than a steady pipeline has (None when that was not seen); None when Kafka was not brought back, or nothing
        waited for it.
    """
    ready = _latest(
        (receipt for undo in undos for receipt in undo.get("receipts", []) if receipt["unit"] == "kafka"), "ready"
    )
    if ready is None:
        return None
    found = good(readings(samples, "spool"))
    waiting = max((r.count or 0 for r in found if abs(r.at - ready) <= FLUSH_REACH_SECONDS), default=0)
    if waiting <= steady.lag_limit:
        return None
    sent = next((r.at for r in found if r.at >= ready and (r.count or 0) <= steady.lag_limit), None)
    return {"events": waiting, "seconds": None if sent is None else round(sent - ready, 3)}


def flush_text(found: Mapping[str, Any]) -> str:
    """One line about what :func:`flush` found."""
    if found["seconds"] is None:
        return f"the producer had not sent its {number(found['events'])} buffered events when this was looked at"
    sent = f"{number(found['events'])} buffered events within {found['seconds']:.1f} s"
    return f"the producer sent its {sent} of Kafka's return"


def catch_up_rate(samples: Iterable[Snapshot], since: float) -> float | None:
    """Highest rate, in events per second, at which rows were added after ``since``; None when none were."""
    values = [(reading.at, reading.count) for reading in good(readings(samples, "cassandra", since=since))]
    best = 0.0
    for (at, count), (later, more) in itertools.pairwise(values):
        if later > at and count is not None and more is not None:
            best = max(best, (more - count) / (later - at))
    return best or None
