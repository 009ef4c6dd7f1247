"""Molecule's scenarios: a role by itself, the whole pipeline on each backend, every drill on containers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from testing import BIN, ROOT
from testing.ports import free_offset

# Molecule says so and goes on, with exit status 0; so does Ansible without a host to run on.
MISSING = re.compile(r"missing=[1-9]|Missing playbook|Skipping, (?:missing|no) |no hosts matched", re.IGNORECASE)
# Its last line on a scenario of which nothing was left out.
COMPLETE = re.compile(r"^\S+ *: actions=(\d+) +successful=\1 ", re.MULTILINE)
OFTEN = "default"  # in `make test`
ON_PROCESSES = ("default", "process")
CASES = [
    pytest.param(name, marks=getattr(pytest.mark, "molecule" if name == OFTEN else "scenarios"))
    for name in sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
]


@pytest.mark.parametrize("scenario", CASES)
def test_a_scenario_runs_from_beginning_to_end(scenario: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "EVENTLOG_PORT_OFFSET": str(free_offset()),
        "EVENTLOG_BACKEND": "process" if scenario in ON_PROCESSES else "docker",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
    }
    environment.pop("ANSIBLE_CONFIG", None)  # molecule writes its own

    done = subprocess.run(
        [str(BIN / "molecule"), "--base-config", ".config/molecule/config.yml", "test", "-s", scenario],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert not MISSING.search(done.stdout), f"a playbook or a host is missing\n{done.stdout}"
    assert COMPLETE.search(done.stdout), f"something was left out\n{done.stdout}"
