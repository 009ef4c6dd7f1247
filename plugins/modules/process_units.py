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
  since:
    description: >-
      When the verb began (epoch seconds), if something that was done before belongs to it, as the savepoint belongs to the
      stop of a job. V(0) is now.
    type: float
    default: 0
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
import xmlrpc.client

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.supervised import Supervisor
from ansible_collections.eventlog.drills.plugins.module_utils.units import ARGUMENT_SPEC, UnitError
from ansible_collections.eventlog.drills.plugins.module_utils.verbs import STATES, run


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
                "choices": list(STATES),
            },
            "wait": {"type": "bool", "default": True},
            "since": {"type": "float", "default": 0.0},
        },
        required_if=[("state", "started", ("python", "pythonpath"))],
        supports_check_mode=True,
    )
    args = module.params
    supervisor = Supervisor(args["root"], args["run"], args["name"], args["python"] or "", args["pythonpath"] or "")
    try:
        check = module.check_mode
        module.exit_json(
            **run(supervisor, args["units"], args["state"], wait=args["wait"], check=check, since=args["since"])
        )
    except UnitError as error:
        module.fail_json(msg=str(error))
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        module.fail_json(msg=f"the supervisord at {supervisor.socket} does not do as it is told: {error}")


if __name__ == "__main__":
    main()
