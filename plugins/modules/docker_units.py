#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Say what became of units that are containers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_units
short_description: Say what became of units that are containers
version_added: "0.1.0"
description:
  - Looks at containers through the engine's socket, and at their ports and answers over their network, so it runs in a
    container of that network that has the socket. It changes nothing; M(community.docker.docker_container) does.
  - With O(state=observed) its receipts show what is there. With another state they prove, against O(before), what was
    done meanwhile; O(state=started) and the other states that bring back wait until the units serve.
options:
  pipeline: {description: Name of the pipeline; its containers have the label C(eventlog.pipeline)., type: str, required: true}
  socket: {description: The engine's socket., type: path, default: /var/run/docker.sock}
  units:
    description: The units; see M(eventlog.drills.process_units) for their options.
    type: list
    elements: dict
    default: []
  state:
    description: What was done to the units.
    type: str
    required: true
    choices: [observed, started, ready, stopped, killed, paused, unpaused, cut, joined]
  records:
    description: Directory in which it notes which units were started, so that it knows when somebody else has removed one.
    type: path
    required: true
  before:
    description: The result of this module with O(state=observed) from before it was done.
    type: dict
  wait:
    description: With O(state=started), wait until the units serve.
    type: bool
    default: true
  since: {description: When the verb began; see M(eventlog.drills.process_units)., type: float, default: 0}
attributes:
  check_mode: {support: full, description: It never changes anything but its records.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: See what there is
  eventlog.drills.docker_units:
    pipeline: local
    records: /srv/eventlog/etc/units
    units: "{{ kafka_units }}"
    state: observed
  register: before

- name: Kill the broker
  delegate_to: localhost
  community.docker.docker_container:
    name: eventlog-local-kafka
    state: stopped
    force_kill: true
    comparisons: {'*': ignore}

- name: Prove that it is gone
  eventlog.drills.docker_units:
    pipeline: local
    records: /srv/eventlog/etc/units
    units: "{{ kafka_units }}"
    state: killed
    before: "{{ before }}"
"""

RETURN = r"""
receipts:
  description: >-
    One entry per unit, as M(eventlog.drills.process_units) returns them, and in C(container) the engine's own record of it
    before and after, and in C(frozen) whether it is paused.
  returned: success
  type: list
  elements: dict
digests:
  description: Per unit a hash of its description and of its configuration files.
  returned: success
  type: dict
seen:
  description: What is there now, for O(before) of a later look.
  returned: success
  type: dict
began:
  description: When it looked (epoch seconds).
  returned: success
  type: float
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.backend import in_parallel, receipt, wait
from ansible_collections.eventlog.drills.plugins.module_utils.containers import Containers, monotonic_at
from ansible_collections.eventlog.drills.plugins.module_utils.engine import Engine
from ansible_collections.eventlog.drills.plugins.module_utils.units import ARGUMENT_SPEC, Unit, UnitError

GONE = ("stopped", "killed")
GONE_SECONDS = 10.0  # between the engine's answer to a kill and the end of the last process
BACK = ("ready", "unpaused", "joined")
STATES = ("observed", "started", *BACK, *GONE, "paused", "cut")


def look(containers: Containers, units: list[Unit]) -> dict[str, dict[str, Any]]:
    """What is there of every unit, by name."""
    return dict(zip([unit.name for unit in units], in_parallel(units, containers.observe), strict=True))


def awaited(units: list[Unit], state: str, wait: bool, before: Mapping[str, Mapping[str, Any]]) -> list[Unit]:
    """The units that must serve before the verb is done: what did not run cannot come back from a pause or a cut."""
    if state == "started":
        return units if wait else []
    return [unit for unit in units if state == "ready" or (state in BACK and before[unit.name]["members"])]


def vanished(records: Path, seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Units that were started once and have no container now."""
    return [name for name, found in seen.items() if not found["container"] and (records / name).exists()]


def note(records: Path, units: list[Unit]) -> None:
    """Remember that these units were started."""
    records.mkdir(parents=True, exist_ok=True, mode=0o700)
    for unit in units:
        (records / unit.name).touch()


def proof(
    unit: Unit,
    state: str,
    before: Mapping[str, Any],
    after: dict[str, Any],
    began: float,
    milestones: dict[str, float],
) -> dict[str, Any]:
    """The receipt of one unit, with what the engine says about its container."""
    return {
        **receipt(unit, state, dict(before), after, began, milestones),
        "container": {"before": before["container"], "after": after["container"]},
        "frozen": after["container"].get("status") == "paused",
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "pipeline": {"type": "str", "required": True},
            "socket": {"type": "path", "default": "/var/run/docker.sock"},
            "units": {"type": "list", "elements": "dict", "default": [], "options": ARGUMENT_SPEC},
            "state": {"type": "str", "required": True, "choices": list(STATES)},
            "records": {"type": "path", "required": True},
            "before": {"type": "dict"},
            "wait": {"type": "bool", "default": True},
            "since": {"type": "float", "default": 0.0},
        },
        supports_check_mode=True,
    )
    args = module.params
    containers = Containers(args["pipeline"], Engine(args["socket"]))
    try:
        units = [Unit.from_dict(unit) for unit in args["units"]]
        earlier = args["before"] or {}
        seen = earlier.get("seen") or look(containers, units)
        began = float(args["since"] or earlier.get("began") or time.time())
        waiting = [] if module.check_mode else awaited(units, args["state"], args["wait"], seen)
        milestones = containers.await_ready(waiting, monotonic_at(began)) if waiting else {}
        if args["state"] in GONE:
            wait(lambda: not any(containers.running(unit) for unit in units), GONE_SECONDS)
        now = look(containers, units) if earlier else seen
        records = Path(args["records"])
        for name in vanished(records, now):
            module.warn(
                f"container {containers.name(name)} was removed by somebody else; a start makes it anew with its data"
            )
        if args["state"] == "started" and not module.check_mode:
            note(records, units)
    except (UnitError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=False,
        receipts=[
            proof(unit, args["state"], seen[unit.name], now[unit.name], began, milestones.get(unit.name, {}))
            for unit in units
        ],
        seen=now,
        digests={unit.name: unit.digest() for unit in units},
        began=began,
    )


if __name__ == "__main__":
    main()
