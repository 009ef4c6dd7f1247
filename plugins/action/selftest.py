"""Action plugin `selftest`: hold what a drill said against what was planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import live, selftest, verdict
from ansible_collections.eventlog.drills.plugins.plugin_utils.drill_action import DrillAction, say

ARGUMENTS: dict[str, Any] = {
    "runs": {"type": "path"},
    "since": {"type": "float"},
    "scene": {"type": "str"},
    "verdict": {"type": "str"},
    "defects": {"type": "dict", "default": {}},
    "rows": {"type": "list", "elements": "dict"},
}


class ActionModule(DrillAction):
    """The options are documented with the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the ``rows`` of one run, or show all of them and fail when a defect was missed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            argument_spec=ARGUMENTS,
            required_one_of=[("scene", "rows")],
            mutually_exclusive=[("scene", "rows")],
            required_by={"scene": ("runs", "since", "verdict")},
        )
        return {**result, "changed": False, **(self._judged(args) if args["scene"] else self._shown(args))}

    def _judged(self, args: dict[str, Any]) -> dict[str, Any]:
        try:
            found = verdict.read(Path(args["runs"]) / "latest")
        except ValueError:
            found = {}
        # The newest verdict is an older run's when this one did not get as far as having its own.
        fresh = found if float(found.get("began") or 0.0) >= args["since"] else None
        rows = selftest.compare(args["scene"], fresh, args["verdict"], args["defects"])
        for row in rows:
            say(live.line("caught" if row.caught else "MISSED", f"{row.defect}: {row.verdict}   {row.sentence}"))
        return {"rows": [row.as_dict() for row in rows]}

    def _shown(self, args: dict[str, Any]) -> dict[str, Any]:
        rows = [selftest.Row(**row) for row in args["rows"]]
        for line in ("", *selftest.table(rows)):
            say(line)
        missed = selftest.missed(rows)
        controls = sum(row.defect == selftest.CONTROL for row in rows)
        text = f"{len(rows) - controls} defects and {controls} control runs: " + (
            f"{len(missed)} not as they must be: {'; '.join(missed)}" if missed else "all as they must be"
        )
        say(live.line("self-test", text))
        return {"failed": bool(missed), "said": True, "msg": text}
