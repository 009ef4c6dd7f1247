"""What one browser is told: all of it when it comes, and from then on what is new (server-sent events)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import parse_lines

from eventlog_console.rehearsal import point
from eventlog_console.watch import LOOK_SECONDS, Watch

KEEP_ALIVE_SECONDS = 15.0
LOG_BYTES = 200_000  # of a log that is sent at most at once; a longer one is cut at its begin
POINTS = 900  # of a chart: more than it has pixels


class Tail:
    """What is new in a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def read(self, most: int | None = None) -> bytes:
        """The complete lines that were added since the last time; only the last ``most`` bytes of them when given."""
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return b""
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        if most is None or len(complete) <= most:
            return complete
        cut = complete[-most:]
        return cut[cut.find(b"\n") + 1 :]


class Feed:
    """The cursor of one browser."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._sent: dict[str, str] = {}
        self._job = ""
        self._logs: list[Tail] = []
        self._run = ""
        self._samples: Tail | None = None

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events, for ever."""
        self._watch.watchers += 1
        quiet = time.monotonic()
        try:
            yield "retry: 1000\n\n"
            while True:
                for text in await asyncio.to_thread(lambda: list(self.fresh())):
                    quiet = time.monotonic()
                    yield text
                if time.monotonic() - quiet > KEEP_ALIVE_SECONDS:
                    quiet = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._watch.watchers -= 1

    def fresh(self) -> Iterator[str]:
        """What has changed since the last time; nothing until the first look has been taken for somebody."""
        if not self._watch.parts:
            return
        for name, text in self._watch.parts.items():
            if self._sent.get(name) != text:
                self._sent[name] = text
                yield f"event: {name}\ndata: {text}\n\n"
        yield from self._fresh_log()
        yield from self._fresh_samples()

    def _fresh_log(self) -> Iterator[str]:
        job = self._watch.job
        if job is None:
            return
        reset = job.name != self._job
        if reset:
            self._job, self._logs = job.name, [Tail(path) for path in job.logs]
        text = "".join(tail.read(LOG_BYTES).decode("utf-8", "replace") for tail in self._logs)
        if reset or text:
            yield _event("log", {"reset": reset, "text": text.replace("\r", "")})

    def _fresh_samples(self) -> Iterator[str]:
        run = self._watch.run
        if run is None:
            return
        reset = run.name != self._run or self._samples is None
        if self._samples is None or reset:
            self._run, self._samples = run.name, Tail(run.samples)
        points = [point(sample) for sample in parse_lines(self._samples.read(), where=str(run.samples))]
        if reset or points:
            yield _event("samples", {"reset": reset, "points": thinned(points)})


def thinned(points: list[Any]) -> list[Any]:
    """At most POINTS of them, evenly, the last among them."""
    step = -(-len(points) // POINTS) or 1
    return points[(len(points) - 1) % step :: step] if points else []


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n"
