"""What every browser is shown, gathered once for all of them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError, Run

from eventlog_console import rehearsal
from eventlog_console.catalogue import Catalogue
from eventlog_console.history import History
from eventlog_console.jobs import Job, Jobs
from eventlog_console.status import Status

log = logging.getLogger("eventlog.console")

LOOK_SECONDS = 0.5
COUNTS_SECONDS = 1.0
STATUS_SECONDS = (
    60.0  # a look at the units costs seconds of a processor; the counts say between two whether all is well
)
LIVES_SECONDS = 5.0  # to look through all processes of the machine is not for twice a second


class Watch:
    """The present state of everything, in parts; a part is JSON text, so that what has changed is seen by comparing."""

    def __init__(self, catalogue: Catalogue, jobs: Jobs, history: History, status: Status) -> None:
        self._catalogue, self._jobs, self._history, self._status = catalogue, jobs, history, status
        self._described: tuple[object, dict[str, Any]] | None = None
        self._counts: tuple[float, dict[str, Any] | None] = (0.0, None)
        self._settled: str | None = None  # the job after whose end the units were looked at
        self._looks: set[asyncio.Task[None]] = set()
        self.watchers = 0
        self.parts: dict[str, str] = {}
        self.job: Job | None = None
        self.run: Run | None = None

    async def serve(self) -> None:
        """Look again and again, as long as somebody watches."""
        while True:
            if not self.watchers:
                self.parts = {}  # whoever comes next must not be shown the past
            else:
                try:
                    self.parts = await asyncio.to_thread(self.look)
                    self._keep_status()
                except Exception:  # whatever it was, the next look may succeed; the page says that nothing moves
                    log.exception("a look failed")
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> dict[str, str]:
        """Gather all parts now."""
        running = self._jobs.running()
        jobs = self._jobs.all()
        self.job = running or (jobs[-1] if jobs else None)
        self.run = self._history.newest()
        if time.monotonic() - self._counts[0] >= COUNTS_SECONDS:
            self._counts = (time.monotonic(), self._status.counts())
        job = None if self.job is None else {**self.job.public(), "running": running is not None}
        parts = {
            "job": job,
            "drill": None if self.run is None else self._describe(self.run, job),
            "units": self._status.seen,
            "counts": self._counts[1],
            "history": self._history.summaries(),
        }
        return {name: json.dumps(part, separators=(",", ":")) for name, part in parts.items()}

    def _describe(self, run: Run, job: dict[str, Any] | None) -> dict[str, Any]:
        """The newest run, with the job it belongs to; read again only when its journal has grown."""
        key = (run.name, run.journal.stat().st_size, job and job["running"], int(time.monotonic() / LIVES_SECONDS))
        if self._described is None or self._described[0] != key:
            try:
                found = rehearsal.describe(run, self._catalogue.of_run(run.name[21:]))
            except JournalError as error:
                found = {"name": run.name, "title": run.name, "error": str(error), "steps": [], "alive": False}
            ours = job is not None and bool(job["drill"]) and found.get("began", 0.0) >= job["began"]
            self._described = (key, {**found, "ours": ours})
        return self._described[1]

    def _keep_status(self) -> None:
        """Look at the units when a job has ended, and from time to time."""
        job = self.job
        running = job is not None and job.outcome is None
        seen = self._status.seen
        ended = job.name if job is not None and not running else None
        due = seen["at"] is None or time.time() - seen["at"] > STATUS_SECONDS or ended != self._settled
        if running or seen["looking"] or not due:
            return
        self._settled = ended
        self.look_at_units()

    def look_at_units(self) -> None:
        """Look at the units in the background."""
        task = asyncio.create_task(asyncio.to_thread(self._status.look))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)
