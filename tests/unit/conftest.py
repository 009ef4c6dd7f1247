"""Fixtures for unit tests: running a module in this process, short directories, small real servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

from testing import settings
from testing.ports import free_ports


class RunModule(Protocol):
    """Runs an Ansible module's ``main`` in this process and returns what it printed."""

    def __call__(self, module: ModuleType, *, check: bool = False, **args: Any) -> dict[str, Any]: ...


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """A function that runs a module; its result gets ``failed`` also when the module succeeded."""
    # Where a test has loaded the controller's half of Ansible, a module's warnings would go to its display.
    monkeypatch.setattr(_internal, "is_controller", False, raising=False)

    def run(module: ModuleType, *, check: bool = False, **args: Any) -> dict[str, Any]:
        capsys.readouterr()
        warnings._global_warnings.clear()  # a module has a process of its own
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
    return lambda: free_ports(1)[0]


@pytest.fixture
def pipeline_toml(short_dir: Path) -> Path:
    """The configuration of a pipeline none of whose servers runs."""
    kafka, cassandra, flink, monitor = free_ports(4)
    changes = {
        "kafka__bootstrap_servers": f"127.0.0.1:{kafka}",
        "cassandra__port": cassandra,
        "flink__rest_url": f"http://127.0.0.1:{flink}",
        "monitor__port": monitor,
    }
    return settings.write(short_dir / "pipeline.toml", settings.document(short_dir, **changes))


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
