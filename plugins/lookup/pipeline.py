"""Lookup plugin `pipeline`: the hosts of a play, or an error where Ansible would succeed without doing anything."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: pipeline
short_description: The hosts of a play, which must be some
version_added: "0.1.0"
author: [Event Log Drills authors]
description:
  - Internal to the playbooks of the collection, each of which names its hosts by it.
  - For Ansible an inventory without the group, a C(--limit) that leaves none of it and C(--tags) that no task has are
    no errors. A drill that was not run must not end with the status of one that passed.
  - A playbook of the checkout that was started elsewhere, so that Ansible has found no configuration, is started again
    with the checkout's own, which also names the inventory of this machine.
options:
  _terms:
    description: The group; V(pipeline) when left out.
"""

EXAMPLES = r"""
- name: Provision the pipeline
  hosts: "{{ lookup('eventlog.drills.pipeline') }}"
"""

RETURN = r"""
_raw: {description: "The group, as it was given.", type: list, elements: str}
"""

#: Tags under which every task of the playbooks runs: they have none.
_EVERYTHING = frozenset({"all", "untagged"})


class LookupModule(LookupBase):
    """The options are documented above."""

    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **_: Any) -> list[str]:
        """Return the group.

        :raises AnsibleError: the play would do nothing.
        """
        known = variables or {}
        group = str(terms[0]) if terms else "pipeline"
        if context.CLIARGS.get("syntax"):  # which needs no inventory
            return [group]
        folder = Path(str(known.get("playbook_dir") or "."))
        found = missing(folder, configuration=C.CONFIG_FILE, inventory=_named_by())
        if found and "ansible" in sys.argv[0]:
            _begin_again(found)
        why = nothing_to_do(group, known, self._loader, own=checkout(folder) is not None)
        if why:
            raise AnsibleError(why)
        return [group]


def checkout(playbooks: Path) -> Path | None:
    """The checkout in which this folder is that of the playbooks; None for any other folder."""
    found = playbooks.resolve().parent  # within the collection's own folder it is a link
    ours = (found / "playbooks" / "drill_kafka.yml").exists() and (found / "playbooks") == playbooks.resolve()
    return found if ours else None


def missing(playbooks: Path, *, configuration: str | None, inventory: str) -> dict[str, str]:
    """What Ansible was not told, as environment variables, and the checkout of these playbooks knows.

    Its configuration, when no other was found: Ansible looks for one where it is started only, and not at all where
    everybody may write. (Whoever may write there may change the playbook as well, and that is what was started.)

    :param configuration: the file in use, if any.
    :param inventory: what has named the inventory, ``default`` for nothing.
    """
    found = checkout(playbooks)
    if found is None or not (found / "ansible.cfg").exists():
        return {}
    if configuration is None:
        return {"ANSIBLE_CONFIG": str(found / "ansible.cfg")}
    if inventory == "default":
        return {"ANSIBLE_INVENTORY": str(found / "inventory" / "local")}
    return {}


def _named_by() -> str:
    if tuple(context.CLIARGS.get("inventory") or ()) != tuple(C.DEFAULT_HOST_LIST):
        return "command line"
    return str(C.config.get_config_value_and_origin("DEFAULT_HOST_LIST")[1])


def _begin_again(environment: Mapping[str, str]) -> None:
    """Replace this process by the same command in another environment; nothing has been done yet."""
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor in (0, 1, 2):  # Ansible keeps them from what it starts
        os.set_inheritable(descriptor, True)
    shutil.rmtree(C.DEFAULT_LOCAL_TMP, ignore_errors=True)  # as Ansible would do at its end, which does not come
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **environment})


def nothing_to_do(group: str, variables: Mapping[str, Any], loader: Any, *, own: bool) -> str:
    """Why a play on this group would do nothing, empty when it would.

    :param own: whether the playbook that was started is the collection's. Another may give tags to what it imports.
    """
    wanted, skipped = (set(variables.get(f"ansible_{kind}_tags") or ()) for kind in ("run", "skip"))
    if own and wanted and not wanted & _EVERYTHING:
        return f"--tags {','.join(sorted(wanted))} leaves nothing to do: the tasks of these playbooks have no tags"
    if own and skipped & _EVERYTHING:
        return (
            f"--skip-tags {','.join(sorted(skipped))} leaves nothing to do: the tasks of these playbooks have no tags"
        )
    groups: Mapping[str, Sequence[str]] = variables.get("groups") or {}
    if group != "localhost" and not groups.get(group):
        sources = (
            ", ".join(str(source) for source in variables.get("ansible_inventory_sources") or ()) or "the inventory"
        )
        return f"no host is in the group '{group}' of {sources}. Name an inventory that has one: -i inventory/local"
    limit = variables.get("ansible_limit")
    if limit and not _left(group, groups, str(limit), loader):
        return f"--limit {limit} leaves no host of the group '{group}'"
    return ""


def _left(group: str, groups: Mapping[str, Sequence[str]], limit: str, loader: Any) -> list[Any]:
    """The hosts of a group that a limit leaves, by Ansible's own rules for patterns."""
    inventory = InventoryManager(loader=loader, sources=None, parse=False)
    for name, hosts in groups.items():
        inventory.add_group(name)
        for host in hosts:
            inventory.add_host(host, group=None if name in ("all", "ungrouped") else name)
    inventory.reconcile_inventory()
    inventory.subset(limit)
    return list(inventory.get_hosts(group))
