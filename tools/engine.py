"""A Docker engine of the tests' own: everything of it below one folder, in namespaces of its own.

Its bridges, its firewall rules and its published ports are those of its network namespace: nothing of the machine's
network is changed, a second engine is not in the way, and there is nothing to restore. Its processes and its mounts,
those of the containers included, end with it, however it ends. Needs root, and the packages docker.io and iptables.
Usage: engine.py start FOLDER      (prints DOCKER_HOST=…)
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
NAMESPACES = ("--net", "--pid", "--mount")
PROGRAMS = {
    "dockerd": "docker.io",
    "docker-init": "docker.io",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
}


def missing() -> str:
    """What keeps an engine from being started here, and what to do; empty for nothing."""
    if os.geteuid() != 0:
        return "an engine of the tests' own needs root; set DOCKER_HOST to one that runs, or run this as root"
    packages = {
        package
        for program, package in PROGRAMS.items()
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    }
    return f"no Docker engine is installed: apt-get install {' '.join(sorted(packages))}" if packages else ""


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
    # The first process of its namespace must reap what the others leave. Without a default bridge: each pipeline makes
    # its own network.
    words = (
        "ip link set lo up && exec docker-init -- dockerd"
        f" --data-root {folder}/data --exec-root {folder}/exec --pidfile {folder}/dockerd.pid"
        f" --host unix://{where} --bridge none"
    )
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", words],
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "engine.pid").write_text(str(process.pid), encoding="ascii")
    deadline = time.monotonic() + SECONDS
    while not answers(where):
        if process.poll() is not None or time.monotonic() > deadline:
            last = (folder / "engine.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            stop(folder)
            sys.exit("\n  ".join(["eventlog-drills: the Docker engine does not start:", *last]))
        time.sleep(0.1)
    return f"unix://{where}"


def stop(folder: Path) -> None:
    """End the engine of a folder with everything in it, and remove the folder."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "engine.pid").read_text(encoding="ascii"))
        # The number may have become another program's since.
        if str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            # Nothing of it is kept, so nothing has to end in order.
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    # The namespace's last process lets go of the files a moment after its first has been killed.
    deadline = time.monotonic() + SECONDS
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


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
