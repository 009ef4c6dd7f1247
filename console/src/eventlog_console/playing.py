"""Run one command line of ``ansible-playbook`` through ansible-runner, as by hand in the checkout but for a log."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_runner.interface import init_command_config

from eventlog_console.settings import ansible_playbook

LOOK_SECONDS = 0.5  # between two looks at whether to go on
#: Whatever ends the process that plays ends the playbook with it: the kernel sees to it, also after a SIGKILL. A
#: playbook that went on alone would work on a pipeline that everybody believes to be free; what a drill took away its
#: own lease gives back.
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def play(
    command: Sequence[str],
    *,
    root: Path,
    folder: Path,
    name: str,
    stop: Callable[[], bool] | None = None,
    events: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[str, int]:
    """Run a playbook to its end.

    :param command: as it is shown; its first word is ``ansible-playbook``.
    :param root: the checkout, where it is run.
    :param folder: ansible-runner's own; what is printed goes to :func:`log` as it comes.
    :param name: of this command within the folder.
    :param stop: asked about twice a second; true kills the playbook.
    :param events: called with ansible-runner's events; without it Ansible does not write them down at all.
    :returns: ansible-runner's status (``successful``, ``failed`` or ``canceled``) and the exit status.
    """
    _write_settings(folder)
    runner = init_command_config(
        _DIE_WITH_US[0],
        [*_DIE_WITH_US[1:], str(ansible_playbook()), *command[1:]],
        host_cwd=str(root),
        private_data_dir=str(folder),
        ident=name,
        quiet=True,
        envvars=_environment(root) | ({} if events else {"RUNNER_OMIT_EVENTS": "true"}),
        event_handler=lambda event: bool(events and events(event)),  # false: not to be kept in files
        cancel_callback=stop,
    )
    status, rc = runner.run()
    return str(status), int(rc)


def log(folder: Path, name: str) -> Path:
    """The file of what a command printed."""
    return folder / "artifacts" / name / "stdout"


def _write_settings(folder: Path) -> None:
    # The only way in which ansible-runner takes these: given as arguments they are dropped when there is no such file.
    (folder / "env").mkdir(mode=0o700, exist_ok=True)
    (folder / "env" / "settings").write_text(json.dumps({"pexpect_timeout": LOOK_SECONDS}), encoding="utf-8")


def _environment(root: Path) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "eventlog.drills.drill",
        "ANSIBLE_NOCOLOR": "1",
        "TERM": "dumb",  # no line that is written over
        # ansible-runner turns the check off unless the environment says otherwise.
        "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING", "True"),
    }
