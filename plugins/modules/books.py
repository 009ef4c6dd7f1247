#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Look every event of a window up at every hop."""

from __future__ import annotations

DOCUMENTATION = r"""
module: books
short_description: Look every event of a window up at every hop
version_added: "0.1.0"
description:
  - Follows every event of a window, by source and sequence number, through the producer's spool, the Kafka topic and the
    Cassandra table, and returns which were seen where, as ranges, and which of them are not as the producer makes them.
  - Changes no event. Judging what is missing is left to the caller; the drills do.
extends_documentation_fragment: [eventlog.drills.pipeline]
options:
  sources: {description: "First and last sequence number by source; without it, everything the spool has made.", type: dict}
  kafka_from: {description: Offset by partition at which the window begins., type: dict, default: {}}
  kafka_to: {description: Offset by partition at which it ends; default is the end of the topic., type: dict}
  since: {description: Epoch seconds from which rewritten records are counted and before which no event of the window was made., type: float, default: 0}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Look everything up
  eventlog.drills.books:
    config: /srv/pipeline/etc/pipeline.toml
  environment:
    PYTHONPATH: "{{ pipeline_pythonpath }}"
  register: pipeline_books
"""

RETURN = r"""
books:
  description: What was seen where.
  returned: success
  type: dict
  contains:
    sources: {description: "Per source the ranges generated, acked, kafka, cassandra, rejected, and what is missing, repeated, altered or deleted from the topic.", type: dict, returned: always}
    deleted: {description: Offsets by partition that the topic does not hold any more., type: dict, returned: always}
    reopened: {description: Rows by source and bucket of buckets that were counted as full and are not., type: dict, returned: always}
    unexpected: {description: Records and rows outside the window., type: dict, returned: always}
    rewritten: {description: Records written to Cassandra more than once., type: int, returned: always}
    totals: {description: Sums over the sources., type: dict, returned: always}
    unclosed: {description: Hops that could not be read., type: list, returned: always}
"""

import traceback

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.pipeline import missing_library

try:
    from eventlog.books import RequestError, read_books
    from eventlog.config import ConfigError, load

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "required": True},
            "sources": {"type": "dict"},
            "kafka_from": {"type": "dict", "default": {}},
            "kafka_to": {"type": "dict"},
            "since": {"type": "float", "default": 0.0},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        module.fail_json(msg=missing_library(IMPORT_ERROR), exception=IMPORT_ERROR)
    args = module.params
    request = {key: args[key] for key in ("sources", "kafka_from", "kafka_to", "since") if args[key] is not None}
    try:
        books = read_books(load(args["config"]), request)
    except (ConfigError, RequestError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, books=books)


if __name__ == "__main__":
    main()
