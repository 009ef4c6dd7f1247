"""The drill that runs, as its controller announces it, and the bands that drills have left in the charts.

The whole state comes with every announcement, so one that is lost is made good by the next, and a monitor that was
started in the middle of a drill knows all of it after one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from eventlog.monitor.memory import HISTORY_SECONDS

# A drill of which nothing is heard so many seconds after the end that it announced is taken for dead. Longer than a
# service needs to come up, since nothing is announced meanwhile.
LOST_SECONDS = 180.0
PAST_BANDS = 256  # of earlier drills that are kept at most

Time = Annotated[
    float, Field(strict=True, ge=0, le=1e11, allow_inf_nan=False, description="epoch seconds, the monitor's clock")
]
Name = Annotated[str, Field(min_length=1, max_length=120)]


class _Announced(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Band(_Announced):
    """A stretch of time in which something was away, or recovered; ``until`` is null while it lasts."""

    name: Name
    kind: Literal["fault", "recovery"]
    since: Time
    until: Time | None = None


class Phase(_Announced):
    """What the drill does at the moment; ``until`` is when it means to be done with it."""

    name: Name
    kind: Literal["steady", "fault", "recovery", "closing"]
    since: Time
    until: Time | None = None


class Verdict(_Announced):
    """How the drill ended."""

    outcome: Name
    reason: Annotated[str, Field(max_length=1000)]


class Drill(_Announced):
    """A drill; it runs until it has a verdict. ``time`` orders announcements: an older one is refused."""

    drill: Name
    title: Name
    run: Name
    time: Time
    began: Time
    phase: Phase
    bands: Annotated[list[Band], Field(max_length=64)] = []
    verdict: Verdict | None = None


class Stage(BaseModel):
    """What is on: the drill (null without one), and the bands of the last ten minutes, of earlier drills too."""

    drill: Drill | None
    bands: list[Band]


class OutOfDateError(ValueError):
    """What was announced is older than what is known."""


class Drills:
    """The announcements. For several threads at once; ``clock`` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._drill: Drill | None = None
        self._newest = 0.0  # what was announced before is refused, also after a clearance that overtook it
        self._past: deque[Band] = deque(maxlen=PAST_BANDS)

    def announce(self, drill: Drill) -> None:
        """Take over ``drill``. Raises OutOfDateError when something newer is known."""
        with self._lock:
            if drill.time < self._newest:
                raise OutOfDateError(f"what is known was announced at {self._newest:.3f}, after this")
            if self._drill is not None and drill.run != self._drill.run:
                self._retire(self._drill, self._clock())
            self._drill, self._newest = drill, drill.time

    def clear(self) -> bool:
        """Forget the drill, but not its bands; whether there was one."""
        with self._lock:
            known, self._newest = self._drill, self._clock()
            if known is not None:
                self._retire(known, self._newest)
            return known is not None

    def stage(self) -> Stage:
        """What is on now."""
        with self._lock:
            now = self._clock()
            if self._drill is not None and now > _over(self._drill):
                self._retire(self._drill, _end(self._drill))
            known = [*self._past, *(self._drill.bands if self._drill else [])]
            recent = [band for band in known if (band.until or now) > now - HISTORY_SECONDS]
            return Stage(drill=self._drill, bands=recent)

    def _retire(self, drill: Drill, end: float) -> None:
        """Forget a drill and keep its bands; those that nobody ended end at ``end``."""
        self._past.extend(band if band.until else band.model_copy(update={"until": end}) for band in drill.bands)
        self._drill = None


def _end(drill: Drill) -> float:
    """When the last thing that is known of a drill ends."""
    return max(drill.time, drill.phase.until or 0.0)


def _over(drill: Drill) -> float:
    """When a drill is to be forgotten."""
    return _end(drill) + (HISTORY_SECONDS if drill.verdict else LOST_SECONDS)
