"""The law of counts at the close: what was unaccounted for before the drill is said, and hidden in no other term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import closing, verdict
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import Entry, Ledger

from .snapshots import START, snapshot

OPENED, CLOSED = START + 10, START + 20


class Drill:
    """A drill whose samples are known, and what it noted of the law."""

    def __init__(self, samples: list[dict[str, Any]]) -> None:
        self.samples = samples
        self.noted: dict[str, Any] = {}
        self.said: list[str] = []

    def follow(self, done: Callable[[], bool], *, until: float) -> bool:
        return done()

    def note(self, kind: str, **fields: Any) -> None:
        self.noted = {"kind": kind, **fields}

    def say(self, text: str) -> None:
        self.said.append(text)


def processed(second: float, records: int, rows: int) -> dict[str, Any]:
    """A snapshot of a topic that is processed to its end; its count was read a moment before, when it had one less."""
    sample = snapshot(second, kafka=records - 1, cassandra=rows)
    sample["cassandra"]["next_offsets"] = {"0": records}
    return sample


def conserved(before: int, lost: int = 0, repeated: int = 0, deleted: int = 0) -> Drill:
    """A drill before which so many records were unaccounted for, and in which rows were lost and records repeated."""
    drill: Any = Drill(
        [processed(second, 1000 + before, 1000) for second in range(11)]
        + [processed(second, 1500 + before + repeated, 1500 - lost) for second in range(20, 20 + closing.LAW_SAMPLES)]
    )
    books = Ledger([Entry("s", (1, 500), {}, repeated=repeated)], 0, [], [], [], deleted=deleted)
    closing._conserve(drill, books, OPENED, CLOSED)
    return cast(Drill, drill)


@pytest.mark.parametrize("before", [0, 146, -3])
def test_what_was_unaccounted_for_is_no_repeat(before: int) -> None:
    noted = conserved(before, repeated=4).noted
    assert (noted["residual"], noted["before"]) == (0, before)
    assert "repeated 4 " in noted["text"]
    assert ("unaccounted for before this drill" in noted["text"]) is bool(before)
    found = verdict._from_conservation(noted)
    assert [kind for kind, _ in found] == ([verdict._REMARK] if before else [])


def test_a_loss_of_this_drill_is_not_hidden_by_an_earlier_one() -> None:
    drill = conserved(146, lost=2)
    assert drill.noted["residual"] == 2
    assert drill.said


def test_deleted_records_may_have_been_copies() -> None:
    noted = conserved(0, lost=2, deleted=5).noted
    assert noted["residual"] is None
    assert "any of 5 deleted records may have been a further copy" in noted["reason"]
    assert conserved(0, lost=6, deleted=5).noted["residual"] == 6
    assert conserved(0, deleted=5).noted["residual"] == 0


def test_too_few_samples() -> None:
    drill: Any = Drill([])
    closing._conserve(drill, Ledger([], 0, [], [], []), OPENED, CLOSED)
    assert drill.noted["residual"] is None
