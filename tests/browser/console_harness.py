"""A console of the tests' own: a process with a port, and a browser to look at it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, ViewportSize

from testing import ROOT
from testing.pipeline import Pipeline
from testing.waiting import wait_until

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
READY_SECONDS = 60
WIDE, NARROW = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)


def chromium(playwright: Playwright) -> Browser:
    """Debian's browser; a machine without it cannot run these tests, and says so."""
    assert shutil.which(CHROMIUM), f"{CHROMIUM} is missing: apt-get install chromium"
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@dataclass
class Console:
    """One console over a pipeline."""

    pipeline: Pipeline
    arguments: tuple[str, ...] = ()
    url: str = ""
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> Console:
        """Start it and wait until it listens."""
        words = ["--port", "0", "--runs", str(self.pipeline.runs), *self.arguments, "--"]
        words += ["-e", json.dumps(self.pipeline.variables())]
        log = self.log
        with open(log, "w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "eventlog_console", *words],
                cwd=ROOT,
                env={**self.pipeline.environment(), "PYTHONPATH": f"{ROOT / 'console' / 'src'}:{ROOT / 'collections'}"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        found: re.Match[str] = wait_until(
            lambda: re.search(r"http://(\S+?):(\d+)/", log.read_text(encoding="utf-8")), READY_SECONDS, "it listens"
        )
        self.url = f"http://127.0.0.1:{found[2]}"
        return self

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.pipeline.folder / "console.log"

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the console, and nothing else."""
        self.process.send_signal(number)
        self.process.wait(30)

    def ask(self, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
        """A request as a program makes it: status and JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}{path}", data=data, headers={"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def finish(self) -> None:
        """End whatever runs and then the console, so that nothing outlives a test that failed."""
        with contextlib.suppress(OSError):
            status, _ = self.ask("/api/v1/jobs/cancel", {})
            deadline = time.monotonic() + 300
            while status == 202 and time.monotonic() < deadline:
                time.sleep(1)
                status, _ = self.ask("/api/v1/jobs/cancel", {})
        if self.process.poll() is None:
            self.stop()


@contextlib.contextmanager
def console(pipeline: Pipeline, *arguments: str) -> Iterator[Console]:
    """A console that is gone at the end."""
    found = Console(pipeline, arguments).start()
    try:
        yield found
    finally:
        found.finish()


def run_drill(page: Page, drill: str, **options: object) -> None:
    """Choose a drill and its options in the form and press the button."""
    page.get_by_label("Drill", exact=True).select_option(drill)
    for name, value in options.items():
        page.get_by_label(name, exact=True).fill(str(value))
    page.get_by_role("button", name="Run the drill").click()


def step(page: Page, name: str, state: str, seconds: float) -> None:
    """Wait until a step of the playbook is in a state."""
    page.locator(f"#steps li.{state}", has_text=name).wait_for(timeout=seconds * 1000)


def badge(page: Page, text: str, seconds: float) -> None:
    """Wait until the run's badge says something."""
    page.locator("#now-badge", has_text=text).wait_for(timeout=seconds * 1000)
