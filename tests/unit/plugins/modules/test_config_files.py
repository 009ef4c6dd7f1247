"""The module config_files: directories and whole files, private and written once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.modules import config_files
from ansible_collections.eventlog.drills.plugins.plugin_utils.look import look

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


def test_what_later_tasks_have_to_make_is_said(run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "there").touch()

    result = run_module(config_files, made=[str(tmp_path / "there"), str(tmp_path / "absent")])

    assert (result["changed"], result["missing"]) == (False, [str(tmp_path / "absent")])


# -- the look that goes before it ------------------------------------------------------------------------------------


def settled(directories: list[Path], files: dict[Path, str], made: list[Path]) -> bool:
    """Whether the shell finds nothing to be done."""
    question = look(map(str, directories), {str(path): text for path, text in files.items()}, map(str, made))
    return subprocess.run(["sh", "-c", question], check=False, capture_output=True).returncode == 0


def test_where_all_is_as_it_should_be_the_look_is_enough(run_module: RunModule, tmp_path: Path) -> None:
    data, file, mark = tmp_path / "my data", tmp_path / "etc" / "it's", tmp_path / "mark"
    files = {file: "port=9092\nname=ü %s $HOME\n", tmp_path / "etc" / "empty": ""}
    assert not settled([data], files, [mark])
    run_module(config_files, directories=[str(data)], files={str(path): text for path, text in files.items()})
    mark.touch()

    assert settled([data], files, [mark])
    assert settled([], {}, [])


@pytest.mark.parametrize("spoil", ["content", "file", "directory", "kind", "mark"])
def test_whatever_is_not_so_is_left_to_the_module(run_module: RunModule, tmp_path: Path, spoil: str) -> None:
    data, file, mark = tmp_path / "data", tmp_path / "etc" / "file", tmp_path / "mark"
    run_module(config_files, directories=[str(data)], files={str(file): "a\n"})
    mark.touch()
    if spoil == "content":
        file.write_text("a")
    elif spoil in ("directory", "kind"):
        data.rmdir()
        if spoil == "kind":
            data.touch()
    else:
        {"file": file, "mark": mark}[spoil].unlink()

    assert not settled([data], {file: "a\n"}, [mark])


def test_a_path_that_sums_cannot_be_listed_for_is_left_to_the_module(run_module: RunModule, tmp_path: Path) -> None:
    odd = tmp_path / "a\nb"
    run_module(config_files, files={str(odd): "x"})

    assert not settled([], {odd: "x"}, [])
