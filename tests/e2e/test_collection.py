"""The tarball of the collection, in an empty path and an environment of its own, away from any checkout."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from testing import BIN, ROOT
from testing.pipeline import Pipeline

pytestmark = pytest.mark.collection

OTHER = "3.12" if sys.version_info[:2] == (3, 11) else "3.11"
# Both pairs that the collection claims to run on; the second Python comes from outside.
PYTHONS = [
    pytest.param("", id="this"),
    pytest.param(OTHER, id=OTHER),
]
COUNTS = """
- hosts: pipeline
  gather_facts: false
  module_defaults:
    group/eventlog.drills.pipeline: {config: "{{ pipeline_root }}/etc/pipeline.toml"}
  tasks:
    - ansible.builtin.include_role: {name: eventlog.drills.distribution, public: true}
    - eventlog.drills.pipeline_counts:
      environment: {PYTHONPATH: "{{ pipeline_pythonpath }}"}
      register: found
    - ansible.builtin.assert: {that: found.counts.kafka.reachable}
"""


def python(version: str) -> str:
    """The Python of that version, by default the tests' own."""
    if not version:
        return sys.executable
    found = os.environ.get("EVENTLOG_OTHER_PYTHON", f"python{version}")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    assert said.startswith(f"Python {version}."), (
        f"this needs a Python {version}, and {found} is none: install one, or name it in EVENTLOG_OTHER_PYTHON"
    )
    return found


@dataclass
class Installed:
    """The collection as a user has it, an environment made by its requirements.txt, and an inventory of his own."""

    bin: Path
    collections: Path
    folder: Path
    inventory: Path

    def run(self, program: str, *words: str, seconds: float = 900) -> str:
        """What a program of the environment prints; fails with it when its status is not 0."""
        done = subprocess.run(
            [str(self.bin / program), *words], cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def play(self, playbook: str, **variables: object) -> str:
        """Run a playbook of the collection."""
        return self.run("ansible-playbook", "-i", str(self.inventory), playbook, "-e", json.dumps(variables))

    def environment(self) -> dict[str, str]:
        """Nothing of the checkout's, and no server to install from."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
        return {
            **kept,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_GALAXY_SERVER": "http://127.0.0.1:9",
            "ANSIBLE_NOCOLOR": "1",
        }

    def files(self) -> dict[str, str]:
        """Checksum by path of every file below the collections, but for what Python compiles."""
        return {
            str(path.relative_to(self.collections)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.collections.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }


def install(pipeline: Pipeline, version: str) -> Installed:
    """Build, install and describe a pipeline, as docs/collection.md says."""
    folder = pipeline.folder
    found = Installed(folder / "venv" / "bin", folder / "collections", folder / "elsewhere", folder / "hosts.yml")
    found.folder.mkdir()
    built = folder / "built"
    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(built)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run([python(version), "-m", "venv", "--without-pip", str(found.bin.parent)], check=True)
    (tarball,) = built.iterdir()
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-xzf", str(tarball), "-C", str(unpacked), "requirements.txt"], check=True)
    uv = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", str(found.bin / "python")]
    subprocess.run([*uv, "--requirements", str(unpacked / "requirements.txt")], check=True)
    found.run("ansible-galaxy", "collection", "install", str(tarball), "--no-deps", "-p", str(found.collections))
    host = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    variables = {"pipeline_root": str(pipeline.root), "pipeline_port_offset": pipeline.offset}
    found.inventory.write_text(yaml.safe_dump({"pipeline": {"hosts": {"localhost": host}, "vars": variables}}))
    return found


@pytest.mark.parametrize("version", PYTHONS)
def test_the_installed_collection_provisions_drills_and_leaves_nothing(cold: Pipeline, version: str) -> None:
    installed = install(cold, version)
    before = installed.files()

    installed.run("python", str(ROOT / "tools" / "documentation.py"))
    provisioned = installed.play("eventlog.drills.site")
    drilled = installed.play("eventlog.drills.drill_flink", drill_hold=8)

    # Runs are where it was started.
    verdict = json.loads((installed.folder / "runs" / "latest" / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["drill"]) == ("PASS", "flink"), drilled
    assert "last drill          flink PASS" in installed.play("eventlog.drills.status")
    (installed.folder / "counts.yml").write_text(COUNTS)
    installed.play("counts.yml")
    for printed in (provisioned, drilled):
        assert "[WARNING]" not in printed
        assert "[DEPRECATION WARNING]" not in printed
    cold.drained(60)
    sent = {(record["source"], record["seq"]) for record in cold.topic()}
    assert sent
    assert sent == cold.rows().keys()

    installed.play("eventlog.drills.teardown", teardown_purge=True)
    assert not cold.root.exists()
    assert cold.processes() == []
    assert installed.files() == before
