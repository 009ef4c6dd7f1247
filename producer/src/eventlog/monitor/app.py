"""The monitor's HTTP interface. Every answer comes from memory; only the controls talk to the producer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security, WebSocket
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from eventlog import __version__
from eventlog.config import RATE_MAX, RATE_MIN, Config
from eventlog.control import ControlError, ProducerUnreachable, control
from eventlog.monitor import pages, problems
from eventlog.monitor.access import Access
from eventlog.monitor.drills import Drill, Drills, OutOfDateError, Stage
from eventlog.monitor.feed import Feed
from eventlog.monitor.memory import Moment
from eventlog.monitor.problems import Guard, documented
from eventlog.monitor.refresher import Refresher
from eventlog.monitor.settings import Settings
from eventlog.monitor.views import History, Overview, prometheus

CONTROL_TIMEOUT = 3.0  # seconds the producer has to answer a control request
FIRST_SECONDS = 2.0  # that a request waits for the very first counts
STALE_AFTER = 10  # intervals without a snapshot after which the monitor calls itself unhealthy

router = APIRouter(responses=documented(401, 403, 413, 421, 422, 429))
live = APIRouter()


class RateRequest(BaseModel):
    """A new rate, in events per second."""

    model_config = ConfigDict(extra="forbid")
    rate: float = Field(ge=RATE_MIN, le=RATE_MAX)


class Controlled(BaseModel):
    """The producer's status after a request, and whether the request changed it."""

    changed: bool
    producer: dict[str, Any]


class Cleared(BaseModel):
    """Whether there was a drill to forget."""

    changed: bool


class Health(BaseModel):
    """The monitor's own health; ``refreshed`` is the age of its newest counts in seconds."""

    status: str
    refreshed: float


def _refresher(request: Request) -> Refresher:
    refresher: Refresher = request.app.state.refresher
    return refresher


def _config(request: Request) -> Config:
    config: Config = request.app.state.config
    return config


def _drills(request: Request) -> Drills:
    drills: Drills = request.app.state.drills
    return drills


CurrentRefresher = Annotated[Refresher, Depends(_refresher)]
CurrentConfig = Annotated[Config, Depends(_config)]
CurrentDrills = Annotated[Drills, Depends(_drills)]


def _moment(refresher: CurrentRefresher) -> Moment:
    moment = refresher.latest(FIRST_SECONDS)
    if moment is None:
        raise HTTPException(503, "the first counts are being read; try again in a second")
    return moment


CurrentMoment = Annotated[Moment, Depends(_moment)]


@router.get("/monitor", response_model=Overview, responses={200: {"content": {"text/html": {}}}, **documented(503)})
def overview(
    request: Request, response: Response, refresher: CurrentRefresher, drills: CurrentDrills, config: CurrentConfig
) -> Any:
    """Everything at a glance, flat; a browser gets the live page instead."""
    if pages.prefers_page(request.headers.get("accept", "")):
        return pages.page()
    response.headers["Vary"] = "Accept"
    response.headers["Cache-Control"] = "no-store"
    return Overview.of(_moment(refresher), drills.stage(), config)


@router.get("/api/v1/counts", responses=documented(503))
def counts(moment: CurrentMoment) -> dict[str, Any]:
    """The newest counts of all hops, in the shape of the sampler's lines."""
    return moment.snapshot.to_dict()


@router.get("/api/v1/history")
def history(
    refresher: CurrentRefresher,
    since: Annotated[float, Query(description="epoch seconds; only later counts are wanted")] = 0.0,
) -> History:
    """The counts of the last ten minutes."""
    return History.of([point for point in refresher.history() if point.time > since], refresher.interval)


@router.post("/api/v1/pause", responses=documented(409, 503))
def pause(config: CurrentConfig) -> Controlled:
    """Stop generating events; what is buffered is still delivered."""
    return _control(config, {"do": "pause"})


