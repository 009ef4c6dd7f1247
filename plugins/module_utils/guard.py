"""The guard of a drill: it knows what ran before, and brings it back when nobody watches any more.

A controller can die at any moment, and nothing that Ansible offers runs then. So before a drill takes anything away, a
process of its own is left on the host. It compares the age of the drill's lease file, which every look of the
controller renews, with the lease's length. When the file is gone the drill has ended and so does the guard; when it is
too old, the guard restores what it wrote down.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.eventlog.drills.plugins.module_utils import stream
from ansible_collections.eventlog.drills.plugins.module_utils.processes import read_member
from ansible_collections.eventlog.drills.plugins.module_utils.supervised import Supervisor
from ansible_collections.eventlog.drills.plugins.module_utils.units import UnitError

#: Units are brought back in this order of their names' beginnings; none of them needs it, but it saves them waiting.
ORDER = ("kafka", "cassandra", "flink-jobmanager", "flink-taskmanager", "producer", "monitor")
POLL_SECONDS = 1.0
#: Seconds that the producer may take to answer on its socket after it was brought back.
CONTROL_SECONDS = 30.0


@dataclass(frozen=True)
class Before:
    """What a drill found: the units that ran, and whether the producer streamed (None: it could not be asked)."""

    units: list[str]
    streaming: bool | None


class Keeper(Protocol):
    """Brings units back of which only the name is known."""

    def found(self) -> list[str]:
        """Names of the units that run; a paused one counts, since running is what it is to be again."""

    def prepare(self) -> str:
        """Do what must be done before any unit can be brought back; returns it in words, empty for nothing."""

    def bring_back(self, name: str) -> str:
        """Make a unit run and answer again; returns what was done in words, empty when there was nothing to do."""


class Reviver(Supervisor):
    """The keeper of units that are processes of one supervisord."""

    def found(self) -> list[str]:
        """Names of the units that have processes."""
        return [name for name in self.installed() if self.members(name)]

    def prepare(self) -> str:
        """Start supervisord."""
        return "supervisord started" if self.ensure_daemon() else ""

    def bring_back(self, name: str) -> str:
        """Wake it or start it."""
        unit = self.installed_unit(name)
        self.adopt(name)
        if self.unpause(unit):
            return f"{name} continued"
        return f"{name} started" if self.revive(name) else ""

    def revive(self, name: str) -> bool:
        """Start an installed unit unless it runs; returns whether it did. Its record keeps what it was started with."""
        unit = self.installed_unit(name)
        if self.running(unit):
            return False
        self.stop(unit)  # members that outlived their leader
        digest = str(self._record(name).get("digest", ""))
        with contextlib.suppress(xmlrpc.client.Fault):  # its old process is only now being reaped
            self.rpc.stopProcess(name)
        self.rpc.reloadConfig()
        with contextlib.suppress(xmlrpc.client.Fault):  # known already
            self.rpc.addProcessGroup(name)
        log = self.log_path(name)
        offset = log.stat().st_size if log.exists() else 0
        try:
            self.rpc.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            raise UnitError(f"{name} did not start: {fault.faultString}") from fault
        self._write_record(name, self._leader(unit, offset), digest, offset)
        return True


class Guard:
    """Watches one drill's folder on the pipeline's host; ``control`` is the producer's control socket."""

    def __init__(self, keeper: Keeper, folder: str, control: str) -> None:
        self.keeper = keeper
        self.folder = Path(folder)
        self.control = control

    @property
    def lease(self) -> Path:
        """The file that a watching controller keeps young."""
        return self.folder / "lease"

    # -- what ran before -----------------------------------------------------------------------------------------

    def look(self) -> Before:
        """What runs now."""
        return Before(sorted(self.keeper.found(), key=_order), self.streaming())

    def streaming(self) -> bool | None:
        """Whether the producer is to stream; None when it does not answer."""
        try:
            return stream.wanted(self.control)
        except UnitError:
            return None

    def remember(self) -> Before:
        """Write down what runs now, and return it."""
        before = self.look()
        _write(self.folder / "before.json", asdict(before))
        return before

    def remembered(self) -> Before | None:
        """What was written down; None when nothing was."""
        found = _read(self.folder / "before.json")
        return Before(list(found["units"]), found["streaming"]) if found else None

    # -- bringing it back ----------------------------------------------------------------------------------------

    def heal(self) -> tuple[list[str], list[str]]:
        """Bring back what ran before; returns what was done and what could not be, both in words."""
        before = self.remembered()
        done: list[str] = []
        failed: list[str] = []
        if before is None:
            return done, failed
        self._attempt(self.keeper.prepare, done, failed)
        for name in before.units:
            self._attempt(lambda name=name: self.keeper.bring_back(name), done, failed)  # type: ignore[misc]
        if before.streaming is not None:
            self._attempt(lambda: self._stream(bool(before.streaming)), done, failed)
        return done, failed

    def _attempt(self, action: Callable[[], str], done: list[str], failed: list[str]) -> None:
        try:
            text = action()
        except (UnitError, OSError, ValueError, http.client.HTTPException, xmlrpc.client.Error) as error:
            failed.append(str(error).split("\n", 1)[0])
        else:
            if text:
                done.append(text)

    def _stream(self, wanted: bool) -> str:
        deadline = time.monotonic() + CONTROL_SECONDS
        while self.streaming() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        if not stream.set_wanted(self.control, wanted):
            return ""
        return "producer resumed" if wanted else "producer paused"

    # -- watching ------------------------------------------------------------------------------------------------

    def arm(self, seconds: float) -> dict[str, Any]:
        """Leave a guard behind that heals when the lease has not been renewed for ``seconds``.

        Returns its identity. Its own words go to ``guard.log`` in the folder.
        """
        self.dismiss()
        self.remember()
        self.lease.touch()
        reader, writer = os.pipe()
        if os.fork() == 0:
            self._become_daemon(reader, writer, seconds)
        os.close(writer)
        with os.fdopen(reader, encoding="ascii") as stream:
            pid = int(stream.readline())
        os.wait()
        member = read_member(pid)
        if member is None:
            raise UnitError(f"the guard ended at once; see {self.folder}/guard.log")
        state = {"state": "armed", "pid": pid, "start_time": member.start_time, "seconds": seconds, "time": time.time()}
        _write(self.folder / "guard.json", state)
        return state

    def _become_daemon(self, reader: int, writer: int, seconds: float) -> None:
        """In the child: detach from everything that Ansible waits for, then watch. Never returns."""
        try:
            os.setsid()
            if pid := os.fork():
                os.write(writer, f"{pid}\n".encode("ascii"))
                os._exit(0)
            os.close(reader)
            os.chdir("/")
            for number in (signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            log = os.open(self.folder / "guard.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            null = os.open(os.devnull, os.O_RDONLY)
            for target, source in ((0, null), (1, log), (2, log)):
                os.dup2(source, target)
            os.closerange(3, 256)
            self.watch(seconds)
        except BaseException as error:
            # Nobody is left to tell but the log.
            print(f"guard: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)

    def watch(self, seconds: float) -> None:
        """Return when the drill has ended; heal when its lease runs out.

        A lease that runs out while nothing is away is nobody's harm: a controller that is busy starting a slow server
        does not look meanwhile. The guard goes on then.
        """
        done: list[str] = []
        failed: list[str] = []
        while not done and not failed:
            try:
                age = time.time() - self.lease.stat().st_mtime
            except FileNotFoundError:
                return
            if age > seconds:
                done, failed = self.heal()
            time.sleep(POLL_SECONDS)
        print(f"guard: nobody has looked for {age:.0f} s", flush=True)
        print(f"guard: {', '.join(done) or 'nothing to do'}; failed: {', '.join(failed) or 'nothing'}", flush=True)
        _write(
            self.folder / "guard.json",
            {"state": "expired", "time": time.time(), "done": done, "failed": failed, "pid": 0, "start_time": 0},
        )

    def dismiss(self) -> None:
        """End a guard that is still there, known by pid and start time."""
        state = _read(self.folder / "guard.json")
        member = read_member(int(state["pid"])) if state.get("pid") else None
        if member is not None and member.start_time == state["start_time"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)

    def expired(self) -> dict[str, Any]:
        """What a guard did when its lease ran out; empty when it did not."""
        state = _read(self.folder / "guard.json")
        return state if state.get("state") == "expired" else {}


def armed(guard: Guard, seconds: float) -> dict[str, Any]:
    """Arm the guard with a lease of so many seconds; returns the module's result."""
    os.makedirs(guard.folder, mode=0o700, exist_ok=True)
    state = guard.arm(seconds)
    before = guard.remembered()
    return {
        "changed": True,
        "guard": {
            "state": "armed",
            "units": before.units if before else [],
            "streaming": before.streaming if before else None,
            "seconds": seconds,
            "pid": state["pid"],
        },
    }


def healed(guard: Guard) -> dict[str, Any]:
    """Restore what ran before; returns the module's result."""
    expired = guard.expired()
    guard.dismiss()
    done, failed = guard.heal()
    before = guard.remembered()
    return {
        "changed": bool(done),
        "guard": {
            "state": "not healed" if failed else "healed",
            "units": before.units if before else [],
            "streaming": before.streaming if before else None,
            "done": [*expired.get("done", []), *done],
            "failed": failed,
        },
    }


def _order(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.chmod(0o600)
    fresh.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
