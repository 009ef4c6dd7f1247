"""The module cassandra_schema without a server: cutting a file into statements, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.modules import cassandra_schema

from tests.unit.conftest import RunModule

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("-- nothing but a comment;\n// and another;\n", []),
        ("A;\nB;\n", ["A", "B"]),
        ("A\n  b c\n;\nB", ["A\n  b c", "B"]),
        ("A 'x; y';\nB;", ["A 'x; y'", "B"]),
        ("A; \n\n-- why B\nB;", ["A", "B"]),
    ],
)
def test_a_file_is_cut_at_semicolons_that_end_a_line(text: str, expected: list[str]) -> None:
    assert cassandra_schema.statements(text) == expected


def test_every_statement_of_the_schema_may_be_run_again() -> None:
    text = (ROOT / "roles" / "cassandra" / "templates" / "schema.cql.j2").read_text()

    statements = cassandra_schema.statements(text)

    assert len(statements) == 7
    assert all(statement.startswith("CREATE ") and " IF NOT EXISTS " in statement for statement in statements)


def test_a_server_that_is_away_is_named(run_module: RunModule, tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    src = str(tmp_path / "schema.cql")
    args: dict[str, Any] = {"contact_points": ["127.0.0.1"], "port": port, "keyspace": "eventlog", "src": src}

    result = run_module(cassandra_schema, **args)

    assert result["failed"]
    assert result["msg"].startswith(f"Cassandra at 127.0.0.1:{port}: ")
    assert run_module(cassandra_schema, check=True, **args)["changed"]
