#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Measure the disk space that components of the pipeline take up."""

from __future__ import annotations

DOCUMENTATION = r"""
module: disk_usage
short_description: Measure the disk space that components of the pipeline take up
version_added: "0.1.0"
description:
  - Counts the bytes that are allocated on disk, which is less than the length of files with holes, such as Kafka's indexes.
  - Tells apart by the names that Kafka and Cassandra give to their files what they hold. C(data) is records, rows and
    whatever is not known, C(index) leads to them, C(commitlog) is what Cassandra writes first, C(log) is text for people.
  - Cassandra's data grow only when it writes its memory to disk; flush it first (C(nodetool flush)) when that matters.
  - Never fails because a path does not exist.
options:
  components:
    description: Paths of files and folders by the name of the component that they belong to.
    type: dict
    default: {}
  paths:
    description: Further files and folders, each of them a component by the name of its path.
    type: list
    elements: path
    default: []
  since:
    description: The value RV(usage) of an earlier result, to compute RV(growth) from.
    type: dict
attributes:
  check_mode: {support: full, description: It never changes anything.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Measure before
  eventlog.drills.disk_usage:
    components:
      kafka: [/srv/pipeline/data/kafka]
      cassandra: [/srv/pipeline/data/cassandra]
  register: disk_before

- name: Measure after, and how much it has grown
  eventlog.drills.disk_usage:
    components:
      kafka: [/srv/pipeline/data/kafka]
      cassandra: [/srv/pipeline/data/cassandra]
    since: "{{ disk_before.usage }}"
  register: disk_after
"""

RETURN = r"""
usage:
  description: What is there.
  returned: success
  type: dict
  contains:
    time: {description: When it was measured (epoch seconds)., type: float, returned: always}
    components:
      description: >-
        Per component C(bytes) allocated, number of C(files), the same per category in C(categories), and the paths that do
        not exist or cannot be read in C(missing).
      type: dict
      returned: always
    total: {description: "C(bytes) and C(files) of all, each file counted once.", type: dict, returned: always}
  sample:
    time: 1795475518.204
    components:
      kafka:
        bytes: 1310720
        files: 24
        categories:
          data: {bytes: 1228800, files: 8}
          index: {bytes: 81920, files: 16}
          commitlog: {bytes: 0, files: 0}
          log: {bytes: 0, files: 0}
        missing: []
    total: {bytes: 1310720, files: 24}
growth:
  description: How much more there is than in O(since).
  returned: when O(since) is given
  type: dict
  contains:
    seconds: {description: Time between the two., type: float, returned: always}
    components:
      description: Per component that is in both C(bytes), C(files), C(bytes_per_minute), and bytes per category in C(categories).
      type: dict
      returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.eventlog.drills.plugins.module_utils import disk


def components(named: dict[str, Any], paths: list[str]) -> dict[str, list[str]]:
    """Name → paths. Raises ValueError for a component whose paths are neither a path nor a list of them."""
    found = {path: [path] for path in paths}
    for name, where in named.items():
        listed = [where] if isinstance(where, str) else where
        if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
            raise ValueError(f"components.{name} is {where!r}, expected a path or a list of paths")
        found[name] = listed
    return found


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "components": {"type": "dict", "default": {}},
            "paths": {"type": "list", "elements": "path", "default": []},
            "since": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    try:
        wanted = components(module.params["components"], module.params["paths"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    if not wanted:
        module.fail_json(msg="nothing to measure: set components or paths")
    result: dict[str, Any] = {"usage": disk.report(wanted)}
    if module.params["since"] is not None:
        try:
            result["growth"] = disk.growth(module.params["since"], result["usage"])
        except ValueError as error:
            module.fail_json(msg=f"since cannot be used: {error}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
