"""The command itself: what it keeps, how it ends, and that it can be ended."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import page
from bench.course import plan
from bench.rig import BenchError
from tests.unit.bench.staged import SIZE, Stage, raising


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    found = Stage(tmp_path)
    found.set_up(monkeypatch)
    monkeypatch.setattr(command, "USUAL", SIZE)
    monkeypatch.setattr(command, "Rig", lambda *_: found)
    return found


def results(tmp_path: Path) -> tuple[dict[str, Any], str]:
    """The document and the page, of which there is one each."""
    (document,), (report,) = tmp_path.glob("results/*.json"), tmp_path.glob("results/*.html")
    assert len([*tmp_path.glob("results/*")]) == 2
    return json.loads(document.read_text()), report.read_text()


def run(tmp_path: Path) -> int:
    return command.main([f"--results={tmp_path / 'results'}", f"--folder={tmp_path}"])


def test_all_figures_are_status_0(stage: Stage, tmp_path: Path) -> None:
    assert run(tmp_path) == 0
    document, report = results(tmp_path)
    assert [line["name"] for line in document["lines"]] == [line.name for line in plan(SIZE)]
    assert all(line["why"] == "" for line in document["lines"])
    assert "without a figure" not in report
    assert stage.calls[-1] == "remove"


def test_a_missing_figure_is_status_1_and_stands_in_all_results(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.planted["counting.cost 2"] = raising(BenchError("no answer in time"))
    assert run(tmp_path) == 1
    document, report = results(tmp_path)
    missing = [line["name"] for line in document["lines"] if line["why"]]
    assert missing == ["counting, kept connection", "counting, new process"]
    for text in (report, capsys.readouterr().out):
        assert text.count("no answer in time") == 2
        assert text.count("no figure") == 2
    assert stage.calls[-1] == "remove"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_measured_until_a_signal_is_kept(stage: Stage, tmp_path: Path, number: int) -> None:
    stage.planted["drain.without_flink 1"] = lambda: _signalled(number)
    # Whoever loses patience meanwhile does not end the removal.
    stage.planted["remove 1"] = lambda: os.kill(os.getpid(), number)
    before = signal.getsignal(number)
    assert run(tmp_path) == 1
    assert signal.getsignal(number) is before
    document, report = results(tmp_path)
    assert document["interrupted"] == "interrupted"
    assert "It did not get to its end: interrupted." in report
    lines = {line["name"]: line for line in document["lines"]}
    assert lines["producer"]["figure"] == 0.5
    assert lines["drain (a)"]["measured"] == 100.0
    assert lines["drain (a)"]["why"] == lines["books"]["why"] == "not measured: interrupted"
    assert stage.calls[-1] == "remove"


def test_a_signal_that_was_swallowed_counts_with_the_next_measurement(stage: Stage, tmp_path: Path) -> None:
    def swallow() -> None:
        try:
            _signalled(signal.SIGTERM)
        except BaseException:
            return

    stage.planted["drain.without_flink 1"] = swallow
    assert run(tmp_path) == 1
    assert results(tmp_path)[0]["interrupted"] == "interrupted"
    assert "drain.without_kafka" not in stage.calls


def test_its_minutes_end_it(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.planted["latency 10 direct 1"] = lambda: time.sleep(30)
    monkeypatch.setattr(command, "END_SECONDS", 60 * SIZE.minutes - 0.5)
    began = time.monotonic()
    assert run(tmp_path) == 1
    assert time.monotonic() - began < 10
    document, _ = results(tmp_path)
    why = {line["name"]: line["why"] for line in document["lines"]}
    assert why["books"] == ""
    assert (
        why["latency p50, 10/s"] == why["recovery, flink stop"] == ("not measured: the benchmark's 2 minutes were over")
    )
    assert document["interrupted"] == "the benchmark's 2 minutes were over"
    assert stage.calls[-1] == "remove"


def test_a_defect_loses_nothing(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.course.Course._books", _failing)
    with pytest.raises(LookupError):
        run(tmp_path)
    document, _ = results(tmp_path)
    assert document["interrupted"] == "LookupError: a defect"
    assert stage.calls[-1] == "remove"


def test_a_page_that_cannot_be_made_costs_neither_results_nor_the_removal(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "render", _failing)
    with pytest.raises(LookupError):
        run(tmp_path)
    assert len([*tmp_path.glob("results/*.json")]) == 1
    assert stage.calls[-1] == "remove"


def test_a_pipeline_that_is_left_behind_is_status_1(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.planted["remove 1"] = raising(BenchError("teardown.yml failed: permission denied\nmore"))
    assert run(tmp_path) == 1
    results(tmp_path)
    assert "could not be removed: teardown.yml failed: permission denied\n" in capsys.readouterr().err


def test_the_status_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "exit status is 0 when every line has its figure" in " ".join(capsys.readouterr().out.split())


def _signalled(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


def _failing(*_: Any) -> str:
    raise LookupError("a defect")
