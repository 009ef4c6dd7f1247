"""What the monitor remembers of the snapshots it has taken: the newest, ten minutes of counts, rates, and states."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eventlog.counts import HopCount, Snapshot

HISTORY_SECONDS = 600.0
# The history has a point a second however often the counts are read, so its size does not depend on that either.
HISTORY_STEP = 1.0
RATE_SECONDS = 10.0  # the stretch that a rate is the mean of
HOPS = ("producer", "kafka", "cassandra")
SERVICES = (*HOPS, "flink")

State = Literal["up", "down", "unknown"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Events per second over the last RATE_SECONDS; None where the count could not be read often enough."""

    producer: float | None
    kafka: float | None
    cassandra: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """Counts at ``time`` (epoch seconds); None where one could not be read."""

    time: float
    producer: int | None
    kafka: int | None
    cassandra: int | None
    lag: int | None

    @classmethod
    def of(cls, snapshot: Snapshot) -> Point:
        """The point of a snapshot."""
        hops: list[HopCount] = [getattr(snapshot, name) for name in (*HOPS, "lag")]
        return cls(round(snapshot.time, 3), *(hop.count if hop.reachable else None for hop in hops))


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot, how fast the counts move, and per service its state and since when (epoch seconds) it has it."""

    snapshot: Snapshot
    rates: Rates
    states: Mapping[str, tuple[State, float]]


class Memory:
    """Fed with snapshots in order. Not for several threads at once."""

    def __init__(self) -> None:
        self._recent: deque[Snapshot] = deque()
        self._points: deque[Point] = deque()
        self._states: dict[str, tuple[State, float]] = {}

    def add(self, snapshot: Snapshot) -> Moment:
        """Remember ``snapshot``; returns what is known now."""
        self._recent.append(snapshot)
        while self._recent[0].time < snapshot.time - RATE_SECONDS:
            self._recent.popleft()
        # Half a step of tolerance, since readings a second apart are never exactly so.
        if not self._points or snapshot.time - self._points[-1].time > HISTORY_STEP / 2:
            self._points.append(Point.of(snapshot))
        while self._points[0].time < snapshot.time - HISTORY_SECONDS:
            self._points.popleft()
        for service in SERVICES:
            now = service_state(snapshot, service)
            known = self._states.get(service)
            if known is None or known[0] != now:
                self._states[service] = (now, round(snapshot.time, 3))
        rates = Rates(*(rate([(shot.time, getattr(shot, hop)) for shot in self._recent]) for hop in HOPS))
        return Moment(snapshot, rates, dict(self._states))

    def points(self) -> Sequence[Point]:
        """The counts of the last ten minutes, oldest first."""
        return list(self._points)


def rate(readings: Sequence[tuple[float, HopCount]]) -> float | None:
    """Counts per second from the first to the last successful of ``readings`` (time of the snapshot, count)."""
    good = [
        (taken - hop.age, hop.count)
        for taken, hop in readings
        if hop.reachable and hop.count is not None and hop.age is not None
    ]
    if len(good) < 2 or good[-1][0] <= good[0][0]:
        return None
    return round((good[-1][1] - good[0][1]) / (good[-1][0] - good[0][0]), 2)


def service_state(snapshot: Snapshot, service: str) -> State:
    """The state of one of SERVICES: the producer must answer itself, since its count is read from the disk."""
    hop = getattr(snapshot, service)
    return state(hop.alive if service == "producer" else hop.reachable, hop.age)


def state(answers: bool, age: float | None) -> State:
    """``unknown`` as long as a service has never been seen."""
    if answers:
        return "up"
    return "unknown" if age is None else "down"
