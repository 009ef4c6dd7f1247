"""What the drill's action plugins share: a host to run commands on, a voice, and errors as results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import (
    Rehearsal,
    RehearsalError,
    SilentSamplerError,
)

_display = Display()


def say(text: str) -> None:
    """Show a line; one that begins with a carriage return replaces the present one and stays open."""
    if text.startswith("\r"):
        _display.display(text.removesuffix("\n"), newline=text.endswith("\n"))
    else:
        _display.display(text)


def failure(error: Exception) -> dict[str, Any]:
    """The result of a task that failed; ``blind`` when it says nothing about the pipeline."""
    return {"failed": True, "msg": str(error), "blind": isinstance(error, SilentSamplerError)}


class DrillAction(ActionBase):
    """Base of the action plugins that work on the running drill."""

    TRANSFERS_FILES = False

    def host(self) -> Host:
        """The task's host, through its own connection."""

        def execute(script: str) -> Mapping[str, Any]:
            result: Mapping[str, Any] = self._low_level_execute_command(script, sudoable=False)
            return result

        return Host(execute)

    def rehearsal(self, task_vars: Mapping[str, Any]) -> Rehearsal:
        """The drill that runs, with the receipts of the tasks before this one journalled.

        :raises RehearsalError: none was begun.
        """
        path = (task_vars.get("ansible_facts") or {}).get("drill_run")
        if not path:
            raise RehearsalError("no drill runs: begin one first (eventlog.drills.drill, tasks_from: begin)")
        rehearsal = Rehearsal.resume(str(path), self.host(), say)
        rehearsal.absorb(self.receipts(task_vars))
        rehearsal.absorb_savepoint(self.savepoint(task_vars))
        return rehearsal

    @staticmethod
    def savepoint(task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the last graceful stop of the job said: ``savepoint``, ``next_offsets``, ``began``; else empty."""
        try:
            said = json.loads((task_vars.get("__flink_stop") or {}).get("stdout") or "{}")
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    @staticmethod
    def receipts(task_vars: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What the runtime's last verb says it did to each unit; nothing when it failed."""
        return list((task_vars.get("__runtime_result") or {}).get("receipts") or [])
