"""The monitor's web interface: figures for people and programs, controls for the producer."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from eventlog.config import Config
from eventlog.control import ControlError, ProducerUnreachable, control
from eventlog.monitor.metrics import SnapshotCollector
from eventlog.monitor.refresher import Refresher

BODY_BYTES_MAX = 4096
#: The producer's own limit is what the machine can do; this only refuses nonsense.
RATE_MAX = 1_000_000.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Rate(BaseModel):
    """A new rate for the producer."""

    rate: float = Field(gt=0, le=RATE_MAX, allow_inf_nan=False, description="events per second")


def create_app(config: Config, refresher: Refresher) -> FastAPI:
    """The application; the refresher must be running."""
    app = FastAPI(title="Event log monitor", version="1", docs_url=None, redoc_url=None)
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(refresher))
    _guard(app, config)
    _report_problems(app)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The monitor itself serves; says nothing of what it watches."""
        return {"status": "ok"}

    @app.get("/monitor")
    def monitor() -> dict[str, Any]:
        """The figures of the pipeline, flat."""
        return _flat(refresher)

    @app.get("/api/v1/counts")
    def counts() -> dict[str, Any]:
        """The last snapshot of all hops."""
        snapshot = refresher.latest()
        if snapshot is None:
            raise HTTPException(503, "no reading yet; ask again in a second")
        return snapshot.to_dict()

    @app.get("/api/v1/history")
    def history() -> list[dict[str, Any]]:
        """The snapshots of the last ten minutes, oldest first."""
        return [snapshot.to_dict() for snapshot in refresher.history()]

    @app.post("/api/v1/pause")
    def pause() -> dict[str, Any]:
        """Stop generating events; what is buffered still goes out."""
        return _ask(config, {"do": "pause"})

    @app.post("/api/v1/resume")
    def resume() -> dict[str, Any]:
        """Go on generating events."""
        return _ask(config, {"do": "resume"})

    @app.post("/api/v1/rate")
    def rate(wanted: Rate) -> dict[str, Any]:
        """Change how many events are generated per second."""
        return _ask(config, {"do": "rate", "rate": wanted.rate})

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """The figures for Prometheus."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _flat(refresher: Refresher) -> dict[str, Any]:
    snapshot = refresher.latest()
    if snapshot is None:
        raise HTTPException(503, "no reading yet; ask again in a second")
    producer, kafka, cassandra, lag, flink = (
        snapshot.producer,
        snapshot.kafka,
        snapshot.cassandra,
        snapshot.lag,
        snapshot.flink,
    )
    hops = {"producer": producer, "kafka": kafka, "cassandra": cassandra, "lag": lag}
    return {
        "producer_count": producer.count,
        "kafka_count": kafka.count,
        "cassandra_count": cassandra.count,
        "is_streaming": bool(producer.alive and producer.streaming),
        "reason": producer.reason if producer.alive else "the producer does not answer",
        "lag": lag.count,
        "buffered": producer.buffered,
        "rate": producer.rate,
        "rates": refresher.rates(),
        "ages": {name: hop.age for name, hop in hops.items()},
        "reachable": {name: hop.reachable for name, hop in hops.items()},
        "errors": {name: hop.error for name, hop in hops.items() if hop.error},
        "services": {
            "producer": "up" if producer.alive else "down",
            "kafka": "up" if kafka.reachable else "down",
            "cassandra": "up" if cassandra.reachable else "down",
            "flink": _flink_word(flink.reachable, flink.tasks_running, flink.tasks_total),
        },
        "time": round(snapshot.time, 3),
    }


def _flink_word(reachable: bool, running: int | None, total: int | None) -> str:
    if not reachable:
        return "down"
    return "up" if total and running == total else "starting"


def _ask(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    before = control(config.producer.socket, {"do": "status"})
    after = control(config.producer.socket, request)
    watched = ("streaming", "rate")
    return {"changed": any(before.get(key) != after.get(key) for key in watched), "producer": after}


# -- protection and errors -------------------------------------------------------------------------------------------


def _guard(app: FastAPI, config: Config) -> None:
    """Refuse what a foreign page could make a browser send, and bodies that are too large."""
    names = {config.monitor.host, "localhost"}

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if host not in names and not _is_loopback(host):
            return problem(421, f"this monitor is not {host or 'nameless'}")
        if request.method not in SAFE_METHODS:
            origin = request.headers.get("origin")
            if origin and urlsplit(origin).netloc != request.headers.get("host"):
                return problem(403, f"requests from pages of {origin} are refused")
            length = request.headers.get("content-length", "0")
            if not length.isdigit() or int(length) > BODY_BYTES_MAX:
                return problem(413, f"a request body has at most {BODY_BYTES_MAX} bytes")
            if "transfer-encoding" in request.headers:
                return problem(411, "a request body needs a Content-Length")
        return await call_next(request)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _report_problems(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def of_input(request: Request, error: RequestValidationError) -> Response:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"])
        return problem(422, f"{where}: {found['msg']}")

    @app.exception_handler(ProducerUnreachable)
    async def of_producer(request: Request, error: ProducerUnreachable) -> Response:
        return problem(503, str(error))

    @app.exception_handler(ControlError)
    async def of_control(request: Request, error: ControlError) -> Response:
        return problem(409, str(error))


def problem(status: int, detail: str) -> JSONResponse:
    """An error as RFC 9457 describes it."""
    return JSONResponse(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
    )
