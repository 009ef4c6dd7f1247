"""What a run tells beside the earlier ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Run
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story


def cascade(runs: Path, name: str, order: str, seconds: float, hold: int = 30) -> Run:
    """A finished cascade of which only the settings and the recovery matter."""
    folder = runs / f"{name}-cascade"
    folder.mkdir(parents=True)
    records = [
        {"kind": "begin", "time": 1.0, "drill": "cascade", "settings": {"order": order, "hold": hold}},
        {"kind": "recovery", "time": 2.0, "total": seconds},
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Run(folder)


@pytest.mark.parametrize(
    ("order", "seconds", "said"),
    [
        ("flink,kafka", 28.3, "flink,kafka 28.3 s, kafka,flink 21.8 s: the order matters: kafka,flink is 6.5 s faster"),
        ("flink,kafka", 15.0, "flink,kafka 15.0 s, kafka,flink 21.8 s: the order matters: flink,kafka is 6.8 s faster"),
        ("flink,kafka", 22.0, "flink,kafka 22.0 s, kafka,flink 21.8 s: the order does not matter here: 0.2 s"),
        ("kafka,flink", 22.0, "kafka,flink 22.0 s; run the other order as well to see whether it matters"),
    ],
)
def test_two_restart_orders_are_compared_in_seconds(tmp_path: Path, order: str, seconds: float, said: str) -> None:
    cascade(tmp_path, "2026-11-23T20-00-00Z", "kafka,flink", 21.8)
    cascade(tmp_path, "2026-11-23T20-10-00Z", "kafka,flink" if order != "kafka,flink" else order, 21.8)
    run = cascade(tmp_path, "2026-11-23T20-20-00Z", order, seconds)

    assert Story.read(run, tmp_path).order == said


def test_a_run_with_other_settings_is_no_comparison(tmp_path: Path) -> None:
    cascade(tmp_path, "2026-11-23T20-00-00Z", "kafka,flink", 21.8, hold=8)
    run = cascade(tmp_path, "2026-11-23T20-20-00Z", "flink,kafka", 28.3, hold=30)

    assert Story.read(run, tmp_path).order.startswith("flink,kafka 28.3 s; run the other order")
