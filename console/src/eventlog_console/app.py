"""The console's HTTP interface: a page, its feed, and a few requests that start and cancel runs."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from starlette.exceptions import HTTPException

from eventlog_console import rehearsal
from eventlog_console.catalogue import Catalogue, CatalogueError
from eventlog_console.feed import Feed
from eventlog_console.guard import (
    ATTEMPTS_PER_MINUTE,
    COOKIE,
    SESSION_SECONDS,
    Allowance,
    Guard,
    Sessions,
    client,
    documented,
    install,
)
from eventlog_console.history import SERVED, History
from eventlog_console.jobs import BusyError, Jobs
from eventlog_console.settings import Settings
from eventlog_console.status import Status
from eventlog_console.watch import Watch

PAGE = Path(__file__).parent / "page"
TOKENS = "producer/src/eventlog/monitor/page/tokens.css"
MOST_WATCHERS = 64
#: A report is a file of its own that loads nothing and runs nothing.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"

router = APIRouter(responses=documented(401, 413, 421))
CHANGING = documented(403, 422, 429)


class Wanted(BaseModel):
    """A playbook, and its options where they differ from their defaults."""

    model_config = ConfigDict(extra="forbid")
    playbook: str = Field(max_length=64)
    options: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict, max_length=32)


class Console:
    """What the requests work on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalogue = Catalogue.read(settings.root)
        self.jobs = Jobs(settings.state)
        self.history = History(settings.runs)
        self.status = Status(settings)
        self.watch = Watch(self.catalogue, self.jobs, self.history, self.status)
        self.sessions = Sessions(settings.token) if settings.token else None
        self.attempts = Allowance(ATTEMPTS_PER_MINUTE)

    def command(self, wanted: Wanted) -> list[str]:
        """The command line of what is wanted. Raises HTTPException when it cannot be."""
        try:
            return self.catalogue.command(self.settings, wanted.playbook, wanted.options)
        except CatalogueError as error:
            raise HTTPException(422, str(error)) from error

    def elsewhere(self) -> str:
        """What runs although no console started it: a drill from a terminal of this machine; empty without one."""
        newest = self.history.newest()
        if newest is None or self.jobs.running() is not None:
            return ""
        command = rehearsal.living_command(newest)
        return f"{shlex.join(command)} runs in a terminal; wait for it" if command else ""


def _console(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


Here = Annotated[Console, Depends(_console)]


@router.get("/", include_in_schema=False)
def page() -> Response:
    """The page."""
    return FileResponse(PAGE / "index.html")


@router.get("/login", include_in_schema=False)
def login_form(console: Here) -> Response:
    """The form in which a person presents the token."""
    return RedirectResponse("/", 303) if console.sessions is None else _login_page(200)


def _login_page(status: int, refused: str = "") -> Response:
    text = (PAGE / "login.html").read_text(encoding="utf-8").replace("{{refused}}", refused)
    return HTMLResponse(text, status)


@router.post("/login", include_in_schema=False)
async def login(request: Request, console: Here) -> Response:
    """Open a session for whoever presents the token."""
    if console.sessions is None:
        return RedirectResponse("/", 303)
    if not console.attempts.take(client(request.scope)):
        raise HTTPException(429, f"at most {ATTEMPTS_PER_MINUTE} attempts a minute", {"Retry-After": "10"})
    presented = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
    if not console.settings.is_token(presented.strip()):
        return _login_page(401, "That is not the token.")
    console.attempts.give_back(client(request.scope))
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, console.sessions.open(), SESSION_SECONDS, httponly=True, samesite="strict")
    return answer


