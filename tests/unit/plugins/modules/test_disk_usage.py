"""The module disk_usage: allocated bytes, what they are for, and growth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils import disk
from ansible_collections.eventlog.drills.plugins.modules import disk_usage

from tests.unit.conftest import RunModule


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("events-0/00000000000000000000.log", "data"),
        ("events-0/00000000000000001204.index", "index"),
        ("events-0/00000000000000001204.timeindex.deleted", "index"),
        ("events-0/leader-epoch-checkpoint", "data"),
        ("eventlog/events-0f3c/oa-3h5r_1t8v_3etao2frlavhpt1z6h-big-Data.db", "data"),
        ("eventlog/events-0f3c/oa-3h5r_1t8v_3etao2frlavhpt1z6h-big-Index.db", "index"),
        ("eventlog/events-0f3c/da-12-bti-Partitions.db", "index"),
        ("eventlog/events-0f3c/oa-3h5r_1t8v_3etao2frlavhpt1z6h-big-TOC.txt", "index"),
        ("commitlog/CommitLog-8-1795475518204.log", "commitlog"),
        ("logs/kafka.log", "log"),
        ("logs/server.log.2026-11-23.gz", "log"),
        ("producer/spool.db", "data"),
        ("producer/spool.db-wal", "data"),
    ],
)
def test_what_a_file_is_for(name: str, category: str) -> None:
    assert disk.category(f"/srv/{name}") == category


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    # The blocks of a file are allocated when it is written back, on some file systems.
    with path.open("rb") as file:
        os.fsync(file.fileno())


def test_usage_and_growth(run_module: RunModule, tmp_path: Path) -> None:
    kafka = tmp_path / "kafka"
    fill(kafka / "events-0" / "00000000000000000000.log", 8192)
    with (kafka / "events-0" / "00000000000000000000.index").open("wb") as index:
        index.truncate(10 << 20)  # a hole
    wanted: dict[str, Any] = {"components": {"kafka": str(kafka), "none": [str(tmp_path / "none")]}}
    before = run_module(disk_usage, **wanted)
    assert before["changed"] is False
    usage = before["usage"]["components"]["kafka"]
    assert usage["files"] == 2
    assert usage["categories"]["data"] == {"bytes": 8192, "files": 1}
    assert usage["categories"]["index"]["bytes"] < 65536
    assert before["usage"]["components"]["none"]["missing"] == [str(tmp_path / "none")]
    assert before["usage"]["components"]["none"]["bytes"] == 0
    assert "growth" not in before

    fill(kafka / "events-1" / "00000000000000000000.log", 40960)
    after = run_module(disk_usage, check=True, since=before["usage"], **wanted)
    grown = after["growth"]["components"]["kafka"]
    assert grown["bytes"] == 40960
    assert grown["files"] == 1
    assert grown["categories"] == {"data": 40960, "index": 0, "commitlog": 0, "log": 0}
    assert grown["bytes_per_minute"] == round(40960 * 60 / after["growth"]["seconds"])


def test_a_file_is_counted_once_and_links_are_not_followed(run_module: RunModule, tmp_path: Path) -> None:
    fill(tmp_path / "one" / "a", 4096)
    os.link(tmp_path / "one" / "a", tmp_path / "one" / "b")
    (tmp_path / "one" / "c").symlink_to("/usr")
    result = run_module(disk_usage, paths=[str(tmp_path / "one"), str(tmp_path / "one" / "a")])
    usage = result["usage"]
    assert usage["components"][str(tmp_path / "one")]["files"] == 1
    assert usage["total"] == {"bytes": 4096, "files": 1}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "nothing to measure: set components or paths"),
        ({"components": {"kafka": 5}}, "components.kafka is 5, expected a path or a list of paths"),
        (
            {"paths": ["/etc"], "since": {"bytes": 5}},
            "since cannot be used: it is not an earlier result of this module",
        ),
    ],
)
def test_wrong_arguments(run_module: RunModule, args: dict[str, Any], message: str) -> None:
    result = run_module(disk_usage, **args)
    assert result["failed"]
    assert message in result["msg"]
