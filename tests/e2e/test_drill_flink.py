"""The Flink drill from outside: what it says, what it writes, and that it sees a planted loss."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.pipeline import UNITS, Pipeline, wait_for

pytestmark = pytest.mark.e2e

HOLD = 8
BUDGET = 600  # how fast a shared machine recovers is no matter of these tests


def test_nothing_is_lost_and_the_verdict_is_pass(pipeline: Pipeline) -> None:
    untouched = {unit: pipeline.members(unit)[0] for unit in UNITS if not unit.startswith("flink")}

    run = pipeline.play("drill_flink", drill_hold=HOLD, drill_recovery_budget=BUDGET)

    verdict = pipeline.verdict()
    assert verdict["verdict"] == "PASS", run.output
    assert "PASS" in run.output
    assert {unit: pipeline.members(unit)[0] for unit in untouched} == untouched
    assert all(pipeline.members(unit) for unit in UNITS)
    counts = pipeline.drained(60)
    sent = {(record["source"], record["seq"]) for record in pipeline.topic()}
    rows = pipeline.rows()
    pipeline.post("resume")
    assert not sent - rows.keys()
    assert counts["lag"]["count"] == 0


def test_a_row_that_vanished_before_the_books_is_named_with_its_hop(pipeline: Pipeline, tmp_path: Path) -> None:
    hook = tmp_path / "delete_a_row.yml"
    script = tmp_path / "delete_a_row.py"
    # The newest row but some: it belongs to the drill's window, which began before the outage.
    script.write_text(
        "import sys\n"
        "from cassandra.cluster import Cluster\n"
        "with Cluster(['127.0.0.1'], port=int(sys.argv[1])) as cluster:\n"
        "    session = cluster.connect('eventlog')\n"
        "    rows = sorted(session.execute('SELECT source, bucket, seq FROM events'), key=lambda row: row.seq)\n"
        "    row = rows[-30]\n"
        "    session.execute('DELETE FROM events WHERE source = %s AND bucket = %s AND seq = %s', row)\n"
        "    print(row.source, row.seq)\n"
    )
    out = tmp_path / "deleted"
    hook.write_text(
        yaml.safe_dump(
            [
                {
                    "name": "Delete a row",
                    "ansible.builtin.shell": f"{sys.executable} {script} {pipeline.port(9042)} > {out}",
                }
            ]
        )
    )

    run = pipeline.play(
        "drill_flink", expect=1, drill_hold=HOLD, drill_recovery_budget=BUDGET, drill_before_books=str(hook)
    )

    source, seq = out.read_text().split()
    verdict = pipeline.verdict()
    assert verdict["verdict"] == "FAIL", run.output
    named = f"{source} seq {int(seq):,}:".replace(",", " ")
    for text in (verdict["reason"], " ".join(run.output.split())):
        assert named in " ".join(text.split())
        assert "lost between Kafka and Cassandra" in text
    with pipeline.cassandra() as session:  # mend the table for the tests that follow
        record = next(r for r in pipeline.topic() if (r["source"], r["seq"]) == (source, int(seq)))
        insert = session.prepare("INSERT INTO events (source, bucket, seq, position) VALUES (?, ?, ?, ?)")
        session.execute(insert, (source, (int(seq) - 1) // 1000, int(seq), record["at"]))


def test_a_drill_is_refused_when_the_pipeline_is_not_steady(pipeline: Pipeline) -> None:
    pipeline.play("stop", service="cassandra")
    try:
        run = pipeline.play(
            "drill_flink", expect=1, drill_hold=HOLD, drill_recovery_budget=BUDGET, drill_steady_within=8
        )
        assert pipeline.verdict()["verdict"] == "INVALID", run.output
        assert all(pipeline.members(unit) for unit in UNITS if unit != "cassandra")
    finally:
        pipeline.play("start", service="cassandra")
    pipeline.drained(120)
    pipeline.post("resume")


def test_a_killed_drill_leaves_a_pipeline_that_heals(pipeline: Pipeline) -> None:
    drill = subprocess.Popen(
        pipeline.command("drill_flink", drill_hold=60), cwd=pipeline.folder, env=pipeline.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_for(lambda: not pipeline.members("flink-jobmanager"), 120, "Flink is away")
    os.killpg(drill.pid, signal.SIGKILL)
    drill.wait(30)

    pipeline.play("heal")

    assert all(pipeline.members(unit) for unit in UNITS)
    pipeline.drained(120)
    pipeline.post("resume")
    assert pipeline.verdict()["outcome"] == "ABORTED (healed)"
