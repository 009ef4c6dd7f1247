#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Run units as plain processes under one supervisord."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_units
short_description: Run units as plain processes under one supervisord
version_added: "0.1.0"
description:
  - Installs, starts, stops, kills, pauses, inspects and removes units. A unit is a server process with everything that
    it forks, that is its whole process group.
  - Needs no root. Everything lies below O(root) and O(run); nothing else is touched, and only processes that this
    module started are ever signalled.
  - Every verb returns receipts, which prove by process identity, ports and answers what it did.
options:
  root:
    description: Directory of the pipeline; configuration goes below C(etc/), logs below C(logs/).
    type: path
    required: true
  run:
    description: Short directory for the socket and the process records (a unix socket's path has at most 107 bytes).
    type: path
    required: true
  name:
    description: Name of the pipeline.
    type: str
    default: pipeline
  python:
    description: Python interpreter that runs supervisord. Needed by O(state=started).
    type: path
  pythonpath:
    description: Search path on which that interpreter finds supervisor.
    type: str
  units:
    description: The units. With O(state=absent) and no units, everything that is installed is stopped and removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name of the unit., type: str, required: true}
      argv: {description: Command and arguments., type: list, elements: str, required: true}
      cwd: {description: Working directory., type: path, required: true}
      env: {description: Environment variables., type: dict, default: {}}
      host: {description: Address that the ports are probed on., type: str, default: 127.0.0.1}
      ports: {description: TCP ports that it listens on., type: list, elements: int, default: []}
      probe:
        description: Request that tells whether it serves; V(type) is one of tcp, kafka, cql, http, flink_job, socket.
        type: dict
      data: {description: Directories that it writes to., type: list, elements: path, default: []}
      config_files: {description: Files whose change makes a start a restart., type: list, elements: path, default: []}
      stop_signal: {description: Signal that stops it gracefully., type: str, default: TERM}
      stop_timeout: {description: Seconds that a graceful stop may take., type: float, default: 30}
      ready_timeout: {description: Seconds until it must serve., type: float, default: 300}
  state:
    description: What to do with the units.
    type: str
    required: true
    choices: [installed, started, ready, stopped, killed, paused, unpaused, observed, absent]
  wait:
    description: With O(state=started), wait until the units serve.
    type: bool
    default: true
