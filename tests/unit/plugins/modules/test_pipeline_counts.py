"""The modules pipeline_counts and books: they never fail because something is down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.eventlog.drills.plugins.modules import books, pipeline_counts

from tests.unit.conftest import RunModule


@pytest.fixture
def pipeline_toml(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """The configuration of a pipeline none of whose servers runs."""
    ports = [free_port() for _ in range(4)]
    path = tmp_path / "pipeline.toml"
    path.write_text(
        f"""
        pipeline = {{ name = "test", root = "{tmp_path}" }}
        event = {{ bytes = 1024, bucket_size = 1000 }}
        kafka = {{ bootstrap_servers = "127.0.0.1:{ports[0]}", topic = "events", dead_letter_topic = "rejected" }}
        producer = {{ spool = "{tmp_path}/s.db", socket = "{tmp_path}/p", rate = 1.0, spool_limit_bytes = 268435456 }}
        monitor = {{ host = "127.0.0.1", port = {ports[3]}, refresh_seconds = 1.0 }}
        [cassandra]
        contact_points = ["127.0.0.1"]
        port = {ports[1]}
        keyspace = "eventlog"
        datacenter = "dc1"
        [flink]
        rest_url = "http://127.0.0.1:{ports[2]}"
        job_name = "event-log"
        group_id = "event-log"
        state_dir = "{tmp_path}/flink"
        parallelism = 1
        """,
        encoding="utf-8",
    )
    return path


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
