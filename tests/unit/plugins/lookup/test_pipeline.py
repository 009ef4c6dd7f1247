"""The hosts of a play: an error wherever Ansible would succeed without having done anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.eventlog.drills.plugins.lookup import pipeline

ROOT = Path(__file__).resolve().parents[4]
GROUPS = {"all": ["one", "two", "far"], "ungrouped": [], "pipeline": ["one", "two"], "others": ["far"]}


def why(group: str = "pipeline", own: bool = True, **variables: Any) -> str:
    known = {
        "groups": GROUPS,
        "ansible_run_tags": ("all",),
        "ansible_inventory_sources": ("/etc/hosts.yml",),
        **variables,
    }
    return pipeline.nothing_to_do(group, known, DataLoader(), own=own)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"ansible_limit": "one"},
        {"ansible_limit": "pipeline:!two"},
        {"ansible_run_tags": ("untagged",)},
        {"ansible_skip_tags": ("slow",)},
    ],
)
def test_a_play_that_does_something(variables: dict[str, Any]) -> None:
    assert why(**variables) == ""


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"groups": {"all": [], "ungrouped": []}}, "no host is in the group 'pipeline' of /etc/hosts.yml."),
        ({"groups": {**GROUPS, "pipeline": []}}, "no host is in the group 'pipeline' of /etc/hosts.yml."),
        ({"ansible_limit": "far"}, "--limit far leaves no host of the group 'pipeline'"),
        ({"ansible_limit": "nohost"}, "--limit nohost leaves no host of the group 'pipeline'"),
        ({"ansible_run_tags": ("x", "y")}, "--tags x,y leaves nothing to do"),
        ({"ansible_run_tags": ("always",)}, "--tags always leaves nothing to do"),
        ({"ansible_skip_tags": ("all",)}, "--skip-tags all leaves nothing to do"),
        ({"ansible_skip_tags": ("untagged",)}, "--skip-tags untagged leaves nothing to do"),
    ],
)
def test_a_play_that_would_do_nothing(variables: dict[str, Any], text: str) -> None:
    assert why(**variables).startswith(text)


def test_a_playbook_of_somebody_s_own_may_give_tags_to_what_it_imports() -> None:
    assert why(own=False, ansible_run_tags=("x",)) == ""
    assert why(own=False, ansible_run_tags=("x",), groups={"all": []}) != ""


def test_this_machine_is_always_there_but_for_a_limit() -> None:
    assert why("localhost", groups={"all": [], "ungrouped": []}) == ""
    assert why("localhost", groups={"all": [], "ungrouped": []}, ansible_limit="far") != ""


@pytest.mark.parametrize("folder", ["playbooks", "collections/ansible_collections/eventlog/drills/playbooks"])
def test_a_playbook_of_the_checkout_brings_its_configuration_and_inventory(folder: str) -> None:
    playbooks = ROOT / folder

    assert pipeline.missing(playbooks, configuration=None, inventory="default") == {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")
    }
    assert pipeline.missing(playbooks, configuration="/etc/ansible/ansible.cfg", inventory="default") == {
        "ANSIBLE_INVENTORY": str(ROOT / "inventory" / "local")
    }
    assert (
        pipeline.missing(playbooks, configuration="/etc/ansible/ansible.cfg", inventory="/etc/ansible/ansible.cfg")
        == {}
    )


def test_a_playbook_of_somebody_s_own_is_run_as_it_was_started(tmp_path: Path) -> None:
    assert pipeline.missing(tmp_path, configuration=None, inventory="default") == {}
