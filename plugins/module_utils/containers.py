"""The docker backend's eyes: units as containers of one engine, and the keeper that brings them back.

A container is the whole unit: its processes live and die, freeze and thaw with it, Flink's Python workers included.
The labels of a container say whose it is and all that is needed to bring it back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.backend import Observer
from ansible_collections.eventlog.drills.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.eventlog.drills.plugins.module_utils.processes import Member
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError

PIPELINE, UNIT, DIGEST = "eventlog.pipeline", "eventlog.unit", "eventlog.digest"
NETWORK, ADDRESS, ALIASES = "eventlog.network", "eventlog.address", "eventlog.aliases"
LOG_TAIL_LINES = 15
# The date of start takes five columns and the command all the rest, so both stand at the end.
PS = "-ww -eo pid,pgid,nlwp,rss,stat,lstart,args"
PS_LINE = re.compile(r"(\d+) (\d+) (\d+) (\d+) (\S+) (\w{3} \w{3} +\d+ [\d:]{8} \d{4}) ?(.*)")


class Containers(Observer):
    """The containers of one pipeline."""

    def __init__(self, pipeline: str, engine: Engine) -> None:
        self.pipeline = pipeline
        self.engine = engine

    def name(self, unit: str) -> str:
        """The name of a unit's container."""
        return f"eventlog-{self.pipeline}-{unit}"

    def inspect(self, unit: str) -> dict[str, Any] | None:
        """Everything about a unit's container; None when there is none.

        Raises UnitError when somebody else has a container of that name.
        """
        found = self.engine.inspect(self.name(unit))
        if found is not None and (found["Config"].get("Labels") or {}).get(PIPELINE) != self.pipeline:
            raise UnitError(
                f"there is a container {self.name(unit)} that this pipeline did not make. "
                "Remove or rename it, or give the pipeline another name: -e pipeline_name=another"
            )
        return found

    # -- what runs -----------------------------------------------------------------------------------------------

    def members(self, name: str) -> list[Member]:
        """The processes of a unit's container as its host sees them, the container's first; start times are epoch
        seconds, since that is what the engine tells."""
        found = self.inspect(name)
        return self._members(found) if found else []

    def _members(self, found: Mapping[str, Any]) -> list[Member]:
        if not found["State"]["Running"]:
            return []
        members = [member(line) for line in self.engine.processes(str(found["Id"]), PS)]
        return sorted(members, key=lambda process: (process.pid != found["State"]["Pid"], process.pid))

    def running(self, unit: Unit) -> bool:
        """Whether the unit's container runs."""
        found = self.inspect(unit.name)
        return bool(found and found["State"]["Running"])

    def observe(self, unit: Unit, probe_timeout: float = 1.0) -> dict[str, Any]:
        """What every backend sees, and ``container``: see :func:`state`; empty when there is none."""
        found = self.inspect(unit.name)
        return {**super().observe(unit, probe_timeout), "container": state(found) if found else {}}

    def await_ended(self, unit: Unit) -> None:
        """Nothing: the engine keeps the log itself."""

    def tail(self, unit: Unit) -> str:
        """The last lines that the unit's container has printed."""
        lines = self.engine.logs(self.name(unit.name), LOG_TAIL_LINES)
        return "\n".join([f"Last lines of container {self.name(unit.name)}:", *(f"  {line}" for line in lines)])

    # -- bringing back -------------------------------------------------------------------------------------------

    def found(self) -> list[str]:
        """Names of the units whose containers run, paused or not."""
        listed = self.engine.containers(f"{PIPELINE}={self.pipeline}")
        alive = [one["Labels"] for one in listed if one["State"] in ("running", "paused")]
        return [str(labels[UNIT]) for labels in alive if UNIT in labels]

    def prepare(self) -> str:
        """Nothing: an engine that is gone took this process with it."""
        return ""

    def bring_back(self, name: str) -> str:
        """Thaw, start and connect a unit's container, as it needs; a container that was removed cannot be."""
        found = self.inspect(name)
        if found is None:
            raise EngineError(f"the container of {name} was removed; playbooks/site.yml makes it anew, with its data")
        now, labels, done = found["State"], found["Config"]["Labels"], []
        if now["Paused"]:
            self.engine.unpause(found["Id"])
            done.append("continued")
        if not now["Running"]:
            self.engine.start(found["Id"])
            done.append("started")
        if labels[NETWORK] not in found["NetworkSettings"]["Networks"]:
            self.engine.connect(labels[NETWORK], found["Id"], labels[ADDRESS], labels[ALIASES].split(","))
            done.append("connected again")
        return f"{name} {' and '.join(done)}" if done else ""


def member(line: str) -> Member:
    """A process from its line of ``ps`` (see PS). Raises EngineError when the host's ps prints something else."""
    found = PS_LINE.fullmatch(" ".join(line.split()))
    if found is None:
        raise EngineError(f"ps on the engine's host prints what is not understood: {line[:100]!r}")
    pid, pgid, threads, kilobytes, letters, started, command = found.groups()
    # Of the host's own clock and time zone, as ps prints it; it serves to tell one process from another.
    begun = datetime.strptime(started, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    return Member(
        pid=int(pid),
        pgid=int(pgid),
        start_time=int(begun.timestamp()),
        state=letters[0],
        threads=int(threads),
        rss=int(kilobytes) * 1024,
        cmdline=command,
    )


def state(found: Mapping[str, Any]) -> dict[str, Any]:
    """A container's state as a receipt shows it; ``started`` and ``finished`` are the engine's own times."""
    now, networks = found["State"], found["NetworkSettings"]["Networks"]
    labels = found["Config"]["Labels"]
    endpoint = networks.get(labels.get(NETWORK)) or {}
    configured = endpoint.get("IPAMConfig") or {}
    return {
        "id": found["Id"][:12],
        "status": now["Status"],
        "pid": now["Pid"],
        "started": now["StartedAt"],
        "finished": now["FinishedAt"],
        "exit_code": now["ExitCode"],
        "out_of_memory": now["OOMKilled"],
        "digest": labels.get(DIGEST, ""),
        "connected": labels.get(NETWORK) in networks,
        "address": endpoint.get("IPAddress") or configured.get("IPv4Address") or "",
        "aliases": sorted(set(endpoint.get("Aliases") or []) - {found["Id"][:12]}),
        "wanted": {"address": labels.get(ADDRESS), "aliases": sorted(filter(None, labels.get(ALIASES, "").split(",")))},
    }


def monotonic_at(moment: float) -> float:
    """What ``time.monotonic`` said at an earlier moment of the epoch."""
    return time.monotonic() - (time.time() - moment)
