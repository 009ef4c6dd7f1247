#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Guard containers while a drill takes them away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_guard
short_description: Guard containers while a drill takes them away
version_added: "0.1.0"
description:
  - With O(state=armed), writes down which units of the pipeline run and whether the producer streams, and leaves a process
    behind that restores exactly this when C(FOLDER/lease) has not been touched for O(seconds). It ends when the file is
    removed.
  - With O(state=healed), ends such a process and restores at once what was written down.
  - Runs in a container on the engine's host that has the engine's socket, so that it outlives the controller and every
    connection to it, wherever the engine is. Touches only containers with the label of the pipeline.
options:
  pipeline: {description: Name of the pipeline., type: str, required: true}
  socket: {description: The engine's socket., type: path, default: /var/run/docker.sock}
  folder: {description: "Directory of the drill on this host, with its lease.", type: path, required: true}
  control: {description: The producer's control socket., type: path, required: true}
  seconds: {description: Length of the lease., type: float, default: 180}
  state: {description: What to do., type: str, required: true, choices: [armed, healed]}
attributes:
  check_mode: {support: full, description: Says what would be done.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Guard the pipeline
  eventlog.drills.docker_guard:
    pipeline: local
    folder: /srv/eventlog/run/drill
    control: /srv/eventlog/run/producer.sock
    seconds: 60
    state: armed
"""

RETURN = r"""
guard:
  description: What is armed, or what was restored; see M(eventlog.drills.process_guard).
  returned: success
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.containers import Containers
from ansible_collections.eventlog.drills.plugins.module_utils.engine import Engine
from ansible_collections.eventlog.drills.plugins.module_utils.guard import Guard, armed, healed
from ansible_collections.eventlog.drills.plugins.module_utils.units import UnitError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "pipeline": {"type": "str", "required": True},
            "socket": {"type": "path", "default": "/var/run/docker.sock"},
            "folder": {"type": "path", "required": True},
            "control": {"type": "path", "required": True},
            "seconds": {"type": "float", "default": 180.0},
            "state": {"type": "str", "required": True, "choices": ["armed", "healed"]},
        },
        supports_check_mode=True,
    )
    args = module.params
    guard = Guard(Containers(args["pipeline"], Engine(args["socket"])), args["folder"], args["control"])
    try:
        if module.check_mode:
            module.exit_json(
                changed=args["state"] == "armed", guard={"state": args["state"], "units": guard.look().units}
            )
        module.exit_json(**(armed(guard, args["seconds"]) if args["state"] == "armed" else healed(guard)))
    except (UnitError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
