"""The module config_files: directories and whole files, private and written once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.modules import config_files

from tests.unit.conftest import RunModule


def test_directories_and_files_are_made_once_and_private(run_module: RunModule, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "etc" / "kafka" / "server.properties"
    args: dict[str, Any] = {"directories": [str(data)], "files": {str(file): "port=9092\n"}}

    first = run_module(config_files, **args)

    assert first["changed"]
    assert first["written"] == [str(data), str(file.parent), str(file)]
    assert file.read_text() == "port=9092\n"
    assert [path.stat().st_mode & 0o777 for path in (data, file.parent, file)] == [0o700, 0o700, 0o600]
    second = run_module(config_files, **args)
    assert (second["changed"], second["written"]) == (False, [])


def test_only_what_differs_is_written_and_shown(run_module: RunModule, tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    same.write_text("a")
    other.write_text("old ü")

    result = run_module(config_files, files={str(same): "a", str(other): "new ü"})

    assert result["written"] == [str(other)]
    assert [(entry["before"], entry["after"]) for entry in result["diff"]] == [("old ü", "new ü")]
    assert other.read_text() == "new ü"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "same"]


def test_check_mode_writes_nothing(run_module: RunModule, tmp_path: Path) -> None:
    result = run_module(config_files, check=True, files={str(tmp_path / "etc" / "a"): "x"})

    assert result["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    result = run_module(config_files, files={str(tmp_path / "file" / "a"): "x"})

    assert result["failed"]
    assert f"cannot write {tmp_path}/file" in result["msg"]
