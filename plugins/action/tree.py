"""Action plugin `tree`: build one tree in the controller's cache, with visible progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.eventlog.drills.plugins.plugin_utils.live import line
from ansible_collections.eventlog.drills.plugins.plugin_utils.trees import TreeError, TreeSpec, ensure_tree

display = Display()


class ActionModule(ActionBase):
    """Runs on the controller only; the options are documented with the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``path`` and ``changed``."""
        result = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "str", "required": True},
                "version": {"type": "str", "required": True},
                "cache": {"type": "path", "required": True},
                "python": {"type": "str", "default": f"{sys.version_info.major}.{sys.version_info.minor}"},
                "requirements": {"type": "path"},
                "jars": {"type": "path"},
                "jars_into": {"type": "str", "default": "lib"},
                "links": {"type": "dict", "default": {}},
                "packages": {"type": "list", "elements": "path"},
            },
            required_one_of=[("requirements", "jars", "packages")],
        )
        spec = TreeSpec(
            name=args["name"],
            version=args["version"],
            python=args["python"],
            requirements=Path(args["requirements"]) if args["requirements"] else None,
            jars=Path(args["jars"]) if args["jars"] else None,
            jars_into=args["jars_into"],
            links=tuple(sorted(args["links"].items())),
            packages=tuple(Path(package) for package in args["packages"] or ()),
        )
        cache = Path(args["cache"])
        if self._task.check_mode:
            target = cache / "trees" / spec.folder
            return {**result, "path": str(target), "changed": not target.is_dir()}
        try:
            path, built = ensure_tree(spec, cache, lambda text: display.display(line("fetch", text)))
        except TreeError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "path": str(path), "changed": built}
