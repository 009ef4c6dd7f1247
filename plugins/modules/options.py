# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0

# The work is done by the action plugin of the same name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: options
short_description: Check what was set, before anything is touched
version_added: "0.1.0"
description:
  - Internal to the role P(eventlog.drills.options#role), which every playbook of the collection begins with.
  - Fails with one sentence for each extra variable whose name begins as those of the collection do and is none of them,
    and for each variable of its argument specs whose value has another type, is none of the choices or out of its range.
options: {}
attributes:
  check_mode: {support: full, description: Changes nothing.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Check what was set
  eventlog.drills.options:
"""

RETURN = r"""
msg: {description: "The sentences, one a line.", returned: always, type: str}
"""