@router.post("/logout", include_in_schema=False)
def logout() -> Response:
    """Forget the session in this browser."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/healthz")
def health() -> dict[str, str]:
    """Whether the console works, whatever the state of the pipeline."""
    return {"status": "ok"}


@router.get("/api/v1/catalogue")
def catalogue(console: Here) -> dict[str, Any]:
    """What can be run, with its options and the command line it has without any."""
    settings = console.settings
    return {
        "inventory": settings.inventory,
        "root": str(settings.root),
        "token": console.sessions is not None,
        "services": console.catalogue.services,
        "drills": [drill.public() for drill in console.catalogue.drills],
        "playbooks": [book.public() for book in console.catalogue.playbooks.values() if not book.drill],
    }


@router.get("/api/v1/feed", response_class=StreamingResponse, responses=documented(503))
def feed(console: Here) -> Response:
    """Server-sent events: job, drill, units, counts, history, log and samples; all first, then what is new."""
    if console.watch.watchers >= MOST_WATCHERS:
        raise HTTPException(503, f"{MOST_WATCHERS} pages are open; close one")
    return StreamingResponse(Feed(console.watch).events(), media_type="text/event-stream")


@router.post("/api/v1/command", responses={**CHANGING, **documented(400)})
def command(console: Here, wanted: Wanted) -> dict[str, str]:
    """The command line that a run would have; nothing is run."""
    return {"command": shlex.join(console.command(wanted))}


@router.post("/api/v1/jobs", status_code=202, responses={**CHANGING, **documented(400, 409)})
def start(console: Here, wanted: Wanted) -> dict[str, Any]:
    """Run a playbook, when none runs."""
    words = console.command(wanted)
    elsewhere = console.elsewhere()
    if elsewhere:
        raise HTTPException(409, elsewhere)
    playbook = console.catalogue.playbooks[wanted.playbook]
    service = wanted.options.get("service")
    try:
        job = console.jobs.start(
            {
                "playbook": playbook.name,
                "title": f"{playbook.title} {service}" if service else playbook.title,
                "drill": playbook.drill,
                "command": words,
                "heal": console.settings.playbook("heal") if playbook.drill else None,
                "root": str(console.settings.root),
            }
        )
    except BusyError as error:
        raise HTTPException(409, str(error)) from error
    return job.public()


@router.post("/api/v1/jobs/cancel", status_code=202, responses={**CHANGING, **documented(409)})
def cancel(console: Here) -> dict[str, Any]:
    """End the run that runs; a drill is healed."""
    job = console.jobs.cancel()
    if job is None:
        raise HTTPException(409, "nothing runs that could be cancelled")
    return job.public()


@router.post("/api/v1/look", status_code=202, responses=CHANGING)
async def look(console: Here) -> dict[str, str]:
    """Look at the units again."""
    console.watch.look_at_units()
    return {"command": shlex.join(console.status.command)}


@router.get("/api/v1/runs")
def runs(console: Here) -> list[dict[str, Any]]:
    """Every run with its verdict, oldest first."""
    return console.history.summaries()


@router.get("/static/tokens.css", include_in_schema=False)
def tokens(console: Here) -> Response:
    """Colours and type, which all live pages share."""
    return FileResponse(console.settings.root / TOKENS)


@router.get("/runs/{name}/{document}", include_in_schema=False)
def report(console: Here, name: str, document: str) -> Response:
    """A report of a run."""
    path = console.history.file(name, document)
    if path is None:
        raise HTTPException(404, f"there is no {document} of a run {name}")
    return FileResponse(path, media_type=SERVED[document], headers={"Content-Security-Policy": REPORT_POLICY})


@contextlib.asynccontextmanager
async def _watching(app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(app.state.console.watch.serve())
    yield
    app.state.console.status.close()
    task.cancel()


class Described(FastAPI):
    """An application whose description says which playbooks it runs, and what each of them takes."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI description."""
        found = super().openapi()
        playbooks = self.state.console.catalogue.playbooks.values()
        found["components"]["schemas"][Wanted.__name__] = {"oneOf": [playbook.schema() for playbook in playbooks]}
        return found


def create_app(settings: Settings) -> FastAPI:
    """The console. The interactive documentation pages are left out, because they load scripts from elsewhere."""
    app = Described(title="Event log drills console", version="1", docs_url=None, redoc_url=None, lifespan=_watching)
    console = app.state.console = Console(settings)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=PAGE))
    install(app)
    app.add_middleware(Guard, settings=settings, sessions=console.sessions, attempts=console.attempts)
    return app
