"""One run at a time, whoever asks and whatever dies, with real playbooks in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventlog_console.jobs import BusyError, Job, Jobs

from testing.waiting import wait_until

from .conftest import ROOT

pytestmark = pytest.mark.programs

PLAY = """\
- hosts: all
  gather_facts: false
  connection: local
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - name: Say who it is
      ansible.builtin.debug: {msg: "here is MARK"}
    - name: Take its time
      ansible.builtin.command: sleep SECONDS
      changed_when: false
"""


def alive(mark: str) -> list[int]:
    """Pids of the playbooks with a mark in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in words and b"ansible-playbook" in words:
                found.append(int(entry.name))
    return found


class Stage:
    """Playbooks to run, and the jobs that run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = Jobs(folder / "state")

    def command(self, mark: str, seconds: float) -> list[str]:
        path = self.folder / f"{mark}.yml"
        path.write_text(PLAY.replace("MARK", mark).replace("SECONDS", str(seconds)))
        return ["ansible-playbook", "-i", "localhost,", "-e", f"mark={mark}-{self.folder.name}", str(path)]

    def asked(self, mark: str, seconds: float, heal: list[str] | None = None) -> dict[str, Any]:
        return {
            "playbook": mark,
            "title": f"Play {mark}",
            "drill": "",
            "command": self.command(mark, seconds),
            "heal": heal,
            "root": str(ROOT),
        }

    def start(self, mark: str, seconds: float, heal: list[str] | None = None) -> Job:
        return self.jobs.start(self.asked(mark, seconds, heal))

    def playing(self, mark: str) -> list[int]:
        return alive(f"mark={mark}-{self.folder.name}")

    def keeper(self, job: Job) -> int:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if b"eventlog_console.keeper" in words and str(job.path).encode() in words:
                    return int(entry.name)
        raise AssertionError("no keeper")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'console' / 'src'}:{ROOT / 'collections'}")
    found = Stage(tmp_path)
    yield found
    job = found.jobs.cancel()
    if job is not None:
        wait_until(lambda: job.outcome, 60, "the run ends")
        assert alive(f"-{tmp_path.name}") == [], "Ansible's workers, in sessions of their own, ended too"


def test_a_job_ends_with_its_status_and_its_log(stage: Stage) -> None:
    job = stage.start("short", 0)

    outcome = wait_until(lambda: job.outcome, 60, "the run ends")

    assert (outcome["status"], outcome["rc"]) == ("successful", 0)
    log = job.logs[0].read_text()
    assert "here is short" in log
    assert "\x1b" not in log
    assert stage.jobs.running() is None


def test_a_playbook_that_fails_is_a_failed_job(stage: Stage) -> None:
    asked = stage.asked("wrong", 0)
    (stage.folder / "wrong.yml").write_text("- hosts: all\n  gather_facts: nonsense\n")

    job = stage.jobs.start(asked)
    outcome = wait_until(lambda: job.outcome, 60, "the run ends")

    assert outcome["status"] == "failed"
    assert outcome["rc"] != 0


def test_a_second_job_is_refused_here_and_in_another_process(stage: Stage) -> None:
    first = stage.start("long", 60)

    with pytest.raises(BusyError, match="Play long runs"):
        stage.start("second", 0)
    code = (
        "import sys\nfrom pathlib import Path\nfrom eventlog_console.jobs import BusyError, Jobs\n"
        "try:\n    Jobs(Path(sys.argv[1])).start({'playbook': 'x'})\n"
        "except BusyError as error:\n    print('refused:', error)\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(stage.folder / "state")], capture_output=True, text=True, check=False
    )

    assert other.stdout.startswith("refused: Play long runs"), other.stderr
    assert [job.name for job in stage.jobs.all()] == [first.name]
    assert stage.jobs.running() == first


def test_of_many_who_ask_at_once_one_is_served(stage: Stage) -> None:
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom eventlog_console.jobs import BusyError, Jobs\n"
        "try:\n    print(Jobs(Path(sys.argv[1])).start(json.loads(sys.argv[2])).name)\nexcept BusyError:\n    pass\n"
    )
    asked = json.dumps(stage.asked("race", 20))
    words = [sys.executable, "-c", code, str(stage.folder / "state"), asked]
    racers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    served = [out for racer in racers if (out := racer.communicate()[0].strip())]

    assert len(served) == 1
    assert [job.name for job in stage.jobs.all()] == served


def test_cancelling_kills_the_playbook_and_heals(stage: Stage) -> None:
    job = stage.start("drill", 60, heal=stage.command("healing", 0))
    wait_until(lambda: stage.playing("drill"), 60, "it plays")

    stage.jobs.cancel()

    outcome = wait_until(lambda: job.outcome, 60, "the run ends")
    assert (outcome["status"], outcome["rc"]) == ("canceled", 0)
    assert stage.playing("drill") == []
    assert "here is healing" in job.logs[1].read_text()


def test_a_keeper_that_is_told_to_end_heals_too(stage: Stage) -> None:
    job = stage.start("drill", 60, heal=stage.command("healing", 0))
    wait_until(lambda: stage.playing("drill"), 60, "it plays")

    os.kill(stage.keeper(job), signal.SIGTERM)

    assert wait_until(lambda: job.outcome, 60, "the run ends")["status"] == "canceled"
    assert "here is healing" in job.logs[1].read_text()


def test_a_killed_keeper_takes_its_playbook_with_it_and_is_noted_as_lost(stage: Stage) -> None:
    job = stage.start("orphan", 60)
    wait_until(lambda: stage.playing("orphan"), 60, "it plays")

    os.kill(stage.keeper(job), signal.SIGKILL)

    wait_until(lambda: not stage.playing("orphan"), 60, "it has ended")
    assert wait_until(lambda: stage.jobs.running() is None, 60, "nothing runs")
    assert job.outcome is not None
    assert job.outcome["status"] == "lost"
    next_one = stage.start("next", 0)
    assert wait_until(lambda: next_one.outcome, 60, "the run ends")["status"] == "successful"


def test_whoever_started_it_may_die(stage: Stage) -> None:
    code = (
        "import json, os, signal, sys\nfrom pathlib import Path\nfrom eventlog_console.jobs import Jobs\n"
        "Jobs(Path(sys.argv[1])).start(json.loads(sys.argv[2]))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    asked = json.dumps(stage.asked("survivor", 3))
    died = subprocess.run([sys.executable, "-c", code, str(stage.folder / "state"), asked], check=False)
    assert died.returncode == -signal.SIGKILL

    job = stage.jobs.running()

    assert job is not None
    assert wait_until(lambda: job.outcome, 60, "the run ends")["status"] == "successful"
