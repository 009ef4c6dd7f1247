"""Waiting for conditions, never for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_Found = TypeVar("_Found")


def wait_until(look: Callable[[], _Found | None], seconds: float, what: str, interval: float = 0.1) -> _Found:
    """The first true value of ``look``, which is asked every ``interval`` seconds.

    Errors of ``look`` are taken for servers that are on their way, but for an AssertionError, which ends the wait.
    Raises AssertionError with ``what`` and the last value or error when none was true after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            found = look()
        except AssertionError:
            raise
        except Exception as error:  # clients of servers on their way up fail in many ways
            last = error
        else:
            if found:
                return found
            last = found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {last!r}")
        time.sleep(interval)
