"""All seven drills, the cascade in both orders, as `make drills` runs them, beside bare starts of the same servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testing.bare import ByHand
from testing.pipeline import UNITS, Pipeline

pytestmark = pytest.mark.drills

DRILLS = ["kafka", "flink", "cassandra", "stop-resume", "cascade", "cascade", "producer", "poison"]
HOLD = 8
SERVICES = {"kafka": ["kafka"], "cassandra": ["cassandra"], "flink": ["flink-jobmanager", "flink-taskmanager"]}
#: Of a recovery and a bare start, both summed over the services so that one stall of the machine decides nothing.
SLOWEST = 3.0


@pytest.fixture(scope="module")
def bare_seconds() -> dict[str, float]:
    """Seconds of each service's bare start; filled by the first test, which stops everything anyway."""
    return {}


def test_a_teardown_keeps_the_data_and_the_next_start_goes_on(
    pipeline: Pipeline, bare_seconds: dict[str, float]
) -> None:
    before, rows, bare = pipeline.drained(60), pipeline.rows(), ByHand(pipeline)

    pipeline.play("teardown")
    assert pipeline.processes() == []
    # In the order in which they need each other.
    with (
        bare.started(SERVICES["kafka"]) as kafka,
        bare.started(SERVICES["cassandra"]) as cassandra,
        bare.started(SERVICES["flink"]) as flink,
    ):
        bare_seconds |= {"kafka": kafka, "cassandra": cassandra, "flink": flink}

    pipeline.play("site")
    after = pipeline.drained(60)
    for hop, what in (("producer", "count"), ("producer", "source"), ("kafka", "count"), ("cassandra", "count")):
        assert after[hop][what] == before[hop][what]
    assert pipeline.rows() == rows
    pipeline.post("resume")


def test_every_drill_passes_and_recovers_like_a_bare_start(pipeline: Pipeline, bare_seconds: dict[str, float]) -> None:
    earlier = {path.name for path in pipeline.runs.iterdir()} if pipeline.runs.exists() else set()

    run = pipeline.play("drills", expect=None, seconds=1200, drill_hold=HOLD)

    folders = sorted(path for path in pipeline.runs.iterdir() if path.name not in {*earlier, "latest", "index.html"})
    verdicts = [json.loads((folder / "verdict.json").read_text()) for folder in folders]
    assert [(found["drill"], found["verdict"]) for found in verdicts] == [(drill, "PASS") for drill in DRILLS], (
        run.output
    )
    assert run.status == 0
    assert run.output.count("lost 0") == len(DRILLS)
    page = (pipeline.runs / "index.html").read_text()
    assert all(f"{folder.name}/report.html" in page for folder in folders)
    assert all(pipeline.members(unit) for unit in UNITS)

    assert bare_seconds.keys() == SERVICES.keys(), "the bare starts were not measured"
    recovered = {drill: first_record(pipeline, drill) for drill in SERVICES}
    print({name: f"{recovered[name]:.1f} s, bare {bare_seconds[name]:.1f} s" for name in SERVICES})
    assert sum(recovered.values()) <= SLOWEST * sum(bare_seconds.values()), (recovered, bare_seconds)


def first_record(pipeline: Pipeline, drill: str) -> float:
    """Seconds from the undo to the first new row, in the newest run of a drill."""
    folder = max(pipeline.runs.glob(f"*-{drill}"))
    records: list[dict[str, Any]] = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return float(next(record for record in records if record["kind"] == "recovery")["at"]["first record"])
