"""The monitor's HTTP interface. Every answer comes from memory; only the controls talk to the producer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from eventlog.config import RATE_MAX, RATE_MIN, Config
from eventlog.control import ControlError, ProducerUnreachable, control
from eventlog.counts import Snapshot
from eventlog.monitor import problems
from eventlog.monitor.problems import Guard
from eventlog.monitor.refresher import Refresher
from eventlog.monitor.settings import Settings
from eventlog.monitor.views import History, Overview, prometheus

CONTROL_TIMEOUT = 3.0  # seconds the producer has to answer a control request
STALE_AFTER = 10  # intervals without a snapshot after which the monitor calls itself unhealthy

router = APIRouter()


class RateRequest(BaseModel):
    """A new rate, in events per second."""

    model_config = ConfigDict(extra="forbid")
    rate: float = Field(ge=RATE_MIN, le=RATE_MAX)


class Controlled(BaseModel):
    """The producer's status after a request, and whether the request changed it."""

    changed: bool
    producer: dict[str, Any]


class Health(BaseModel):
    """The monitor's own health; ``refreshed`` is the age of its newest counts in seconds."""

    status: str
    refreshed: float


def _refresher(request: Request) -> Refresher:
    refresher: Refresher = request.app.state.refresher
    return refresher


def _snapshot(request: Request) -> Snapshot:
    snapshot = _refresher(request).latest()
    if snapshot is None:
        raise HTTPException(503, "the first counts are being read; try again in a second")
    return snapshot


CurrentSnapshot = Annotated[Snapshot, Depends(_snapshot)]
CurrentRefresher = Annotated[Refresher, Depends(_refresher)]


@router.get("/monitor")
def overview(snapshot: CurrentSnapshot, refresher: CurrentRefresher, response: Response) -> Overview:
    """Everything at a glance, flat."""
    response.headers["Vary"] = "Accept"  # a browser may be answered with a page
    response.headers["Cache-Control"] = "no-store"
    return Overview.of(snapshot, refresher.rates())


@router.get("/api/v1/counts")
def counts(snapshot: CurrentSnapshot) -> dict[str, Any]:
    """The newest counts of all hops, in the shape of the sampler's lines."""
    return snapshot.to_dict()


@router.get("/api/v1/history")
def history(
    refresher: CurrentRefresher,
    since: Annotated[float, Query(description="epoch seconds; only later counts are wanted")] = 0.0,
) -> History:
    """The counts of the last ten minutes."""
    return History.of([shot for shot in refresher.history() if shot.time > since], refresher.interval)


@router.post("/api/v1/pause")
def pause(request: Request) -> Controlled:
    """Stop generating events; what is buffered is still delivered."""
    return _control(request, {"do": "pause"})


@router.post("/api/v1/resume")
def resume(request: Request) -> Controlled:
    """Go on generating events."""
    return _control(request, {"do": "resume"})


@router.post("/api/v1/rate")
def rate(request: Request, wanted: RateRequest) -> Controlled:
    """Change the rate, now and for later starts of the producer."""
    return _control(request, {"do": "rate", "rate": wanted.rate})


@router.get("/healthz")
def health(refresher: CurrentRefresher) -> Health:
    """Whether the monitor itself works, whatever the state of the pipeline."""
    age = refresher.age()
    if age > max(STALE_AFTER * refresher.interval, 5.0):
        raise HTTPException(503, f"the counts have not been refreshed for {age:.0f} s")
    return Health(status="ok", refreshed=round(age, 3))


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
def metrics(snapshot: CurrentSnapshot) -> Response:
    """The counts for Prometheus."""
    return Response(prometheus(snapshot), media_type=CONTENT_TYPE_LATEST)


def create_app(config: Config, settings: Settings, refresher: Refresher) -> FastAPI:
    """The interface over ``refresher``, which the caller starts and stops.

    The interactive documentation pages are left out, because they load scripts from elsewhere; ``/openapi.json`` is
    there.
    """
    app = FastAPI(title="Event log monitor", version="1", docs_url=None, redoc_url=None)
    app.state.config = config
    app.state.refresher = refresher
    app.include_router(router)
    problems.install(app)
    app.add_middleware(Guard, settings=settings, host=config.monitor.host)
    return app


def _control(request: Request, wanted: Mapping[str, Any]) -> Controlled:
    config: Config = request.app.state.config
    try:
        before = control(config.producer.socket, {"do": "status"}, CONTROL_TIMEOUT)
        after = control(config.producer.socket, wanted, CONTROL_TIMEOUT)
    except ProducerUnreachable as error:
        raise HTTPException(503, str(error)) from error
    except ControlError as error:
        raise HTTPException(409, str(error)) from error
    changed = any(before.get(key) != after.get(key) for key in ("streaming", "rate"))
    return Controlled(changed=changed, producer=after)
