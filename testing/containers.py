"""A Docker engine of the tests' own, and a pipeline on its containers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing import BIN, ROOT
from testing.pipeline import Pipeline
from testing.ports import free_offset
from testing.trees import environment

INVENTORY = ROOT / "inventory" / "docker"
#: Of the image that is built from Debian's packages.
IMAGE = {"docker_image": "eventlog-base", "docker_pull": False}


@dataclass
class Containers(Pipeline):
    """A pipeline on containers; what is looked at from outside as a process has no meaning here."""

    engine: str = ""
    inventory: Path = INVENTORY

    def variables(self) -> dict[str, Any]:
        """What makes a playbook mean this pipeline."""
        return {
            "pipeline_name": self.name,
            "pipeline_port_offset": self.offset,
            "drill_runs_dir": str(self.runs),
            "docker_host": self.engine,
            **IMAGE,
        }

    def docker(self, *words: str) -> str:
        """What the engine's client prints."""
        command = ["docker", "--host", self.engine, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def containers(self) -> list[str]:
        """Names of all its containers, whether they run or not."""
        words = ("ps", "--all", "--format", "{{.Names}}", "--filter", f"label=eventlog.pipeline={self.name}")
        return sorted(self.docker(*words).split())

    def evidence(self) -> str:
        """The last lines of every container's log."""
        return "\n".join(f"--- {name}\n{self.docker('logs', '--tail', '30', name)}" for name in self.containers())


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an engine that has the image: one of the tests' own, unless DOCKER_HOST names one."""
    folder = tmp_path_factory.mktemp("engine") / "engine"
    program = [sys.executable, str(ROOT / "tools" / "engine.py")]
    where = os.environ.get("DOCKER_HOST")
    if where is None:
        started = subprocess.run([*program, "start", str(folder)], capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        where = started.stdout.strip().removeprefix("DOCKER_HOST=")
    try:
        build = [str(BIN / "ansible-playbook"), "-i", str(INVENTORY), "-e", f"docker_host={where}"]
        subprocess.run(
            [*build, str(ROOT / "playbooks" / "docker_image.yml")], env=environment(), check=True, timeout=600
        )
        yield where
    finally:
        subprocess.run([*program, "stop", str(folder)], check=True)


@pytest.fixture(scope="session")
def containers(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A provisioned pipeline on containers; none of it is left at the end."""
    found = Containers(tmp_path_factory.mktemp("containers"), free_offset(), name="containers", engine=engine)
    try:
        found.play("site", seconds=1200)
        yield found
    finally:
        found.play("teardown", teardown_purge=True, drill_force=True, expect=None)
    assert found.containers() == []
