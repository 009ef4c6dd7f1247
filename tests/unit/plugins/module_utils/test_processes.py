"""Identity, state and groups of real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils.processes import (
    Member,
    boot_id,
    group_members,
    port_owner,
    port_owners,
    read_member,
)

from testing.waiting import wait_until

Spawn = Callable[..., "subprocess.Popen[str]"]

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
# A leader that starts two children in its own group and says their pids.
FAMILY = """
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2)]
print(*[child.pid for child in children], flush=True)
time.sleep(600)
"""
# A process whose first thread ends while another goes on, which the kernel shows as a zombie with two threads.
HEADLESS = """
import ctypes, threading, time
def work():
    time.sleep(0.2)
    print("up", flush=True)
    time.sleep(600)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_a_process_is_read_with_its_identity() -> None:
    me = read_member(os.getpid())

    assert me is not None
    assert (me.pid, me.pgid, me.state) == (os.getpid(), os.getpgrp(), "R")
    assert me.threads >= 1
    assert me.rss > 1_000_000
    assert "python" in me.cmdline
    assert not me.gone
    assert read_member(os.getpid()).start_time == me.start_time  # type: ignore[union-attr]


def test_a_command_line_is_one_line_whatever_a_process_calls_itself(spawn: Spawn) -> None:
    process = spawn("import time\nprint('up', flush=True)\ntime.sleep(600)  # \x1b[2J \u2028 end")

    found = read_member(process.pid)

    assert found is not None
    assert found.cmdline.isprintable()
    assert found.cmdline.endswith("time.sleep(600)  #  [2J   end")


def test_a_process_that_does_not_exist_is_none() -> None:
    child = subprocess.Popen(["true"])
    child.wait()

    assert read_member(child.pid) is None


def test_a_name_with_spaces_and_parentheses_does_not_confuse_the_fields(spawn: Spawn) -> None:
    process = spawn(
        "import ctypes, time\n"
        "ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0)\n"  # PR_SET_NAME
        "print('up', flush=True)\ntime.sleep(600)"
    )
    first_line(process)

    member = read_member(process.pid)

    assert member is not None
    assert member.pgid == process.pid
    assert member.state in "RS"
    assert member.threads == 1


def test_a_zombie_is_gone_although_its_pid_is_there(spawn: Spawn) -> None:
    process = spawn(SLEEP)
    first_line(process)
    os.kill(process.pid, signal.SIGKILL)
    wait_until(
        lambda: (read_member(process.pid) or Member(0, 0, 0, "", 0, 0, "")).state == "Z", 10, "it is a zombie", 0.02
    )

    member = read_member(process.pid)

    assert member is not None
    assert member.gone
    assert group_members(process.pid) == []


def test_a_process_whose_leading_thread_ended_is_not_gone(spawn: Spawn) -> None:
    process = spawn(HEADLESS)
    first_line(process)

    member = read_member(process.pid)

    assert member is not None
    assert (member.state, member.threads) == ("Z", 2)
    assert not member.gone


def test_a_group_is_its_leader_and_everything_it_forked(spawn: Spawn) -> None:
    process = spawn(FAMILY)
    children = sorted(int(pid) for pid in first_line(process).split())

    try:
        members = group_members(process.pid)

        assert [member.pid for member in members] == [process.pid, *children]
        assert len(group_members(process.pid, not_before=members[0].start_time)) == len(members)
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_children_that_outlive_their_leader_are_still_members(spawn: Spawn) -> None:
    process = spawn(FAMILY)
    children = sorted(int(pid) for pid in first_line(process).split())
    os.kill(process.pid, signal.SIGKILL)

    try:
        wait_until(
            lambda: [member.pid for member in group_members(process.pid)] == children,
            10,
            "the children are there",
            0.02,
        )
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not group_members(process.pid), 10, "the group has ended", 0.02)


def test_processes_older_than_the_group_that_was_started_are_not_its_members(spawn: Spawn) -> None:
    process = spawn(SLEEP)
    first_line(process)
    began = group_members(process.pid)[0].start_time

    assert group_members(process.pid, not_before=began + 1) == []


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_owner_of_a_listening_port_is_found(family: socket.AddressFamily, address: str) -> None:
    with closing(socket.socket(family)) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]

        owner = port_owner(port)

    assert owner is not None
    assert owner.pid == os.getpid()
    assert port_owner(port) is None


def test_the_owners_of_several_ports_are_found_in_one_look(spawn: Spawn) -> None:
    serve = f"import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1]); {SLEEP}"
    process = spawn(serve)
    theirs = int(first_line(process))
    with closing(socket.create_server(("127.0.0.1", 0))) as one, closing(socket.create_server(("127.0.0.1", 0))) as two:
        ours = [one.getsockname()[1], two.getsockname()[1]]

        owners = port_owners([*ours, theirs, 1])

    assert {port: owner.pid for port, owner in owners.items()} == {
        ours[0]: os.getpid(), ours[1]: os.getpid(), theirs: process.pid
    }  # fmt: skip


def test_the_boot_has_one_identity() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36


def test_a_member_is_json_ready() -> None:
    member = read_member(os.getpid())

    assert member is not None
    assert set(member.as_dict()) == {"pid", "pgid", "start_time", "state", "threads", "rss", "cmdline"}
    assert sys.executable.rpartition("/")[2][:6] in member.as_dict()["cmdline"]
