#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Say what would go wrong before anything is touched."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Say what would go wrong before anything is touched
version_added: "0.1.0"
description:
  - Checks a host before the pipeline is installed on it. Fails with every problem at once, each with its remedy.
  - Changes nothing.
options:
  root: {description: Directory of the pipeline., type: path, required: true}
  run: {description: Directory for sockets., type: path, required: true}
  host: {description: Address that the servers will listen on., type: str, default: 127.0.0.1}
  ports: {description: "Ports that must be free or ours, by the name of their variable.", type: dict, default: {}}
  disk_bytes: {description: Free space that O(root) needs., type: int, default: 0}
  memory_bytes: {description: Memory that must be available unless the pipeline runs already., type: int, default: 0}
  java: {description: Java executable that must run., type: path}
  java_version: {description: Major version that it must be., type: int, default: 17}
  python: {description: Interpreter that the units will use; must be Python 3.11 or 3.12., type: path}
attributes:
  check_mode: {support: full, description: It never changes anything.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Check the host
  eventlog.drills.preflight:
    root: /srv/pipeline
    run: /run/user/1000/pipeline
    ports: {kafka_port: 9092}
    disk_bytes: 4294967296
"""

RETURN = r"""
problems: {description: What is wrong; empty on success., returned: always, type: list, elements: str}
free_disk: {description: Bytes free below the pipeline's directory., returned: always, type: int}
available_memory: {description: Bytes of memory available., returned: always, type: int}
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.probes import port_open
from ansible_collections.eventlog.drills.plugins.module_utils.processes import port_owners
from ansible_collections.eventlog.drills.plugins.module_utils.supervised import SOCKET_PATH_LIMIT, Supervisor

GIB = 1024**3
OURS = ("etc", "data", "logs", "run")  # the directories of a pipeline
UNSAFE_IN_PATHS = re.compile(r"[\s%#;'\"\\$:*?]")  # what start scripts, class paths or URLs of the servers take apart
LONGEST_SOCKET_NAME = "supervisor.sock.4194304"  # supervisord binds under its pid first


def nearest_existing(path: Path) -> Path:
    """The path itself or its closest ancestor that exists."""
    while not path.exists():
        path = path.parent
    return path


def foreign_entries(root: Path) -> list[str]:
    """What the pipeline's directory holds and no pipeline made; a purge would remove it."""
    return sorted(path.name for path in root.iterdir() if path.name not in OURS) if root.is_dir() else []


def available_memory() -> int:
    """MemAvailable of /proc/meminfo in bytes."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def port_problems(ports: dict[str, Any], host: str, supervisor: Supervisor) -> list[str]:
    """A line for every port that another program holds, or that is no port or used twice."""
    problems: list[str] = []
    seen: dict[int, str] = {}
    ours = supervisor.owned()
    owners = port_owners({int(value) for value in ports.values() if str(value).isdigit()})
    for variable, value in ports.items():
        if not str(value).isdigit() or not 0 < int(value) < 65536:
            problems.append(f"{variable} is {value!r}, which is no TCP port. Set a number from 1 to 65535.")
            continue
        port = int(value)
        if port in seen:
            problems.append(f"{variable} and {seen[port]} are both {port}. Give them different ports.")
        seen[port] = variable
        if not port_open(host, port):
            continue
        owner = owners.get(port)
        if owner and owner.pid in ours:
            continue
        who = f"pid {owner.pid} ({owner.cmdline[:60]})" if owner else "a process of another user"
        problems.append(
            f"port {port} ({variable}) is in use by {who}, which this pipeline did not start. "
            f"Stop it, or choose another: -e {variable}={port + 10000 if port < 55536 else port - 10000}, "
            "or move all: -e pipeline_port_offset=10000"
        )
    return problems


def java_problem(java: str, wanted: int) -> str | None:
    """What is wrong with the Java executable, if anything."""
    try:
        run = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        return f"{java} cannot be run ({error.strerror}). Set distribution_java_home to a Java {wanted} home."
    match = re.search(r'version "(\d+)', run.stderr)
    if run.returncode or not match or int(match.group(1)) != wanted:
        said = (run.stderr or run.stdout).strip().splitlines()[:1]
        return f"{java} is not Java {wanted} (it says {said}). Set distribution_java_home to a Java {wanted} home."
    return None


def python_problem(python: str) -> str | None:
    """What is wrong with the units' interpreter, if anything."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        run = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        return f"{python} cannot be run ({error.strerror}). Set pipeline_python to a Python 3.11 or 3.12."
    version = run.stdout.strip()
    if version not in ("3.11", "3.12"):
        return f"{python} is Python {version or '?'}. Set pipeline_python to a Python 3.11 or 3.12."
    return None


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "run": {"type": "path", "required": True},
            "host": {"type": "str", "default": "127.0.0.1"},
            "ports": {"type": "dict", "default": {}},
            "disk_bytes": {"type": "int", "default": 0},
            "memory_bytes": {"type": "int", "default": 0},
            "java": {"type": "path"},
            "java_version": {"type": "int", "default": 17},
            "python": {"type": "path"},
        },
        supports_check_mode=True,
    )
    args = module.params
    supervisor = Supervisor(args["root"], args["run"], "preflight")
    problems = port_problems(args["ports"], args["host"], supervisor)
    base = nearest_existing(Path(args["root"]))
    free_disk, memory = shutil.disk_usage(base).free, available_memory()
    for option, variable in (("root", "pipeline_root"), ("run", "pipeline_run_dir")):
        found = UNSAFE_IN_PATHS.search(args[option])
        if found:
            problems.append(
                f"{args[option]} holds {found.group()!r}, which the servers' start-up cannot take. "
                f"Set {variable} to a path of letters, digits and . _ - only."
            )
    others = foreign_entries(Path(args["root"]))
    if others:
        problems.append(
            f"{args['root']} also holds {', '.join(others[:5])}, which no pipeline made. "
            "Set pipeline_root to a directory of its own."
        )
    if not os.access(base, os.W_OK):
        problems.append(f"{base} is not writable for this user. Set pipeline_root to a directory of yours.")
    if free_disk < args["disk_bytes"]:
        problems.append(
            f"{base} has {free_disk / GIB:.1f} GiB free and {args['disk_bytes'] / GIB:.1f} GiB are needed. "
            "Free some space, or set pipeline_root to a larger disk."
        )
    if not supervisor.owned() and memory < args["memory_bytes"]:
        problems.append(
            f"{memory / GIB:.1f} GiB of memory are available and {args['memory_bytes'] / GIB:.1f} GiB are needed. "
            "Stop other programs, or lower kafka_heap, cassandra_heap and flink_taskmanager_memory."
        )
    if len(os.fsencode(os.path.join(args["run"], LONGEST_SOCKET_NAME))) > SOCKET_PATH_LIMIT:
        problems.append(
            f"{args['run']} is too long for a unix socket (at most {SOCKET_PATH_LIMIT} bytes with the socket's name). "
            "Set pipeline_run_dir to a shorter directory."
        )
    for problem in (
        java_problem(args["java"], args["java_version"]) if args["java"] else None,
        python_problem(args["python"]) if args["python"] else None,
    ):
        if problem:
            problems.append(problem)
    result: dict[str, Any] = {"problems": problems, "free_disk": free_disk, "available_memory": memory}
    if problems:
        module.fail_json(msg="\n".join(problems), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
