"""Run the tests on real servers in stages, two lanes of them side by side, and say what became of each.

Usage: python -m testing.suite [--full] [STAGE …]        (without names, the stages of `make test`, or with --full those
that only `make test-full` has; testing/stages.py has them all)

First come the checks and what judges by the clock, alone. Then the two lanes, each one session of pytest with ports of
its own. Of the tests that failed, one or two run a second time, on fresh servers, with nothing beside them; if they
pass they are listed as flaky, each with the evidence of its first try above. More than two are no accident.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testing import BIN, ROOT, ports
from testing.processes import mentioning
from testing.stages import STAGES, Lane, Stage

RUN = "EVENTLOG_TEST_RUN"  # every process of a session, detached ones included, inherits it: so leftovers are found
SECOND_TRIES = 2
LOG_LINES = 25
#: Minutes after which a session has failed. Every wait of a test is bounded; this is for what nobody thought of.
SESSION_MINUTES = {Lane.ALONE: 15.0, Lane.PROCESSES: 45.0, Lane.SERVERS: 45.0, Lane.FULL: 240.0}


@dataclass
class Session:
    """One run of pytest, or of the checks: its stages, its folder and its ports."""

    name: str
    stages: Sequence[Stage]
    folder: Path
    minutes: float
    root: Path = ROOT  # of the checkout
    block: int = 0  # of the ports
    tests: Sequence[str] = ()  # these only
    ok: bool = False
    left: list[str] = field(default_factory=list)  # command lines of processes that it left running

    @property
    def report(self) -> Path:
        """What testing/stages.py writes."""
        return self.folder / "stages.json"

    def command(self) -> list[str]:
        """What is run."""
        words = [str(BIN / "pytest"), "-v", "--no-header", "--tb=no", "--durations=10", f"--stage-report={self.report}"]
        words += ["-o", f"cache_dir={self.folder}/cache", f"--basetemp={self.folder}/tests"]
        return words + (list(self.tests) or ["-m", " or ".join(stage.name for stage in self.stages)])

    def run(self) -> None:
        """Run it to its end, each line of its output with its name; end what it leaves running."""
        self.folder.mkdir(parents=True)
        process = subprocess.Popen(
            self.command(), cwd=self.root, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        late = threading.Timer(self.minutes * 60, self._end, (process,))
        late.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{self.name:<9} │ {line}", end="", flush=True)
            self.ok = process.wait() == 0 and late.is_alive()
        finally:
            late.cancel()
            self._end(process)
            self.left = sweep(self.folder)
        if not self.ok:
            evidence(self.folder)

    def outcomes(self) -> dict[str, dict[str, float | list[str]]]:
        """By stage: seconds, passed and failed tests."""
        with contextlib.suppress(OSError):
            found: dict[str, dict[str, float | list[str]]] = json.loads(self.report.read_text(encoding="utf-8"))
            return found
        return {}

    def failed(self) -> list[str]:
        """The tests that failed."""
        return [test for outcome in self.outcomes().values() for test in outcome["failed"]]  # type: ignore[union-attr]

    def _end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            print(f"{self.name:<9} │ not done within {self.minutes:g} minutes, or interrupted", flush=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)

    def _environment(self) -> dict[str, str]:
        pictures = os.environ.get("EVENTLOG_PICTURES", str(ROOT / "runs" / "pictures"))
        return {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "EVENTLOG_PICTURES": pictures,
            ports.BLOCK: str(self.block),
            RUN: str(self.folder),
        }


def sweep(folder: Path) -> list[str]:
    """End what a session left running; returns their command lines."""
    found = mentioning(f"{RUN}={folder}".encode())
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(found.values())


def evidence(folder: Path) -> None:
    """Print the last lines of every log that is still there: fixtures take theirs with them, and show them before."""
    for log in sorted(folder.rglob("*.log")):
        if log.is_file() and log.stat().st_size:
            print(f"----- {log}")
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]:
                print(f"  {line[:240]}")


class Suite:
    """A run of the whole: its sessions, and what became of them."""

    def __init__(self, wanted: Sequence[Stage], folder: Path, root: Path = ROOT) -> None:
        self._wanted = wanted
        self._folder = folder
        self._root = root
        self._sessions: list[Session] = []
        self._checks: tuple[bool, float] | None = None
        self.flaky: list[str] = []

    def run(self) -> bool:
        """Run everything; whether it is as it should be."""
        if self._of(Lane.CHECK):
            began = time.monotonic()
            checked = subprocess.run([sys.executable, str(ROOT / "tools" / "check.py")], cwd=ROOT, check=False)
            self._checks = (checked.returncode == 0, time.monotonic() - began)
        self._beside(Lane.ALONE)
        self._beside(Lane.PROCESSES, Lane.SERVERS)
        self._beside(Lane.FULL)
        return self._second_try() and (self._checks is None or self._checks[0])

    def _of(self, lane: Lane) -> list[Stage]:
        return [stage for stage in self._wanted if stage.lane is lane]

    def _beside(self, *lanes: Lane) -> None:
        sessions = [
            Session(lane.value, stages, self._folder / lane.value, SESSION_MINUTES[lane], self._root, block)
            for block, lane in enumerate(lanes)
            if (stages := self._of(lane))
        ]
        self._sessions += sessions
        threads = [threading.Thread(target=session.run) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _second_try(self) -> bool:
        """Whether all sessions are right, or their one or two failures pass on fresh servers."""
        bad = [session for session in self._sessions if not session.ok or session.left]
        if not bad:
            return True
        failed = [test for session in bad for test in session.failed()]
        # A session that failed without a test has another reason, and processes that are left are no accident.
        if len(failed) > SECOND_TRIES or any(session.left or not session.failed() for session in bad):
            return False
        again = Session("again", (), self._folder / "again", SESSION_MINUTES[Lane.ALONE], self._root, tests=failed)
        again.run()
        self.flaky = failed if again.ok and not again.left else []
        return bool(self.flaky)

    def lines(self) -> list[str]:
        """What became of each stage, which tests needed a second try, and what was left running."""
        found = []
        if self._checks is not None:
            found.append(f" {'check':<18} {'ok' if self._checks[0] else 'FAILED':<7} {self._checks[1]:6.0f} s")
        for session in self._sessions:
            outcomes = session.outcomes()
            for stage in session.stages:
                outcome = outcomes.get(stage.name)
                if outcome is None:
                    found.append(f" {stage.name:<18} {'MISSING':<7}          no test of it has run")
                    continue
                passed, failed = outcome["passed"], outcome["failed"]
                assert isinstance(passed, list)
                assert isinstance(failed, list)
                lost = [test for test in failed if test not in self.flaky]
                word = "FAILED" if lost else "flaky" if failed else "ok"
                found.append(
                    f" {stage.name:<18} {word:<7} {outcome['seconds']:6.0f} s  {len(passed) + len(failed):4d} tests"
                    f"   {session.name}"
                )
            found += [f" left running by {session.name}, and ended: {command[:160]}" for command in session.left]
        return found + [f" flaky              {test} (passed at the second try)" for test in self.flaky]


def chosen(names: Sequence[str], full: bool) -> list[Stage]:
    """The stages of these names, or those of `make test`, or the others. Ends the program at an unknown name."""
    known = {"check" if stage.lane is Lane.CHECK else stage.name: stage for stage in STAGES}
    if unknown := set(names) - known.keys():
        sys.exit(f"unknown stage {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    if names:
        return [stage for name, stage in known.items() if name in names]
    return [stage for stage in STAGES if (stage.lane is Lane.FULL) is full]


def main() -> int:
    """Run the stages; the exit status is 1 when one failed or left something running."""
    parser = argparse.ArgumentParser(prog="python -m testing.suite")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("stages", nargs="*", metavar="STAGE")
    options = parser.parse_args()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="eventlog-"))
    suite = Suite(chosen(options.stages, options.full), folder)
    ok = False
    try:
        ok = suite.run()
    finally:
        sweep(folder)
        print("\n───── stages ─────", *suite.lines(), sep="\n")
        print(f" {'all':<18} {'ok' if ok else 'FAILED':<7} {time.monotonic() - began:6.0f} s", flush=True)
        if ok:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f" the logs of the failed run are below {folder}", flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    sys.exit(main())
