#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Pause, resume or pace the producer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: producer_stream
short_description: Pause, resume or pace the producer
version_added: "0.1.0"
description:
  - Asks the producer on its control socket, so it needs neither the monitor nor its token. What the producer has
    accepted is delivered in any case.
  - Fails when the producer is not running or refuses.
extends_documentation_fragment: [eventlog.drills.pipeline]
options:
  streaming: {description: Whether it shall generate events., type: bool}
  rate: {description: "Events per second, now and for its later starts.", type: float}
  timeout: {description: Seconds that it has to answer., type: float, default: 5}
attributes:
  check_mode: {support: full, description: Says whether something would change.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Stream at 500 events per second
  eventlog.drills.producer_stream:
    config: /srv/pipeline/etc/pipeline.toml
    streaming: true
    rate: 500
  environment:
    PYTHONPATH: "{{ pipeline_pythonpath }}"
"""

RETURN = r"""
producer:
  description: The producer's status afterwards.
  returned: success
  type: dict
  sample: {streaming: true, reason: null, rate: 500.0, source: host-3f9a1c, count: 1204, acked: 1200, buffered: 4}
"""

import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils.pipeline import missing_library

try:
    from eventlog.config import ConfigError, load
    from eventlog.control import ControlError, control

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()

Status = dict[str, Any]


def requests(status: Status, streaming: bool | None, rate: float | None) -> list[Status]:
    """What to ask of a producer with that status, in order: a new rate first, so that it starts at it."""
    paused = status["reason"] == "paused"
    wanted: list[Status] = []
    if rate is not None and rate != status["rate"]:
        wanted.append({"do": "rate", "rate": rate})
    if streaming is not None and streaming == paused:
        wanted.append({"do": "resume" if streaming else "pause"})
    return wanted


def settle(
    ask: Callable[[Status], Status], streaming: bool | None, rate: float | None, check: bool
) -> tuple[bool, Status]:
    """Whether anything had to change, and the status afterwards."""
    status = ask({"do": "status"})
    wanted = requests(status, streaming, rate)
    for request in wanted if not check else []:
        status = ask(request)
    return bool(wanted), status


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "required": True},
            "streaming": {"type": "bool"},
            "rate": {"type": "float"},
            "timeout": {"type": "float", "default": 5.0},
        },
        required_one_of=[("streaming", "rate")],
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        module.fail_json(msg=missing_library(IMPORT_ERROR), exception=IMPORT_ERROR)
    wanted = module.params
    try:
        socket = load(wanted["config"]).producer.socket
        changed, status = settle(
            lambda request: control(socket, request, wanted["timeout"]),
            wanted["streaming"],
            wanted["rate"],
            module.check_mode,
        )
    except (ConfigError, ControlError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, producer=status)


if __name__ == "__main__":
    main()
