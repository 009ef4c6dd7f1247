#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Write a component's directories and configuration files in one step."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Write a component's directories and configuration files in one step
version_added: "0.1.0"
description:
  - Makes directories and writes files that differ, all private to the user.
  - Looks with one short command first, by the sums of the files' contents. Where nothing is to be done, it is done without
    a run of the module, which keeps a second provisioning run short.
  - A file is replaced as a whole, by renaming, so that a reader never sees half of it.
options:
  directories: {description: Directories to make., type: list, elements: path, default: []}
  files: {description: Content by path; the directories of the files are made., type: dict, default: {}}
  made: {description: What later tasks make once; RV(missing) says which of it., type: list, elements: path, default: []}
attributes:
  check_mode: {support: full, description: Says which files would be written.}
  diff_mode: {support: full, description: Shows what changes.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Configure the broker
  eventlog.drills.config_files:
    directories: [/srv/pipeline/data/kafka]
    files:
      /srv/pipeline/etc/kafka/server.properties: "{{ lookup('ansible.builtin.template', 'server.properties.j2') }}"
    made: [/srv/pipeline/data/kafka/meta.properties]
  register: configured

- name: Format the broker's storage
  ansible.builtin.command: /srv/kafka/format.sh
  when: "'/srv/pipeline/data/kafka/meta.properties' in configured.missing"
"""

RETURN = r"""
written: {description: Paths of what was made or rewritten., returned: success, type: list, elements: str}
missing: {description: What of O(made) does not exist., returned: success, type: list, elements: str}
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def read(path: Path) -> str | None:
    """The file's text; None when it does not exist."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def write(path: Path, text: str) -> None:
    """Replace the file's content; mode 0600."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.chmod(0o600)
    aside.rename(path)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "directories": {"type": "list", "elements": "path", "default": []},
            "files": {"type": "dict", "default": {}},
            "made": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    files = {Path(path): str(text) for path, text in module.params["files"].items()}
    directories = [Path(path) for path in module.params["directories"]]
    directories += [
        directory for directory in dict.fromkeys(path.parent for path in files) if directory not in directories
    ]
    try:
        missing = [directory for directory in directories if not directory.is_dir()]
        before = {path: read(path) for path in files}
        differing = [path for path, text in files.items() if before[path] != text]
        if not module.check_mode:
            for directory in missing:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in differing:
                write(path, files[path])
    except OSError as error:
        module.fail_json(msg=f"cannot write {error.filename}: {error.strerror}")
    diff = [
        {"before_header": str(path), "after_header": str(path), "before": before[path] or "", "after": files[path]}
        for path in differing
    ]
    written = [str(path) for path in (*missing, *differing)]
    absent = [path for path in module.params["made"] if not os.path.exists(path)]
    module.exit_json(changed=bool(written), written=written, missing=absent, diff=diff)


if __name__ == "__main__":
    main()
