"""Action plugin `observe`: watch one phase of the running drill and judge it."""

from __future__ import annotations

from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.drill_action import DrillAction, failure, say
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError
from ansible_collections.eventlog.drills.plugins.plugin_utils.observing import CONDITIONS, Phase, observe
from ansible_collections.eventlog.drills.plugins.plugin_utils.planning import phase_line
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import RehearsalError
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import COUNTS, FLINK_STATES, PARTS, SHAPES

ARGUMENTS: dict[str, Any] = {
    "phase": {"type": "str", "required": True},
    "duration": {"type": "float"},
    "until": {"type": "str", "choices": list(CONDITIONS)},
    "within": {"type": "float", "default": 60.0},
    "expect": {"type": "dict", "default": {}},
    "rate": {"type": "str", "default": "offered"},
    "settle": {"type": "float", "default": 3.0},
    "same_as": {"type": "str"},
}


class ActionModule(DrillAction):
    """The options are documented with the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``ok``, ``checks`` and ``seconds``; a failed expectation is in the verdict, not in this task."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            argument_spec=ARGUMENTS, required_one_of=[("duration", "until")], mutually_exclusive=[("duration", "until")]
        )
        wrong = wrong_expectation(args["expect"])
        if wrong:
            return {**result, "failed": True, "msg": wrong}
        if self._task.check_mode:
            say(phase_line(phase_of(args)))
            return {**result, "skipped": True}
        try:
            rehearsal = self.rehearsal(task_vars or {})
            return {**result, "changed": False, **observe(rehearsal, phase_of(args))}
        except (RehearsalError, JournalError) as error:
            return {**result, **failure(error)}


def phase_of(args: dict[str, Any]) -> Phase:
    """The phase that the task's arguments describe. Raises RehearsalError when ``rate`` is none."""
    rate = args["rate"]
    try:
        fixed = None if rate in ("offered", "any") else float(rate)
    except ValueError as error:
        raise RehearsalError(f"rate is {rate!r}: choose offered, any, or events per second") from error
    return Phase(
        name=args["phase"],
        duration=args["duration"],
        until=args["until"],
        within=args["within"],
        expect=args["expect"],
        rate=fixed,
        any_rate=rate == "any",
        settle=args["settle"],
        same_as=args["same_as"],
    )


def wrong_expectation(expect: dict[str, Any]) -> str:
    """One line naming the first expectation that does not exist, empty when all do."""
    for subject, shape in expect.items():
        choices = FLINK_STATES if subject == "flink" else SHAPES
        if subject not in (*COUNTS, *PARTS, "flink"):
            return f"expect: there is no {subject!r}; choose from {', '.join((*COUNTS, *PARTS, 'flink'))}"
        unknown = [item for item in (shape if isinstance(shape, list) else [shape]) if item not in choices]
        if unknown or (subject == "flink" and isinstance(shape, list)) or shape == []:
            return f"expect: {subject} cannot be {shape!r}; choose from {', '.join(choices)}"
    return ""
