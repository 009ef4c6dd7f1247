"""Processes of the tests' own: servers with a group and a log each, and looks at what runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from testing.waiting import wait_until


class Process:
    """A program in a process group of its own, its output in ``<folder>/<name>.log``; it works in ``cwd`` or there."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        folder: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd or folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """To every member of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the group."""
        self.signal(signal.SIGKILL)
        self._popen.wait(10)

    def stop(self, seconds: float = 40) -> None:
        """SIGTERM to the leader; the rest of the group is killed when it has ended, or has not within ``seconds``."""
        if self.status is None:
            self._popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        self.kill()

    def wait(self, seconds: float) -> int:
        """The exit status, once it ends by itself."""
        return self._popen.wait(seconds)

    def freeze(self) -> None:
        """SIGSTOP to the group; every thread of the leader has stopped afterwards."""
        self.signal(signal.SIGSTOP)
        wait_until(lambda: set(_states(self.pid)) == {"T"}, 10, f"process {self.pid} has stopped", 0.02)

    def thaw(self) -> None:
        """SIGCONT to the group."""
        self.signal(signal.SIGCONT)

    def tail(self, lines: int = 25) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Server:
    """A server whose process is started again after it was stopped or killed; a subclass knows how."""

    def __init__(self) -> None:
        self.process: Process | None = None  # None while it does not run

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP: it keeps its ports, accepts connections and answers nothing."""
        assert self.process is not None, "it does not run"
        self.process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.process is not None, "it does not run"
        self.process.thaw()

    def runs(self) -> None:
        """Raises AssertionError with the last lines of its log when it has ended by itself."""
        assert self.process is not None, "it was not started"
        status, name = self.process.status, type(self).__name__
        assert status is None, f"{name} ended with {status}:\n{self.process.tail()}"


def _states(pid: int) -> list[str]:
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


def lives(pid: int) -> bool:
    """Whether a process runs or sleeps; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def resident(pid: int) -> int:
    """Resident memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mentioning(*marks: bytes) -> dict[int, str]:
    """Processes but this one with one of the marks in their arguments or environment: pid and command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            seen = command + b"\0" + (entry / "environ").read_bytes()
            if any(mark in seen for mark in marks):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return found
