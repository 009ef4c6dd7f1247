"""The verdict: one word for every journal, and the right one first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import verdict
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome

CHECK = {"subject": "cassandra", "expected": "static", "seen": "static", "ok": True, "detail": "+0 in 60 s"}
RECEIPT = {"unit": "kafka", "verb": "stopped", "ok": True, "why": ""}


def records(**changes: Any) -> list[dict[str, Any]]:
    """The journal of a drill that passed, with the fields of some kinds changed; None leaves a kind out."""
    whole: dict[str, dict[str, Any] | None] = {
        "begin": {"drill": "kafka"},
        "steady": {"ok": True},
        "preflight": {"checks": [{"name": "disk", "ok": True, "text": "room enough"}]},
        "window": {"state": "opened"},
        "fault": {"receipts": [RECEIPT]},
        "observation": {"phase": "outage", "checks": [CHECK]},
        "undo": {"receipts": [{**RECEIPT, "verb": "started"}]},
        "recovery": {"drained": 4.3, "total": 4.3, "budget": 60.0, "longest": "port 3.2 s"},
        "books": {"losses": [], "excesses": [], "unclosed": []},
        "conservation": {"residual": 0, "text": "kafka 1 = cassandra 1"},
    }
    whole.update(
        {kind: None if value is None else {**(whole.get(kind) or {}), **value} for kind, value in changes.items()}
    )
    return [{"kind": kind, **fields} for kind, fields in whole.items() if fields is not None]


def judged(**changes: Any) -> tuple[str, str]:
    found = verdict.judge(records(**changes))
    return found.outcome.label, found.reason


def test_a_drill_that_went_well() -> None:
    assert judged() == ("PASS", "nothing lost, recovered in 4.3 s")
    assert judged(recovery=None) == ("PASS", "nothing lost")


LOSS = "app-1 seq 7: 1 in Kafka, but not in Cassandra: lost between Kafka and Cassandra"


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"books": {"losses": [LOSS]}}, "FAIL", LOSS),
        ({"books": {"excesses": ["5 records rewritten"]}}, "FAIL", "5 records rewritten"),
        ({"books": {"unclosed": ["kafka: no answer"]}}, "UNKNOWN", "kafka: no answer"),
        ({"books": {"error": "timed out"}}, "UNKNOWN", "the books could not be read: timed out"),
        ({"books": None}, "UNKNOWN", "the books were not closed"),
        ({"window": None}, "UNKNOWN", "the drill ended before the books were opened"),
        ({"conservation": {"residual": 2}}, "FAIL", "the counts do not add up: kafka 1 = cassandra 1"),
        ({"conservation": {"residual": None, "reason": "too few samples"}}, "UNKNOWN", "too few samples"),
        (
            {"recovery": {"total": 80.0, "drained": 80.0}},
            "DEGRADED",
            "recovery took 80.0 s of 60 s; longest: port 3.2 s",
        ),
        (
            {"recovery": {"drained": None, "waited": 120, "reason": "lag is 9"}},
            "FAIL",
            "not recovered within 120 s: lag is 9",
        ),
        (
            {"fault": {"receipts": [{**RECEIPT, "ok": False, "why": "still runs: pid 7"}]}},
            "INVALID",
            "did not bite: kafka",
        ),
        ({"undo": {"receipts": [{**RECEIPT, "ok": False, "why": "does not run"}]}}, "FAIL", "kafka did not come back"),
        (
            {"trouble": {"task": "Start Kafka", "message": "port taken"}},
            "FAIL",
            "task 'Start Kafka' failed: port taken",
        ),
        ({"preflight": {"checks": [{"ok": False, "text": "no room"}]}, "window": None}, "INVALID", "refused: no room"),
        ({"steady": {"ok": False, "reason": "kafka is away"}, "window": None}, "INVALID", "not steady: kafka is away"),
        (
            {"lease": {"state": "healed", "when": "during outage", "text": "kafka"}},
            "ABORTED (healed)",
            "interrupted during outage",
        ),
        (
            {"lease": {"state": "not healed", "when": "after outage", "text": "x"}},
            "ABORTED (not healed)",
            "not healed: x",
        ),
        ({"lease": {"state": "expired", "text": "kafka started"}}, "INVALID", "the lease ran out"),
    ],
)
def test_one_thing_wrong(changes: dict[str, Any], outcome: str, reason: str) -> None:
    label, text = judged(**changes)
    assert label == outcome
    assert reason in text


def test_remarks_are_said_and_decide_nothing() -> None:
    remarks = {"books": {"remarks": ["deleted"]}, "conservation": {"remark": "146 unaccounted for", "before": 146}}
    found = verdict.judge(records(**remarks))
    assert (found.outcome, found.findings) == (Outcome.PASS, ["deleted", "146 unaccounted for"])
    for changed, outcome in (
        ({"conservation": {"residual": 1, "remark": "earlier"}}, Outcome.FAIL),
        ({"conservation": {"residual": None, "remark": "earlier"}}, Outcome.UNKNOWN),
        ({"recovery": {"total": 80.0}, "conservation": {"remark": "earlier"}}, Outcome.DEGRADED),
    ):
        found = verdict.judge(records(**changed))
        assert (found.outcome, found.findings) == (outcome, ["earlier"])


@pytest.mark.parametrize(("ok", "outcome"), [(False, "FAIL"), (None, "UNKNOWN")])
def test_an_expectation(ok: bool | None, outcome: str) -> None:
    label, text = judged(observation={"checks": [{**CHECK, "ok": ok, "seen": "grows"}]})
    assert label == outcome
    assert text.startswith("outage: cassandra")


def test_a_loss_is_told_before_a_fault_that_did_not_bite() -> None:
    found = verdict.judge(
        records(books={"losses": [LOSS]}, fault={"receipts": [{**RECEIPT, "ok": False, "why": "still runs"}]})
    )
    assert (found.outcome, found.reason) == (Outcome.FAIL, LOSS)
    assert found.findings == ["the fault did not bite: kafka still runs"]


def test_degraded_says_that_nothing_was_lost() -> None:
    assert judged(recovery={"total": 80.0})[1].startswith("nothing lost, but recovery took")


def test_statuses_are_distinct_and_clear_of_ansibles_own() -> None:
    statuses = [outcome.status for outcome in Outcome]
    assert len(set(statuses)) == len(statuses)
    assert [outcome.label for outcome in Outcome if outcome.status == 0] == ["PASS"]
    assert all(status >= 20 for status in statuses if status)
    assert all(Outcome.from_label(outcome.label) is outcome for outcome in Outcome)


def test_the_exit_status_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict.main([str(tmp_path), "--played", "7"]) == 7
    assert verdict.main([str(tmp_path)]) == 1
    assert "no verdict in" in capsys.readouterr().err
    (tmp_path / "verdict.json").write_text(json.dumps(verdict.judge(records(books={"losses": [LOSS]})).as_dict()))
    assert verdict.main([str(tmp_path)]) == 20
    assert verdict.main([str(tmp_path), "--played", "2"]) == 20
    (tmp_path / "verdict.json").write_text(json.dumps(verdict.judge(records()).as_dict()))
    assert verdict.main([str(tmp_path)]) == 0
    assert verdict.main([str(tmp_path), "--played", "2"]) == 2
    (tmp_path / "verdict.json").write_text('{"outcome": "FINE"}')
    assert verdict.main([str(tmp_path)]) == 1


MEDDLED = {"receipts": [{**RECEIPT, "verb": "started", "outside": "kafka pid 7 ran again although it was stopped"}]}


def test_a_fault_that_was_undone_from_outside_proves_nothing() -> None:
    wrong = {"checks": [{**CHECK, "subject": "spool", "ok": False, "seen": "drains"}]}
    found = verdict.judge(records(undo=MEDDLED, observation=wrong))
    assert found.outcome is Outcome.INVALID
    assert found.reason == "the fault was undone from outside: kafka pid 7 ran again although it was stopped"
    assert found.findings == ["outage: spool should be static, but drains (+0 in 60 s)"]


def test_a_stream_that_was_resumed_from_outside_proves_nothing() -> None:
    label, reason = judged(note={"streaming": True, "outside": "the producer streamed although it was paused"})
    assert (label, reason) == (
        "INVALID",
        "the fault was undone from outside: the producer streamed although it was paused",
    )
    assert judged(note={"streaming": True, "outside": ""})[0] == "PASS"


def test_what_the_lease_undid_was_not_undone_from_outside() -> None:
    found = verdict.judge(records(undo=MEDDLED, lease={"state": "expired", "text": "kafka started"}))
    assert found.outcome is Outcome.INVALID
    assert found.reason == "the lease ran out and undid the fault: kafka started"
    assert found.findings == []


def test_a_lock_that_was_lost_makes_the_run_invalid() -> None:
    label, reason = judged(lease={"state": "lost", "text": "taken by other pid 7"})
    assert (label, reason) == ("INVALID", "the lock of the drill was lost while it ran: taken by other pid 7")


def test_every_sentence_is_one_line() -> None:
    trouble = {
        "task": "Start kafka",
        "message": "port 9092 is used by pid 7 (python -c 'import time\n\x1b[2Jtime.sleep(9)')",
    }
    refuted = {"receipts": [{**RECEIPT, "ok": False, "why": "still runs:\r\npid 7"}]}
    found = verdict.judge(records(trouble=trouble, fault=refuted, books={"losses": ["one\u2028two"]}))
    assert (found.reason, found.findings) == (
        "one two",
        [
            "the fault did not bite: kafka still runs:  pid 7",
            "task 'Start kafka' failed: port 9092 is used by pid 7 (python -c 'import time  [2Jtime.sleep(9)')",
        ],
    )


def test_a_drill_that_went_blind_blames_nobody() -> None:
    blind = {"kind": "trouble", "task": "Watch the recovery", "message": "the sampler is silent", "blind": True}
    unseen = {"kind": "recovery", "drained": None, "waited": 61.0, "reason": "kafka cannot be read", "unseen": 61.0}
    found = verdict.judge([blind, unseen])
    assert found.outcome is Outcome.UNKNOWN
    assert found.reason == "task 'Watch the recovery' failed: the sampler is silent"
    assert "the recovery was not seen: no sample for 61 s" in found.findings
    assert verdict.judge([{**blind, "blind": False}]).outcome is Outcome.FAIL
    assert verdict.judge([{**unseen, "unseen": 0.4}]).outcome is Outcome.FAIL
