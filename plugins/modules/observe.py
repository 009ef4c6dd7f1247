# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0

# The work is done by the action plugin of the same name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: observe
short_description: Watch one phase of the running drill and judge it
version_added: "0.1.0"
description:
  - Follows the samples that are taken on the pipeline's host, shows them in one live line, and judges the shape of every
    count over the phase. A count that cannot be read is neither static nor growing.
  - A phase begins with the fault, undo or change of the stream before it, or where the phase before it ended.
  - A failed expectation goes into the journal and the verdict; it does not fail the task, so that the drill goes on.
options:
  phase: {description: Name of the phase in the journal and the report., type: str, required: true}
  duration: {description: Seconds to watch. Either this or O(until)., type: float}
  until:
    description:
      - V(converged) waits for the steady state that the drill began with and splits the recovery into its phases.
      - V(at_rest) waits until nothing moves, nothing is buffered and nothing lags.
    type: str
    choices: [converged, at_rest]
  within:
    description: >-
      Seconds that a recovery may take. One that misses them is watched to its end, to know how late it was; everything is
      given up after the seconds that the drill was begun with.
    type: float
    default: 60
  expect:
    description:
      - What is expected of C(producer), C(kafka), C(cassandra), C(lag), C(spool), C(dead_letters) and C(rejected);
        V(static), V(grows), V(drains), V(unreachable) or V(reachable), or a list of them of which any will do.
      - Of C(flink) one of V(running) (all tasks at every reading), V(unreachable) or V(retried).
    type: dict
    default: {}
  rate:
    description: Events per second that V(grows) must show; V(offered) is what the producer was asked for, V(any) any growth.
    type: str
    default: offered
  settle: {description: Seconds for which a count that is to be static may still move., type: float, default: 3}
  same_as: {description: An earlier phase that ended with the very counts and positions this one must end with., type: str}
attributes:
  check_mode: {support: full, description: Says what would be watched.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Watch the outage
  eventlog.drills.observe:
    phase: outage
    duration: 60
    expect: {producer: grows, kafka: grows, cassandra: static, lag: grows}

- name: Watch the recovery
  eventlog.drills.observe:
    phase: recovery
    until: converged
    within: 60
"""

RETURN = r"""
ok: {description: Whether every expectation was met., returned: success, type: bool}
seconds: {description: How long the phase was., returned: success, type: float}
checks:
  description: One entry per expectation.
  returned: success
  type: list
  elements: dict
  contains:
    subject: {description: What was judged., type: str, returned: always}
    expected: {description: The expected shapes., type: str, returned: always}
    seen: {description: The shape that was seen., type: str, returned: always}
    ok: {description: Whether it was as expected; null when it could not be judged., type: bool, returned: always}
    detail: {description: The figures., type: str, returned: always}
recovery: {description: "With O(until=converged), the record of the recovery.", returned: when converged, type: dict}
"""
