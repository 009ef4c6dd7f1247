"""Reads all hops again and again, whatever happens, and remembers the last ten minutes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from eventlog.counts import Counters, HopCount, Snapshot

log = logging.getLogger("eventlog.monitor")

HISTORY_SECONDS = 600.0
RATE_SECONDS = 10.0  # the stretch that a rate is the mean of
DEADLINE_SHARE = 0.8  # of the interval: how long a reading may take
HOPS = ("producer", "kafka", "cassandra")


@dataclass(frozen=True, slots=True)
class Rates:
    """Events per second over the last RATE_SECONDS; None where the count could not be read often enough."""

    producer: float | None
    kafka: float | None
    cassandra: float | None


class Refresher:
    """A thread that keeps ``latest`` and ``history`` up to date until it is stopped.

    ``interval`` and ``log_seconds`` are in seconds.
    """

    def __init__(self, counters: Counters, interval: float, log_seconds: float) -> None:
        self._counters = counters
        self._interval = interval
        self._log_seconds = log_seconds
        self._changed = threading.Condition()
        self._stopping = False
        self._history: deque[Snapshot] = deque(maxlen=max(2, round(HISTORY_SECONDS / interval)))
        self._refreshed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="refresher", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the connections; waits a moment for a reading that is under way."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(self._interval)
        self._counters.close()

    @property
    def interval(self) -> float:
        """Seconds between two readings."""
        return self._interval

    def latest(self, timeout: float = 2.0) -> Snapshot | None:
        """The newest snapshot; waits up to ``timeout`` seconds for the very first one, None if there is none yet."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._history), timeout)
            return self._history[-1] if self._history else None

    def history(self) -> Sequence[Snapshot]:
        """The snapshots of the last ten minutes, oldest first."""
        with self._changed:
            return list(self._history)

    def age(self) -> float:
        """Seconds since the last snapshot was taken, or since the start before the first."""
        with self._changed:
            return time.monotonic() - self._refreshed

    def rates(self) -> Rates:
        """How fast the counts move."""
        history = self.history()
        recent = [shot for shot in history if shot.time >= history[-1].time - RATE_SECONDS]
        return Rates(*(rate([(shot.time, getattr(shot, hop)) for shot in recent]) for hop in HOPS))

    def _run(self) -> None:
        tick, began = 0, time.monotonic()
        next_line = began
        while True:
            try:
                snapshot = self._refresh()
                if time.monotonic() >= next_line:
                    log.info("%s", describe(snapshot))
                    next_line = time.monotonic() + self._log_seconds - self._interval / 2
            except Exception:  # the monitor must outlive everything, its own faults too
                log.exception("The metrics could not be refreshed; trying again")
            elapsed = time.monotonic() - began
            tick = max(tick + 1, int(elapsed / self._interval))
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, tick * self._interval - elapsed):
                    return

    def _refresh(self) -> Snapshot:
        snapshot = self._counters.read(self._interval * DEADLINE_SHARE)
        with self._changed:
            self._history.append(snapshot)
            self._refreshed = time.monotonic()
            self._changed.notify_all()
        return snapshot


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


def describe(snapshot: Snapshot) -> str:
    """The line in the log; a count that could not be read is followed by its age."""
    hops = [(hop, getattr(snapshot, hop)) for hop in (*HOPS, "lag")]
    return "Metrics refreshed " + " ".join(f"{name}={_figure(hop)}" for name, hop in hops)


def _figure(hop: HopCount) -> str:
    if hop.reachable:
        return str(hop.count)
    return "unknown" if hop.count is None or hop.age is None else f"{hop.count}({hop.age:.0f}s-ago)"
