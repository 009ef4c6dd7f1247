"""What `--check` says of a drill: the plan with its figures, and why it would be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, planning

from .snapshots import snapshot
from .stage import Stage

pytestmark = pytest.mark.programs


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A pipeline, of which only the files are looked at."""
    return Stage(tmp_path)


def planned(stage: Stage, counts: dict[str, Any] | None = None, **changes: Any) -> tuple[str, list[str]]:
    lines, refused = planning.plan_lines(stage.options(**changes), stage.host, counts or snapshot(0))
    return "\n".join(lines), refused


def test_a_plan_that_would_be_accepted(stage: Stage) -> None:
    text, refused = planned(stage, away={"flink": 60.0, "kafka": 30.0}, patience=120.0)
    assert refused == []
    # What is away is away at the same time, and 10/s for a minute pile up.
    assert "up to 600 events pile up, 0.6 MB at 10/s; about 1.1 min, at most 5.0 min" in text
    assert "catch-up" in text
    assert "not measured on this pipeline yet" in text


def test_nothing_is_predicted_to_pile_up_behind_a_paused_stream(stage: Stage) -> None:
    text, refused = planned(stage, away={"flink": 60.0}, streams=False)
    assert refused == []
    assert "up to 0 events pile up, 0.0 MB at 0/s" in text


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"streaming": False}, "the pipeline is not steady: the producer is not streaming: paused"),
        ({"kafka": None}, "the pipeline is not steady: kafka cannot be read: connection refused"),
        ({"tasks": 3}, "the pipeline is not steady: flink job is RUNNING with 3 of 4 tasks running"),
    ],
)
def test_a_drill_that_would_be_refused_says_why(stage: Stage, counts: dict[str, Any], reason: str) -> None:
    assert planned(stage, snapshot(0, **counts))[1] == [reason]


def test_the_retention_is_the_brokers_own(stage: Stage) -> None:
    script = 'print(\'{"topic retention.ms": "30000"}\')'
    text, refused = planned(stage, away={"flink": 60.0}, settings_script=script)
    assert "REFUSED: Kafka would delete records before they are processed: away 90 s, records are kept 0.5 min" in text
    assert len(refused) == 1
    assert planned(stage, settings_script='print(\'{"topic retention.ms": "-1"}\')')[1] == []


def test_the_speed_is_what_earlier_drills_of_this_pipeline_measured(stage: Stage) -> None:
    def earlier(drill: str, root: Path, rate: float, drained: float) -> None:
        run = journal.create_run(stage.path / "runs", drill)
        journal.append(run, "begin", config={"pipeline": {"root": str(root)}})
        journal.append(run, "recovery", catch_up_rate=rate, segments=[["drained", drained]])

    earlier("kafka", stage.path, 8.0, 0.5)
    assert planned(stage)[1] == [], "what was gone at once shows only what is possible at least"
    earlier("flink", Path("/elsewhere"), 9000.0, 30.0)
    earlier("cassandra", stage.path, 9.0, 12.0)
    text, refused = planned(stage)
    assert "events at 9/s (measured by an earlier drill) while 10/s keep coming" in text
    assert len(refused) == 1
    assert planned(stage, capacity=50.0)[1] == []


def test_a_run_that_was_damaged_is_no_measure(stage: Stage) -> None:
    run = journal.create_run(stage.path / "runs", "kafka")
    run.journal.write_text("not a record\n")
    assert planned(stage)[1] == []
