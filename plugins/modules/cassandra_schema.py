#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Apply an idempotent CQL schema."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cassandra_schema
short_description: Apply an idempotent CQL schema
version_added: "0.1.0"
description:
  - Runs the statements of a CQL file, which must be idempotent (C(IF NOT EXISTS)), and reports whether the keyspace's
    tables and columns differ from before. Does nothing when the same file was applied already.
requirements: [cassandra-driver >= 3.29]
options:
  contact_points: {description: Addresses of nodes., type: list, elements: str, required: true}
  port: {description: Port of the native protocol., type: int, default: 9042}
  keyspace: {description: Keyspace that the file creates., type: str, required: true}
  src:
    description: CQL file on the target; statements end in a semicolon at the end of a line.
    type: path
    required: true
  timeout: {description: Seconds for each statement., type: float, default: 30}
attributes:
  check_mode: {support: full, description: Says whether the keyspace is there.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Create keyspace and tables
  eventlog.drills.cassandra_schema:
    contact_points: [127.0.0.1]
    keyspace: eventlog
    src: /srv/pipeline/etc/cassandra/schema.cql
"""

RETURN = r"""
tables: {description: Tables of the keyspace afterwards., returned: success, type: list, elements: str}
"""

import re
import traceback
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from cassandra import DriverException
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.policies import RoundRobinPolicy

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def statements(text: str) -> list[str]:
    """Split a CQL file into statements, without comments."""
    text = re.sub(r"^\s*(--|//).*$", "", text, flags=re.MULTILINE)
    return [part.strip() for part in re.split(r";\s*$", text, flags=re.MULTILINE) if part.strip()]


def columns(session: Any, keyspace: str) -> set[tuple[str, ...]]:
    """Every (table, column, type) of a keyspace, and its replication."""
    found: set[tuple[str, ...]] = {
        (row.table_name, row.column_name, row.type)
        for row in session.execute(
            "SELECT table_name, column_name, type FROM system_schema.columns WHERE keyspace_name = %s", [keyspace]
        )
    }
    replication = session.execute(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", [keyspace]
    ).one()
    if replication:
        found.add(("", "", str(sorted(replication.replication.items()))))
    return found


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "contact_points": {"type": "list", "elements": "str", "required": True},
            "port": {"type": "int", "default": 9042},
            "keyspace": {"type": "str", "required": True},
            "src": {"type": "path", "required": True},
            "timeout": {"type": "float", "default": 30.0},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        if module.check_mode:  # before the first installation there is no client library, and no table either
            module.exit_json(changed=True, tables=[])
        module.fail_json(msg=missing_required_lib("cassandra-driver"), exception=IMPORT_ERROR)
    args = module.params
    where = f"Cassandra at {', '.join(args['contact_points'])}:{args['port']}"
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=args["timeout"])
    cluster = Cluster(
        args["contact_points"],
        port=args["port"],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
    )
    try:
        session = cluster.connect()
        before = columns(session, args["keyspace"])
        if not module.check_mode:
            with open(args["src"], encoding="utf-8") as file:
                for statement in statements(file.read()):
                    session.execute(statement)
        after = columns(session, args["keyspace"])
    except (NoHostAvailable, DriverException) as error:
        if module.check_mode:  # a server that the real run would have started first
            module.exit_json(changed=True, tables=[])
        module.fail_json(msg=f"{where}: {error}")
    finally:
        cluster.shutdown()
    module.exit_json(
        changed=before != after or (module.check_mode and not before),
        tables=sorted({table for table, _, _ in after if table}),
    )


if __name__ == "__main__":
    main()
