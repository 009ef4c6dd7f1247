"""One drill on processes and on containers, side by side; DOCKER_HOST may name the engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pipeline import BIN, ROOT, Pipeline, Run, free_offset

pytestmark = pytest.mark.e2e

ENGINE = ROOT / "tools" / "engine.py"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an engine that has the image."""
    folder = tmp_path_factory.mktemp("engine") / "engine"
    where = os.environ.get("DOCKER_HOST")
    if where is None:
        start = [sys.executable, str(ENGINE), "start", str(folder)]
        started = subprocess.run(start, capture_output=True, text=True, check=False)
        assert started.returncode == 0, started.stderr
        where = started.stdout.strip().removeprefix("DOCKER_HOST=")
    try:
        subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", str(ROOT / "inventory" / "docker"), "-e", f"docker_host={where}",
             str(ROOT / "playbooks" / "docker_image.yml")],
            env=Pipeline(folder, 0).environment(), check=True, timeout=600,
        )  # fmt: skip
        yield where
    finally:
        subprocess.run([sys.executable, str(ENGINE), "stop", str(folder)], check=True)


@dataclass
class Parity:
    """Copies of the inventories, beside which their pipeline and runs are."""

    folder: Path
    engine: str
    offset: int

    def play(self, **variables: Any) -> Run:
        """Run the comparison; options are given as one would give them."""
        values = {
            "pipeline_port_offset": self.offset, "docker_image": "eventlog-base", "docker_pull": "false",
            "drill_recovery_budget": 600, **variables,
        }  # fmt: skip
        words = [word for key, value in values.items() for word in ("-e", f"{key}={value}")]
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "inventory/local", str(ROOT / "playbooks" / "parity.yml"),
             "-e", "parity_inventories=inventory/local,inventory/docker", *words],
            cwd=self.folder, env={**Pipeline(self.folder, 0).environment(), "DOCKER_HOST": self.engine},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=1500,
        )  # fmt: skip
        return Run(done.returncode, done.stdout)

    def written(self) -> dict[str, Any]:
        """The comparison for programs."""
        found: dict[str, Any] = json.loads((self.folder / "runs" / "parity" / "parity.json").read_text())
        return found


@pytest.fixture
def parity(tmp_path: Path, engine: str) -> Parity:
    for name in ("local", "docker"):
        shutil.copytree(ROOT / "inventory" / name, tmp_path / "inventory" / name)
    return Parity(tmp_path, engine, free_offset())


def test_a_drill_means_the_same_on_processes_and_containers_and_leaves_nothing(parity: Parity) -> None:
    run = parity.play()

    assert run.status == 0, run.output
    found = parity.written()
    assert found["parity"] is True
    assert [(entry["name"], entry["runtime"]) for entry in found["backends"]] == [
        ("local", "process"),
        ("docker", "docker"),
    ]
    assert all(entry["summary"]["outcome"] == "PASS" for entry in found["backends"])
    rows = {(row["group"], row["what"]): row for row in found["rows"]}
    for group, what in (
        ("fault", "flink-taskmanager stopped"),
        ("undo", "flink-jobmanager started"),
        ("outage", "lag grows"),
        ("recovery", "drained"),
    ):
        assert rows[group, what]["agrees"] is True
        assert set(rows[group, what]["cells"]) == {"local", "docker"}
    assert found["sentence"] in run.output
    for entry in found["backends"]:
        assert (parity.folder / "runs" / "parity" / entry["name"] / entry["run"] / "report.html").is_file()
    assert "The same on all" in (parity.folder / "runs" / "parity" / "parity.html").read_text()
    assert not (parity.folder / ".pipeline-parity").exists()
    left = subprocess.run(
        ["docker", "--host", parity.engine, "ps", "--all", "--quiet", "--filter", "label=eventlog.pipeline=parity"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert left.stdout == ""


def test_a_backend_that_cannot_be_provisioned_fails_with_its_reason(parity: Parity) -> None:
    with socket.create_server(("127.0.0.1", 9092 + parity.offset)):
        run = parity.play(docker_image="nosuch")

    assert run.status != 0
    found = parity.written()
    assert found["parity"] is False
    local, docker = found["problems"]
    assert local.startswith(f"local: port {9092 + parity.offset} (kafka_port) is in use by pid {os.getpid()}")
    assert docker.startswith("docker: The engine has no image nosuch.")
    assert local in run.output


def test_a_backend_that_is_not_at_hand_is_named_and_one_alone_is_no_comparison(parity: Parity) -> None:
    parity.engine = f"unix://{parity.folder}/nothing.sock"

    run = parity.play()

    assert run.status != 0
    assert f"not at hand docker: No Docker engine answers at {parity.engine}" in run.output
    assert "only local is at hand: there is nothing to compare, and nothing was drilled" in run.output
    assert not (parity.folder / "runs").exists()
    assert not (parity.folder / ".pipeline-parity").exists()
