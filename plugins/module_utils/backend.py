"""What every backend on processes has in common: it looks at units as the kernel shows them and signals their members.

How units are started and stopped, and which processes are a unit's members, is each backend's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ansible_collections.eventlog.drills.plugins.module_utils.probes import NotReady, answers, port_open, probe
from ansible_collections.eventlog.drills.plugins.module_utils.processes import Member, port_owner
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError

POLL_SECONDS = 0.1

Result = TypeVar("Result")


class Observer(ABC):
    """Sees the units of one host: what runs, what listens, what answers."""

    @abstractmethod
    def members(self, name: str) -> list[Member]:
        """The living processes of a unit, its leader first."""

    @abstractmethod
    def running(self, unit: Unit) -> bool:
        """Whether the unit's leader lives."""

    @abstractmethod
    def tail(self, unit: Unit) -> str:
        """The unit's last log lines since its last start, and where they are."""

    @abstractmethod
    def await_ended(self, unit: Unit) -> None:
        """Let whoever keeps the log of a process that has just ended write its last lines."""

    def observe(self, unit: Unit, probe_timeout: float = 1.0) -> dict[str, Any]:
        """Members, ports and answer of a unit at this moment."""
        return {
            "members": [member.as_dict() for member in self.members(unit.name)],
            "ports": {str(port): port_open(unit.host, port) for port in unit.ports},
            "answers": answers(unit.probe, probe_timeout) if unit.probe else None,
        }

    def await_ready(self, units: Iterable[Unit], since: float) -> dict[str, dict[str, float]]:
        """Wait until every unit serves; returns, per unit, seconds from ``since`` (time.monotonic) to each milestone.

        Milestones: ``process`` (its leader lives), ``port`` (all its ports are open), ``ready`` (its probe succeeds).
        Raises UnitError as soon as a process ends, or when a unit's ``ready_timeout`` is over.
        """
        milestones: dict[str, dict[str, float]] = {}
        waiting = {unit.name: unit for unit in units}
        while waiting:
            for unit in list(waiting.values()):
                reached = milestones.setdefault(unit.name, {})
                reason = self._progress(unit, reached, since)
                if reason is None:
                    del waiting[unit.name]
                elif time.monotonic() - since > unit.ready_timeout:
                    raise UnitError(
                        f"{unit.name} is not ready after {unit.ready_timeout:.0f} s ({reason}).\n{self.tail(unit)}"
                    )
            if waiting:
                time.sleep(POLL_SECONDS)
        return milestones

    def _progress(self, unit: Unit, reached: dict[str, float], since: float) -> str | None:
        """Note the milestones that a starting unit has passed; returns what it still lacks, None when ready."""
        if not self.running(unit):
            self.await_ended(unit)
            raise UnitError(f"{unit.name} ended while it was starting.\n{self.tail(unit)}")
        reached.setdefault("process", time.monotonic() - since)
        closed = [port for port in unit.ports if not port_open(unit.host, port)]
        if closed:
            return f"port {closed[0]} is closed"
        reached.setdefault("port", time.monotonic() - since)
        if unit.probe:
            try:
                probe(unit.probe)
            except NotReady as error:
                return str(error)
        reached["ready"] = time.monotonic() - since
        return None


