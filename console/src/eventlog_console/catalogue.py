"""What can be run, read from the collection itself: playbooks, their steps, and the options of the roles they use.

Nothing is listed twice: a drill is a file ``playbooks/drill_*.yml``; its options are what the argument specs of the
roles name, with the defaults that the playbook or the role gives; its steps are its tasks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from eventlog_console.settings import Settings

Value = str | float | int | bool

SERVICE_PLAYBOOKS = ("start", "stop", "restart", "kill")
PIPELINE_PLAYBOOKS = ("pause_producer", "resume_producer", "heal", "site")
ALL_DRILLS = "drills"
LARGEST = 86_400.0  # of a number: no option of a drill is longer than a day, in its own unit or in events per second
_KINDS = {"float": "number", "int": "integer", "bool": "boolean"}
#: Entry points of a component role that a drill may use on the service it takes away.
_FAULT_VERBS = ("stop", "kill", "pause", "start")


class CatalogueError(Exception):
    """What was asked for does not exist or cannot be; one line for the person who asked."""


@dataclass(frozen=True)
class Option:
    """A variable of a playbook that a person may set."""

    name: str
    kind: str  #: number, integer, boolean or choice
    description: str
    default: Value | None
    choices: tuple[str, ...] = ()
    common: bool = False  #: whether the playbook itself speaks of it

    def parse(self, value: object) -> Value:
        """The value, checked. It becomes part of a command line: only numbers, truth values and known words pass.

        :raises CatalogueError: it is not of this option's kind.
        """
        if self.kind == "boolean" and isinstance(value, bool):
            return value
        if self.kind == "choice" and value in self.choices:
            return str(value)
        if self.kind in ("number", "integer") and isinstance(value, int | float) and not isinstance(value, bool):
            whole = self.kind == "number" or float(value).is_integer()
            if whole and 0 <= value <= LARGEST:
                return int(value) if float(value).is_integer() else float(value)
        wanted = f"one of {', '.join(self.choices)}" if self.choices else f"a {self.kind}"
        limits = f" from 0 to {LARGEST:.0f}" if self.kind in ("number", "integer") else ""
        raise CatalogueError(f"{self.name} is {value!r}, expected {wanted}{limits}")

    def schema(self) -> dict[str, Any]:
        """What :meth:`parse` takes, as JSON Schema."""
        if self.kind == "boolean":
            return {"type": "boolean"}
        if self.choices:
            return {"type": "string", "enum": list(self.choices)}
        return {"type": self.kind, "minimum": 0, "maximum": LARGEST}


@dataclass(frozen=True)
class Step:
    """A task of a drill's playbook."""

    name: str
    kind: str  #: begin, fault, observe, undo, pause_stream, resume_stream, poison, find_poison or finish
    phase: str = ""  #: of an observation


