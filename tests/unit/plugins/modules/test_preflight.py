"""The module preflight: every problem at once, each with its remedy."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.modules import preflight

from tests.unit.conftest import RunModule

Check = Callable[..., list[str]]


@pytest.fixture
def problems(run_module: RunModule, short_dir: Path) -> Check:
    """A function that returns the problems that the preflight finds."""

    def find(**args: Any) -> list[str]:
        where = {"root": str(short_dir / "root"), "run": str(short_dir / "run")}
        result = run_module(preflight, **{**where, **args})
        assert result["failed"] == bool(result["problems"])
        assert result["failed"] is False or result["msg"] == "\n".join(result["problems"])
        return list(result["problems"])

    return find


def test_a_healthy_host_has_no_problem(problems: Check, free_port: Callable[[], int]) -> None:
    assert problems(ports={"kafka_port": free_port()}, disk_bytes=1, memory_bytes=1, python=sys.executable) == []


def test_a_port_in_use_is_named_with_its_owner_and_two_remedies(problems: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = problems(ports={"kafka_port": port})

    assert len(found) == 1
    assert found[0].startswith(f"port {port} (kafka_port) is in use by pid {os.getpid()} (")
    assert "which this pipeline did not start" in found[0]
    other = found[0].partition("-e kafka_port=")[2].partition(",")[0]
    assert 0 < int(other) < 65536
    assert "-e pipeline_port_offset=10000" in found[0]


@pytest.mark.parametrize("value", ["many", "", -1, 0, 65536, 9092.5, True, None, [9092]])
def test_what_is_no_port_is_said(problems: Check, value: Any) -> None:
    assert problems(ports={"kafka_port": value}) == [
        f"kafka_port is {value!r}, which is no TCP port. Set a number from 1 to 65535."
    ]


def test_the_same_port_twice_is_said(problems: Check, free_port: Callable[[], int]) -> None:
    port = free_port()

    found = problems(ports={"kafka_port": port, "cassandra_port": str(port)})

    assert found == [f"cassandra_port and kafka_port are both {port}. Give them different ports."]


def test_a_full_disk_is_said_with_both_figures(problems: Check, short_dir: Path) -> None:
    found = problems(disk_bytes=2**60)

    assert len(found) == 1
    assert "GiB free and 1073741824.0 GiB are needed" in found[0]
    assert "set pipeline_root to a larger disk" in found[0]


def test_too_little_memory_is_said_with_what_may_be_lowered(problems: Check) -> None:
    found = problems(memory_bytes=2**60)

    assert len(found) == 1
    assert "lower kafka_heap, cassandra_heap and flink_taskmanager_memory" in found[0]


def test_a_directory_of_somebody_else_is_said(
    problems: Check, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may write everywhere

    assert problems() == [f"{short_dir} is not writable for this user. Set pipeline_root to a directory of yours."]


def test_a_directory_with_other_things_in_it_is_said(problems: Check, short_dir: Path) -> None:
    root = short_dir / "home"
    for name in ("data", "etc", "logs", "run", "letters", ".ssh"):
        (root / name).mkdir(parents=True)

    assert problems() == []
    assert problems(root=str(root)) == [
        f"{root} also holds .ssh, letters, which no pipeline made. Set pipeline_root to a directory of its own."
    ]


@pytest.mark.parametrize("name", ["my project", "50%", "a;b", "a#b", "it's"])
def test_a_directory_that_start_scripts_would_take_apart_is_said(problems: Check, short_dir: Path, name: str) -> None:
    found = problems(root=str(short_dir / name))

    assert len(found) == 1
    assert "Set pipeline_root to a path of letters" in found[0]


def test_a_run_directory_that_is_too_long_is_said(problems: Check, short_dir: Path) -> None:
    found = problems(run=str(short_dir / ("deep" * 30)))

    assert len(found) == 1
    assert "Set pipeline_run_dir to a shorter directory" in found[0]


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'openjdk version \"17.0.9\" 2023-10-17' >&2", None),
        ("echo 'openjdk version \"21.0.1\" 2023-10-17' >&2", 'is not Java 17 (it says [\'openjdk version "21.0.1"'),
        ("echo 'java version \"1.8.0_392\"' >&2", "is not Java 17"),
        ("echo 'cannot allocate memory' >&2; exit 1", "cannot allocate memory"),
    ],
)
def test_another_java_is_said(problems: Check, tmp_path: Path, text: str, said: str | None) -> None:
    found = problems(java=script(tmp_path / "java", text))

    assert len(found) == (1 if said else 0)
    assert said is None or said in found[0]
    assert said is None or "Set distribution_java_home to a Java 17 home" in found[0]


def test_a_java_that_is_not_there_is_said(problems: Check) -> None:
    assert "/no/java cannot be run (No such file or directory)" in problems(java="/no/java")[0]


@pytest.mark.parametrize(
    ("text", "fine"), [("echo 3.11", True), ("echo 3.12", True), ("echo 3.13", False), ("exit 1", False)]
)
def test_another_python_is_said(problems: Check, tmp_path: Path, text: str, fine: bool) -> None:
    found = problems(python=script(tmp_path / "python", text))

    assert bool(found) is not fine
    assert fine or "Set pipeline_python to a Python 3.11 or 3.12." in found[0]


def test_all_problems_come_at_once(problems: Check) -> None:
    assert len(problems(ports={"kafka_port": "x"}, disk_bytes=2**60, memory_bytes=2**60, python="/no/python")) == 4


@pytest.mark.parametrize(("option", "value"), [("disk_bytes", "plenty"), ("memory_bytes", "1 GB"), ("ports", "9092")])
def test_a_wrong_type_is_named(run_module: RunModule, option: str, value: str) -> None:
    args: dict[str, Any] = {"root": "/tmp", "run": "/tmp", option: value}

    result = run_module(preflight, **args)

    assert result["failed"]
    assert option in result["msg"]


def test_nothing_is_changed(problems: Check, short_dir: Path) -> None:
    problems(disk_bytes=1)

    assert list(short_dir.iterdir()) == []
    assert shutil.disk_usage(short_dir).free > 0
