"""A whole drill on this machine against the stand-in pipeline: real processes, real files, no server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import closing, opening, usage
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host
from ansible_collections.eventlog.drills.plugins.plugin_utils.opening import Opening
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Verdict

INTERVAL = 0.05
CONFIG = """
[pipeline]
root = "{root}"
[event]
bytes = 1024
[kafka]
topic = "events"
[kafka.client]
"sasl.password" = "hush"
[producer]
rate = 100.0
spool_limit_bytes = {limit}
"""


def local() -> Host:
    """This machine, through a shell of its own for every command."""

    def execute(script: str) -> Mapping[str, Any]:
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    return Host(execute)


class Stage:
    """A pipeline that does as it is told, and what a drill said about it."""

    def __init__(self, path: Path, *, spool_limit: int = 2**31) -> None:
        self.path = path
        self.said: list[str] = []
        self.host = local()
        (path / "etc").mkdir()
        (path / "data" / "kafka").mkdir(parents=True)
        (path / "data" / "cassandra").mkdir()
        self.config = path / "etc" / "pipeline.toml"
        self.config.write_text(CONFIG.format(root=path, limit=spool_limit))
        self.scene()

    def scene(self, *away: str, **more: Any) -> None:
        """Set the scene: who is away, and what the books will say."""
        fresh = self.path / "etc" / ".scene"
        fresh.write_text(json.dumps({"away": away, **more}))
        fresh.replace(self.path / "etc" / "scene.json")

    def announced(self) -> list[dict[str, Any] | None]:
        """What the monitor was told, in order of its times; None for what made it forget."""
        path = self.path / "etc" / "announced.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        told: list[dict[str, Any] | None] = [json.loads(line) if line else None for line in lines]
        return sorted(told, key=lambda known: float(known["time"]) if known else float("inf"))

    def options(self, **changes: Any) -> Opening:
        values: dict[str, Any] = {
            "drill": "flink",
            "title": "Drill 2 · Flink stops",
            "runs": self.path / "runs",
            "folder": str(self.path / "drill"),
            "config": str(self.config),
            "root": str(self.path),
            "python": sys.executable,
            "pythonpath": str(Path(__file__).parent / "stand_in"),
            "host_name": "localhost",
            "interval": INTERVAL,
            "steady_within": 10.0,
            "away": {"flink": 2.0},
            "budget": 10.0,
            "patience": 10.0,
            "settings": {"hold": 2},
            "settings_script": 'print(\'{"kafka broker.session.timeout.ms": "2000"}\')',
        }
        return Opening(**{**values, **changes})

    def begin(self, **changes: Any) -> Rehearsal:
        rehearsal = opening.begin(self.options(**changes), self.host, self.said.append)
        usage.measure_disk(rehearsal, flushed=True)
        opening.find_steady(rehearsal)
        return rehearsal

    def finish(self, rehearsal: Rehearsal, **limits: int) -> Verdict:
        closing.settle(rehearsal, budget=10.0)
        usage.measure_disk(rehearsal, flushed=True)
        closing.pass_window(rehearsal)
        closing.close_books(rehearsal, limits)
        return closing.conclude(rehearsal, self.path / "runs")


def receipt(verb: str, **changes: Any) -> dict[str, Any]:
    """A receipt of Flink's job manager, of this moment."""
    away = verb in ("stopped", "killed")
    member = {"pid": 4711 if away else 4799, "pgid": 4711, "start_time": 1, "state": "S", "cmdline": "java"}
    proof = {
        "unit": "flink-jobmanager",
        "verb": verb,
        "time": time.time(),
        "seconds": 0.0,
        "before": [member] if away else [],
        "after": [] if away else [member],
        "ports": {"8081": {"before": away, "after": not away}},
        "answers": {"before": away, "after": not away},
        "gone": away,
        "milestones": {} if away else {"process": 0.01, "port": 0.02, "ready": 0.03},
    }
    return {**proof, **changes}