attributes:
  check_mode: {support: full, description: Says what would be done.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Start a broker and wait until it answers
  eventlog.drills.process_units:
    root: /srv/pipeline
    run: /run/user/1000/pipeline
    python: /usr/bin/python3.11
    pythonpath: /srv/trees/pipeline
    state: started
    units:
      - name: kafka
        argv: [/usr/bin/java, -cp, /srv/kafka/*, kafka.Kafka, /srv/pipeline/etc/kafka/server.properties]
        cwd: /srv/pipeline
        ports: [9092]
        probe: {type: kafka, host: 127.0.0.1, port: 9092}
"""

RETURN = r"""
receipts:
  description: One entry per unit.
  returned: success
  type: list
  elements: dict
  contains:
    unit: {description: Name of the unit., type: str, returned: always}
    verb: {description: The requested state., type: str, returned: always}
    before:
      description: Members before, each with pid, start_time, state, rss and cmdline.
      type: list
      returned: always
    after: {description: Members after., type: list, returned: always}
    ports: {description: Whether each port was open before and is after., type: dict, returned: always}
    answers: {description: Whether the probe was answered before and is after., type: dict, returned: always}
    gone: {description: Whether every earlier member is gone., type: bool, returned: always}
    time: {description: When the verb began (epoch seconds)., type: float, returned: always}
    seconds: {description: How long it took., type: float, returned: always}
    milestones: {description: "Seconds to process, port and ready.", type: dict, returned: always}
"""

import http.client
import time
import xmlrpc.client
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.supervised import Supervisor, in_parallel, receipt
from ansible_collections.eventlog.drills.plugins.module_utils.units import ARGUMENT_SPEC, Unit, UnitError

VERBS = {
    "stopped": Supervisor.stop,
    "killed": Supervisor.kill,
    "paused": Supervisor.pause,
    "unpaused": Supervisor.unpause,
}


def would_change(supervisor: Supervisor, units: list[Unit], state: str) -> bool:
    """What check mode answers: whether the verb would do anything."""
    members = [member for unit in units for member in supervisor.members(unit.name)]
    installed = set(supervisor.installed())
    known = installed & {unit.name for unit in units} if units else installed
    return {
        "installed": any(supervisor.outdated(unit) for unit in units),
        "started": any(not supervisor.current(unit) for unit in units),
        "ready": False,
        "observed": False,
        "stopped": bool(members),
        "killed": bool(members),
        "paused": any(member.state != "T" for member in members),
        "unpaused": any(member.state == "T" for member in members),
        "absent": bool(known) or (not units and supervisor.alive()),
    }[state]


def start(
    supervisor: Supervisor, units: list[Unit], wait: bool, since: float, milestones: dict[str, dict[str, float]]
) -> bool:
    """Start the units, and wait for them; what was started here and does not come up is stopped again."""
    changed = supervisor.ensure_daemon()
    started: list[Unit] = []
    try:
        for unit in units:
            if supervisor.start(unit):
                started.append(unit)
        if wait:
            milestones.update(supervisor.await_ready(units, since))
    except UnitError:
        in_parallel(started, supervisor.stop)
        raise
    return changed or bool(started)


def apply(supervisor: Supervisor, units: list[Unit], state: str, wait: bool) -> dict[str, Any]:
    """Bring the units to ``state``; returns the module's result."""
    before = {unit.name: supervisor.observe(unit) for unit in units}
    began, since = time.time(), time.monotonic()
    milestones: dict[str, dict[str, float]] = {}
    changed = False
    if state == "installed":
        changed = any([supervisor.install(unit) for unit in units])  # noqa: C419 (every unit, not the first)
    elif state == "started":
        changed = start(supervisor, units, wait, since, milestones) or changed
    elif state in VERBS:
        changed = any(in_parallel(units, lambda unit: VERBS[state](supervisor, unit)))
    if state in ("ready", "unpaused"):  # what did not run before it was unpaused has nothing to come back to
        awaited = [unit for unit in units if state == "ready" or before[unit.name]["members"]]
        milestones.update(supervisor.await_ready(awaited, since))
    after = {unit.name: supervisor.observe(unit) for unit in units}
    return {
        "changed": changed,
        "receipts": [
            receipt(unit, state, before[unit.name], after[unit.name], began, milestones.get(unit.name, {}))
            for unit in units
        ],
    }


def remove(supervisor: Supervisor, units: list[Unit]) -> dict[str, Any]:
    """Stop and forget the units; without any, everything that is installed, and supervisord itself."""
    everything = not units
    targets = units or [supervisor.installed_unit(name) for name in supervisor.installed()]
    for unit in targets:
        supervisor.adopt(unit.name)
    changed = any(in_parallel(targets, supervisor.stop))
    changed = any([supervisor.remove(unit.name) for unit in targets]) or changed  # noqa: C419 (every unit)
    if everything:
        changed = supervisor.shutdown() or changed
    return {"changed": changed, "receipts": []}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "run": {"type": "path", "required": True},
            "name": {"type": "str", "default": "pipeline"},
            "python": {"type": "path"},
            "pythonpath": {"type": "str"},
            "units": {"type": "list", "elements": "dict", "default": [], "options": ARGUMENT_SPEC},
            "state": {
                "type": "str",
                "required": True,
                "choices": ["installed", "started", "ready", *VERBS, "observed", "absent"],
            },
            "wait": {"type": "bool", "default": True},
        },
        required_if=[("state", "started", ("python", "pythonpath"))],
        supports_check_mode=True,
    )
    args = module.params
    supervisor = Supervisor(args["root"], args["run"], args["name"], args["python"] or "", args["pythonpath"] or "")
    try:
        units = [Unit.from_dict(unit) for unit in args["units"]]
        if module.check_mode:
            observed = {unit.name: supervisor.observe(unit) for unit in units}
            module.exit_json(
                changed=would_change(supervisor, units, args["state"]),
                receipts=[
                    receipt(unit, "observed", observed[unit.name], observed[unit.name], time.time(), {})
                    for unit in units
                ],
            )
        if args["state"] == "absent":
            module.exit_json(**remove(supervisor, units))
        module.exit_json(**apply(supervisor, units, args["state"], args["wait"]))
    except UnitError as error:
        module.fail_json(msg=str(error))
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        module.fail_json(msg=f"the supervisord at {supervisor.socket} does not do as it is told: {error}")


if __name__ == "__main__":
    main()
