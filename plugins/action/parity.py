"""Action plugin `parity`: the same drill on several inventories, and what became of it side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible import context
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, live, parity, report
from ansible_collections.eventlog.drills.plugins.plugin_utils.drill_action import DrillAction, say
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError
from ansible_collections.eventlog.drills.plugins.plugin_utils.page import parity_page
from ansible_collections.eventlog.drills.plugins.plugin_utils.parity import Backend
from ansible_collections.eventlog.drills.plugins.plugin_utils.playing import Player, PlayError
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story

ARGUMENTS: dict[str, Any] = {
    "inventories": {"type": "list", "elements": "path"},
    "drill": {"type": "str"},
    "drilled": {"type": "list", "elements": "path"},
    "runs": {"type": "path", "required": True},
    "variables": {"type": "dict", "default": {}},
}


class ActionModule(DrillAction):
    """The options are documented with the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Drill everywhere, one after the other; fails unless everything that must be the same is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            argument_spec=ARGUMENTS,
            required_one_of=[("inventories", "drilled")],
            mutually_exclusive=[("inventories", "drilled")],
            required_by={"inventories": ("drill",)},
        )
        if args["drilled"]:
            return {**result, **_compared([Path(path) for path in args["drilled"]], Path(args["runs"]) / "parity")}
        inventories = {Path(path).name: Path(path).absolute() for path in args["inventories"]}
        if problem := _unusable(args["inventories"], inventories):
            return {**result, "failed": True, "msg": problem}
        runs = Path(args["runs"]) / "parity"
        arguments = _arguments(args["variables"])
        try:
            backends = [Backend(name, str(path), away=_away(path, arguments)) for name, path in inventories.items()]
            there = [backend.name for backend in backends if not backend.away]
            for backend in backends:
                if backend.away:
                    say(live.line("not at hand", f"{backend.name}: {backend.away}"))
            if len(there) < parity.LEAST:
                found = f"only {there[0]} is at hand" if there else "none of them is at hand"
                return {
                    **result,
                    "failed": True,
                    "msg": f"{found}: there is nothing to compare, and nothing was drilled",
                }
            drilled = [
                backend if backend.away else _drilled(backend, arguments, args["drill"], runs) for backend in backends
            ]
            return {**result, **_shown(parity.compare(drilled), args["drill"], runs)}
        except (JournalError, PlayError) as error:
            return {**result, "failed": True, "msg": str(error)}


def _voice(name: str) -> Callable[[str], None]:
    """What shows the lines of one inventory's playbooks."""
    return lambda line: say(f" {name:<{live.LABEL_WIDTH - 1}} │{line}")


def _away(inventory: Path, arguments: Sequence[str]) -> str:
    """Why an inventory's machine, engine or hosts cannot be reached; empty when they can."""
    return Player(inventory, arguments, lambda _: None).play("reach")


def _unusable(paths: Sequence[str], inventories: Mapping[str, Path]) -> str:
    missing = [str(path) for path in inventories.values() if not path.exists()]
    if missing:
        return f"there is no inventory {', '.join(missing)}"
    if len(inventories) < len(paths):
        return f"two of the inventories have the same name, by which they are told apart: {', '.join(map(str, paths))}"
    return ""


def _arguments(variables: Mapping[str, Any]) -> list[str]:
    """For every playbook: the given variables, and over them what this run of Ansible was given by ``-e``."""
    words = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    return words + [word for text in context.CLIARGS["extra_vars"] for word in ("-e", text)]


def _drilled(backend: Backend, arguments: Sequence[str], drill: str, runs: Path) -> Backend:
    """Provision, drill and tear down; what did not pass keeps its data and its logs."""
    player = Player(Path(backend.inventory), arguments, _voice(backend.name))
    folder = runs / backend.name
    since = time.time()
    trouble = player.play("site")
    if not trouble:
        trouble = player.play(f"drill_{drill}", drill_runs_dir=folder)
    story = next(iter(report.stories_since(folder, since)), None)
    purge = bool(story) and not trouble
    # The drill's own failure is the better reason.
    trouble = trouble or player.play("teardown", teardown_purge=str(purge).lower())
    if trouble and not purge:
        player.play("teardown")
    return replace(backend, trouble=trouble, story=story)


def _compared(folders: Sequence[Path], runs: Path) -> dict[str, Any]:
    """Compare drills that were run already, each called by its backend, or by its place where that is not enough."""
    try:
        stories = [Story.read(journal.Run(folder), folder.parent) for folder in folders]
    except JournalError as error:
        return {"failed": True, "msg": str(error)}
    if silent := [str(folder) for folder, story in zip(folders, stories, strict=True) if not story.begin]:
        return {
            "failed": True,
            "msg": f"there is no journal of a drill in {' and '.join(silent)}: name the folders of runs",
        }
    drills = {str(story.begin.get("drill")) for story in stories}
    if len(folders) < parity.LEAST or len(drills) > 1:
        found = "one run" if len(folders) == 1 else f"runs of {' and '.join(sorted(drills))}"
        return {"failed": True, "msg": f"{found}: there is nothing to compare; name two runs of the same drill or more"}
    backends = [Backend("", str(folder), story=story) for folder, story in zip(folders, stories, strict=True)]
    kinds = [backend.runtime for backend in backends]
    named = [
        replace(backend, name=kind if kinds.count(kind) == 1 else f"{kind} {place}")
        for place, (backend, kind) in enumerate(zip(backends, kinds, strict=True), 1)
    ]
    return _shown(parity.compare(named), drills.pop(), runs)


def _shown(found: parity.Comparison, drill: str, runs: Path) -> dict[str, Any]:
    """Print the table, write it as JSON and as a page, and say whether it is parity."""
    for line in ("", *parity.table(found)):
        say(line)
    # A drill makes it, but none of the backends may have got that far.
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal.write_private(runs / "parity.json", parity.document(found, drill))
    page = runs / "parity.html"
    journal.write_private(page, parity_page(found, drill))
    say(live.line("report", str(page)))
    return {"changed": True, "failed": bool(found.problems), "said": True, "msg": found.sentence}