class Backend(Observer):
    """Units on one host that are processes of it."""

    @abstractmethod
    def installed(self) -> list[str]:
        """Names of the units that are installed."""

    @abstractmethod
    def outdated(self, unit: Unit) -> bool:
        """Whether the unit's description differs from the installed one."""

    @abstractmethod
    def current(self, unit: Unit) -> bool:
        """Whether the unit runs as it is described, its configuration files included."""

    @abstractmethod
    def install(self, unit: Unit) -> bool:
        """Write the unit's description and leave a running process alone; returns changed."""

    @abstractmethod
    def start(self, unit: Unit) -> bool:
        """Start the unit unless it runs as described; returns whether a process was started. Does not wait."""

    @abstractmethod
    def stop(self, unit: Unit) -> bool:
        """Stop the whole unit; returns whether it ran."""

    @abstractmethod
    def installed_unit(self, name: str) -> Unit:
        """What is needed to stop an installed unit of which only the name is known."""

    @abstractmethod
    def remove(self, name: str) -> bool:
        """Forget a stopped unit; returns whether it was known."""

    def alive(self) -> bool:
        """Whether the daemon that runs the units answers, when the backend has one of its own."""
        return False

    def ensure_daemon(self) -> bool:
        """Start that daemon when it does not run; returns whether it was started."""
        return False

    def shutdown(self) -> bool:
        """Stop that daemon; returns whether it ran."""
        return False

    def adopt(self, name: str) -> bool:
        """Find again what an interrupted start has left; returns whether there was anything."""
        return False

    def owned(self) -> set[int]:
        """Pids of the processes of all our units."""
        return {member.pid for name in self.installed() for member in self.members(name)}

    def kill(self, unit: Unit) -> bool:
        """SIGKILL every member of the unit and wait until they are gone; returns whether it ran."""
        return self._signal_group(unit, signal.SIGKILL, lambda: not self.members(unit.name))

    def pause(self, unit: Unit) -> bool:
        """SIGSTOP every member of the unit and wait until all are in state T; returns whether anything was done."""
        if all(member.state == "T" for member in self.members(unit.name)):
            return False
        return self._signal_group(
            unit, signal.SIGSTOP, lambda: all(member.state == "T" for member in self.members(unit.name))
        )

    def unpause(self, unit: Unit) -> bool:
        """SIGCONT every member of the unit; returns whether anything was paused."""
        if all(member.state != "T" for member in self.members(unit.name)):
            return False
        return self._signal_group(
            unit, signal.SIGCONT, lambda: all(member.state != "T" for member in self.members(unit.name))
        )

    def refuse_foreign_ports(self, unit: Unit) -> None:
        """Raise UnitError when another program listens on a port of a unit that is about to be started."""
        for port in unit.ports:
            if port_open(unit.host, port):
                owner = port_owner(port)
                who = f"pid {owner.pid} ({owner.cmdline[:60]})" if owner else "a process of another user"
                raise UnitError(
                    f"port {port} is in use by {who}, which this pipeline did not start. "
                    f"Stop it, or choose other ports: -e pipeline_port_offset=10000"
                )

    def _signal_group(self, unit: Unit, number: signal.Signals, done: Callable[[], bool]) -> bool:
        if not self.members(unit.name):
            return False
        # Members may fork while they are being signalled: repeat until the kernel shows the wanted state.
        deadline = time.monotonic() + 10
        while True:
            for member in self.members(unit.name):
                send(member.pid, number)
            if wait(done, 1):
                return True
            if time.monotonic() > deadline:
                raise UnitError(f"{unit.name}: {number.name} had no effect within 10 s")


def receipt(
    unit: Unit, verb: str, before: dict[str, Any], after: dict[str, Any], started: float, milestones: dict[str, float]
) -> dict[str, Any]:
    """What a verb did to a unit, from two observations of it. Times are epoch seconds."""
    identities = {(member["pid"], member["start_time"]) for member in after["members"]}
    return {
        "unit": unit.name,
        "verb": verb,
        "before": before["members"],
        "after": after["members"],
        "ports": {port: {"before": before["ports"][port], "after": after["ports"][port]} for port in after["ports"]},
        "answers": {"before": before["answers"], "after": after["answers"]},
        "gone": all((member["pid"], member["start_time"]) not in identities for member in before["members"]),
        "time": started,
        "seconds": round(time.time() - started, 3),
        "milestones": {name: round(seconds, 3) for name, seconds in milestones.items()},
    }


def in_parallel(units: Sequence[Unit], action: Callable[[Unit], Result]) -> list[Result]:
    """Apply an action to several units at once, so that stopping two costs the longer, not the sum."""
    with ThreadPoolExecutor(max(1, len(units))) as pool:
        return list(pool.map(action, units))


def wait(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether the condition holds, or comes to hold within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
