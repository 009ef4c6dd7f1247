"""Keeps the counts of every hop fresh, and remembers the last ten minutes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from types import TracebackType

from eventlog.config import Config
from eventlog.counts import Counters, HopCount, Snapshot

HISTORY_SECONDS = 600.0
#: How often the figures go to the log; the readings themselves are more frequent.
LOG_SECONDS = 10.0
#: Over how many seconds a rate is taken.
RATE_SECONDS = 10.0

log = logging.getLogger(__name__)


class Refresher:
    """A thread that reads all hops every ``monitor.refresh_seconds``. A context manager."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._period = config.monitor.refresh_seconds
        self._history: deque[Snapshot] = deque(maxlen=max(2, round(HISTORY_SECONDS / self._period)))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresher", daemon=True)

    def __enter__(self) -> Refresher:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5.0)

    def history(self) -> list[Snapshot]:
        """The snapshots of the last ten minutes, oldest first."""
        with self._lock:
            return list(self._history)

    def latest(self) -> Snapshot | None:
        """The last snapshot; None before the first."""
        with self._lock:
            return self._history[-1] if self._history else None

    def rates(self) -> dict[str, float | None]:
        """Events per second of each counter over the last seconds; None when it could not be read at both ends."""
        history = self.history()
        if not history:
            return dict.fromkeys(("producer", "kafka", "cassandra"))
        last = history[-1]
        first = next((snapshot for snapshot in history if last.time - snapshot.time <= RATE_SECONDS), last)
        return {
            name: _rate(getattr(first, name), getattr(last, name), last.time - first.time)
            for name in ("producer", "kafka", "cassandra")
        }

    def _run(self) -> None:
        logged = 0.0
        with Counters(self._config) as counters:
            due = time.monotonic()
            while not self._stop.is_set():
                try:
                    snapshot = counters.read(self._period * 0.9)
                except Exception:  # the monitor outlives whatever a reading may meet
                    log.exception("Metrics could not be refreshed")
                else:
                    with self._lock:
                        self._history.append(snapshot)
                    if time.monotonic() - logged >= LOG_SECONDS:
                        logged = time.monotonic()
                        log.info("Metrics refreshed %s", _figures(snapshot))
                due = max(due + self._period, time.monotonic())
                self._stop.wait(due - time.monotonic())


def _rate(first: HopCount, last: HopCount, seconds: float) -> float | None:
    if not (first.reachable and last.reachable) or first.count is None or last.count is None or seconds <= 0:
        return None
    return round((last.count - first.count) / seconds, 2)


def _figures(snapshot: Snapshot) -> str:
    parts = []
    for name in ("producer", "kafka", "cassandra", "lag"):
        hop: HopCount = getattr(snapshot, name)
        stale = "" if hop.reachable else " (stale)"
        parts.append(f"{name}={'unknown' if hop.count is None else hop.count}{stale}")
    return " ".join(parts)
