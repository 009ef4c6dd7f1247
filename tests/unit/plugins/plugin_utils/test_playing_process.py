"""Playbooks played on other inventories: real ones, as commands of their own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils.playing import Player, PlayError

pytestmark = pytest.mark.programs

LOCAL = "hosts: {localhost: {ansible_connection: local, ansible_python_interpreter: '{{ ansible_playbook_python }}'}}"


def inventory(folder: Path, content: str) -> Path:
    path = folder / "hosts.yml"
    path.write_text(content)
    return path


def test_a_playbook_that_succeeds_gives_no_reason(tmp_path: Path) -> None:
    lines: list[str] = []

    assert Player(inventory(tmp_path, f"pipeline: {{{LOCAL}}}"), [], lines.append).play("reach") == ""

    assert lines[0] == "Reach what the pipeline runs on"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("pipeline: {hosts: {far: {ansible_host: 127.0.0.1, ansible_port: 1}}}", r"^far: .*[Cc]onnection refused"),
        (f"pipeline: {{{LOCAL}, vars: {{pipeline_root: 7, pipeline_runtime: magic}}}}", r"magic"),
    ],
)
def test_a_failure_on_a_host_is_its_reason(tmp_path: Path, content: str, reason: str) -> None:
    found = Player(inventory(tmp_path, content), [], lambda _: None).play("reach")

    assert re.search(reason, found), found


@pytest.mark.parametrize(
    ("content", "playbook", "reason"),
    [
        (f"others: {{{LOCAL}}}", "reach", "no host is in the group 'pipeline' of"),
        ("pipeline: [", "reach", "parse inventory source"),
        (f"pipeline: {{{LOCAL}}}", "drill_thunder", "eventlog.drills.drill_thunder could not be found"),
    ],
)
def test_what_gets_to_no_host_is_a_mistake(tmp_path: Path, content: str, playbook: str, reason: str) -> None:
    with pytest.raises(PlayError, match=reason):
        Player(inventory(tmp_path, content), [], lambda _: None).play(playbook)
