"""Units: what a component role wants to have running, and the receipts that prove what became of it."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.probes import PROBES


class UnitError(Exception):
    """An operation on a unit failed; the text says what happened, where, and shows the unit's last log lines."""


@dataclass(frozen=True)
class Unit:
    """How to run one server process, whatever the backend.

    ``probe`` is a mapping for :func:`probes.probe`; ``data`` are the directories that the process writes to;
    ``config_files`` are watched: when their content differs from what the running process was started with, a start
    becomes a restart. Times are in seconds.
    """

    name: str
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    ports: Sequence[int] = ()
    probe: Mapping[str, Any] | None = None
    data: Sequence[str] = ()
    config_files: Sequence[str] = ()
    stop_signal: str = "TERM"
    stop_timeout: float = 30.0
    ready_timeout: float = 300.0

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Unit:
        """Build a unit from a role's mapping. Raises UnitError on an unknown or a missing key."""
        name = spec.get("name", "?")
        try:
            unit = cls(**{**spec, "ports": [int(port) for port in spec.get("ports", ())]})
        except (TypeError, ValueError) as error:
            raise UnitError(f"unit {name}: {error}") from error
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", unit.name):
            raise UnitError(f"unit {name!r}: a name has letters, digits, dots, hyphens and underscores only")
        if f"SIG{unit.stop_signal}" not in signal.Signals.__members__:
            raise UnitError(f"unit {name}: stop_signal {unit.stop_signal!r} is no signal; write it like TERM or INT")
        if unit.probe and unit.probe.get("type") not in PROBES:
            raise UnitError(
                f"unit {name}: the probe's type is {unit.probe.get('type')!r} and not one of {', '.join(PROBES)}"
            )
        return unit

    def digest(self) -> str:
        """A hash of everything that the running process depends on: its description and its configuration files."""
        digest = hashlib.sha256(repr((list(self.argv), sorted(self.env.items()), self.cwd)).encode())
        for path in self.config_files:
            digest.update(path.encode())
            if os.path.exists(path):
                with open(path, "rb") as file:
                    digest.update(file.read())
        return digest.hexdigest()[:16]


ARGUMENT_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "argv": {"type": "list", "elements": "str", "required": True},
    "cwd": {"type": "path", "required": True},
    "env": {"type": "dict", "default": {}},
    "host": {"type": "str", "default": "127.0.0.1"},
    "ports": {"type": "list", "elements": "int", "default": []},
    "probe": {"type": "dict"},
    "data": {"type": "list", "elements": "path", "default": []},
    "config_files": {"type": "list", "elements": "path", "default": []},
    "stop_signal": {"type": "str", "default": "TERM"},
    "stop_timeout": {"type": "float", "default": 30.0},
    "ready_timeout": {"type": "float", "default": 300.0},
}
