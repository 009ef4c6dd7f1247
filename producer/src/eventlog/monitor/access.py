"""Who may come in, and how often: the token, the sessions that stand for it in a browser, and token buckets."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection

from eventlog.monitor.settings import Settings

COOKIE = "eventlog-session"
SESSION_SECONDS = 12 * 3600
ADDRESSES = 1024  # that are remembered at most; the one not heard of for longest goes first
# Requests per second and at once, from one address. A page needs seven to open and one a second at most; a projector, a
# scraper and some scripts together stay far below.
READS = (100.0, 1000.0)
CHANGES = (10.0, 40.0)
# Wrong tokens. A token of 16 characters needs none of this; a person who mistypes it needs a few tries.
FAILURES = (0.2, 10.0)


class Buckets:
    """A bucket for every address: ``burst`` are in it at first, ``rate`` a second come back."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # content, and when it was that

    def wait(self, address: str) -> float:
        """Seconds until there is something to take, 0 when there is now."""
        return max(0.0, (1.0 - self._level(address)) / self._rate)

    def take(self, address: str) -> None:
        """Take one."""
        self._levels[address] = (max(0.0, self._level(address) - 1.0), self._clock())
        self._levels.move_to_end(address)
        if len(self._levels) > ADDRESSES:
            self._levels.popitem(last=False)

    def _level(self, address: str) -> float:
        level, at = self._levels.get(address, (self._burst, self._clock()))
        return min(self._burst, level + (self._clock() - at) * self._rate)


class Sessions:
    """Cookies that stand for the token. They are signed, not stored: a monitor that starts anew still knows them, and
    a new token ends them all."""

    def __init__(self, token: str, clock: Callable[[], float] = time.time) -> None:
        self._token, self._clock = token, clock

    def issue(self) -> str:
        """A new cookie, good for SESSION_SECONDS."""
        until = str(int(self._clock() + SESSION_SECONDS))
        return f"{until}.{self._signature(until)}"

    def admits(self, cookie: str) -> bool:
        """Whether a cookie is ours and still good."""
        until, _, signature = cookie.partition(".")
        ours = hmac.compare_digest(signature.encode(), self._signature(until).encode())
        return ours and int(until) >= self._clock()

    def _signature(self, until: str) -> str:
        return hmac.new(self._token.encode(), f"session until {until}".encode(), "sha256").hexdigest()


class Access:
    """Decides about every request. Used on the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sessions = Sessions(settings.token) if settings.token else None
        self._reads, self._changes, self._failures = (Buckets(*limit) for limit in (READS, CHANGES, FAILURES))

    @property
    def guarded(self) -> bool:
        """Whether a token is needed."""
        return self._settings.token is not None

    def wait(self, connection: HTTPConnection, *, changes: bool) -> float:
        """Seconds that the sender of a request has to wait, 0 when it may be answered; counts it in that case."""
        address = _address(connection)
        buckets = self._changes if changes else self._reads
        wait = buckets.wait(address)
        if not wait:
            buckets.take(address)
        return wait

    def locked(self, connection: HTTPConnection) -> float:
        """Seconds until the sender may try a token again, 0 when it may now."""
        return self._failures.wait(_address(connection))

    def admits(self, connection: HTTPConnection) -> bool:
        """Whether a request carries a session's cookie or the token; a wrong token counts as a failure. Too many of
        them, and the right one is not looked at either."""
        cookie = connection.cookies.get(COOKIE)
        if self._sessions and cookie and self._sessions.admits(cookie):
            return True
        if self.locked(connection):
            return False
        authorization = connection.headers.get("authorization")
        admitted = self._settings.admits(authorization)
        if authorization and not admitted:
            self._failures.take(_address(connection))
        return admitted

    def log_in(self, connection: HTTPConnection, token: str) -> str | None:
        """A session's cookie for the right token, None for a wrong one, which counts as a failure."""
        if self.locked(connection):
            return None
        if self._sessions and self._settings.admits(f"Bearer {token}"):
            return self._sessions.issue()
        self._failures.take(_address(connection))
        return None


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
