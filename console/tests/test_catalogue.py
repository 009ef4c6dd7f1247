"""What can be run is what the collection holds; what reaches a command line is what its argument specs allow."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from eventlog_console.catalogue import ALL_DRILLS, Catalogue, CatalogueError, Option

from .conftest import ROOT, MakeSettings

CATALOGUE = Catalogue.read(ROOT)
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
DRILLS = sorted(name for name in PLAYBOOKS if name.startswith("drill_"))


def option(playbook: str, name: str) -> Option:
    return next(found for found in CATALOGUE.playbooks[playbook].options if found.name == name)


def test_every_drill_of_the_collection_can_be_run_and_all_of_them_together() -> None:
    assert sorted(drill.name for drill in CATALOGUE.drills) == sorted([*DRILLS, ALL_DRILLS])
    assert set(CATALOGUE.playbooks) <= PLAYBOOKS


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_s_steps_are_the_tasks_of_its_playbook(name: str) -> None:
    play = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]
    rehearse = play["tasks"][0]
    wanted = [task["name"] for task in [*rehearse["block"], *rehearse["always"]]]

    steps = CATALOGUE.playbooks[name].steps

    assert [step.name for step in steps] == wanted
    assert (steps[0].kind, steps[-1].kind) == ("begin", "finish")


@pytest.mark.parametrize("name", DRILLS)
def test_a_default_is_the_one_of_the_playbook(name: str) -> None:
    play = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]

    assert option(name, "drill_hold").default == play["vars"]["drill_hold"]


def test_options_come_from_the_argument_specs() -> None:
    specs = yaml.safe_load((ROOT / "roles/flink/meta/argument_specs.yml").read_text())["argument_specs"]

    found = option("drill_flink", "flink_processes")

    assert list(found.choices) == specs["kill"]["options"]["flink_processes"]["choices"]
    assert found.common
    assert option("drill_cascade", "drill_order").choices == ("kafka,flink", "flink,kafka")
    assert not option("drill_flink", "drill_capacity").common


def test_a_drill_that_says_itself_how_it_takes_away_does_not_ask() -> None:
    names = [found.name for found in CATALOGUE.playbooks["drill_stop_resume"].options]

    assert "drill_fault" not in names
    assert "drill_fault" in [found.name for found in CATALOGUE.playbooks["drill_kafka"].options]


def test_nothing_that_names_a_file_is_an_option() -> None:
    names = {found.name for playbook in CATALOGUE.playbooks.values() for found in playbook.options}

    assert not names & {"drill_before_books", "drill_runs_dir", "drill_name", "drill_title", "drill_limits"}


@pytest.mark.parametrize(
    ("values", "tail"),
    [
        ({}, "playbooks/drill_flink.yml"),
        ({"drill_hold": 8}, "playbooks/drill_flink.yml -e drill_hold=8"),
        ({"drill_hold": 8.0}, "playbooks/drill_flink.yml -e drill_hold=8"),
        ({"drill_hold": 0.5}, "playbooks/drill_flink.yml -e drill_hold=0.5"),
        ({"drill_hold": 60}, "playbooks/drill_flink.yml"),
        ({"drill_fault": "kill"}, "playbooks/drill_flink.yml -e drill_fault=kill"),
        ({"drill_gate": False}, "playbooks/drill_flink.yml -e drill_gate=false"),
    ],
)
def test_a_command_names_what_differs_from_its_default(
    make_settings: MakeSettings, values: dict[str, Any], tail: str
) -> None:
    settings = make_settings(runs=ROOT / "runs", arguments=("-e", "pipeline_name=second"))

    command = CATALOGUE.command(settings, "drill_flink", values)

    assert shlex.join(command) == f"ansible-playbook -i inventory/local -e pipeline_name=second {tail}"


def test_runs_elsewhere_are_told_to_the_drills_only(make_settings: MakeSettings, tmp_path: Path) -> None:
    settings = make_settings(runs=tmp_path)

    assert CATALOGUE.command(settings, "drill_kafka", {})[-1] == f"drill_runs_dir={tmp_path}"
    assert not any("drill_runs_dir" in word for word in CATALOGUE.command(settings, "heal", {}))


@pytest.mark.parametrize(
    ("playbook", "values", "said"),
    [
        ("teardown", {}, "no playbook 'teardown'"),
        ("../site", {}, "no playbook '../site'"),
        ("stop", {}, "stop needs service"),
        ("stop", {"service": "sshd"}, "service is 'sshd', expected one of"),
        ("stop", {"service": "{{ lookup('pipe', 'id') }}"}, "expected one of"),
        ("drill_flink", {"drill_before_books": "/tmp/x"}, "no option drill_before_books"),
        ("drill_flink", {"drill_hold": "8"}, "drill_hold is '8', expected a number from 0 to 86400"),
        ("drill_flink", {"drill_hold": True}, "expected a number"),
        ("drill_flink", {"drill_hold": -1}, "expected a number"),
        ("drill_flink", {"drill_hold": float("nan")}, "expected a number"),
        ("drill_flink", {"drill_hold": 1e9}, "expected a number"),
        ("drill_flink", {"flink_stop_deadline": 1.5}, "expected a integer"),
        ("drill_flink", {"drill_gate": "yes"}, "expected a boolean"),
    ],
)
def test_anything_else_is_refused(
    make_settings: MakeSettings, playbook: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(CatalogueError, match=said.replace("(", r"\(").replace("{", r"\{")):
        CATALOGUE.command(make_settings(), playbook, values)
