"""What becomes of the lines when measurements fail: the order of everything, with measurements that are only played."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from cassandra import OperationTimedOut
from confluent_kafka import KafkaError, KafkaException

from bench.course import COUNTING, FULL, REDUCED, USUAL, Course, plan
from bench.rig import BenchError, Rig
from bench.stopping import Stop
from tests.unit.bench.staged import SIZE, Stage, raising

LATENCIES = tuple(line.name for line in plan(SIZE) if line.name.startswith("latency"))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    found = Stage(tmp_path)
    found.set_up(monkeypatch)
    return found


def course(stage: Stage) -> Course:
    return Course(cast(Rig, stage), SIZE, lambda _: None)


def missing(found: Course) -> dict[str, str]:
    return {line.name: line.why for line in found.lines.values() if line.why}


@pytest.mark.parametrize("size", [USUAL, FULL, REDUCED, SIZE])
def test_every_line_is_planned_once(size: object) -> None:
    names = [line.name for line in plan(size)]  # type: ignore[arg-type]
    assert len(set(names)) == len(names)


def test_a_whole_run_has_every_figure(stage: Stage) -> None:
    found = course(stage)
    found.run()
    assert missing(found) == {}
    assert found.interrupted == ""
    # Nothing failed, so nothing is brought back.
    assert "play heal" not in stage.calls
    assert stage.calls.count("play site") == 2
    lines = found.lines
    assert lines["drain (a)"].figure == 0.5
    assert lines["drain (a)"].note == "993 records of 1024 bytes"
    assert lines["counting, kept connection"].note == (
        "1 100 and 100.0 rows; SELECT count(*) took more than 60 s, or failed and more than 60 s, or failed"
    )
    assert lines["latency p99, half the drain's rate"].note == "50/s, n=2 and 2"
    assert lines["latency p99, 1000/s"].met is True
    assert lines["producer"].samples == {"measured": [500.0, 500.0], "ceiling": [1000.0, 1000.0]}


def test_the_table_is_as_large_as_the_size_says(stage: Stage) -> None:
    found = course(stage)
    found.run()
    assert found.lines["counting, new process"].note.startswith("1 100 and 100.0 rows;")


@pytest.mark.parametrize(
    ("where", "error", "why", "lines"),
    [
        ("play site 1", BenchError("site.yml failed: no Java\nmuch text"), "site.yml failed: no Java",
         ("provisioning, warm cache", "provisioning, nothing to do")),
        ("bare_start 1", BenchError("kafka did not serve"), "kafka did not serve", ("provisioning, warm cache",)),
        ("changes site 1", BenchError("site.yml failed"), "site.yml failed", ("provisioning, nothing to do",)),
        ("counting.cost 1", KafkaException(KafkaError(KafkaError._TIMED_OUT)),
         'KafkaException: KafkaError{code=_TIMED_OUT,val=-185,str="Local: Timed out"}', COUNTING),
        ("counting.cost 2", OperationTimedOut(), "OperationTimedOut: no answer in time", COUNTING),
        ("producing.bare_loop 2", OSError(28, "No space left on device"), "OSError: No space left on device",
         ("producer",)),
        ("load.fill 2", BufferError("full"), "BufferError: full",
         ("drain (a)", "drain (b)", "scale, events", "memory, full load", "latency p50, half the drain's rate",
          "latency p99, half the drain's rate")),
        ("drain.without_flink 1", subprocess.TimeoutExpired("x", 5),
         "TimeoutExpired: Command 'x' timed out after 5 seconds", ("drain (a)",)),
        ("drain.without_kafka 1", ZeroDivisionError(), "ZeroDivisionError", ("drain (b)",)),
        ("reconciling.reconciled 1", BenchError("books: not whole ['a']"), "books: not whole ['a']", ("books",)),
        ("reconciling.read_once 1", TimeoutError("slow"), "TimeoutError: slow", ("books",)),
        ("latency 1000 eventlog 1", BenchError("late"), "late", LATENCIES[2:4]),
        ("latency 1000 direct 1", BenchError("late"), "late", LATENCIES[2:4]),
        ("latency.direct_path 1", AssertionError("no thread"), "AssertionError: no thread", LATENCIES),
        ("rehearse kafka 1", BenchError("drill kafka ended FAIL"), "drill kafka ended FAIL",
         ("recovery, kafka kill", "overhead, kafka kill")),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_ends_nothing_else(
    stage: Stage, where: str, error: Exception, why: str, lines: tuple[str, ...]
) -> None:
    stage.planted[where] = raising(error)
    found = course(stage)
    found.run()
    lack = missing(found)
    assert set(lack) == set(lines)
    assert lack[lines[0]] == why
    assert found.interrupted == ""
    # What comes next is brought all that it needs; provisioning ends with that itself.
    assert ("play heal" in stage.calls) is (where != "changes site 1")


def test_half_a_figure_is_kept(stage: Stage) -> None:
    stage.planted["drain.without_flink 1"] = raising(BenchError("no record for 30 s"))
    stage.planted["counting.cost 1"] = raising(BenchError("no small table"))
    found = course(stage)
    found.run()
    drained, kept = found.lines["drain (a)"], found.lines["counting, kept connection"]
    assert (drained.measured, drained.ceiling, drained.figure) == (100.0, None, None)
    assert (kept.measured, kept.ceiling, kept.why) == (20.0, None, "no small table")


def test_what_needs_the_drain_says_so(stage: Stage) -> None:
    stage.planted["drain.through_the_job 1"] = raising(BenchError("it stands still"))
    found = course(stage)
    found.run()
    lack = missing(found)
    assert lack["latency p50, half the drain's rate"] == "it needs the rate of the drain, which was not measured"
    assert "latency p50, 10/s" not in lack
    assert "drain.without_flink" not in stage.calls


def test_what_was_not_filled_is_filled_when_it_is_counted(stage: Stage) -> None:
    stage.planted["load.fill 2"] = raising(BenchError("Kafka is away"))
    found = course(stage)
    found.run()
    assert found.lines["counting, kept connection"].note.startswith("1 100 and 100.0 rows;")


def test_a_pipeline_that_cannot_be_brought_back_is_the_reason_of_all_that_follows(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.planted["producing.bare_loop 1"] = raising(BenchError("Kafka is gone\nits last words"))
    for number in range(3, 30):
        stage.planted[f"play site {number}"] = raising(BenchError("site.yml failed: port 9092 is taken"))
    found = course(stage)
    found.run()
    lack = missing(found)
    assert lack.pop("producer") == "Kafka is gone"
    assert {*lack.values()} == {"site.yml failed: port 9092 is taken"}
    # Of both numbers of rows the small one was there before.
    assert found.lines["counting, kept connection"].ceiling == 20.0
    assert found.lines["memory, idle"].why == ""
    assert "its last words" in capsys.readouterr().err


def test_a_second_site_that_changes_something_is_no_figure(stage: Stage) -> None:
    stage.changed = 3
    found = course(stage)
    found.run()
    assert missing(found) == {
        "provisioning, nothing to do": "the second site.yml changed 3 things, expected none",
    }


def test_a_stop_is_said_by_every_line_that_was_not_reached(stage: Stage) -> None:
    stage.planted["reconciling.read_once 1"] = raising(Stop("the time was over"))
    found = course(stage)
    found.run()
    lack = missing(found)
    assert found.interrupted == "the time was over"
    assert {*lack.values()} == {"not measured: the time was over"}
    names = [line.name for line in plan(SIZE)]
    assert list(lack) == names[names.index("books") :]
    assert found.lines["books"].measured == 12.0
    assert found.document()["interrupted"] == "the time was over"


def test_a_defect_of_the_benchmark_is_raised_and_said(stage: Stage) -> None:
    def say(what: str) -> None:
        if what == "books":
            raise LookupError("a defect")

    found = Course(cast(Rig, stage), SIZE, say)
    with pytest.raises(LookupError):
        found.run()
    assert found.lines["books"].why == "not measured: LookupError: a defect"
    assert found.lines["drain (a)"].why == ""


def test_an_empty_document_is_whole(stage: Stage) -> None:
    found = course(stage).document()
    assert (found["drain"], found["recoveries"], found["interrupted"]) == ([], [], "")
    assert all(line["figure"] is None and line["why"] == "not measured" for line in found["lines"])


def test_recoveries_that_were_measured_are_kept(stage: Stage) -> None:
    stage.planted["rehearse kafka 2"] = raising(BenchError("drill kafka ended FAIL"))
    found = Course(cast(Rig, stage), replace(SIZE, rehearsals=3), lambda _: None)
    found.run()
    assert [one["drill"] for one in found.document()["recoveries"]] == ["kafka", "flink", "flink", "flink"]
    assert found.lines["recovery, kafka kill"].why == "drill kafka ended FAIL"
