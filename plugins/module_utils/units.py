"""Units: what a component role wants to have running, and the receipts that prove what became of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class UnitError(Exception):
    """An operation on a unit failed; the text says what happened, where, and shows the unit's last log lines."""


@dataclass(frozen=True)
class Unit:
    """How to run one server process, whatever the backend.

    ``probe`` is a mapping for :func:`probes.probe`; ``config_files`` are watched: when their content differs from what
    the running process was started with, a start becomes a restart. Times are in seconds.
    """

    name: str
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    ports: Sequence[int] = ()
    probe: Mapping[str, Any] | None = None
    config_files: Sequence[str] = ()
    stop_signal: str = "TERM"
    stop_timeout: float = 30.0
    ready_timeout: float = 120.0

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Unit:
        """Build a unit from a role's mapping. Raises UnitError on an unknown or a missing key."""
        try:
            return cls(**{**spec, "ports": [int(port) for port in spec.get("ports", ())]})
        except TypeError as error:
            raise UnitError(f"unit {spec.get('name', '?')}: {error}") from error

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
    "config_files": {"type": "list", "elements": "path", "default": []},
    "stop_signal": {"type": "str", "default": "TERM"},
    "stop_timeout": {"type": "float", "default": 30.0},
    "ready_timeout": {"type": "float", "default": 120.0},
}
