"""When a drill was interrupted, in words that say what was away."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import healing

FLINK = [{"unit": "flink-jobmanager", "verb": "observed"}, {"unit": "flink-taskmanager", "verb": "observed"}]
COURSE: list[tuple[dict[str, Any], str]] = [
    ({"kind": "begin"}, "during the beginning"),
    ({"kind": "window", "state": "opened"}, "during the beginning"),
    ({"kind": "note", "text": "seen before the fault", "receipts": FLINK}, "while flink was being taken away"),
    ({"kind": "fault", "receipts": [{**unit, "verb": "stopped"} for unit in FLINK]}, "after flink was stopped"),
    ({"kind": "phase", "phase": "outage", "state": "started"}, "during outage"),
    ({"kind": "phase", "phase": "outage", "state": "ended"}, "after outage"),
    ({"kind": "undo", "receipts": [{**unit, "verb": "started"} for unit in FLINK]}, "after flink was brought back"),
    ({"kind": "phase", "phase": "recovery", "state": "started"}, "during recovery"),
    ({"kind": "phase", "phase": "recovery", "state": "ended"}, "after recovery"),
    ({"kind": "window", "state": "closed"}, "while the books were being closed"),
]


@pytest.mark.parametrize("reached", range(len(COURSE)), ids=[when.replace(" ", "-") for _, when in COURSE])
def test_the_moment_of_an_interruption(reached: int) -> None:
    assert healing.interrupted(record for record, _ in COURSE[: reached + 1]) == COURSE[reached][1]


def test_two_services_that_went_together() -> None:
    gone = [{"unit": "kafka", "verb": "killed"}, {"unit": "producer", "verb": "killed"}]
    assert healing.interrupted([{"kind": "fault", "receipts": gone}]) == "after kafka and producer were killed"
