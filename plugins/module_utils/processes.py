"""Processes as /proc shows them: identity, state and membership of a process group.

A pid alone is not an identity, since the kernel reuses it; a pid with its start time is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

DEAD_STATES = frozenset("ZXx")


@dataclass(frozen=True)
class Member:
    """One process. ``start_time`` is in clock ticks since boot (field 22 of /proc/PID/stat); ``state`` is the
    kernel's letter (R, S, D, T, Z, …); ``rss`` is resident memory in bytes."""

    pid: int
    pgid: int
    start_time: int
    state: str
    threads: int
    rss: int
    cmdline: str

    @property
    def gone(self) -> bool:
        """Whether the process has ended. A zombie leader whose other threads live on still holds its ports."""
        return self.state in DEAD_STATES and self.threads <= 1

    def as_dict(self) -> dict[str, Any]:
        """The fields as a JSON-ready mapping."""
        return asdict(self)


def read_member(pid: int) -> Member | None:
    """Read one process; None when there is no such process (any more)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            raw = file.read().decode("utf-8", "replace")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name is in parentheses and may itself hold spaces and parentheses: split behind the last one.
    name, _, rest = raw.partition("(")[2].rpartition(")")
    fields = rest.split()
    return Member(
        pid=pid,
        pgid=int(fields[2]),
        start_time=int(fields[19]),
        state=fields[0],
        threads=int(fields[17]),
        rss=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        cmdline=_one_line(words) or f"[{name}]",
    )


def _one_line(words: str) -> str:
    """A command line for people: a process may call itself what it likes, line breaks and escape sequences included."""
    return "".join(char if char.isprintable() else " " for char in words).strip()


def group_members(pgid: int, not_before: int = 0) -> list[Member]:
    """The living processes of a process group, leader first.

    ``not_before`` (clock ticks) leaves out processes older than the group we started, should the kernel have
    given its number to another group meanwhile.
    """
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        member = read_member(int(entry))
        if member and member.pgid == pgid and not member.gone and member.start_time >= not_before:
            found.append(member)
    return sorted(found, key=lambda member: (member.pid != pgid, member.pid))


def boot_id() -> str:
    """The kernel's identity of this boot; start times of another boot mean nothing."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def port_owner(port: int) -> Member | None:
    """The process that listens on a TCP port, if it can be seen with our rights."""
    return port_owners([port]).get(port)


def port_owners(ports: Iterable[int]) -> dict[int, Member]:
    """The processes that listen on TCP ports, as far as they can be seen with our rights; all in one look."""
    inodes = _listening_inodes(ports)
    owners: dict[int, Member] = {}
    for entry in os.listdir("/proc") if inodes else ():
        if not entry.isdigit():
            continue
        try:
            for handle in os.scandir(f"/proc/{entry}/fd"):
                target = os.readlink(handle.path)
                port = inodes.get(target[8:-1]) if target.startswith("socket:[") else None
                member = read_member(int(entry)) if port is not None and port not in owners else None
                if port is not None and member is not None:
                    owners[port] = member
        except OSError:  # another user's process, or one that just ended
            continue
    return owners


def _listening_inodes(ports: Iterable[int]) -> dict[str, int]:
    """Which of the ports each listening socket is bound to, by its inode."""
    wanted, inodes = {f"{port:04X}": port for port in ports}, {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in lines:
            fields = line.split()
            port = wanted.get(fields[1].rpartition(":")[2])
            if fields[3] == "0A" and port is not None:  # 0A: LISTEN
                inodes[fields[9]] = port
    return inodes
