"""Drills on containers, what only containers have, and the comparison of backends."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing import BIN, ROOT
from testing.containers import IMAGE, Containers
from testing.pipeline import Pipeline, Run, run
from testing.ports import free_offset
from testing.trees import environment

HOLD = 6
CUT_HOLD = 15  # longer than a request of the sink may take: one that is answered in time is not sent again
VERIFY = str(ROOT / "molecule" / "shared" / "verify.yml")


@pytest.mark.docker
def test_a_second_run_changes_nothing(containers: Containers) -> None:
    assert containers.play("site").changed == 0


@pytest.mark.docker
def test_a_server_off_its_network_loses_nothing(containers: Containers) -> None:
    drilled = containers.play("drill_cassandra", expect=None, drill_fault="cut", drill_hold=CUT_HOLD)

    assert containers.verdict()["verdict"] == "PASS", drilled.output
    assert "lost 0" in drilled.output
    containers.play(VERIFY)


@pytest.mark.docker
def test_a_container_that_somebody_removed_comes_back_with_its_data(containers: Containers) -> None:
    before = containers.containers()
    containers.docker("rm", "--force", "eventlog-containers-kafka")
    assert containers.containers() != before

    containers.play("site")

    assert containers.containers() == before
    containers.play(VERIFY)


@pytest.mark.docker
def test_journals_of_a_drill_on_processes_and_on_containers_are_compared(
    containers: Containers, spoilable: Pipeline, tmp_path: Path
) -> None:
    folders = []
    for pipeline in (spoilable, containers):
        drilled = pipeline.play("drill_producer", expect=None, drill_hold=HOLD)
        assert pipeline.verdict()["verdict"] == "PASS", drilled.output
        folders.append(str((pipeline.runs / "latest").resolve()))

    compared = spoilable.play("parity", parity_runs=",".join(folders), drill_runs_dir=str(tmp_path))

    check(json.loads((tmp_path / "parity" / "parity.json").read_text()), compared, ["process", "docker"])
    assert "The same on all" in (tmp_path / "parity" / "parity.html").read_text()


@pytest.mark.docker
def test_a_journal_that_cannot_be_compared_is_named(spoilable: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    compared = spoilable.play("parity", expect=1, parity_runs=f"{tmp_path}/empty,{tmp_path}/nothing")

    said = f"there is no journal of a drill in {tmp_path}/empty and {tmp_path}/nothing: name the folders of runs"
    assert said in " ".join(compared.output.split())


def check(found: dict[str, Any], compared: Run, names: list[str]) -> None:
    """A comparison of two drills says that they are the same, and of what."""
    assert found["parity"] is True
    assert [entry["name"] for entry in found["backends"]] == names
    assert [entry["runtime"] for entry in found["backends"]] == ["process", "docker"]
    assert all(entry["summary"]["outcome"] == "PASS" for entry in found["backends"])
    rows = [row for row in found["rows"] if row["group"] not in ("", "books", "time")]
    assert {"fault", "undo", "recovery"} < {row["group"] for row in rows}, "and what was expected in each phase"
    for row in rows:
        assert row["agrees"] is True
        assert list(row["cells"]) == names
    assert found["sentence"] in compared.output


# -- the comparison with runs of its own -------------------------------------------------------------------------------


@dataclass
class Parity:
    """Copies of the inventories, beside which their pipeline and runs are."""

    folder: Path
    engine: str
    offset: int

    def play(self, **variables: Any) -> Run:
        """Run the comparison; options are given as one would give them."""
        values = {"pipeline_port_offset": self.offset, **IMAGE, **variables}
        words = [word for key, value in values.items() for word in ("-e", f"{key}={value}")]
        command = [
            str(BIN / "ansible-playbook"), "-i", "inventory/local", str(ROOT / "playbooks" / "parity.yml"),
            "-e", "parity_inventories=inventory/local,inventory/docker", *words,
        ]  # fmt: skip
        return run(command, self.folder, None, 1500, {**environment(), "DOCKER_HOST": self.engine})

    def written(self) -> dict[str, Any]:
        """The comparison for programs."""
        found: dict[str, Any] = json.loads((self.folder / "runs" / "parity" / "parity.json").read_text())
        return found


@pytest.fixture
def parity(tmp_path: Path, engine: str) -> Parity:
    for name in ("local", "docker"):
        shutil.copytree(ROOT / "inventory" / name, tmp_path / "inventory" / name)
    return Parity(tmp_path, engine, free_offset())


@pytest.mark.parity
def test_a_drill_means_the_same_on_processes_and_containers_and_leaves_nothing(parity: Parity) -> None:
    compared = parity.play()

    assert compared.status == 0, compared.output
    found = parity.written()
    check(found, compared, ["local", "docker"])
    for entry in found["backends"]:
        assert (parity.folder / "runs" / "parity" / entry["name"] / entry["run"] / "report.html").is_file()
    assert not (parity.folder / ".pipeline-parity").exists()
    assert Containers(parity.folder, parity.offset, name="parity", engine=parity.engine).containers() == []


@pytest.mark.parity
def test_a_backend_that_cannot_be_provisioned_fails_with_its_reason(parity: Parity) -> None:
    with socket.create_server(("127.0.0.1", 9092 + parity.offset)):
        compared = parity.play(docker_image="nosuch")

    assert compared.status != 0
    found = parity.written()
    assert found["parity"] is False
    local, docker = found["problems"]
    assert local.startswith(f"local: port {9092 + parity.offset} (kafka_port) is in use by pid {os.getpid()}")
    assert docker.startswith("docker: The engine has no image nosuch.")
    assert local in compared.output


@pytest.mark.parity
def test_a_backend_that_is_not_at_hand_is_named_and_one_alone_is_no_comparison(parity: Parity) -> None:
    parity.engine = f"unix://{parity.folder}/nothing.sock"

    compared = parity.play()

    assert compared.status != 0
    assert f"not at hand docker: No Docker engine answers at {parity.engine}" in compared.output
    assert "only local is at hand: there is nothing to compare, and nothing was drilled" in compared.output
    assert not (parity.folder / "runs").exists()
    assert not (parity.folder / ".pipeline-parity").exists()
