"""Playbooks as commands of their own: the only way in which one run of Ansible works with several inventories.

Their lines are shown as they come, each with the name of whose they are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Whatever ends this process ends the playbook with it; what a drill took away, its own lease gives back.
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
#: What the collection's own output says of a failure, and Ansible of what kept it from beginning.
_FAILURES = (" failed ", " unreachable ", "[ERROR]: ")
#: What Ansible says when the lookup `pipeline` has found nothing that the playbook would do.
_NO_HOST = "Error processing keyword 'hosts': "
#: Its exit statuses for tasks that failed and for hosts that cannot be reached.
_ON_HOSTS = (2, 4)


class PlayError(Exception):
    """A playbook did not get to a host: the inventory, or the playbook itself, is not usable."""


@dataclass(frozen=True)
class Player:
    """Plays playbooks of the collection on one inventory.

    ``arguments`` are further words of every command line, ``show`` takes each line of its output.
    """

    inventory: Path
    arguments: Sequence[str]
    show: Callable[[str], None]

    def play(self, playbook: str, **variables: object) -> str:
        """Run a playbook to its end; returns why it failed on a host, empty when it did not.

        :raises PlayError: it did not get to any host.
        """
        words = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
        command = [
            *_DIE_WITH_US, sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory),
            f"eventlog.drills.{playbook}", *self.arguments, *words,
        ]  # fmt: skip
        failures: list[str] = []
        last = ""
        with subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace",
        ) as process:  # fmt: skip
            for line in process.stdout or ():
                last = line.rstrip() or last
                self.show(line.rstrip())
                if failures and failures[-1].endswith(":"):  # what follows says it
                    failures[-1] += f" {line.strip()}"
                elif line.startswith(_FAILURES):
                    failures.append(_reason(line))
        reason = failures[0] if failures else last
        if process.returncode in _ON_HOSTS and _NO_HOST not in reason:
            return reason
        if process.returncode:
            raise PlayError(f"{playbook} on {self.inventory}: {reason or f'status {process.returncode}'}")
        return ""


def _reason(line: str) -> str:
    text = line.strip()
    for mark in _FAILURES:
        text = text.removeprefix(mark.strip()).strip()
    return text


def _environment() -> Mapping[str, str]:
    """The collection's own output, whose lines say what failed, without colours."""
    kept = {key: value for key, value in os.environ.items() if key != "ANSIBLE_FORCE_COLOR"}
    return {
        **kept,
        "ANSIBLE_STDOUT_CALLBACK": "eventlog.drills.drill",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    }
