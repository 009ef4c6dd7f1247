"""Action plugin `drill`: the steps of a drill around its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import (
    announcing,
    closing,
    healing,
    journal,
    live,
    opening,
    planning,
    poisoning,
    report,
    usage,
)
from ansible_collections.eventlog.drills.plugins.plugin_utils.drill_action import DrillAction, failure, say
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import (
    Rehearsal,
    RehearsalError,
    SilentSamplerError,
)
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome

ARGUMENTS: dict[str, Any] = {
    "step": {
        "type": "str",
        "required": True,
        "choices": [
            "begin",
            "steady",
            "guarded",
            "receipts",
            "trouble",
            "settle",
            "window",
            "disk",
            "books",
            "finish",
            "free",
            "leftover",
            "heal",
            "plant",
            "find",
            "table",
            "report",
            "index",
        ],
    },
    "name": {"type": "str"},
    "title": {"type": "str"},
    "runs": {"type": "path"},
    "link": {"type": "path"},
    "root": {"type": "path"},
    "folder": {"type": "path"},
    "config": {"type": "path"},
    "python": {"type": "path"},
    "pythonpath": {"type": "str"},
    "interval": {"type": "float", "default": 1.0},
    "steady_within": {"type": "float", "default": 60.0},
    "away": {"type": "dict", "default": {}},
    "budget": {"type": "float", "default": 60.0},
    "patience": {"type": "float", "default": 180.0},
    "capacity": {"type": "float", "default": 0.0},
    "streams": {"type": "bool", "default": True},
    "retention_hours": {"type": "float", "default": 168.0},
    "settings": {"type": "dict", "default": {}},
    "limits": {"type": "dict", "default": {}},
    "gate": {"type": "bool", "default": True},
    "guard": {"type": "dict", "default": {}},
    "holder": {"type": "dict", "default": {}},
    "force": {"type": "bool", "default": False},
    "unhealed": {"type": "bool", "default": False},
    "breaks": {"type": "bool", "default": False},
    "streaming": {"type": "bool"},
    "changed": {"type": "bool", "default": True},
    "intent": {"type": "str"},
    "run": {"type": "str"},
    "since": {"type": "float"},
    "expected": {"type": "list", "elements": "str"},
    "script": {"type": "path"},
    "settings_script": {"type": "path"},
    "task": {"type": "str"},
    "message": {"type": "raw"},
    "flushed": {"type": "bool", "default": False},
}
#: What each step cannot do without.
REQUIRED_IF = [
    ("step", "begin", ("name", "title", "runs", "root", "folder", "config", "python", "pythonpath", "settings_script")),
    ("step", "trouble", ("task", "message")),
    ("step", "finish", ("runs",)),
    ("step", "free", ("folder",)),
    ("step", "leftover", ("folder",)),
    ("step", "plant", ("script",)),
    ("step", "find", ("script",)),
    ("step", "table", ("runs", "since", "expected")),
    ("step", "report", ("runs", "run")),
    ("step", "index", ("runs",)),
    ("step", "heal", ("holder", "folder", "config", "python", "pythonpath")),
]

_NOTHING_RUNS: dict[str, Any] = {"changed": False, "skipped": True, "msg": "no drill runs"}


class ActionModule(DrillAction):
    """The options are documented with the module of the same name."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do one step; what it returns depends on the step."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(argument_spec=ARGUMENTS, required_if=REQUIRED_IF)
        if self._task.check_mode:
            return {**result, **self._planned(args, task_vars or {})}
        steps: dict[str, Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
            "begin": self._begin,
            "steady": self._steady,
            "guarded": self._guarded,
            "free": self._free,
            "leftover": self._leftover,
            "heal": self._heal,
            "plant": self._plant,
            "find": self._find,
            "table": self._table,
            "report": self._report,
            "index": self._index,
            "receipts": self._receipts,
            "trouble": self._trouble,
            "settle": self._settle,
            "window": self._window,
            "disk": self._disk,
            "books": self._books,
            "finish": self._finish,
        }
        try:
            return {**result, **steps[args["step"]](args, task_vars or {})}
        except (RehearsalError, JournalError) as error:
            return {**result, **failure(error)}

    def _planned(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """In check mode: say what the step would do, and touch nothing."""
        if args["step"] == "begin":
            arguments = {"config": args["config"]}
            counts = self._execute_module("eventlog.drills.pipeline_counts", arguments, task_vars=dict(task_vars))
            options = _opening(args, task_vars)
            lines, refused = planning.plan_lines(options, self.host(), counts.get("counts") or {})
            for line in lines:
                say(line)
            if refused:
                return {"failed": True, "msg": f"the drill would be refused: {'; '.join(refused)}"}
        elif args["step"] == "trouble":  # a rescue would turn it into an exit status of 0
            return {"failed": True, "said": True, "msg": "what failed is said above"}
        elif args["step"] == "receipts" and args["intent"]:
            say(planning.intent_line(args["intent"], self.receipts(task_vars)))
        return {"changed": args["step"] == "begin", "skipped": args["step"] != "begin"}

    def _begin(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        options = _opening(args, task_vars)
        try:
            rehearsal = opening.begin(options, self.host(), say)
        except opening.LeftoverError as error:
            return {"changed": False, "leftover": True, "msg": str(error)}
        refused = self._refused(rehearsal)
        if refused:
            return refused
        return {
            "changed": True,
            "run": str(rehearsal.run.path),
            "ansible_facts": {
                "drill_run": str(rehearsal.run.path),
                "drill_runs": [*_facts(task_vars).get("drill_runs", []), str(rehearsal.run.path)],
            },
        }

    def _steady(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Find the steady state, check the plan and open the books; a drill that is refused ends here."""
        rehearsal = self.rehearsal(task_vars)
        opening.find_steady(rehearsal)
        return self._refused(rehearsal) or {"changed": False}

    @staticmethod
    def _refused(rehearsal: Rehearsal) -> dict[str, Any]:
        """Conclude a drill that was refused before it touched anything; empty when it was not."""
        refused = opening.refusal(rehearsal)
        if not refused:
            return {}
        closing.conclude(rehearsal, rehearsal.run.path.parent)
        return {"failed": True, "msg": f"the drill is refused, nothing was touched: {refused}"}

    def _guarded(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Journal that the guard is armed."""
        rehearsal = self.rehearsal(task_vars)
        guard = args["guard"]
        rehearsal.note("lease", **guard)
        say(live.line("lease", f"{guard['seconds']:.0f} s armed for {', '.join(guard['units'])}"))
        return {"changed": False}

    def _free(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """See that no drill holds the pipeline, or that it may be touched all the same."""
        allowed = {name: args[name] for name in ("force", "unhealed", "breaks")}
        why = healing.refusal(self.host(), args["folder"], **allowed)
        return {"changed": False, "failed": bool(why), "msg": why}

    def _leftover(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Take over the lock that a killed drill has left; whose it was is in the new ``holder``."""
        holder = healing.take_over(self.host(), args["folder"], force=args["force"])
        if holder is None:
            say(live.line("heal", "nothing to heal: no drill holds this pipeline"))
        else:
            say(live.line("heal", f"drill {holder['drill']} was killed; restoring what ran before it"))
        return {"changed": False, "leftover": holder is not None, "holder": holder or {}}

    def _heal(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Close what a killed drill has left behind."""
        text = healing.heal(
            args["holder"],
            args["guard"],
            self.host(),
            say,
            folder=args["folder"],
            within=args["steady_within"],
            clearance=announcing.script(None, args["folder"], args["config"], args["python"], args["pythonpath"]),
        )
        say(live.line("heal", text))
        failed = text.startswith(Outcome.ABORTED_NOT_HEALED.label)
        return {"changed": True, "failed": failed, "said": True, "msg": text}

    def _plant(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plant records that cannot become rows."""
        script = Path(args["script"]).read_text(encoding="utf-8")
        return {"changed": True, "planted": poisoning.plant(self.rehearsal(task_vars), script)}

    def _find(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Judge where the planted records ended up; what is not as it should be is in the verdict."""
        script = Path(args["script"]).read_text(encoding="utf-8")
        checks = poisoning.find(self.rehearsal(task_vars), script)
        return {"changed": False, "ok": all(check.ok for check in checks)}

    def _table(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Show this playbook's drills in a table, write the page of all runs, and fail unless every one has passed."""
        runs = Path(args["runs"])
        began = _facts(task_vars).get("drill_runs", [])
        stories = [story for story in report.stories_since(runs, args["since"]) if str(runs / story.name) in began]
        never = list((Counter(args["expected"]) - Counter(story.drill for story in stories)).elements())
        for line in [*report.table(stories), *(f" {drill}: never began" for drill in never)]:
            say(line)
        if runs.is_dir():
            say(live.line("report", str(report.render_index(runs))))
        failed = [story.drill for story in stories if story.outcome is not Outcome.PASS]
        failed += [f"{drill} (never began)" for drill in never]
        return {"changed": False, "failed": bool(failed), "said": True, "msg": f"not passed: {', '.join(failed)}"}

    def _report(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Render the reports of a past run again."""
        runs = Path(args["runs"])
        run = journal.Run((runs / args["run"]).resolve())
        if not run.journal.is_file():
            names = ", ".join(known.name for known in journal.all_runs(runs)[-5:]) or "none yet"
            return {"failed": True, "msg": f"there is no run {args['run']!r} in {runs}; the latest are: {names}"}
        say(live.line("report", str(report.render_run(run, runs))))
        return {"changed": True}

    def _index(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Write the page of all runs."""
        say(live.line("report", str(report.render_index(Path(args["runs"])))))
        return {"changed": True}

    def _receipts(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Journal the receipts of the tasks before; a fault that did not bite ends the drill here."""
        rehearsal = self.rehearsal(task_vars)
        rehearsal.note_untouched(args["intent"] or "")
        rehearsal.fetch()
        if args["streaming"] is not None:
            text = "the producer streams again" if args["streaming"] else "the producer is paused"
            outside = "" if args["changed"] or not args["streaming"] else "the producer streamed although it was paused"
            rehearsal.note("note", text=text, streaming=args["streaming"], outside=outside)
            say(live.line("producer", text))
        refuted = [
            f"{receipt['unit']} {receipt['why']}"
            for record in rehearsal.fresh
            for receipt in record["receipts"]
            if not receipt["ok"]
        ]
        if refuted:
            return {"failed": True, "msg": "; ".join(refuted), "receipts_refuted": True}
        return {"changed": False}

    def _trouble(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Journal the failure of a task, unless the journal says it better already."""
        message = args["message"]
        failed: Mapping[str, Any] = message if isinstance(message, Mapping) else {"msg": str(message)}
        if _running(task_vars) is None:
            # A rescue that succeeds would turn a refusal into an exit status of 0.
            return {"failed": args["gate"], "said": True, "msg": str(failed.get("msg"))}
        rehearsal = self.rehearsal(task_vars)
        if not failed.get("receipts_refuted"):
            lines = str(failed.get("msg") or failed.get("stderr") or "no message").strip().splitlines()
            blind = bool(failed.get("blind"))
            rehearsal.note("trouble", task=args["task"], message=lines[0], evidence=lines, blind=blind)
        return {"changed": False}

    def _settle(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for convergence; ``away`` names units that a later task must bring back."""
        path = _running(task_vars)
        if path is None:
            return {"changed": False, "running": False}
        rehearsal = self.rehearsal(task_vars)
        away = rehearsal.away()
        if not away:
            self._patiently(rehearsal, lambda: closing.settle(rehearsal, args["budget"]))
        return {"changed": False, "running": True, "away": away}

    def _window(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for the window to pass."""
        if _running(task_vars) is None:
            return _NOTHING_RUNS
        rehearsal = self.rehearsal(task_vars)
        self._patiently(rehearsal, lambda: closing.pass_window(rehearsal))
        return {"changed": False}

    @staticmethod
    def _patiently(rehearsal: Rehearsal, wait: Callable[[], None]) -> None:
        """Wait; what keeps it from waiting is in the verdict, and the drill is finished all the same."""
        try:
            wait()
        except RehearsalError as error:
            blind = isinstance(error, SilentSamplerError)
            rehearsal.note("trouble", task="settle", message=str(error), blind=blind)

    def _disk(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Measure what the stores hold on disk, at the begin and again at the end."""
        if _running(task_vars) is None:
            return _NOTHING_RUNS
        usage.measure_disk(self.rehearsal(task_vars), flushed=args["flushed"])
        return {"changed": False}

    def _books(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Read and balance the books."""
        if _running(task_vars) is None:
            return _NOTHING_RUNS
        closing.close_books(self.rehearsal(task_vars), args["limits"])
        return {"changed": False}

    def _finish(self, args: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Judge, report and let go."""
        try:
            if _running(task_vars) is None:
                return self._unfinished(args["gate"], task_vars)
            rehearsal = self.rehearsal(task_vars)
        except JournalError:
            # A journal that cannot be read gets a verdict all the same, and the lock is given back.
            rehearsal = Rehearsal.resume(str(task_vars["ansible_facts"]["drill_run"]), self.host(), say)
        found = closing.conclude(rehearsal, Path(args["runs"]))
        failed = args["gate"] and found.outcome is not Outcome.PASS
        return {
            "changed": False,
            "failed": failed,
            "msg": f"{found.outcome.label}: {found.reason}",
            "said": True,
            "verdict": found.as_dict(),
            "run": str(rehearsal.run.path),
        }

    @staticmethod
    def _unfinished(gate: bool, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Without a drill to finish: a success only when it has passed already, by whoever finished it."""
        path = _facts(task_vars).get("drill_run")
        judged = journal.last(journal.read_records(journal.Run(Path(path)).journal), "verdict") if path else None
        if not gate or (judged and judged["outcome"] == Outcome.PASS.label):
            return _NOTHING_RUNS
        found = f"{judged['outcome']}: {judged['reason']}" if judged else "no drill was begun, so there is no verdict"
        said = {"said": True} if "ansible_failed_task" in task_vars else {}  # and why that is so
        return {"changed": False, "failed": True, "msg": found, **said}


def _opening(args: dict[str, Any], task_vars: Mapping[str, Any]) -> opening.Opening:
    return opening.Opening(
        drill=args["name"],
        title=args["title"],
        runs=Path(args["runs"]),
        folder=args["folder"],
        config=args["config"],
        root=args["root"],
        python=args["python"],
        pythonpath=args["pythonpath"],
        host_name=str(task_vars.get("inventory_hostname", "")),
        link=Path(args["link"]) if args["link"] else None,
        interval=args["interval"],
        steady_within=args["steady_within"],
        away={service: float(seconds) for service, seconds in args["away"].items()},
        budget=args["budget"],
        patience=args["patience"],
        capacity=args["capacity"],
        streams=args["streams"],
        retention_hours=args["retention_hours"],
        settings=args["settings"],
        settings_script=Path(args["settings_script"]).read_text(encoding="utf-8"),
    )


def _facts(task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
    return task_vars.get("ansible_facts") or {}


def _running(task_vars: Mapping[str, Any]) -> Path | None:
    """The folder of the drill that was begun and has no verdict yet."""
    path = _facts(task_vars).get("drill_run")
    if not path:
        return None
    run = journal.Run(Path(str(path)))
    return None if journal.last(journal.read_records(run.journal), "verdict") else run.path