@router.post("/api/v1/resume", responses=documented(409, 503))
def resume(config: CurrentConfig) -> Controlled:
    """Go on generating events."""
    return _control(config, {"do": "resume"})


@router.post("/api/v1/rate", responses=documented(400, 409, 503))
def rate(config: CurrentConfig, wanted: RateRequest) -> Controlled:
    """Change the rate, now and for later starts of the producer."""
    return _control(config, {"do": "rate", "rate": wanted.rate})


@router.get("/api/v1/drill")
def drill(drills: CurrentDrills) -> Stage:
    """The drill that runs or has just ended, and the bands of the last ten minutes."""
    return drills.stage()


@router.put("/api/v1/drill", responses=documented(400, 409))
def announce(request: Request, drills: CurrentDrills, wanted: Drill) -> Stage:
    """Announce how a drill stands: the whole of it every time, in any order; what is older than known is refused."""
    try:
        drills.announce(wanted)
    except OutOfDateError as error:
        raise HTTPException(409, str(error)) from error
    request.app.state.feed.publish()
    return drills.stage()


@router.delete("/api/v1/drill")
def clear(request: Request, drills: CurrentDrills) -> Cleared:
    """Forget the drill; its bands stay in the charts."""
    changed = drills.clear()
    request.app.state.feed.publish()
    return Cleared(changed=changed)


@router.get("/healthz", responses=documented(503))
def health(refresher: CurrentRefresher) -> Health:
    """Whether the monitor itself works, whatever the state of the pipeline."""
    age = refresher.pulse().age
    if age > max(STALE_AFTER * refresher.interval, 5.0):
        raise HTTPException(503, f"the counts have not been refreshed for {age:.0f} s")
    return Health(status="ok", refreshed=round(age, 3))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}, **documented(503)},
)
def metrics(
    moment: CurrentMoment, refresher: CurrentRefresher, drills: CurrentDrills, config: CurrentConfig
) -> Response:
    """All figures for Prometheus."""
    body = prometheus(moment, drills.stage(), refresher.pulse(), config)
    return Response(body, media_type=CONTENT_TYPE_LATEST)


@live.websocket("/api/v1/live")
async def feed(websocket: WebSocket) -> None:
    """A message with every refresh, in the shape of ``views.Live``; what is sent to it is ignored."""
    serving: Feed = websocket.app.state.feed
    await serving.serve(websocket)


def create_app(config: Config, settings: Settings, refresher: Refresher) -> FastAPI:
    """The interface over ``refresher``, which the caller starts and stops.

    The interactive documentation pages are left out, because they load scripts from elsewhere; ``/openapi.json`` is
    there.
    """
    app = FastAPI(title="Event log monitor", version=__version__, docs_url=None, redoc_url=None)
    app.state.config = config
    app.state.refresher = refresher
    app.state.drills = Drills()
    app.state.feed = Feed(refresher, app.state.drills, config)
    app.state.access = Access(settings)
    refresher.listen(app.state.feed.publish)
    token = [Security(HTTPBearer(auto_error=False))] if settings.token else []
    app.include_router(router, dependencies=token)
    app.include_router(live)
    app.include_router(pages.router)
    app.mount("/assets", StaticFiles(directory=pages.FOLDER))
    problems.install(app)
    app.add_middleware(Guard, access=app.state.access, host=config.monitor.host)
    return app


def _control(config: Config, wanted: Mapping[str, Any]) -> Controlled:
    try:
        before = control(config.producer.socket, {"do": "status"}, CONTROL_TIMEOUT)
        after = control(config.producer.socket, wanted, CONTROL_TIMEOUT)
    except ProducerUnreachable as error:
        raise HTTPException(503, str(error)) from error
    except ControlError as error:
        raise HTTPException(409, str(error)) from error
    changed = any(before.get(key) != after.get(key) for key in ("streaming", "rate"))
    return Controlled(changed=changed, producer=after)
