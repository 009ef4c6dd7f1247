#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0

# The work is done by the action plugin of the same name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: parity
short_description: Run one drill on several inventories and compare what became of it
version_added: "0.1.0"
description:
  - Provisions a pipeline on each inventory, drills it, tears it down, and shows the drills side by side.
  - Verdict, losses, receipts, expectations and the milestones of the recovery must be the same on all of them. How many seconds
    something took is shown and not compared.
  - An inventory whose engine or hosts cannot be reached is named with the reason. Fails when fewer than two can.
  - The playbooks are run as commands of their own, which are given the C(-e) options of this run of Ansible too.
options:
  inventories:
    description: Paths of the inventories; each must have a last part of its own, by which it is called.
    type: list
    elements: path
  drill: {description: "Name of the drill's playbook, without C(drill_); needed with O(inventories).", type: str}
  drilled:
    description: Folders of runs of one drill that were made already, to be compared instead of drilling.
    type: list
    elements: path
  runs: {description: "Folder of all runs, on the controller; what is written goes into C(parity) in it.", type: path, required: true}
  variables: {description: Given to every playbook., type: dict, default: {}}
attributes:
  check_mode: {support: none, description: A comparison needs drills.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Demand that the loss of Kafka means the same on processes and on containers
  eventlog.drills.parity:
    inventories: [inventory/local, inventory/docker]
    drill: kafka
    runs: /var/lib/drills/runs
    variables: {pipeline_name: parity, pipeline_port_offset: 21500, drill_hold: 8}

- name: Compare two runs that were made already
  eventlog.drills.parity:
    drilled: [runs/2026-11-27T10-00-00Z-kafka, /srv/other/runs/2026-11-27T11-00-00Z-kafka]
    runs: /var/lib/drills/runs
"""

RETURN = r"""
msg: {description: "What is the same, or what is not.", returned: always, type: str}
"""
