"""Flink: whether the job and all its tasks run, and what the sink has counted, over Flink's REST interface."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eventlog.config import Config, ConfigError
from eventlog.hops.probe import Unreadable

SINK_METRICS = ("written", "retried", "rejected")  # counters that the job registers; see the job's documentation
ENDED = frozenset({"FINISHED", "FAILED", "CANCELED"})
MOST_BYTES = 8 * 2**20  # an answer longer than this is not Flink's


@dataclass(frozen=True, slots=True)
class FlinkReading:
    """State of the job (None: there is none by that name), its tasks, and the sink's counters since the tasks started
    (None: not reported)."""

    state: str | None
    tasks_running: int
    tasks_total: int
    written: int | None
    retried: int | None
    rejected: int | None


class FlinkHop:
    """Asks the JobManager over one kept connection. The sink's counters begin anew with every restart of its tasks.

    Raises ConfigError for an address that is none.
    """

    def __init__(self, config: Config, request_timeout: float) -> None:
        address = urllib.parse.urlsplit(config.flink.rest_url)
        if address.scheme != "http" or not address.hostname:
            raise ConfigError(f"flink.rest_url is {config.flink.rest_url!r}; expected http://HOST:PORT")
        self._host, self._port, self._base = address.hostname, address.port or 80, address.path.rstrip("/")
        self._job_name = config.flink.job_name
        self._timeout = request_timeout
        self._connection: http.client.HTTPConnection | None = None
        self._metric_names: dict[str, dict[str, str]] = {}  # of the job last seen: vertex → metric id → short name
        self._metrics_of: str | None = None

    def read(self) -> FlinkReading:
        """Raises Unreadable when the JobManager does not answer."""
        try:
            return self._read()
        except TimeoutError as error:
            self.close()
            raise Unreadable(f"no answer within {self._timeout:g} s") from error
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            self.close()
            raise Unreadable(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read(self) -> FlinkReading:
        job = _latest(self._get("/jobs/overview")["jobs"], self._job_name)
        if job is None:
            return FlinkReading(None, 0, 0, None, None, None)
        tasks: Mapping[str, int] = job["tasks"]
        counters = {} if job["state"] in ENDED else self._counters(job["jid"])
        return FlinkReading(
            job["state"], tasks["running"], tasks["total"], *(counters.get(name) for name in SINK_METRICS)
        )

    def _counters(self, job_id: str) -> dict[str, int]:
        """Sums of the sink's counters over all subtasks; a counter that is not registered yet is left out."""
        if self._metrics_of != job_id:
            self._metrics_of, self._metric_names = job_id, {}
        if not self._metric_names:
            self._metric_names = dict(self._find_metrics(job_id))
        sums: dict[str, int] = {}
        for vertex, names in self._metric_names.items():
            wanted = urllib.parse.quote(",".join(names), safe=",")
            for metric in self._get(f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics?get={wanted}&agg=sum"):
                name = names[metric["id"]]
                sums[name] = sums.get(name, 0) + int(metric["sum"])
        return sums

    def _find_metrics(self, job_id: str) -> Iterator[tuple[str, dict[str, str]]]:
        for vertex in self._get(f"/jobs/{job_id}")["vertices"]:
            listed = self._get(f"/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics")
            # A user metric's id is the operator's name, a dot, and the name given to it.
            names = {metric["id"]: metric["id"].rpartition(".")[2] for metric in listed}
            found = {identifier: name for identifier, name in names.items() if name in SINK_METRICS}
            if found:
                yield vertex["id"], found

    def _get(self, path: str) -> Any:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        self._connection.request("GET", self._base + path, headers={"Accept": "application/json"})
        answer = self._connection.getresponse()
        body = answer.read(MOST_BYTES)
        if answer.status != http.client.OK:
            self.close()
            raise Unreadable(f"HTTP status {answer.status} for {path.partition('?')[0]}")
        return json.loads(body)


def _latest(jobs: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The job by that name that still runs, else the one that started last."""
    ours = [job for job in jobs if job["name"] == name]
    return max(ours, key=lambda job: (job["state"] not in ENDED, job["start-time"]), default=None)
