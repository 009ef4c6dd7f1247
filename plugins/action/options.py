"""Action plugin `options`: check what was set, before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.eventlog.drills.plugins.plugin_utils import options

ROLES = Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):
    """The options are documented with the module of the same name."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with a sentence for each variable that is unknown or has a value that is not usable."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        known = task_vars or {}
        given = {*load_extra_vars(self._loader), *(name for name in known if name.startswith("drill_"))}
        found = options.unknown(given, options.names(ROLES))
        plain: dict[options.Option, object] = {}
        made: dict[options.Option, object] = {}
        for name, option in options.options(ROLES).items():
            if name in known:
                (made if option.type == "dict" else plain)[option] = self._value(name, known)
        # A mapping may be made of what is wrong already.
        found += options.all_wrong(plain) or options.all_wrong(made)
        return {**result, "changed": False, "failed": bool(found), "msg": "\n".join(found) or "all as they should be"}

    def _value(self, name: str, known: Mapping[str, Any]) -> object:
        """The variable's value, None when it cannot be had: whoever needs it says what is missing."""
        try:
            return self._templar.template(known[name])
        except AnsibleError:
            return None
