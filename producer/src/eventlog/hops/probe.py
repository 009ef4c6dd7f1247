"""One hop, one thread, one deadline: the last reading of a server that may stop answering at any moment."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Unreadable(Exception):
    """The hop could not be read; the text is one short line for a person."""


class Hop(Protocol[T_co]):
    """What a probe asks. Both methods are called on the probe's thread only."""

    def read(self) -> T_co:
        """Ask once, connecting first if need be; must come back by itself. Raises Unreadable."""
        ...

    def close(self) -> None:
        """Give up the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Seen(Generic[T]):
    """What is known of a hop at one moment.

    ``value`` is the last known reading (None before the first), ``age`` its age in seconds when it was seen,
    ``reachable`` whether the latest attempt succeeded, ``error`` why not.
    """

    value: T | None
    reachable: bool
    error: str | None
    age: float | None


class Probe(Generic[T]):
    """Reads a hop on its own thread and keeps the last value.

    ``ask`` starts a reading unless one is under way, ``wait`` waits for it, ``seen`` tells what is known. Times are
    those of ``time.monotonic``. A reading's time is the moment it *began*: the value is at most that old.
    """

    def __init__(self, name: str, hop: Hop[T]) -> None:
        self.name = name
        self._hop = hop
        self._changed = threading.Condition()
        self._began: float | None = None  # of the reading that is under way
        self._closing = False
        self._value: T | None = None
        self._value_time = 0.0
        self._error: str | None = "not asked yet"
        self._finished = 0  # how many readings have ended
        self._reported = 0  # how many of them an earlier `seen` has reported
        self._thread = threading.Thread(target=self._run, name=f"probe-{name}", daemon=True)
        self._thread.start()

    @property
    def promising(self) -> bool:
        """Whether a reading is likely to succeed: the latest one did, or there was none yet."""
        with self._changed:
            return self._error is None or not self._finished

    def ask(self) -> bool:
        """Start a reading; False when the previous one has not come back yet."""
        with self._changed:
            if self._began is not None:
                return False
            self._began = time.monotonic()
            self._changed.notify_all()
            return True

    def wait(self, until: float) -> bool:
        """Wait until no reading is under way, at most until the moment ``until``; whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._began is None, max(0.0, until - time.monotonic()))

    def seen(self) -> Seen[T]:
        """What is known now; reachable when a reading has succeeded since the last time this was called."""
        with self._changed:
            now = time.monotonic()
            fresh, self._reported = self._finished > self._reported, self._finished
            error = self._error
            if not fresh and self._began is not None:
                error = f"no answer for {now - self._began:.1f} s"
            age = None if self._value is None else max(0.0, now - self._value_time)
            return Seen(self._value, fresh and error is None, error, age)

    def close(self, timeout: float = 0.0) -> None:
        """Let the thread end and close the hop; waits at most ``timeout`` seconds for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while (began := self._next()) is not None:
            value: T | None = None
            error: str | None = None
            try:
                value = self._hop.read()
            except Unreadable as unreadable:
                error = str(unreadable)
            except Exception as unforeseen:  # a count must survive whatever a client library throws
                error = f"{type(unforeseen).__name__}: {unforeseen}"
            self._store(began, value, error)
        self._hop.close()

    def _next(self) -> float | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._began is not None)
            return None if self._closing else self._began

    def _store(self, began: float, value: T | None, error: str | None) -> None:
        with self._changed:
            self._finished += 1
            self._error = error
            if value is not None:
                self._value, self._value_time = value, began
            self._began = None
            self._changed.notify_all()