@dataclass(frozen=True)
class Playbook:
    """A playbook of the collection, and what may be set when it runs."""

    name: str
    title: str
    options: tuple[Option, ...] = ()
    steps: tuple[Step, ...] = ()
    drill: str = ""  #: what its runs are called; empty when it is no drill

    def public(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def schema(self) -> dict[str, Any]:
        """What a request to run it may hold, as JSON Schema."""
        options: dict[str, Any] = {
            "type": "object",
            "properties": {option.name: option.schema() for option in self.options},
            "required": [option.name for option in self.options if option.default is None],
            "additionalProperties": False,
        }
        return {
            "title": self.title,
            "type": "object",
            "properties": {"playbook": {"const": self.name}, "options": options},
            "required": ["playbook", "options"] if options["required"] else ["playbook"],
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class Catalogue:
    """All that can be run from the console."""

    root: Path
    playbooks: Mapping[str, Playbook] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Catalogue:
        """Read the collection in ``root``."""
        service = _service_option(root)
        found = [_plain(root, name, (service,)) for name in SERVICE_PLAYBOOKS]
        found += [_plain(root, name, ()) for name in PIPELINE_PLAYBOOKS]
        found += [_drill(root, path) for path in sorted((root / "playbooks").glob("drill_*.yml"))]
        found.append(_all_drills(root))
        return cls(root, {playbook.name: playbook for playbook in found})

    @property
    def services(self) -> tuple[str, ...]:
        """Services that can be started and stopped."""
        return _service_option(self.root).choices

    @property
    def drills(self) -> list[Playbook]:
        """Every drill in the order of the guide, all of them together at the end."""
        drills = [playbook for playbook in self.playbooks.values() if playbook.drill]
        return sorted(drills, key=lambda drill: (drill.name == ALL_DRILLS, drill.title))

    def of_run(self, drill: str) -> Playbook | None:
        """The playbook whose runs have this name."""
        return next((playbook for playbook in self.playbooks.values() if playbook.drill == drill), None)

    def command(self, settings: Settings, name: str, values: Mapping[str, object]) -> list[str]:
        """The command line that runs a playbook; by hand it is typed in the checkout's folder.

        :param values: options that differ from their defaults.
        :raises CatalogueError: there is no such playbook or option, a value is not usable, or one is missing.
        """
        playbook = self.playbooks.get(name)
        if playbook is None:
            raise CatalogueError(f"there is no playbook {name!r} to be run from here")
        options = {option.name: option for option in playbook.options}
        unknown = sorted(set(values) - set(options))
        if unknown:
            raise CatalogueError(f"{name} has no option {', '.join(unknown)}")
        chosen = {key: options[key].parse(value) for key, value in values.items()}
        missing = [option.name for option in playbook.options if option.default is None and option.name not in chosen]
        if missing:
            raise CatalogueError(f"{name} needs {', '.join(missing)}")
        words = settings.playbook(name)
        for key, value in chosen.items():
            if value != options[key].default:
                words += ["-e", f"{key}={_word(value)}"]
        if playbook.drill and settings.own_runs:
            words += ["-e", f"drill_runs_dir={settings.runs}"]
        return words


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- reading ---------------------------------------------------------------------------------------------------------


def _load(path: Path) -> Any:
    return _parse(path.read_text(encoding="utf-8")) if path.exists() else None


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the one in C is ten times as fast


@cache  # every drill asks for them; a console is started anew when its collection has changed
def _specs(root: Path, role: str) -> dict[str, Any]:
    found = _load(root / "roles" / role / "meta" / "argument_specs.yml") or {}
    specs: dict[str, Any] = found.get("argument_specs", {})
    return specs


@cache
def _defaults(root: Path, role: str) -> dict[str, Any]:
    return _load(root / "roles" / role / "defaults" / "main.yml") or {}


def _service_option(root: Path) -> Option:
    choices = _specs(root, "drill")["fault"]["options"]["drill_service"]["choices"]
    return Option("service", "choice", "The service", None, tuple(choices), common=True)


def _title(root: Path, name: str) -> str:
    """The name of the first play; a playbook of imports goes by its own."""
    plays = _load(root / "playbooks" / f"{name}.yml")
    own = [play for play in plays if "ansible.builtin.import_playbook" not in play]
    return str(own[0]["name"] if own else name.capitalize()).removesuffix(" one service")


def _plain(root: Path, name: str, options: tuple[Option, ...]) -> Playbook:
    return Playbook(name, _title(root, name), options)


def _drill(root: Path, path: Path) -> Playbook:
    text = path.read_text(encoding="utf-8")
    play = _parse(text)[0]
    variables = play.get("vars", {})
    steps = tuple(_steps(play["tasks"]))
    return Playbook(
        path.stem,
        str(variables.get("drill_title") or play["name"]),
        tuple(_options(root, text, variables, play["tasks"])),
        steps,
        str(variables["drill_name"]),
    )


def _all_drills(root: Path) -> Playbook:
    # What each drill sets for itself has no common default to be shown.
    own = {"drill_hold", "drill_gate"}
    options = (option for option in _options(root, "drill_fault", {}, []) if option.name not in own)
    return Playbook(ALL_DRILLS, "Every drill, one after the other", tuple(options), (), ALL_DRILLS)


def _options(root: Path, text: str, variables: Mapping[str, Any], tasks: list[Any]) -> Iterator[Option]:
    """What may be set: the drill role's options and those of the services that are taken away, common ones first."""
    faults = [{**variables, **task.get("vars", {})} for task in _tasks(tasks) if _entry(task) == "fault"]
    known: dict[str, Mapping[str, Any]] = dict(_specs(root, "drill")["begin"]["options"])
    defaults = dict(_defaults(root, "drill"))
    for service in sorted({str(fault["drill_service"]) for fault in faults}):
        specs = _specs(root, service)
        for verb in _FAULT_VERBS:
            known.update(specs.get(verb, {}).get("options", {}))
        defaults |= _defaults(root, service)
    defaults |= variables
    # drill_fault says how a service is taken away, unless the playbook itself does.
    spoken = text + ("drill_fault" if any("drill_verb" not in fault for fault in faults) else "")
    found = []
    for name, spec in known.items():
        kind = "choice" if spec.get("choices") else _KINDS.get(str(spec.get("type")), "")
        default = _default(defaults.get(name), spec)
        common = bool(re.search(rf"\b{name}\b", spoken))
        if not kind or default is None or (name == "drill_fault" and not common):
            continue
        description = re.sub(r"[CVO]\((.*?)\)", r"\1", str(spec.get("description", "")))
        found.append(Option(name, kind, description, default, tuple(spec.get("choices", ())), common))
    yield from sorted(found, key=lambda option: not option.common)


def _default(value: object, spec: Mapping[str, Any]) -> Value | None:
    """The default when it is a plain value of the option's type."""
    choices = spec.get("choices")
    if choices:
        return str(value) if value in choices else None
    return value if isinstance(value, int | float) else None


def _tasks(tasks: list[Any]) -> Iterator[Mapping[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "always"):
            yield from _tasks(task.get(part, []))


def _entry(task: Mapping[str, Any]) -> str:
    """Which entry point of the role ``drill`` a task includes, empty when it is another kind of task."""
    included = task.get("ansible.builtin.include_role", {})
    return str(included.get("tasks_from", "")) if included.get("name") == "eventlog.drills.drill" else ""


def _steps(tasks: list[Any]) -> Iterator[Step]:
    for task in _tasks(tasks):
        observed = task.get("eventlog.drills.observe")
        if observed:
            yield Step(str(task["name"]), "observe", str(observed["phase"]))
        elif _entry(task):
            yield Step(str(task["name"]), _entry(task))
