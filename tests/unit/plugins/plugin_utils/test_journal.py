"""The journal survives a crash at any byte and refuses what was edited."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError, Run
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_795_475_518.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return journal.create_run(tmp_path / "runs", "flink", now=NOW)


def test_a_run_has_a_private_folder_and_is_the_latest(tmp_path: Path, run: Run) -> None:
    assert run.name == "2026-11-23T23-11-58Z-flink"
    assert (tmp_path / "runs" / "latest").resolve() == run.path.resolve()
    journal.append(run, "begin", drill="flink")
    for path in (tmp_path / "runs", run.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(run.journal.stat().st_mode) == 0o600


def test_two_runs_in_one_second_are_two_folders(tmp_path: Path, run: Run) -> None:
    other = journal.create_run(tmp_path / "runs", "flink", now=NOW)
    assert other.name == "2026-11-23T23-11-59Z-flink"


@pytest.mark.parametrize("name", ["", "../x", "Flink", "a b", "-x"])
def test_a_name_that_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(JournalError, match="not usable"):
        journal.create_run(tmp_path, name)


def test_latest_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(JournalError, match="not a link made by a drill"):
        journal.create_run(tmp_path, "flink")


def test_records_come_back_in_order(run: Run) -> None:
    journal.append(run, "begin", drill="flink")
    journal.append(run, "note", text="línea\ud800", time=1.0)
    found = journal.read_records(run.journal)
    assert [record["kind"] for record in found] == ["begin", "note"]
    assert found[1]["text"] == "línea\ud800"
    assert found[1]["time"] == 1.0
    assert journal.last(found, "verdict") is None


def test_an_unknown_kind_is_refused(run: Run) -> None:
    with pytest.raises(JournalError, match="unknown kind"):
        journal.append(run, "gossip")


def test_an_edited_line_is_refused(run: Run) -> None:
    journal.append(run, "begin", drill="flink")
    with run.journal.open("a") as stream:
        stream.write("{oops}\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl line 2 is not JSON"):
        journal.read_records(run.journal)


def test_a_line_that_is_no_record_is_refused() -> None:
    with pytest.raises(JournalError, match="line 1 is not a record"):
        list(journal.parse_lines(b"[1]\n", where="here"))


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), min_size=1), st.data())
def test_a_crash_at_any_byte_costs_at_most_the_last_record(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, str]], data: st.DataObject
) -> None:
    run = Run(tmp_path_factory.mktemp("run"))
    journal.append_samples(run, records)
    whole = run.samples.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    run.samples.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    assert journal.read_records(run.samples) == records[:complete]
    journal.append_samples(run, [{"after": "crash"}])
    assert journal.read_records(run.samples) == [*records[:complete], {"after": "crash"}]


def test_all_runs_are_found_oldest_first(tmp_path: Path) -> None:
    later = journal.create_run(tmp_path, "kafka", now=NOW + 60)
    earlier = journal.create_run(tmp_path, "flink", now=NOW)
    (tmp_path / "2026-11-23T00-00-00Z-empty").mkdir()
    for run in (later, earlier):
        journal.append(run, "begin", drill="x")
    assert [run.name for run in journal.all_runs(tmp_path)] == [earlier.name, later.name]
    assert journal.all_runs(tmp_path / "absent") == []


def test_a_file_is_replaced_in_one_step(run: Run) -> None:
    journal.write_private(run.verdict, "{}")
    journal.write_private(run.verdict, json.dumps({"outcome": "PASS"}))
    assert json.loads(run.verdict.read_text()) == {"outcome": "PASS"}
    assert stat.S_IMODE(run.verdict.stat().st_mode) == 0o600
    assert not list(run.path.glob(".verdict*"))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot"):
        journal.create_run(tmp_path / "file" / "runs", "flink")
