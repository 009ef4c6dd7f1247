"""The door: errors as JSON problems (RFC 9457), and the checks that come before any route."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventlog_console.settings import Settings, is_loopback

log = logging.getLogger("eventlog.console")

LARGEST_REQUEST = 16 * 1024  # bytes; a request of ours has a few hundred
TOO_LARGE = f"a request has at most {LARGEST_REQUEST} bytes"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: They say nothing about the pipeline: the log-in form and what it looks like.
OPEN_PATHS = frozenset({"/healthz", "/login", "/static/tokens.css", "/static/style.css", "/static/icon.svg"})
COOKIE = "eventlog_console"
SESSION_SECONDS = 12 * 3600
CHANGES_PER_MINUTE = 60
ATTEMPTS_PER_MINUTE = 10
_CLIENTS = 1000  # whose requests are counted at the same time
HEADERS = {
    # Everything comes from the console itself, nothing is written into the page.
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # a stricter one takes the origin from our own forms too
    "Cache-Control": "no-store",
}


MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its OpenAPI description."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem whose title is the status's own phrase."""
    body = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem."""

    async def expected(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, error.detail, error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        texts = [f"{'.'.join(map(str, item['loc'][1:])) or 'body'}: {item['msg']}" for item in error.errors()]
        return problem(422, "; ".join(texts))

    app.add_exception_handler(HTTPException, expected)
    app.add_exception_handler(RequestValidationError, invalid)


class Allowance:
    """How often somebody may do something: so many times in a minute, refilled all the time."""

    clock = staticmethod(time.monotonic)

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> bool:
        """Whether the client may once more."""
        now = self.clock()
        left, then = self._left.pop(client, (float(self._most), now))
        left = min(self._most, left + (now - then) * self._most / 60)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        while len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return allowed

    def give_back(self, client: str) -> None:
        """Undo the last :meth:`take`, which was none."""
        left, then = self._left[client]
        self._left[client] = (left + 1, then)


class Sessions:
    """Who has logged in. A session is its own end, signed: nothing is kept, and it outlives the console's restart."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.sha256(b"eventlog console session\0" + token.encode()).digest()

    def open(self) -> str:
        """The cookie of a new session."""
        return self._sign(str(int(time.time()) + SESSION_SECONDS))

    def valid(self, cookie: str) -> bool:
        """Whether a cookie is one of ours and has not ended. Takes the same time for every wrong one."""
        end, _, _ = cookie.partition(".")
        signed = hmac.compare_digest(self._sign(end).encode(), cookie.encode())
        return signed and int(end) > time.time()

    def _sign(self, end: str) -> str:
        return f"{end}.{hmac.new(self._key, end.encode(), hashlib.sha256).hexdigest()}"


class Guard:
    """Lets only requests through that may be made: from an allowed host name, with the token or a session, from our own
    pages when they change something, neither too large nor too many. An unforeseen error becomes a problem, its trace
    goes to the log."""

    def __init__(self, app: ASGIApp, settings: Settings, sessions: Sessions | None, attempts: Allowance) -> None:
        self._app = app
        self._settings = settings
        self._sessions = sessions
        self._attempts = attempts  # of presenting the token, in whatever way
        self._changes = Allowance(CHANGES_PER_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, watched)
            return
        try:
            await self._app(scope, _Limited(receive), watched)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await problem(500, "the console failed to answer; its log says why")(scope, receive, watched)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        name = _host_name(headers.get("host", ""))
        # Without a token, a page of another site could reach us through a name that it lets resolve to this machine.
        if self._sessions is None and name != self._settings.host and not is_loopback(name):
            return problem(421, f"this console does not answer for the host name {name or '(none)'}")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_REQUEST:
            return problem(413, TOO_LARGE)
        refusal = None if scope["path"] in OPEN_PATHS else self._stranger(scope, headers)
        return refusal or self._unfit_change(scope, headers)

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to somebody who has neither the token nor a session."""
        if self._sessions is None or self._sessions.valid(_cookie(headers.get("cookie", ""))):
            return None
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if not self._attempts.take(client(scope)):
                return problem(429, f"at most {ATTEMPTS_PER_MINUTE} wrong tokens a minute", {"Retry-After": "10"})
            if self._settings.is_token(presented.strip()):
                self._attempts.give_back(client(scope))
                return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return problem(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _unfit_change(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that must not change anything."""
        if scope["method"] in SAFE_METHODS:
            return None
        if not _same_origin(headers):
            return problem(403, "requests that change something must come from the console's own pages")
        if not self._changes.take(client(scope)):
            return problem(429, f"at most {CHANGES_PER_MINUTE} changes a minute", {"Retry-After": "5"})
        return None


class _Limited:
    """A request's ``receive`` that gives up on a body larger than LARGEST_REQUEST."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left = LARGEST_REQUEST

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise HTTPException(413, TOO_LARGE)
        return message


def client(scope: Scope) -> str:
    """The address that a request comes from."""
    return str((scope.get("client") or ("?",))[0])


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _host_name(header: str) -> str:
    """The name in a ``Host`` header, without the port; empty when there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers) -> bool:
    """Whether the request comes from our own page, or from no page at all (curl sends neither header)."""
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")
