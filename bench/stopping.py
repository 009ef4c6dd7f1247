"""How measuring ends before its time: by a signal from outside, or since the benchmark's own minutes are over."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stop(BaseException):
    """Nothing more is to be measured; the text says why. No ``except Exception`` of a client may swallow it."""


class Stops:
    """What SIGINT, SIGTERM and the clock have asked for so far: ``why``, empty as long as that is nothing."""

    def __init__(self) -> None:
        self.why = ""

    def check(self) -> None:
        """Raise Stop when it was asked for: raised out of a signal it may have met code that ignores every error."""
        if self.why:
            raise Stop(self.why)

    def enough(self) -> None:
        """Measuring has ended: what is asked for from now on changes nothing any more."""
        self.why = self.why or "ended"


@contextlib.contextmanager
def stops(seconds: float, over: str) -> Iterator[Stops]:
    """Raise Stop in the main thread, at whatever it does, on SIGINT, SIGTERM and after ``seconds``, saying ``over``.

    Only the first of them counts: what follows is putting away what was measured, and the pipeline, and one who loses
    patience with that would leave servers behind. After the block the handlers are those of before.
    """
    found = Stops()
    reasons = {signal.SIGINT: "interrupted", signal.SIGTERM: "interrupted", signal.SIGALRM: over}

    def stop(number: int, _: FrameType | None) -> None:
        if not found.why:
            found.why = reasons[signal.Signals(number)]
            found.check()

    before = {number: signal.signal(number, stop) for number in reasons}
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield found
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
