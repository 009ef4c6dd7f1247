"""One run at a time, and what is known of it: everything is on disk, so that any console finds it again.

A job is a folder ``<UTC time>-<playbook>`` in ``runs/.console/jobs``: ``job.json`` (what was asked for), ``artifacts/``
(ansible-runner's, with the log), ``cancel`` (somebody wants it to end) and ``outcome.json`` (how it ended).

The lock is a lock on an open file that is handed down to the keeper of the job: it is taken before the job is known to
anybody and is given back by the kernel when the keeper ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import write_private

from eventlog_console.playing import log

PLAY, HEAL = "play", "heal"
KEPT_JOBS = 50
_LOCK_TRIES = 10  # a console that only looks holds the lock for an instant
_LOCK_PAUSE = 0.05  # seconds


class BusyError(Exception):
    """Another job runs; the message says which."""


@dataclass(frozen=True)
class Job:
    """What was asked for, and how it went so far."""

    path: Path

    @property
    def name(self) -> str:
        """Folder name, for example ``2026-11-23T20-11-58.123Z-drill_flink``."""
        return self.path.name

    @property
    def asked(self) -> Mapping[str, Any]:
        """``playbook``, ``title``, ``drill``, ``command``, ``root``, ``began``, and ``heal``: the command line that
        follows a cancellation, or None."""
        found: dict[str, Any] = json.loads((self.path / "job.json").read_text(encoding="utf-8"))
        return found

    @property
    def outcome(self) -> Mapping[str, Any] | None:
        """``status`` (successful, failed, canceled or lost), ``rc`` and ``ended``; None while it runs."""
        try:
            found: dict[str, Any] = json.loads((self.path / "outcome.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return found

    @property
    def cancelled(self) -> bool:
        """Whether somebody wants it to end."""
        return (self.path / "cancel").exists()

    @property
    def logs(self) -> tuple[Path, Path]:
        """What the playbook printed, and what the healing after a cancellation printed."""
        return log(self.path, PLAY), log(self.path, HEAL)

    def cancel(self) -> None:
        """Let its keeper end it."""
        (self.path / "cancel").touch(mode=0o600)

    def end(self, status: str, rc: int | None) -> None:
        """Write down how it ended."""
        write_private(self.path / "outcome.json", json.dumps({"status": status, "rc": rc, "ended": time.time()}) + "\n")

    def public(self) -> dict[str, Any]:
        """As JSON values."""
        asked = self.asked
        return {
            "name": self.name,
            **{key: asked[key] for key in ("playbook", "title", "drill", "began")},
            "shown": shlex.join(asked["command"]),
            "shown_heal": shlex.join(asked["heal"] or []),
            "cancelled": self.cancelled,
            "outcome": self.outcome,
        }


class Jobs:
    """All jobs of a folder of runs."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._folder = state / "jobs"

    def all(self) -> list[Job]:
        """Every job that is known, oldest first."""
        if not self._folder.is_dir():
            return []
        return [Job(path) for path in sorted(self._folder.iterdir()) if (path / "job.json").is_file()]

    def running(self) -> Job | None:
        """The job that runs, whoever started it; one whose keeper is gone without a word is noted as lost."""
        jobs = self.all()
        if not jobs or jobs[-1].outcome is not None:
            return None
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return jobs[-1]
        finally:
            os.close(lock)
        if jobs[-1].outcome is None:  # it may have ended between the two looks
            jobs[-1].end("lost", None)
        return None

    def start(self, asked: Mapping[str, Any]) -> Job:
        """Start a job in a process of its own.

        :raises BusyError: another one runs.
        """
        lock = self._open_lock()
        try:
            self._take(lock)
            self._forget_old()
            job = self._create({**asked, "began": time.time()})
            with open(job.path / "keeper.log", "wb", opener=_private) as log:
                subprocess.Popen(
                    [sys.executable, "-m", "eventlog_console.keeper", str(job.path)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        finally:
            os.close(lock)  # ours; the keeper's copy holds the lock
        return job

    def cancel(self) -> Job | None:
        """Ask the job that runs to end; returns it, or None when none runs."""
        job = self.running()
        if job is not None:
            job.cancel()
        return job

    def _open_lock(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _take(self, lock: int) -> None:
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE)
            else:
                return
        running = self.running()
        raise BusyError(f"{running.asked['title'] if running else 'Another run'} runs; wait for it or cancel it")

    def _create(self, asked: Mapping[str, Any]) -> Job:
        stamp = datetime.fromtimestamp(asked["began"], UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")[:-3]
        path = self._folder / f"{stamp}Z-{asked['playbook']}"
        path.mkdir(mode=0o700)
        write_private(path / "job.json", json.dumps(asked) + "\n")
        return Job(path)

    def _forget_old(self) -> None:
        for job in self.all()[:-KEPT_JOBS]:
            shutil.rmtree(job.path, ignore_errors=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
