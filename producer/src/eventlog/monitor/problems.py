"""Errors as JSON problems (RFC 9457), and the checks that come before any route."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventlog.monitor.access import Access
from eventlog.monitor.pages import prefers_page
from eventlog.monitor.settings import is_loopback

log = logging.getLogger("eventlog.monitor")

LARGEST_REQUEST = 16 * 1024  # bytes; a request of ours has a few dozen, a drill's announcement a few thousand
TOO_LARGE = f"a request has at most {LARGEST_REQUEST} bytes"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = frozenset({"/healthz", "/login"})  # they say nothing about the pipeline, so they need no token
OPEN_FOLDER = "/assets/"
# Nothing but our own files is ever loaded, and nobody may show our page inside theirs.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
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
        texts = [f"{_place(item['loc'])}: {item['msg']}" for item in error.errors()]
        return problem(422, "; ".join(texts))

    app.add_exception_handler(HTTPException, expected)
    app.add_exception_handler(RequestValidationError, invalid)


def _place(location: Sequence[str | int]) -> str:
    """Where in a request something is wrong; a number is a position in text that is no JSON."""
    return ".".join(part for part in location[1:] if isinstance(part, str)) or "body"


class Guard:
    """Lets only requests through that may be made: from an allowed host name, not too often, with the token, from our
    own pages when they change something or listen, and not too large. Also turns an unforeseen error into a problem,
    its trace into the log."""

    def __init__(self, app: ASGIApp, access: Access, host: str) -> None:
        self._app = app
        self._access = access
        # Without a token, a page of another site could reach us through a name that it lets resolve to this machine.
        self._own_name = None if access.guarded else host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"].endswith("response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(HTTPConnection(scope))
        if refusal is not None:
            await refusal(scope, receive, watched)
            return
        try:
            await self._app(scope, receive if scope["type"] == "websocket" else _Limited(receive), watched)
        except Exception:
            log.exception("%s %s failed", scope.get("method", "websocket"), scope["path"])
            if started:
                raise
            await problem(500, "the monitor failed to answer; its log says why")(scope, receive, watched)

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        headers = connection.headers
        changes = connection.scope.get("method", "GET") not in SAFE_METHODS
        name = _host_name(headers.get("host", ""))
        if self._own_name not in {None, name} and not is_loopback(name):
            return problem(421, f"this monitor does not answer for the host name {name or '(none)'}")
        if wait := self._access.wait(connection, changes=changes):
            return _later("too many requests from this address", wait)
        if not (_is_open(connection.scope["path"]) or self._access.admits(connection)):
            return self._stranger(connection)
        if (changes or connection.scope["type"] == "websocket") and not _same_origin(headers):
            return problem(403, "requests that change something must come from the monitor's own pages")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_REQUEST:
            return problem(413, TOO_LARGE)
        return None

    def _stranger(self, connection: HTTPConnection) -> Response:
        """The answer to somebody who must log in first."""
        if wait := self._access.locked(connection):
            return _later("too many wrong tokens from this address", wait)
        if connection.scope.get("method") == "GET" and prefers_page(connection.headers.get("accept", "")):
            return RedirectResponse("/login", 303)
        return problem(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def _later(detail: str, wait: float) -> Response:
    return problem(429, detail, {"Retry-After": str(math.ceil(wait))})


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


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def _host_name(header: str) -> str:
    """The name in a ``Host`` header, without the port; empty when there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers) -> bool:
    """Whether the request comes from our own page, or from no page at all (curl sends neither header)."""
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    if site not in {"none", "same-origin"}:
        return False
    # Our own forms send no origin's name, since our pages forbid a referrer: then the browser's word counts alone.
    if origin == "null":
        return site == "same-origin"
    return origin is None or origin.partition("://")[2] == headers.get("host")
