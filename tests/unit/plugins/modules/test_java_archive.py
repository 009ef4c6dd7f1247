"""The module java_archive, with small programs that behave as a JVM does or does not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils.processes import read_member
from ansible_collections.eventlog.drills.plugins.modules import java_archive

from testing.waiting import wait_until
from tests.unit.conftest import RunModule

# Listens, and on SIGTERM writes the file that -XX:ArchiveClassesAtExit names, as the JVM does.
SERVER = """
import signal, socket, sys
port, flag = int(sys.argv[1]), sys.argv[2]
def end(*_):
    name, _, path = flag.partition("=")
    if name == "-XX:ArchiveClassesAtExit":
        open(path, "w").write("classes")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        listener.accept()[0].close()
"""


@pytest.fixture
def args(tmp_path: Path, free_port: Callable[[], int]) -> dict[str, Any]:
    """The module's arguments for a server that behaves."""
    archive, port = tmp_path / "archives" / "server.jsa", free_port()
    (tmp_path / "server.py").write_text(SERVER)
    return {
        "archive": str(archive),
        "unit": {
            "name": "server",
            "argv": [sys.executable, str(tmp_path / "server.py"), str(port), f"-XX:SharedArchiveFile={archive}"],
            "cwd": str(tmp_path),
            "ports": [port],
            "probe": {"type": "tcp", "host": "127.0.0.1", "port": port},
            "ready_timeout": 10,
        },
    }


def test_one_rehearsal_makes_the_archive_and_the_next_run_does_nothing(
    run_module: RunModule, args: dict[str, Any]
) -> None:
    assert run_module(java_archive, check=True, **args)["changed"]
    assert not Path(args["archive"]).exists()

    first = run_module(java_archive, **args)

    assert first["changed"]
    assert first["seconds"] > 0
    assert Path(args["archive"]).read_text() == "classes"
    assert [path.name for path in Path(args["archive"]).parent.iterdir()] == ["server.jsa"]
    assert not run_module(java_archive, **args)["changed"]
    assert not run_module(java_archive, check=True, **args)["changed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"argv": [sys.executable, "-c", "raise SystemExit('bad flag')"]}, "lacks -XX:SharedArchiveFile="),
        ({"argv": ["/no/java", "ARCHIVE"]}, "/no/java cannot be run: No such file or directory"),
        ({"argv": [sys.executable, "-c", "raise SystemExit('bad flag')", "ARCHIVE"]}, "did not come up: bad flag"),
        (
            {"argv": ["/bin/sh", "-c", "sleep 600", "ARCHIVE"], "ready_timeout": 0.3},
            "did not come up",
        ),
    ],
)
def test_a_failed_rehearsal_is_a_warning_and_leaves_nothing(
    run_module: RunModule, args: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    flag = f"-XX:SharedArchiveFile={args['archive']}"
    change["argv"] = [flag if part == "ARCHIVE" else part for part in change["argv"]]
    args["unit"].update(change)

    result = run_module(java_archive, **args)

    assert not result["failed"]
    assert not result["changed"]
    assert said in json.dumps(result["warnings"])
    assert "server will start without a class-data archive" in json.dumps(result["warnings"])
    assert list(Path(args["archive"]).parent.iterdir()) == []


def test_a_server_that_runs_is_not_disturbed(run_module: RunModule, args: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", args["unit"]["ports"][0])):
        result = run_module(java_archive, **args)

    assert not result["changed"]
    assert "seconds" not in result
    assert not Path(args["archive"]).exists()


def test_an_interrupted_rehearsal_takes_its_server_along(args: dict[str, Any], tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text(f"import os, time; open({str(pidfile)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    args["unit"]["argv"] = [sys.executable, str(sleeper), f"-XX:SharedArchiveFile={args['archive']}"]
    code = (
        "import json, sys\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.eventlog.drills.plugins.modules import java_archive\n"
        "with patch_module_args(json.loads(sys.argv[1])):\n"
        "    java_archive.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    module = subprocess.Popen([sys.executable, "-c", code, json.dumps(args)], env=environment, stderr=subprocess.PIPE)
    wait_until(lambda: pidfile.exists() and pidfile.read_text(), 10, "its pid is written")
    server = int(pidfile.read_text())

    module.send_signal(signal.SIGTERM)
    module.communicate(timeout=10)

    assert (member := read_member(server)) is None or member.gone
