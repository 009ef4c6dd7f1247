#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Guard what runs while a drill takes it away."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_guard
short_description: Guard what runs while a drill takes it away
version_added: "0.1.0"
description:
  - With O(state=armed), writes down which units run and whether the producer streams, and leaves a process behind that
    restores exactly this when C(FOLDER/lease) has not been touched for O(seconds). It ends when the file is removed.
  - With O(state=healed), ends such a process and restores at once what was written down.
  - Touches only units that were installed with M(eventlog.drills.process_units).
options:
  root: {description: Directory of the pipeline., type: path, required: true}
  run: {description: Directory of the socket and the process records., type: path, required: true}
  name: {description: Name of the pipeline., type: str, default: pipeline}
  python: {description: Python interpreter that runs supervisord., type: path, required: true}
  pythonpath: {description: Search path on which that interpreter finds supervisor., type: str, required: true}
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
  eventlog.drills.process_guard:
    root: /srv/pipeline
    run: /run/user/1000/pipeline
    python: /usr/bin/python3.11
    pythonpath: /srv/trees/pipeline
    folder: /run/user/1000/pipeline/drill
    control: /run/user/1000/pipeline/producer.sock
    seconds: 60
    state: armed
"""

RETURN = r"""
guard:
  description: What is armed, or what was restored.
  returned: success
  type: dict
  contains:
    state: {description: V(armed), V(healed) or V(not healed)., type: str, returned: always}
    units: {description: Units that run, or that are to run., type: list, returned: always}
    streaming: {description: Whether the producer streams, or is to stream., type: bool, returned: always}
    seconds: {description: Length of the lease., type: float, returned: armed}
    done: {description: What was restored, in words., type: list, returned: healed}
    failed: {description: What could not be restored, in words., type: list, returned: healed}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.guard import Guard, Reviver, armed, healed
from ansible_collections.eventlog.drills.plugins.module_utils.units import UnitError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "run": {"type": "path", "required": True},
            "name": {"type": "str", "default": "pipeline"},
            "python": {"type": "path", "required": True},
            "pythonpath": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "control": {"type": "path", "required": True},
            "seconds": {"type": "float", "default": 180.0},
            "state": {"type": "str", "required": True, "choices": ["armed", "healed"]},
        },
        supports_check_mode=True,
    )
    args = module.params
    supervisor = Reviver(args["root"], args["run"], args["name"], args["python"], args["pythonpath"])
    guard = Guard(supervisor, args["folder"], args["control"])
    if module.check_mode:
        module.exit_json(changed=args["state"] == "armed", guard={"state": args["state"], "units": guard.look().units})
    try:
        module.exit_json(**(armed(guard, args["seconds"]) if args["state"] == "armed" else healed(guard)))
    except (UnitError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
