# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0

# The work is done by the action plugin of the same name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: drill
short_description: Take one step of a drill
version_added: "0.1.0"
description:
  - Internal to the role P(eventlog.drills.drill#role), whose entry points are what a playbook includes.
options:
  step:
    description:
      - V(begin) locks the pipeline and starts the sampler.
      - V(steady) waits for the steady state, checks the plan and opens the books.
      - V(guarded) journals that the guard is armed.
      - V(receipts) journals what the tasks before it did to units, and fails when they did not do it.
      - V(trouble) journals a task that failed.
      - V(settle) waits for convergence and says what is still away, V(window) waits for the end of the window.
      - V(disk) measures what Kafka and Cassandra hold on disk, V(books) closes the books.
      - V(finish) judges, reports and releases the lock.
      - V(free) fails while a drill holds the pipeline.
      - V(leftover) takes over the lock that a killed drill has left, V(heal) closes its journal.
      - V(plant) plants records that cannot become rows, V(find) judges where they ended up.
      - V(table) shows the drills of this playbook in a table and fails unless each has passed, V(report) renders a run's reports again, V(index) the page of all runs.
    type: str
    required: true
    choices: [begin, steady, guarded, receipts, trouble, settle, window, disk, books, finish, free, leftover, heal, plant, find, table, report, index]
  intent: {description: "The verb of the task before, for check mode.", type: str}
  name: {description: Name of the drill., type: str}
  title: {description: Title of the drill., type: str}
  runs: {description: "Folder of all runs, on the controller.", type: path}
  run: {description: Name of a run., type: str}
  script: {description: "The planting program, on the controller.", type: path}
  since: {description: "Time from which runs belong to the table, in epoch seconds.", type: float}
  expected: {description: "Names of the drills that belong to the table, those included that never began.", type: list, elements: str}
  root: {description: Directory of the pipeline., type: path}
  folder: {description: Directory of the drill on the host., type: path}
  config: {description: "The pipeline's description, on the host.", type: path}
  python: {description: Python interpreter of the sampler and the books reader., type: path}
  pythonpath: {description: Search path on which it finds the package eventlog., type: str}
  link: {description: "A further link to the run, on the controller, of whoever started this drill.", type: path}
  interval: {description: Seconds between samples., type: float, default: 1}
  steady_within: {description: Seconds until the pipeline must be steady., type: float, default: 60}
  away: {description: Seconds that each service will be away., type: dict, default: {}}
  budget: {description: Seconds that recovery may take., type: float, default: 60}
  patience: {description: Seconds that anything is waited for after the undo., type: float, default: 180}
  capacity: {description: "Events per second that the pipeline can process; 0 is what earlier drills measured.", type: float, default: 0}
  streams: {description: Whether the producer streams while services are away., type: bool, default: true}
  retention_hours: {description: Hours that Kafka keeps records., type: float, default: 168}
  settings: {description: Shown in the report., type: dict, default: {}}
  settings_script: {description: "Program that reads the settings of the servers, on the controller.", type: path}
  limits: {description: "Records that may be C(repeated), C(rewritten) or C(rejected) at most.", type: dict, default: {}}
  gate: {description: Whether a verdict other than PASS fails the task., type: bool, default: true}
  streaming: {description: The stream was resumed or paused by the task before., type: bool}
  changed: {description: Whether that task had anything to do., type: bool, default: true}
  guard: {description: What the guard said., type: dict, default: {}}
  holder: {description: Who holds the lock., type: dict, default: {}}
  force: {description: Act also when it is not known that the lock's holder is gone., type: bool, default: false}
  unhealed: {description: Act also before what a killed drill has left is healed., type: bool, default: false}
  breaks: {description: Take away the lock of a drill that does not keep from acting., type: bool, default: false}
  flushed: {description: Whether the tables were flushed to disk right before., type: bool, default: false}
  task: {description: Name of the task that failed., type: str}
  message: {description: Its result., type: raw}
attributes:
  check_mode: {support: full, description: Says what the drill would do; touches nothing.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Begin
  ansible.builtin.include_role: {name: eventlog.drills.drill, tasks_from: begin}

- name: Finish
  ansible.builtin.include_role: {name: eventlog.drills.drill, tasks_from: finish}
"""

RETURN = r"""
run: {description: The run's folder., returned: begin and finish, type: str}
verdict: {description: "Outcome, reason and exit status.", returned: finish, type: dict}
away: {description: Roles and verbs that bring back what is away., returned: settle, type: list, elements: dict}
"""
