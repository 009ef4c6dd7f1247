"""Reads all hops again and again, whatever happens, and tells whoever listens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eventlog.counts import Counters, HopCount, Snapshot
from eventlog.monitor.memory import HOPS, Memory, Moment, Point

log = logging.getLogger("eventlog.monitor")

DEADLINE_SHARE = 0.8  # of the interval: how long a reading may take


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the refreshing itself goes: how often it succeeded and failed, and seconds since it last succeeded."""

    refreshes: int
    failures: int
    age: float


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
        self._memory = Memory()
        self._latest: Moment | None = None
        self._listeners: list[Callable[[], None]] = []
        self._refreshes = self._failures = 0
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

    def listen(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called on the refresher's thread after every refresh. Before the start only."""
        self._listeners.append(listener)

    @property
    def interval(self) -> float:
        """Seconds between two readings."""
        return self._interval

    def latest(self, timeout: float = 0.0) -> Moment | None:
        """The newest counts; waits up to ``timeout`` seconds for the very first, None if there are none yet."""
        with self._changed:
            self._changed.wait_for(lambda: self._latest is not None, timeout)
            return self._latest

    def history(self) -> Sequence[Point]:
        """The counts of the last ten minutes, oldest first."""
        with self._changed:
            return self._memory.points()

    def pulse(self) -> Pulse:
        """How the refreshing goes; before the first refresh its age is that of the monitor."""
        with self._changed:
            return Pulse(self._refreshes, self._failures, time.monotonic() - self._refreshed)

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
                with self._changed:
                    self._failures += 1
            elapsed = time.monotonic() - began
            tick = max(tick + 1, int(elapsed / self._interval))
            with self._changed:
                if self._changed.wait_for(lambda: self._stopping, tick * self._interval - elapsed):
                    return

    def _refresh(self) -> Snapshot:
        snapshot = self._counters.read(self._interval * DEADLINE_SHARE)
        with self._changed:
            self._latest = self._memory.add(snapshot)
            self._refreshes += 1
            self._refreshed = time.monotonic()
            self._changed.notify_all()
        for listener in self._listeners:
            listener()
        return snapshot


def describe(snapshot: Snapshot) -> str:
    """The line in the log; a count that could not be read is followed by its age."""
    hops = [(hop, getattr(snapshot, hop)) for hop in (*HOPS, "lag")]
    return "Metrics refreshed " + " ".join(f"{name}={_figure(hop)}" for name, hop in hops)


def _figure(hop: HopCount) -> str:
    if hop.reachable:
        return str(hop.count)
    return "unknown" if hop.count is None or hop.age is None else f"{hop.count}({hop.age:.0f}s-ago)"
