#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Pause or resume the producer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: producer_stream
short_description: Pause or resume the producer
version_added: "0.1.0"
description:
  - Asks the producer on its control socket, so it needs neither the monitor nor its token. What the producer has
    accepted is delivered in any case.
  - Fails when the producer is not running.
options:
  socket: {description: The producer's control socket., type: path, required: true}
  streaming: {description: Whether it shall generate events., type: bool, required: true}
attributes:
  check_mode: {support: full, description: Says whether something would change.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Pause the stream of events
  eventlog.drills.producer_stream:
    socket: /srv/pipeline/run/producer.sock
    streaming: false
"""

RETURN = r"""
changed: {description: Whether it was otherwise before., returned: success, type: bool}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.stream import set_wanted
from ansible_collections.eventlog.drills.plugins.module_utils.units import UnitError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "streaming": {"type": "bool", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        changed = set_wanted(module.params["socket"], module.params["streaming"], module.check_mode)
    except UnitError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
