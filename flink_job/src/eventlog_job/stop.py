"""Stops the job gracefully: `python -m eventlog_job.stop --config etc/pipeline.toml [--deadline 30]`.

Asks the JobManager for a savepoint with which the job ends, leaves `resume.json` for the next start, waits until the
JobManager, whose job was its only purpose, is gone, and prints one JSON object:

    {"stopped": "savepoint", "savepoint": "/…", "next_offsets": {"0": 1300}, "began": 1795475518.2, "seconds": 1.2,
     "reason": null}

`stopped` is "savepoint", "absent" (no JobManager answered or it had no job) or "deadline" (no savepoint in time,
because the sink waits for Cassandra, say; `reason` tells the last state). Exit status: 0 for the first two, 1 for
"deadline", after which the caller ends the processes by TERM, and 2 for an unusable configuration. TaskManagers are
not touched.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import json
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from eventlog_job.config import ConfigError, JobConfig
from eventlog_job.state import Resume, State, positions

_POLL_SECONDS = 0.1
_REQUEST_SECONDS = 5.0
_OVER = {"FINISHED", "CANCELED", "FAILED"}


@dataclasses.dataclass(slots=True)
class Outcome:
    """What is printed."""

    stopped: str
    savepoint: str | None = None
    next_offsets: dict[int, int] | None = None
    began: float = 0.0  #: epoch seconds
    seconds: float = 0.0
    reason: str | None = None


class _Gone(Exception):
    """Nothing answers at the REST address."""


class _Refused(Exception):
    """The JobManager answers, but not with what was asked for."""


class Stopper:
    """One graceful stop.

    Args:
        config: where the JobManager and state_dir are.
        deadline: seconds for everything.
    """

    def __init__(self, config: JobConfig, deadline: float) -> None:
        self._config = config
        self._state = State(Path(config.state_dir))
        self._begin = time.monotonic()
        self._deadline = deadline
        self._pause = threading.Event()
        self._reason = "no answer"

    def stop(self) -> Outcome:
        """Stops the job; never raises for a server's sake."""
        began = round(time.time(), 3)
        outcome = self._stop()
        outcome.began = began
        outcome.seconds = round(time.monotonic() - self._begin, 3)
        return outcome

    def _stop(self) -> Outcome:
        # A folder of its own for each stop: the savepoint is found there even if the JobManager is gone before it
        # told.
        target = self._state.savepoints / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        try:
            while self._time_left():
                job = self._running_job()
                if job is None:
                    return Outcome("absent")
                savepoint = self._savepoint(job, target)
                if savepoint is not None:
                    return self._finish(savepoint)
                self._pause.wait(_POLL_SECONDS)
        except _Gone:
            savepoint = _complete(target)
            return Outcome("absent") if savepoint is None else self._finish(savepoint)
        return Outcome("deadline", reason=self._reason)

    def _running_job(self) -> str | None:
        jobs = self._ask("/jobs/overview").get("jobs", [])
        return next((str(job["jid"]) for job in jobs if job.get("state") not in _OVER), None)

    def _savepoint(self, job: str, target: Path) -> Path | None:
        """The savepoint the job ended with; None if it could not be made now. Returns at the deadline too."""
        try:
            body = {"targetDirectory": f"file://{target}", "drain": False}
            trigger = self._ask(f"/jobs/{job}/stop", body)["request-id"]
            while self._time_left():
                answer = self._ask(f"/jobs/{job}/savepoints/{trigger}")
                if answer["status"]["id"] == "COMPLETED":
                    return self._location(answer["operation"])
                self._reason = "the savepoint is not complete: the sink is still writing, or waits for Cassandra"
                self._pause.wait(_POLL_SECONDS)
        except _Refused as refused:
            # A job that is just starting or restarting has no running tasks to make a savepoint of.
            self._reason = str(refused)
        return None

    def _location(self, operation: dict[str, Any]) -> Path | None:
        if "location" in operation:
            return Path(str(operation["location"]).removeprefix("file:"))
        cause = str(operation.get("failure-cause", {}).get("stack-trace", "")).strip().splitlines()
        self._reason = cause[-1].strip() if cause else "the savepoint failed"
        return None

    def _finish(self, savepoint: Path) -> Outcome:
        next_offsets = {number: at for number, at in positions(savepoint, self._config.topic).items() if at >= 0}
        topic_id = self._state.topic_id()
        if topic_id is not None:
            self._state.write_resume(Resume(str(savepoint), topic_id, next_offsets))
        reason = None if topic_id is not None else "no topic.json: the next start uses the group's offsets"
        outcome = Outcome("savepoint", str(savepoint), next_offsets, reason=reason)
        try:
            while self._time_left():
                self._ask("/overview")
                self._pause.wait(_POLL_SECONDS)
        except _Gone:
            return outcome
        except _Refused:
            pass
        outcome.reason = "the savepoint is made, but the JobManager is still there"
        return outcome

    def _time_left(self) -> bool:
        return time.monotonic() - self._begin < self._deadline

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._config.rest_url + path, data=data, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            raise _Refused(f"{path}: HTTP {error.code}: {_message(error)}") from error
        except (TimeoutError, ValueError) as error:
            raise _Refused(f"{path}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Gone(str(error)) from error
        return dict(document)


def _message(error: urllib.error.HTTPError) -> str:
    try:
        first = str(json.load(error)["errors"][0])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return str(error.reason)
    return first.splitlines()[0][:200]


def _complete(target: Path) -> Path | None:
    """The finished savepoint in a folder: Flink writes `_metadata` last."""
    return next((found.parent for found in target.glob("*/_metadata")), None)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Stops the event log's Flink job with a savepoint.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds for the whole stop (30)")
    arguments = parser.parse_args()
    try:
        config = JobConfig.load(arguments.config)
    except ConfigError as error:
        print(f"eventlog_job.stop: {error}", file=sys.stderr)
        return 2
    outcome = Stopper(config, arguments.deadline).stop()
    print(json.dumps(dataclasses.asdict(outcome)))
    return 1 if outcome.stopped == "deadline" else 0


if __name__ == "__main__":
    sys.exit(main())
