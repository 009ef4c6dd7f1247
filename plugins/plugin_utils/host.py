"""Short shell commands on a drill's host through the task's own connection, cheap enough for one a second."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Runs a command line and returns Ansible's mapping with ``rc``, ``stdout`` and ``stderr``.
Execute = Callable[[str], Mapping[str, Any]]


class HostError(Exception):
    """A command on the host failed, or the host cannot be reached; the message is one line for a person."""


@dataclass(frozen=True)
class Host:
    """A host that shell commands can be run on."""

    execute: Execute

    def run(self, script: str) -> str:
        """Run a shell script and return its standard output.

        :raises HostError: it could not be run or ended with another status than 0.
        """
        try:
            result = self.execute(script)
        except Exception as error:  # the connection plugins raise what they like, also from libraries of theirs
            raise HostError(f"the host does not answer: {error}") from error
        if int(result.get("rc") or 0) != 0:
            text = str(result.get("stderr") or result.get("stdout") or "").strip().splitlines()
            raise HostError(text[-1] if text else f"a command ended with status {result.get('rc')}")
        return str(result.get("stdout") or "")

    def clock_offset(self) -> float:
        """Seconds by which the host's clock is ahead of this machine's, to within the time of one command."""
        before = time.time()
        there = float(self.run("date +%s.%N").strip())
        return there - (before + time.time()) / 2


def quoted(*words: str) -> str:
    """Words as one shell command line."""
    return shlex.join(words)


def detached(words: list[str], *, environment: Mapping[str, str], log: str) -> str:
    """A shell script that starts a process in its own session and prints its pid and start time.

    The start time (field 22 of ``/proc/PID/stat``, clock ticks since boot) makes the pid an identity.
    """
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    command = f"env {assignments} {shlex.join(words)}" if assignments else shlex.join(words)
    return (
        f"setsid nohup {command} </dev/null >{shlex.quote(log)} 2>&1 &\n"
        # The command name in stat may hold spaces: cut up to its closing parenthesis, then field 20 of the rest.
        'pid=$!; printf "%s " "$pid"; sed "s/.*) //" "/proc/$pid/stat" | cut -d" " -f20'
    )


def ended(pid: int, start_time: int) -> str:
    """A shell script that ends a process of ours, known by pid and start time, and nothing else."""
    return (
        f'now=$(sed "s/.*) //" /proc/{pid}/stat 2>/dev/null | cut -d" " -f20); '
        f'if [ "$now" = "{start_time}" ]; then kill {pid}; fi; true'
    )
