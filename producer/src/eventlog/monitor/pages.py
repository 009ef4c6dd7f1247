"""The page for people, the log-in form, and the choice between page and JSON."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from eventlog.monitor.access import COOKIE, SESSION_SECONDS, Access

FOLDER = Path(__file__).parent / "page"
MONITOR = (FOLDER / "monitor.html").read_text(encoding="utf-8")
LOG_IN = (FOLDER / "login.html").read_text(encoding="utf-8")

router = APIRouter(include_in_schema=False)


def prefers_page(accept: str) -> bool:
    """Whether an ``Accept`` header wants HTML rather than JSON. Programs that take anything (curl) get JSON."""
    wanted = {"text/html": 0.0, "application/json": 0.0}
    ranks = dict.fromkeys(wanted, -1)  # the more specific of two matching ranges counts
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = _quality(parameters)
        for name in wanted:
            ranges = ("*/*", f"{name.partition('/')[0]}/*", name)
            if kind in ranges and ranges.index(kind) > ranks[name]:
                ranks[name], wanted[name] = ranges.index(kind), quality
    return wanted["text/html"] > wanted["application/json"]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


def page() -> Response:
    """The monitor's page."""
    return HTMLResponse(MONITOR, headers={"Vary": "Accept, Cookie"})


def log_in_page(message: str = "", status: int = 200) -> Response:
    """The log-in form, with what was wrong."""
    return HTMLResponse(LOG_IN.replace("{{ message }}", escape(message)), status)


@router.get("/")
def home() -> Response:
    """The page is where people look first."""
    return RedirectResponse("/monitor", 303)


@router.get("/login")
def log_in_form(request: Request) -> Response:
    """The form; nobody needs it where no token is asked for."""
    access: Access = request.app.state.access
    return log_in_page() if access.guarded else RedirectResponse("/monitor", 303)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Exchange the token for a session."""
    access: Access = request.app.state.access
    form = parse_qs((await request.body()).decode("ascii", "replace"), max_num_fields=4)
    cookie = access.log_in(request, form.get("token", [""])[0].strip())
    if cookie is None:
        if wait := access.locked(request):
            return log_in_page(f"Too many wrong tokens. Try again in {math.ceil(wait)} s.", 429)
        return log_in_page("This is not the token. It is in the file that monitor_token_file names.", 401)
    answer = RedirectResponse("/monitor", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout")
def log_out() -> Response:
    """End this browser's session."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
