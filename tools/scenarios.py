"""Run molecule's scenarios one after the other; a playbook that a scenario misses is a failure, not a skipped step.

A scenario on containers that cannot run here is a failure too, and what it lacks is said before it begins.

Usage: scenarios.py [SCENARIO …]               (with the environment's Python; without names, all scenarios)
       scenarios.py --except SCENARIO …        (all others)
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import engine

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PORTS = (9092, 9093, 9042, 7000, 8081, 6123, 6124, 6125, 6126, 5000)  # of a pipeline without an offset
# Molecule says so and goes on, with exit status 0; so does Ansible without a host to run on.
MISSING = re.compile(r"missing=[1-9]|Missing playbook|Skipping, (?:missing|no) |no hosts matched", re.IGNORECASE)
# Its last line on a scenario of which nothing was left out.
COMPLETE = re.compile(r"^\S+ *: actions=(\d+) +successful=\1 ")


def free_offset() -> int:
    """A port offset at which a whole pipeline finds its ports free."""
    for offset in range(12000, 23000, 100):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in PORTS:
                held.enter_context(socket.create_server(("127.0.0.1", port + offset)))
            return offset
    sys.exit("no free ports for a pipeline between 12000 and 32000")


def lacking(scenario: str) -> str:
    """What a scenario needs and this machine does not have, and what to do; empty for nothing."""
    if scenario != "docker" and os.environ.get("EVENTLOG_BACKEND") != "docker":
        return ""
    if "DOCKER_HOST" not in os.environ and (why := engine.missing()):
        return why
    return "" if shutil.which("mmdebstrap") else "nothing builds the image: apt-get install mmdebstrap"


def run(scenario: str) -> bool:
    """Run one scenario, its output going to ours as it comes."""
    if why := lacking(scenario):
        print(f" molecule {scenario}: FAILED, {why}", flush=True)
        return False
    began = time.monotonic()
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "EVENTLOG_PORT_OFFSET": str(free_offset()),
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
    }
    environment.pop("ANSIBLE_CONFIG", None)  # molecule writes its own
    missing = complete = False
    with subprocess.Popen(
        [
            str(BIN / "molecule"),
            "--base-config",
            str(ROOT / ".config" / "molecule" / "config.yml"),
            "test",
            "-s",
            scenario,
        ],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            missing = missing or bool(MISSING.search(line))
            complete = complete or bool(COMPLETE.search(line))
    if missing or (process.returncode == 0 and not complete):
        print(f"scenario {scenario} misses a playbook or a host, or left something out", flush=True)
    ok = process.returncode == 0 and complete and not missing
    print(f" molecule {scenario}: {'ok' if ok else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return ok


def main(words: list[str]) -> int:
    """Run the scenarios; the exit status is 1 when one failed."""
    everything = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    named = [word for word in words if word != "--except"]
    if unknown := set(named) - set(everything):
        sys.exit(f"unknown scenario {', '.join(sorted(unknown))}; there are: {', '.join(everything)}")
    scenarios = [name for name in everything if name not in named] if "--except" in words else named or everything
    return 0 if all([run(scenario) for scenario in scenarios]) else 1  # noqa: C419 (every one, not up to a failure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
