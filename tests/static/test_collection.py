"""What makes the checkout a collection: its tarball, its action groups, its requirements, its execution environment."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
FILES = {"README.md", "CHANGELOG.md", "requirements.txt", "bindep.txt"}
FOLDERS = {"docs", "flink_job", "inventory", "meta", "playbooks", "plugins", "producer", "roles"}
# What lies about in a checkout that is used and worked on.
JUNK = (
    ".venv/bin/python",
    ".pipeline/data/kafka/log",
    ".pipeline-selftest/etc/pipeline.toml",
    ".hypothesis/example",
    ".cache/tree",
    "runs/latest/verdict.json",
    "context/Dockerfile",
    "molecule/.cache/state",
    "plugins/modules/__pycache__/books.cpython-311.pyc",
    "producer/src/eventlog.egg-info/PKG-INFO",
    "producer/.pytest_cache/CACHEDIR.TAG",
    "eventlog-drills-0.0.1.tar.gz",
    "eventlog-drills.tar.gz",
)


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def sources() -> list[str]:
    """The files of the checkout that are, or will be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def test_the_tarball_holds_what_provisions_and_drills_and_nothing_else(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in sources():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, checkout / name, follow_symlinks=False)
    for name in JUNK:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("junk")

    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(tmp_path)],
        cwd=checkout, check=True, capture_output=True,
    )  # fmt: skip

    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as tarball:
        packed = {member.name for member in tarball if not member.isdir()}
    wanted = {
        name for name in sources() if name in FILES or (name.partition("/")[0] in FOLDERS and "/tests/" not in name)
    }
    assert packed == wanted | {"MANIFEST.json", "FILES.json"}


def test_an_action_group_is_of_modules_that_have_options_in_common() -> None:
    groups: dict[str, list[str]] = load("meta/runtime.yml")["action_groups"]
    documented = {
        path.stem: importlib.import_module(f"ansible_collections.eventlog.drills.plugins.modules.{path.stem}")
        for path in (ROOT / "plugins" / "modules").glob("*.py")
    }

    def options(name: str) -> set[str]:
        found = yaml.safe_load(documented[name].DOCUMENTATION)
        fragments = found.get("extends_documentation_fragment", [])
        return {*found["options"], *(["config"] if "eventlog.drills.pipeline" in fragments else [])}

    for name, members in groups.items():
        assert members == sorted(members), name
        assert set.intersection(*(options(member) for member in members)) - {"state"}, name
    readers = {name for name in documented if "config" in options(name) and name != "drill"}
    assert set(groups["pipeline"]) == readers
    for group in ("process", "docker"):
        assert set(groups[group]) == {name for name in documented if name.startswith(f"{group}_")}


def test_the_controller_s_lock_is_what_the_collection_asks_for() -> None:
    asked = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "requirements" / "controller.txt").read_text(), re.M))

    assert {requirement.name for requirement in asked} == {"ansible-core", "jgo", "uv"}
    for requirement in asked:
        assert requirement.specifier.contains(locked[requirement.name]), requirement
    core = next(requirement for requirement in asked if requirement.name == "ansible-core")
    claimed = Requirement(f"ansible-core{load('meta/runtime.yml')['requires_ansible']}")
    for version in ("2.18.9", "2.19.0", "2.21.5", "2.22.0"):
        assert core.specifier.contains(version) is claimed.specifier.contains(version), version


def test_the_execution_environment_s_context_has_the_collection_and_what_it_asks_for(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "execution-environment.yml", tmp_path)
    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    next(tmp_path.glob("*.tar.gz")).rename(tmp_path / "eventlog-drills.tar.gz")

    run = subprocess.run(
        [str(BIN / "ansible-builder"), "create", "--output-filename", "Containerfile"],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    context = tmp_path / "context" / "_build"
    wanted = yaml.safe_load((context / "requirements.yml").read_text())["collections"]
    assert [entry["name"] for entry in wanted] == ["community.docker", "collection/eventlog-drills.tar.gz"]
    assert tarfile.is_tarfile(context / wanted[1]["name"])
    assert (context / "requirements.txt").read_text().split() == ["requests"]
    # What the image is given of the collection is what this program, which runs in it, finds in the installed one.
    collections = tmp_path / "installed"
    subprocess.run(
        [str(BIN / "ansible-galaxy"), "collection", "install", "--no-deps", "--force", "-p", str(collections),
         str(tmp_path / "eventlog-drills.tar.gz")],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    for kind, needed in (("pip", {"jgo", "uv"}), ("bindep", {"openssh-client", "openssh-clients"})):
        subprocess.run(
            [sys.executable, str(context / "scripts" / "introspect.py"), "introspect", f"--write-{kind}",
             str(tmp_path / kind), str(collections)],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
        found = {re.split(r"[\s<>=]", line)[0] for line in (tmp_path / kind).read_text().splitlines()}
        assert found - {"", "#"} == needed


@pytest.mark.parametrize("playbook", sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml")))
def test_a_playbook_imports_others_by_their_full_name(playbook: str) -> None:
    """A path would be looked for beside the user's playbook that imports ours."""
    for play in load(f"playbooks/{playbook}.yml"):
        imported = play.get("ansible.builtin.import_playbook", "eventlog.drills.")
        assert imported.startswith("eventlog.drills."), imported
