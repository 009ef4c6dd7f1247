"""Action plugin `config_files`: look with one short command, and run the module only where something is to be done."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.eventlog.drills.plugins.plugin_utils.look import look


class ActionModule(ActionBase):
    """The options are documented with the module of the same name, which does the work."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returns, which is nothing new where all is as it should be."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            argument_spec={
                # No paths: the user's home, which they may begin with, is another one on the host.
                "directories": {"type": "list", "elements": "str", "default": []},
                "files": {"type": "dict", "default": {}},
                "made": {"type": "list", "elements": "str", "default": []},
            },
        )
        # The sum of a secret belongs on no command line either: of a short one it tells who can guess.
        if not self._task.no_log and self._as_it_should_be(args):
            return {**result, "changed": False, "written": [], "missing": [], "diff": []}
        return {**result, **self._execute_module(task_vars=task_vars)}

    def _as_it_should_be(self, args: dict[str, Any]) -> bool:
        found: dict[str, Any] = self._low_level_execute_command(look(args["directories"], args["files"], args["made"]))
        return bool(found["rc"] == 0)
