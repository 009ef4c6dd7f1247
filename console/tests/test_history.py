"""The runs of the folder, and which of their files are anybody's business."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from eventlog_console.history import History

from .conftest import NOW, MakeRun

BEGIN = {"kind": "begin", "drill": "flink", "title": "Drill 2"}
PASS: dict[str, Any] = {"kind": "verdict", "outcome": "PASS", "status": 0, "reason": "nothing lost, recovered in 9.0 s"}
RECOVERY: dict[str, Any] = {
    "kind": "recovery",
    "phase": "recovery",
    "began": NOW,
    "total": 9.0,
    "drained": 9.0,
    "at": {},
}


def test_a_run_shows_its_verdict_and_recovery_once_it_has_them(tmp_path: Path, make_run: MakeRun) -> None:
    history = History(tmp_path / "runs")
    assert history.summaries() == []
    assert history.newest() is None
    run = make_run("flink", BEGIN)

    (before,) = history.summaries()
    assert (before["ended"], before["recovery"]) == (False, None)

    for record in (RECOVERY, PASS):
        journal.append(run, record["kind"], **{key: value for key, value in record.items() if key != "kind"})
    (after,) = history.summaries()
    assert (after["ended"], after["outcome"], after["recovery"]) == (True, "PASS", 9.0)
    assert not after["report"]


def test_a_journal_that_was_edited_is_one_line_and_not_the_end_of_the_page(tmp_path: Path, make_run: MakeRun) -> None:
    make_run("flink", BEGIN, PASS)
    bad = make_run("kafka", BEGIN, now=NOW + 60)
    bad.journal.write_text("not json\n")

    good, edited = History(tmp_path / "runs").summaries()

    assert good["outcome"] == "PASS"
    assert (edited["drill"], edited["outcome"]) == ("kafka", "UNKNOWN")
    assert "is not JSON" in edited["reason"]


def test_only_reports_of_runs_are_served(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("flink", BEGIN, PASS)
    (run.path / "report.html").write_text("<p>")
    (run.path / "state.json").write_text("{}")
    (tmp_path / "runs" / "report.html").write_text("<p>")
    history = History(tmp_path / "runs")

    assert history.file(run.name, "report.html") == run.path / "report.html"
    for name, document in [
        (run.name, "state.json"),
        (run.name, "samples.jsonl"),
        (run.name, "report.md"),
        (run.name, "../report.html"),
        ("..", "report.html"),
        (".", "report.html"),
        ("latest", "report.html"),
        (".console", "lock"),
        ("", "report.html"),
    ]:
        assert history.file(name, document) is None, (name, document)


@pytest.mark.parametrize("target", ["/etc/hostname", "state.json"])
def test_a_link_in_a_run_s_folder_is_not_followed(tmp_path: Path, make_run: MakeRun, target: str) -> None:
    run = make_run("flink", BEGIN, PASS)
    (run.path / "state.json").write_text("{}")
    (run.path / "report.html").symlink_to(target)

    assert History(tmp_path / "runs").file(run.name, "report.html") is None
