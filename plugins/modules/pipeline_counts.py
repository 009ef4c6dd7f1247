#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Count the events at every hop of the pipeline."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pipeline_counts
short_description: Count the events at every hop of the pipeline
version_added: "0.1.0"
description:
  - Reads, all at once, how many events the producer has made, how many records the Kafka topic holds, how many rows are
    in Cassandra, and how many records wait to be processed.
  - Counts are exact, and cost the same whatever the size of the table.
  - Never fails because something is down. Every count says whether it could be read just now, why not, and how old it is.
extends_documentation_fragment: [eventlog.drills.pipeline]
options:
  timeout: {description: Seconds after which a hop that has not answered is reported as unreachable., type: float, default: 5}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Wait until everything that is in Kafka is in Cassandra
  eventlog.drills.pipeline_counts:
    config: /srv/pipeline/etc/pipeline.toml
  environment:
    PYTHONPATH: "{{ pipeline_pythonpath }}"
  register: pipeline
  until: pipeline.counts.lag.reachable and pipeline.counts.lag.count == 0
  retries: 30
  delay: 1
"""

RETURN = r"""
counts:
  description: One entry per hop. C(count) is the last known figure, null when there is none.
  returned: success
  type: dict
  sample:
    time: 1795475518.204
    producer: {count: 1204, reachable: true, error: null, age: 0.0, alive: true, streaming: true, rate: 10.0, acked: 1200, buffered: 4}
    kafka: {count: 1204, reachable: true, error: null, age: 0.0, partitions: {"0": 301}, dead_letters: 0}
    cassandra: {count: 1201, reachable: true, error: null, age: 0.0, rejected: 0, next_offsets: {"0": 300}}
    lag: {count: 3, reachable: true, error: null, age: 0.0}
    flink: {reachable: true, error: null, age: 0.0, state: RUNNING, tasks_running: 4, tasks_total: 4}
"""

import traceback

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.pipeline import missing_library

try:
    from eventlog.config import ConfigError, load
    from eventlog.counts import read_once

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "required": True},
            "timeout": {"type": "float", "default": 5.0},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        module.fail_json(msg=missing_library(IMPORT_ERROR), exception=IMPORT_ERROR)
    try:
        config = load(module.params["config"])
    except (ConfigError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, counts=read_once(config, module.params["timeout"]).to_dict())


if __name__ == "__main__":
    main()
