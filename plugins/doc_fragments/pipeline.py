# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""What the modules that read a pipeline have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Options, requirements and attributes of modules that only read."""

    DOCUMENTATION = r"""
requirements:
  - the Python package eventlog (folder C(producer) of this collection) with confluent-kafka and cassandra-driver,
    on the search path of the host's Python, for which a task's C(environment) sets C(PYTHONPATH)
options:
  config:
    description: The pipeline's description, C(etc/pipeline.toml), on the host.
    type: path
    required: true
attributes:
  check_mode:
    support: full
    description: It never changes anything.
  action_group:
    support: full
    description: What they have in common can be given once in C(module_defaults), as C(group/eventlog.drills.pipeline).
"""
