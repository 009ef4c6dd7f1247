#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0

# The work is done by the action plugin of the same name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: selftest
short_description: Hold what a drill said against what was planted
version_added: "0.1.0"
description:
  - Internal to the role P(eventlog.drills.selftest#role).
  - With O(scene), judges the newest run and returns one row per defect.
  - With O(rows), shows them in one table and fails when a defect was missed or a control run did not pass.
options:
  runs: {description: "Folder of all runs, on the controller.", type: path}
  since: {description: "When the run was begun, in epoch seconds; an older verdict is none.", type: float}
  scene: {description: Name of the run., type: str}
  verdict: {description: The outcome that the run must have., type: str}
  defects:
    description: "Name of each defect to the regular expression that the reason or a finding must match."
    type: dict
    default: {}
  rows: {description: The rows of all runs., type: list, elements: dict}
attributes:
  check_mode: {support: none, description: There is nothing to plan.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Judge the newest run
  eventlog.drills.selftest:
    runs: runs
    since: "{{ began }}"
    scene: vanished_rows
    verdict: FAIL
    defects:
      rows deleted from Cassandra: "5 in Kafka, but not in Cassandra"
  register: judged

- name: Show what was caught
  eventlog.drills.selftest:
    rows: "{{ judged.rows }}"
"""

RETURN = r"""
rows: {description: "Defect, verdict, sentence, whether it was caught, and seconds.", returned: with O(scene), type: list, elements: dict}
"""
