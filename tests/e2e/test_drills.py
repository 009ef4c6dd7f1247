"""All seven drills, one after the other, as `make drills` runs them.

The last file on a warm pipeline: poison stays in its topic.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.pipeline import UNITS, Pipeline

pytestmark = pytest.mark.e2e

DRILLS = ["kafka", "flink", "cassandra", "stop-resume", "cascade", "producer", "poison"]
HOLD = 8
BUDGET = 600  # how fast a shared machine recovers is no matter of these tests


def test_every_drill_passes(pipeline: Pipeline) -> None:
    earlier = {path.name for path in pipeline.runs.iterdir()} if pipeline.runs.exists() else set()

    run = pipeline.play("drills", expect=None, seconds=1200, drill_hold=HOLD, drill_recovery_budget=BUDGET)

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
