"""The modules pipeline_counts and books: they never fail because something is down."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.eventlog.drills.plugins.modules import books, pipeline_counts

from tests.unit.conftest import RunModule


def test_counts_of_servers_that_are_down(run_module: RunModule, pipeline_toml: Path) -> None:
    result = run_module(pipeline_counts, check=True, config=str(pipeline_toml), timeout=1)
    assert result["changed"] is False
    for hop in ("producer", "kafka", "cassandra", "lag", "flink"):
        assert result["counts"][hop]["reachable"] is False
        assert result["counts"][hop]["error"]


def test_books_of_servers_that_are_down(run_module: RunModule, pipeline_toml: Path) -> None:
    result = run_module(books, check=True, config=str(pipeline_toml), sources={"host-a": [1, 10]})
    assert result["changed"] is False
    assert [text.partition(":")[0] for text in result["books"]["unclosed"]] == ["spool", "kafka", "cassandra"]
    assert result["books"]["sources"]["host-a"]["kafka"] == []


def test_what_cannot_be_used_is_said(run_module: RunModule, pipeline_toml: Path, tmp_path: Path) -> None:
    result = run_module(books, config=str(pipeline_toml), sources={"host-a": [0, 10]})
    assert result["failed"]
    assert "the first seq is 1" in result["msg"]
    for module in (books, pipeline_counts):
        result = run_module(module, config=str(tmp_path / "none.toml"))
        assert result["failed"]
        assert "none.toml: cannot be read" in result["msg"]


def test_a_missing_library_is_named(
    run_module: RunModule, pipeline_toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (books, pipeline_counts):
        monkeypatch.setattr(module, "IMPORT_ERROR", "Traceback …\nModuleNotFoundError: No module named 'cassandra'")
        result = run_module(module, config=str(pipeline_toml))
        assert result["failed"]
        assert "eventlog" in result["msg"]
        assert "PYTHONPATH" in result["msg"]
        assert "No module named 'cassandra'" in result["msg"]
