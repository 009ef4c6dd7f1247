#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Make the class-data archive of a Java server by one rehearsal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: java_archive
short_description: Make the class-data archive of a Java server by one rehearsal
version_added: "0.1.0"
description:
  - Starts a unit once in the foreground, waits until it serves, stops it, and keeps what the JVM writes at its exit, an
    archive of the loaded classes. With it the server starts in about half the time.
  - The unit's argv must hold C(-XX:SharedArchiveFile=ARCHIVE); the rehearsal replaces that flag. Nothing is done when
    the archive is there. An archive is tied to the JVM and to the class path, so name it after both.
  - A JVM that finds its archive unusable starts without it; a failed rehearsal is therefore a warning, not a failure.
options:
  archive: {description: The file to make., type: path, required: true}
  unit: {description: The unit; see M(eventlog.drills.process_units)., type: dict, required: true}
attributes:
  check_mode: {support: full, description: Says whether the archive would be made.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Rehearse the broker's start
  eventlog.drills.java_archive:
    archive: /srv/cache/archives/kafka.jsa
    unit: "{{ kafka_unit }}"
"""

RETURN = r"""
seconds: {description: How long the rehearsal took., returned: when one was made, type: float}
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.probes import answers, port_open
from ansible_collections.eventlog.drills.plugins.module_utils.units import ARGUMENT_SPEC, Unit, UnitError

DUMP_SECONDS = 120.0  # the JVM writes the archive while it exits


def rehearse(unit: Unit, archive: Path) -> str | None:
    """Run the unit once; returns None when the archive was made, else why not."""
    aside = archive.with_suffix(f".{os.getpid()}.partial")
    flag = f"-XX:SharedArchiveFile={archive}"
    if flag not in unit.argv or not unit.probe:
        return f"its argv lacks {flag}, or it has no probe"
    argv = [f"-XX:ArchiveClassesAtExit={aside}" if part == flag else part for part in unit.argv]
    try:
        problem = _run_once(unit, argv)
        if problem is None and not aside.exists():
            problem = "the JVM wrote no archive"
        if problem is None:
            aside.rename(archive)
        return problem
    finally:
        aside.unlink(missing_ok=True)


def _run_once(unit: Unit, argv: list[str]) -> str | None:
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                argv, cwd=unit.cwd, env={**os.environ, **unit.env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return f"{argv[0]} cannot be run: {error.strerror}"
        try:
            deadline = time.monotonic() + unit.ready_timeout
            while not answers(unit.probe or {}):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    return "the server did not come up: " + log.read()[-1500:].decode("utf-8", "replace").strip()
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            process.wait(DUMP_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the server did not end within {DUMP_SECONDS:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None


def _end_with_the_controller(*_: Any) -> None:
    """An interrupted playbook ends its modules with SIGTERM; the server that is being rehearsed must not outlive it."""
    sys.exit("interrupted")


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "archive": {"type": "path", "required": True},
            "unit": {"type": "dict", "required": True, "options": ARGUMENT_SPEC},
        },
        supports_check_mode=True,
    )
    archive = Path(module.params["archive"])
    try:
        unit = Unit.from_dict(module.params["unit"])
    except UnitError as error:
        module.fail_json(msg=str(error))
    # A server that runs (without its archive, which somebody removed) keeps its ports: the next time is early enough.
    if archive.exists() or any(port_open(unit.host, port) for port in unit.ports):
        module.exit_json(changed=False)
    if module.check_mode:
        module.exit_json(changed=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_with_the_controller)
    began = time.monotonic()
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        problem = rehearse(unit, archive)
    except OSError as error:
        problem = f"{archive} cannot be written: {error.strerror}"
    if problem:
        module.warn(f"{unit.name} will start without a class-data archive: {problem}")
    module.exit_json(changed=problem is None, seconds=round(time.monotonic() - began, 2))


if __name__ == "__main__":
    main()
