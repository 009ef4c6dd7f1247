"""The arithmetic of a drill before anything is touched: must this plan lose data, and can it finish?

Every check carries its figures, so that a refusal can be understood and changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number

#: Seconds a service may need to come back after its hold: they add to the backlog.
RESTART_ALLOWANCE_SECONDS = 30.0
#: Bytes on disk per byte of event in the spool: SQLite's pages, its index and the write-ahead log.
SPOOL_OVERHEAD = 1.5
#: Bytes on disk per byte of event in Kafka and Cassandra together, commit log included (both store at least one copy).
STORE_OVERHEAD = 3.0
#: Disk room that must be left when the plan is through.
DISK_MARGIN_BYTES = 512 * 1024**2
MEGABYTE = 1_000_000
HOUR = 3600.0


@dataclass(frozen=True)
class Capacity:
    """How fast the pipeline works a backlog off."""

    rate: float = 0.0  #: events per second; 0 when nothing is known
    #: Whether it cannot be faster: it was said so, or measured while a backlog kept it busy for seconds. What was
    #: measured of a backlog that was gone at once is only known to be possible.
    limit: bool = False
    source: str = "not measured on this pipeline yet"


@dataclass(frozen=True)
class Plan:
    """What a drill is about to do, and what the pipeline can take."""

    rate: float  #: offered events per second while services are away; 0 when the stream is paused
    event_bytes: int
    away: Mapping[str, float]  #: seconds that each service will be away
    spool_bytes: int  #: already in the spool
    spool_limit_bytes: int
    retention_hours: float  #: infinite when Kafka deletes nothing
    disk_free_bytes: int
    capacity: Capacity
    budget: float  #: seconds that recovery may take

    @property
    def longest(self) -> float:
        """Longest absence with the time to come back, seconds; 0 when nothing is taken away."""
        return max(self.away.values()) + RESTART_ALLOWANCE_SECONDS if self.away else 0.0

    @property
    def backlog(self) -> int:
        """Events that pile up at most."""
        return round(self.rate * self.longest)

    @property
    def peak_lag(self) -> int:
        """Events that pile up during the holds alone: what the plot will show."""
        return round(self.rate * max(self.away.values(), default=0.0))

    @property
    def drain_seconds(self) -> float:
        """Seconds to work the backlog off while new events keep coming; infinite when that never ends."""
        spare = self.capacity.rate - self.rate
        return self.backlog / spare if spare > 0 else float("inf")


@dataclass(frozen=True)
class PlanCheck:
    """One finding of the preflight."""

    name: str
    ok: bool
    text: str

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON values."""
        return asdict(self)


def check(plan: Plan) -> list[PlanCheck]:
    """All checks of a plan."""
    return [_spool(plan), _retention(plan), _disk(plan), _catch_up(plan)]


def _spool(plan: Plan) -> PlanCheck:
    seconds = plan.away.get("kafka", 0.0)
    if not seconds:
        return PlanCheck("spool", True, "Kafka stays: the spool is not needed")
    seconds += RESTART_ALLOWANCE_SECONDS
    needed = round(plan.rate * seconds * plan.event_bytes * SPOOL_OVERHEAD)
    free = plan.spool_limit_bytes - plan.spool_bytes
    sums = (
        f"{plan.rate:g}/s x {seconds:.0f} s x {plan.event_bytes} B x {SPOOL_OVERHEAD:g} = {needed / MEGABYTE:.1f} MB"
        f" of {free / MEGABYTE:.1f} MB free in the spool"
    )
    if needed <= free:
        return PlanCheck("spool", True, sums)
    return PlanCheck(
        "spool", False, f"the spool would overflow while Kafka is away: {sums}. Lower the rate or the hold."
    )


def _retention(plan: Plan) -> PlanCheck:
    hours = plan.longest / HOUR
    text = f"away {plan.longest:.0f} s, records are kept {_kept(plan.retention_hours)}"
    if hours < plan.retention_hours:
        return PlanCheck("retention", True, text)
    return PlanCheck("retention", False, f"Kafka would delete records before they are processed: {text}")


def _disk(plan: Plan) -> PlanCheck:
    needed = round(plan.rate * (plan.longest + plan.budget) * plan.event_bytes * STORE_OVERHEAD) + DISK_MARGIN_BYTES
    text = f"{needed / MEGABYTE:.0f} MB of {plan.disk_free_bytes / MEGABYTE:.0f} MB free disk"
    if needed <= plan.disk_free_bytes:
        return PlanCheck("disk", True, text)
    return PlanCheck("disk", False, f"not enough disk room: the plan needs {text}")


def _catch_up(plan: Plan) -> PlanCheck:
    known = plan.capacity
    if known.rate <= plan.rate and not known.limit:
        at_least = f", at least {number(round(known.rate))}/s" if known.rate else ""
        return PlanCheck("catch-up", True, f"the speed of catching up is {known.source}{at_least}")
    text = (
        f"{number(plan.backlog)} events at {number(round(known.rate))}/s ({known.source})"
        f" while {plan.rate:g}/s keep coming"
    )
    if known.rate > plan.rate:
        return PlanCheck("catch-up", True, f"{text}: {plan.drain_seconds:.1f} s")
    remedy = "Lower the rate, or say what the pipeline can do now: -e drill_capacity=<events per second>."
    return PlanCheck("catch-up", False, f"the backlog would never drain: {text}. {remedy}")


def summary(plan: Plan) -> str:
    """The one line of the terminal."""
    known = f"{number(round(plan.capacity.rate))}/s" if plan.capacity.rate else "not measured yet"
    return (
        f"backlog up to {number(plan.peak_lag)} events, {plan.peak_lag * plan.event_bytes / MEGABYTE:.1f} MB"
        f" · retention {_kept(plan.retention_hours)} · disk {plan.disk_free_bytes / 1e9:.0f} GB free"
        f" · catch-up {known} for {plan.rate:g}/s"
    )


def _kept(hours: float) -> str:
    if hours == float("inf"):
        return "for ever"
    if hours < 1:
        return f"{hours * 60:.3g} min"
    return f"{hours / 24:.3g} d" if hours >= 24 else f"{hours:.3g} h"
