"""A Docker engine of the tests' own: everything of it below one folder, in a network namespace of its own.

Its bridges, its firewall rules and its published ports are those of the namespace: nothing of the machine's network is
changed, a second engine is not in the way, and there is nothing to restore. Needs root, and the packages docker.io and
iptables. Usage: engine.py start FOLDER      (prints DOCKER_HOST=…)
                 engine.py stop FOLDER
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 60.0
PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables", "ip": "iproute2", "unshare": "util-linux"}


def missing() -> str:
    """What keeps an engine from being started here, and what to do; empty for nothing."""
    if os.geteuid() != 0:
        return "an engine of the tests' own needs root; set DOCKER_HOST to one that runs, or run this as root"
    packages = sorted(
        package
        for program, package in PROGRAMS.items()
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    )
    return f"no Docker engine is installed: apt-get install {' '.join(packages)}" if packages else ""


def answers(path: Path) -> bool:
    """Whether an engine serves on this socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)
    return False


def start(folder: Path) -> str:
    """Start an engine and return its address for DOCKER_HOST. Ends the program with one line when it cannot."""
    why = missing()
    if why:
        sys.exit(f"eventlog-drills: {why}")
    folder.mkdir(parents=True, exist_ok=True)
    where = folder / "docker.sock"
    # Without a default bridge: each pipeline makes its own network.
    words = (
        "ip link set lo up && exec dockerd"
        f" --data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/engine.pid"
        f" --host unix://{where} --bridge none"
    )
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--net", "--", "sh", "-c", words],
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + SECONDS
    while not answers(where):
        if process.poll() is not None or time.monotonic() > deadline:
            stop(folder)
            last = (folder / "engine.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            sys.exit("\n  ".join(["eventlog-drills: the Docker engine does not start:", *last]))
        time.sleep(0.1)
    return f"unix://{where}"


def stop(folder: Path) -> None:
    """Stop the engine of a folder with everything in it, and remove the folder."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "engine.pid").read_text())
        # The number may have become another program's since.
        if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + SECONDS
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                time.sleep(0.1)
    _unmount(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _unmount(folder: Path) -> None:
    """Let go of what an engine that was killed has left mounted below its folder."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)


def main(verb: str, folder: str) -> None:
    """Entry point."""
    where = Path(folder).resolve()
    if verb == "start":
        print(f"DOCKER_HOST={start(where)}")
    elif verb == "stop":
        stop(where)
    else:
        sys.exit(f"engine.py: start or stop, not {verb!r}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(str(__doc__).rpartition("Usage: ")[2].rstrip())
    main(*sys.argv[1:])
