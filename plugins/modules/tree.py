# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0

# The work is done by the action plugin of the same name; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: tree
short_description: Build one distribution tree in the controller's cache
version_added: "0.1.0"
description:
  - A tree is a complete, read-only, relocatable folder below C(CACHE/trees), named by its version and a hash of what it
    is made from. An existing tree is never changed.
  - Python trees are installed with uv from a requirements file with hashes, jar trees are fetched with jgo's resolver
    and verified against the sha256 sums of a jgo lock file, package trees are copied from source folders.
  - Runs on the controller.
options:
  name: {description: Name of the tree., type: str, required: true}
  version: {description: Version of what it holds; part of the folder's name., type: str, required: true}
  cache: {description: The cache directory., type: path, required: true}
  python: {description: "Python version of the target, as V(3.11). Default is the controller's.", type: str}
  requirements: {description: Requirements file with hashes., type: path}
  jars: {description: jgo lock file., type: path}
  jars_into: {description: Folder of the tree that the jars go to., type: str, default: lib}
  links:
    description: Patterns of files within the tree and the folder that each belongs in as well.
    type: dict
    default: {}
  packages: {description: Folders of Python packages to copy., type: list, elements: path}
attributes:
  check_mode: {support: full, description: Says whether the tree would be built.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Fetch the broker
  eventlog.drills.tree:
    name: kafka
    version: 4.3.1
    cache: ~/.cache/eventlog-drills
    jars: "{{ role_path }}/files/maven/kafka/jgo.lock.toml"
"""

RETURN = r"""
path: {description: The tree's folder., returned: success, type: str}
"""
