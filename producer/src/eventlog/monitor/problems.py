"""Errors as JSON problems (RFC 9457), and the checks that come before any route."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventlog.monitor.settings import Settings, is_loopback

log = logging.getLogger("eventlog.monitor")

LARGEST_REQUEST = 16 * 1024  # bytes; a request of ours has a few dozen
TOO_LARGE = f"a request has at most {LARGEST_REQUEST} bytes"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN_PATHS = frozenset({"/healthz"})  # says nothing about the pipeline, so it needs no token


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem whose title is the status's own phrase."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


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
    """Lets only requests through that may be made: from an allowed host name, with the token, from our own pages when
    they change something, and not too large. Also turns an unforeseen error into a problem, its trace into the log."""

    def __init__(self, app: ASGIApp, settings: Settings, host: str) -> None:
        self._app = app
        self._settings = settings
        # Without a token, a page of another site could reach us through a name that it lets resolve to this machine.
        self._own_name = host if settings.token is None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, _Limited(receive), watched)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            await problem(500, "the monitor failed to answer; its log says why")(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        name = _host_name(headers.get("host", ""))
        if self._own_name not in {None, name} and not is_loopback(name):
            return problem(421, f"this monitor does not answer for the host name {name or '(none)'}")
        if scope["path"] not in OPEN_PATHS and not self._settings.admits(headers.get("authorization")):
            return problem(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        if scope["method"] not in SAFE_METHODS and not _same_origin(headers):
            return problem(403, "requests that change something must come from the monitor's own pages")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_REQUEST:
            return problem(413, TOO_LARGE)
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
