"""Fixtures for unit tests: running a module in this process, short directories, small real servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest
from ansible.module_utils.testing import patch_module_args


class RunModule(Protocol):
    """Runs an Ansible module's ``main`` in this process and returns what it printed."""

    def __call__(self, module: ModuleType, *, check: bool = False, **args: Any) -> dict[str, Any]: ...


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """A function that runs a module; its result gets ``failed`` also when the module succeeded."""

    def run(module: ModuleType, *, check: bool = False, **args: Any) -> dict[str, Any]:
        capsys.readouterr()
        with patch_module_args({**args, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
        return {"failed": False, **result}

    return run


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for unix sockets, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="ev-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns a TCP port on which nobody listens at the moment."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture
def pipeline_toml(short_dir: Path, free_port: Callable[[], int]) -> Path:
    """The configuration of a pipeline none of whose servers runs."""
    ports = [free_port() for _ in range(4)]
    path = short_dir / "pipeline.toml"
    path.write_text(
        f"""
        pipeline = {{ name = "test", root = "{short_dir}" }}
        event = {{ bytes = 1024, bucket_size = 1000 }}
        kafka = {{ bootstrap_servers = "127.0.0.1:{ports[0]}", topic = "events", dead_letter_topic = "rejected" }}
        producer = {{ spool = "{short_dir}/s.db", socket = "{short_dir}/p", rate = 1.0, spool_limit_bytes = 268435456 }}
        monitor = {{ host = "127.0.0.1", port = {ports[3]}, refresh_seconds = 1.0 }}
        [cassandra]
        contact_points = ["127.0.0.1"]
        port = {ports[1]}
        keyspace = "eventlog"
        datacenter = "dc1"
        [flink]
        rest_url = "http://127.0.0.1:{ports[2]}"
        job_name = "event-log"
        group_id = "event-log"
        state_dir = "{short_dir}/flink"
        parallelism = 1
        """,
        encoding="utf-8",
    )
    return path


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that runs Python code in a process of its own, which is gone when the test ends."""
    running: list[subprocess.Popen[str]] = []

    def start(code: str, *args: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True, start_new_session=True, **options
        )
        running.append(process)
        return process

    yield start
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until a condition holds; fails the test when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.02)
