"""What a person may set: every variable of the roles, checked in one place before anything is touched.

Names, types and choices are those of the roles' argument specs. Limits are here, since a spec has no place for them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: Whoever begins a variable's name with one of these means this collection.
PREFIXES = ("drill_", "kafka_", "flink_", "cassandra_", "producer_", "monitor_", "pipeline_", "parity_", "teardown_")
#: Variables of playbooks, and what the roles find out by themselves; no spec names them.
_UNSPECIFIED = frozenset(
    {
        *("parity_drill", "parity_inventories", "parity_runs", "teardown_purge"),
        *("drill_run", "drill_runs"),
        *("pipeline_java_home", "pipeline_management_agent", "pipeline_pythonpath", "pipeline_trees", "pipeline_units"),
    }
)
_TRUTHS = frozenset({"y", "yes", "on", "1", "true", "t", "n", "no", "off", "0", "false", "f", "1.0", "0.0"})


@dataclass(frozen=True)
class Limit:
    """What a number must be; ``least`` itself is one of them unless it is ``above``."""

    unit: str = ""
    least: float = 0.0
    above: bool = False
    most: float = math.inf

    def allows(self, number: float) -> bool:
        """Whether it is within."""
        return (number > self.least if self.above else number >= self.least) and number <= self.most

    def __str__(self) -> str:
        most = f" and at most {self.most:g}" if self.most < math.inf else ""
        return f"{'above' if self.above else 'of at least'} {self.least:g}{most}"


_SECONDS = Limit("seconds")
_SOME_SECONDS = Limit("seconds", above=True)
_COUNT = Limit(least=1)
_BYTES = Limit("bytes", least=1)
_PORT = Limit("a port", least=1, most=65535)
LIMITS: Mapping[str, Limit] = {
    "drill_hold": _SECONDS,
    "drill_gap": _SECONDS,
    "drill_recovery_budget": _SOME_SECONDS,
    "drill_patience": _SOME_SECONDS,
    "drill_steady_within": _SOME_SECONDS,
    "drill_sample_interval": _SOME_SECONDS,
    # The guard looks once a second; a lease below a few looks would run out beside a drill that goes well.
    "drill_lease": Limit("seconds", least=3),
    "drill_capacity": Limit("events per second"),
    "event_bytes": _BYTES,
    "event_rate": Limit("events per second"),
    "bucket_size": _COUNT,
    "pipeline_port_offset": Limit(most=55000),
    "kafka_topic_partitions": _COUNT,
    "kafka_topic_replication": _COUNT,
    "kafka_retention_hours": Limit("hours", least=1),
    "kafka_max_message_bytes": _BYTES,
    "kafka_segment_bytes": _BYTES,
    "kafka_session_timeout_ms": Limit("milliseconds", least=1),
    "kafka_heartbeat_interval_ms": Limit("milliseconds", least=1),
    "flink_parallelism": _COUNT,
    "flink_task_slots": _COUNT,
    "flink_stop_deadline": _SECONDS,
    "cassandra_replication_factor": _COUNT,
    "cassandra_concurrent_writes": _COUNT,
    "cassandra_ingest_log_ttl": _SECONDS,
    "producer_spool_limit_bytes": _BYTES,
    "monitor_refresh_seconds": _SOME_SECONDS,
}
#: What the values of a mapping belong to, and what each must be.
_MAPPINGS: Mapping[str, tuple[tuple[str, ...], Limit]] = {
    "drill_away": (("kafka", "flink", "cassandra", "producer"), _SECONDS),
    "drill_limits": (("repeated", "rewritten", "rejected"), Limit()),
}


@dataclass(frozen=True)
class Option:
    """A variable, as an argument spec describes it."""

    name: str
    type: str = "str"
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def limit(self) -> Limit | None:
        """What a number must be; None for any."""
        return LIMITS.get(self.name) or (_PORT if self.name.endswith("_port") else None)


@cache
def options(roles: Path) -> Mapping[str, Option]:
    """Every variable that the specs of these roles name; of one with several descriptions the first."""
    found: dict[str, Option] = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        for entry in _load(path).get("argument_specs", {}).values():
            for name, spec in (entry.get("options") or {}).items():
                choices = tuple(str(choice) for choice in spec.get("choices", ()))
                found.setdefault(name, Option(name, spec.get("type", "str"), choices, bool(spec.get("no_log"))))
    return found


@cache
def names(roles: Path) -> frozenset[str]:
    """Every variable that is known: those with a spec, with a default, or with a value that a role gives them."""
    files = [*roles.glob("*/defaults/main.yml"), *roles.glob("*/vars/main.yml")]
    return frozenset({*options(roles), *(name for path in files for name in _load(path)), *_UNSPECIFIED})


def _load(path: Path) -> dict[str, Any]:
    # The loader in C is ten times as fast.
    found = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found if isinstance(found, dict) else {}


def unknown(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """One sentence for each name that means this collection, by its beginning, and is none of its variables."""
    wanted = sorted(known)
    return [
        f"{name} is no variable of this collection.{_meant(name, wanted)}"
        for name in sorted(given)
        if name.startswith(PREFIXES) and name not in wanted
    ]


def _meant(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.75)
    return f" Did you mean {close[0]}?" if close else ""


def all_wrong(values: Mapping[Option, object]) -> list[str]:
    """One sentence for each value that is not usable."""
    return [text for option, value in values.items() if (text := wrong(option, value))]


def wrong(option: Option, value: object) -> str:
    """What is wrong with a value and what to give instead, in one sentence; empty when it is right."""
    if value is None:
        return ""
    wanted = _wanted(option, value)
    shown = "a secret of the wrong type" if option.secret else repr(value)
    return f"{option.name} is {shown}: give {wanted}" if wanted else ""


def _wanted(option: Option, value: object) -> str:
    """What would be right instead of this value, empty when it is right itself."""
    found = ""
    if option.choices:
        if str(value) not in option.choices:
            found = f"{_listed(option.choices)}.{_meant(str(value), option.choices)}".removesuffix(".")
    elif option.type in ("int", "float"):
        number = _number(value)
        whole = option.type == "int"
        right = number is not None and (not whole or number.is_integer())
        if not right or (option.limit and not option.limit.allows(number or 0.0)):
            found = _number_text(option.limit, whole)
    elif option.type == "bool":
        found = "" if str(value).lower() in _TRUTHS else "true or false"
    elif option.type == "dict":
        found = _wanted_mapping(option.name, value)
    elif option.type in ("str", "path"):
        found = "one word or text" if isinstance(value, Mapping | list | tuple) else ""
    return found


def _wanted_mapping(name: str, value: object) -> str:
    if isinstance(value, str):  # as it may be typed: JSON, or a=1 b=2, which Ansible reads itself
        return "" if value.lstrip().startswith("{") or "=" in value else "a mapping, as JSON: {…}"
    if not isinstance(value, Mapping):
        return "a mapping, as JSON: {…}"
    keys, limit = _MAPPINGS.get(name, ((), None))
    for key, each in value.items():
        number = _number(each)
        if keys and (key not in keys or number is None or (limit and not limit.allows(number))):
            return f"for {_listed(keys)} {_number_text(limit, False)}"
    return ""


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _number_text(limit: Limit | None, whole: bool) -> str:
    unit = f"{limit.unit}, " if limit and limit.unit else ""
    return f"{unit}a {'whole ' if whole else ''}number{f' {limit}' if limit else ''}"


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
