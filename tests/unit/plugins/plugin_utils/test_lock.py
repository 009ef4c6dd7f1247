"""The lock: real shells that race for it, and who counts as gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import healing, lock
from ansible_collections.eventlog.drills.plugins.plugin_utils.lock import Lock, held
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import RehearsalError

from .stage import local

RACERS = 12


def race(scripts: Sequence[str]) -> list[str]:
    """Run all scripts at once, each in a shell of its own; returns what each printed."""
    shells = [
        subprocess.Popen(
            ["/bin/sh", "-c", f"read go\n{script}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for script in scripts
    ]
    with ThreadPoolExecutor(len(shells)) as pool:
        return list(pool.map(lambda shell: shell.communicate("go\n", timeout=30)[0], shells))


def on_disk(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "lock.json").read_text())
    return found


def gone(**changes: Any) -> dict[str, Any]:
    """A holder that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return {**lock.holder("flink"), "pid": ended.pid, **changes}


@pytest.fixture
def free(tmp_path: Path) -> Lock:
    return Lock(str(tmp_path / "drill"))


def test_of_many_that_take_it_at_once_one_gets_it_and_the_others_read_its_name(free: Lock) -> None:
    holders = [lock.holder(f"drill-{number}") for number in range(RACERS)]

    said = race([free.take_script(holder, then="echo MINE") for holder in holders])

    (winner,) = [number for number, text in enumerate(said) if text == "MINE\n"]
    losers = [held(text) for number, text in enumerate(said) if number != winner]
    assert [other and other["drill"] for other in losers] == [f"drill-{winner}"] * (RACERS - 1)
    assert on_disk(Path(free.folder))["id"] == holders[winner]["id"]


def test_of_many_that_take_over_what_was_left_one_succeeds(free: Lock) -> None:
    left = gone()
    local().run(free.take_script(left))
    holders = [lock.holder(f"drill-{number}") for number in range(RACERS)]

    said = race([free.replace_script(left["id"], holder) for holder in holders])

    (winner,) = [number for number, text in enumerate(said) if text == "TAKEN\n"]
    assert on_disk(Path(free.folder))["id"] == holders[winner]["id"]


def test_whoever_was_taken_over_gives_back_nothing_of_its_successor_s(free: Lock) -> None:
    first, second = lock.holder("first"), lock.holder("second")
    local().run(free.take_script(first))
    assert free.take_over(local(), first, second)
    lease = Path(free.folder) / "lease"
    lease.touch()

    assert not free.release(local(), first["id"])
    assert (on_disk(Path(free.folder))["id"], lease.exists()) == (second["id"], True)
    assert free.release(local(), second["id"])
    assert (free.look(local()), lease.exists()) == (None, False)


def test_a_release_races_with_take_overs_and_one_of_them_wins(free: Lock) -> None:
    for _ in range(5):
        mine, next_one = lock.holder("mine"), lock.holder("next")
        local().run(free.take_script(mine))

        released, taken = race([free.release_script(mine["id"]), free.replace_script(mine["id"], next_one)])

        assert (released == "RELEASED\n") is not (taken == "TAKEN\n")
        assert free.look(local()) is None or free.release(local(), next_one["id"])


def test_two_that_heal_at_once_do_not_both_heal(free: Lock) -> None:
    local().run(free.take_script(gone(run="/runs/one")))

    def take_over(_: int) -> str:
        try:
            found = healing.take_over(local(), free.folder)
        except RehearsalError as error:
            return str(error)
        return str(found and found["run"])

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(take_over, range(4)))

    assert said.count("/runs/one") == 1
    assert sum(text.startswith("the healing of drill flink (pid ") for text in said) == 3


def test_what_a_killed_healer_leaves_is_healed_by_the_next(free: Lock) -> None:
    local().run(free.take_script(gone(run="/runs/one", heals=True)))

    found = healing.take_over(local(), free.folder)

    assert found is not None
    assert (found["drill"], found["run"], found["pid"]) == ("flink", "/runs/one", os.getppid())


def test_a_lock_that_is_no_holder_s_can_be_healed(free: Lock) -> None:
    Path(free.folder).mkdir()
    Path(free.path).write_text("")

    assert lock.is_gone(free.look(local()) or {})
    assert healing.take_over(local(), free.folder) is not None


def test_a_name_with_quotes_stays_what_it_is(free: Lock) -> None:
    holder = lock.holder('it\'s 100 % \\n "a drill"')
    local().run(free.take_script(holder))

    assert (free.look(local()) or {})["drill"] == holder["drill"]


def test_a_lock_that_cannot_be_written_is_no_lock(free: Lock) -> None:
    Path(free.folder).write_text("in the way")

    with pytest.raises(Exception, match=r"(?i)exist|not a directory"):
        local().run(free.take_script(lock.holder("flink"), then="echo MINE"))


def test_who_is_gone(free: Lock) -> None:
    assert not lock.is_gone(lock.holder("flink"))
    assert lock.is_gone(gone())
    assert lock.is_gone(lock.holder("flink", start_time=1)), "another process has its pid now"


@pytest.mark.parametrize(
    "elsewhere",
    [{"boot": "another machine's"}, {"pids": "pid:[1]"}, {"boot": "rebooted", "host_boot": "not beside it"}],
)
def test_a_holder_that_cannot_be_seen_from_here_is_not_known_to_be_gone(elsewhere: dict[str, str]) -> None:
    assert not lock.is_gone(gone(host_now="now", **elsewhere))


def test_a_machine_that_was_started_anew_has_none_of_its_old_holders() -> None:
    assert lock.is_gone({**lock.holder("flink"), "boot": "before", "host_boot": "before", "host_now": "after"})


def test_another_user_s_process_that_proc_hides_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(lock, "read_member", lambda pid: None)
    monkeypatch.setattr(os, "kill", refused)
    assert not lock.is_gone(lock.holder("flink"))


def refusal(free: Lock, **allowed: bool) -> str:
    return healing.refusal(local(), free.folder, **{"force": False, "unhealed": False, "breaks": False, **allowed})


def test_a_pipeline_that_a_drill_holds_is_not_touched(free: Lock) -> None:
    assert refusal(free) == ""
    local().run(free.take_script(lock.holder("kafka")))

    assert refusal(free).startswith("drill kafka (pid ")
    assert "drill kafka (pid " in refusal(free, unhealed=True, breaks=True)
    assert refusal(free, force=True) == ""
    assert free.look(local()) is not None


def test_what_a_killed_drill_has_left_is_healed_before_anything_is_taken_away(free: Lock) -> None:
    local().run(free.take_script(gone()))

    wanted = "drill flink was killed and has left its lock: ansible-playbook playbooks/heal.yml"
    assert refusal(free).startswith(wanted)
    assert refusal(free, breaks=True).startswith(wanted)
    assert refusal(free, unhealed=True) == ""


@pytest.mark.parametrize(("left", "allowed"), [(False, "force"), (True, "unhealed")])
def test_a_pipeline_that_is_taken_away_takes_the_lock_with_it(free: Lock, left: bool, allowed: str) -> None:
    local().run(free.take_script(gone() if left else lock.holder("kafka")))
    lease = Path(free.folder) / "lease"
    lease.touch()

    assert refusal(free, breaks=True, **{allowed: True}) == ""
    assert (free.look(local()), lease.exists()) == (None, False)
