"""Receipts: a fault that did not bite is never taken for one that did."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import receipts

LEADER = {"pid": 4711, "pgid": 4711, "start_time": 100, "state": "S", "cmdline": "java kafka.Kafka"}
WORKER = {"pid": 4712, "pgid": 4711, "start_time": 101, "state": "S", "cmdline": "python worker"}
CONNECTED = {
    "connected": True,
    "address": "172.30.0.11",
    "aliases": ["kafka"],
    "wanted": {"address": "172.30.0.11", "aliases": ["kafka"]},
}
RESTARTED = {**LEADER, "pid": 5811, "pgid": 5811, "start_time": 900}


def receipt(verb: str, **changes: Any) -> dict[str, Any]:
    """A receipt that proves its verb, with changes."""
    away = verb in ("stopped", "killed")
    proof: dict[str, Any] = {
        "unit": "kafka",
        "verb": verb,
        "time": 1000.0,
        "seconds": 1.5,
        "before": [LEADER, WORKER] if verb in receipts.FAULTS else [],
        "after": [] if away else [{**LEADER, "state": "T"}] if verb == "paused" else [RESTARTED],
        "ports": {"9092": {"before": True, "after": not away}},
        "answers": {"before": True, "after": verb in receipts.UNDOS},
        "gone": away,
        "milestones": {"process": 0.1, "ready": 1.2} if verb in receipts.UNDOS else {},
    }
    if verb in ("cut", "joined"):
        proof["after"] = proof["before"] or [LEADER]
        proof["ports"]["9092"]["after"] = verb == "joined"
        proof["container"] = {"after": CONNECTED if verb == "joined" else {**CONNECTED, "connected": False}}
    return {**proof, **changes}


@pytest.mark.parametrize("verb", ["stopped", "killed", "paused", "started", "ready", "unpaused", "cut", "joined"])
def test_a_proof_is_accepted(verb: str) -> None:
    assert receipts.judged(receipt(verb))["ok"] is True


@pytest.mark.parametrize(
    ("verb", "changes", "why"),
    [
        ("stopped", {"before": []}, "was not running before"),
        ("stopped", {"after": [LEADER], "gone": False}, "still runs: pid 4711"),
        ("killed", {"after": [WORKER], "gone": False}, "still runs: pid 4712"),
        ("killed", {"ports": {"9092": {"before": True, "after": True}}}, "still listens on port 9092"),
        ("stopped", {"answers": {"before": True, "after": True}}, "still answers"),
        ("paused", {"before": []}, "nothing was paused"),
        ("paused", {"after": []}, "is gone instead of paused"),
        ("paused", {"after": [{**LEADER, "state": "T"}, WORKER]}, "is not paused: pid 4712"),
        ("paused", {"answers": {"before": True, "after": True}}, "still answers"),
        ("started", {"after": []}, "does not run"),
        ("started", {"ports": {"9092": {"before": False, "after": False}}}, "does not listen on port 9092"),
        ("started", {"answers": {"before": False, "after": False}}, "does not answer"),
        ("unpaused", {"after": [{**LEADER, "state": "T"}]}, "is still paused: pid 4711"),
        ("paused", {"after": [LEADER], "frozen": False}, "is not paused: pid 4711"),
        ("unpaused", {"after": [LEADER], "frozen": True}, "is still paused: pid 4711"),
        ("cut", {"before": []}, "nothing was cut off"),
        ("cut", {"after": []}, "is gone instead of cut off"),
        ("cut", {"container": {"after": CONNECTED}}, "is still on its network"),
        ("cut", {"ports": {"9092": {"before": True, "after": True}}}, "still listens on port 9092"),
        ("cut", {"answers": {"before": True, "after": True}}, "still answers"),
        ("joined", {"container": {"after": {**CONNECTED, "connected": False}}}, "is not on its network"),
        (
            "joined",
            {"container": {"after": {**CONNECTED, "address": "172.30.0.2"}}},
            "has the address 172.30.0.2 instead",
        ),
        ("joined", {"container": {"after": {**CONNECTED, "aliases": []}}}, "is not known as kafka any more"),
        ("joined", {"answers": {"before": False, "after": False}}, "does not answer"),
        ("sung", {}, "has an unknown verb"),
    ],
)
def test_a_refutation_is_named(verb: str, changes: dict[str, Any], why: str) -> None:
    found = receipts.judged(receipt(verb, **changes))
    assert found["ok"] is False
    assert why in found["why"]


def test_a_frozen_container_counts_as_paused_although_its_processes_have_other_letters() -> None:
    assert receipts.failure(receipt("paused", after=[LEADER], frozen=True)) == ""


def test_a_unit_without_ports_or_probe_is_judged_by_its_processes() -> None:
    assert receipts.failure(receipt("killed", ports={}, answers={"before": None, "after": None})) == ""


def test_kinds() -> None:
    assert [receipts.kind(receipt(verb)) for verb in ("stopped", "paused", "started", "observed")] == [
        "fault",
        "fault",
        "undo",
        "",
    ]


def test_what_ended_before_its_stop_is_completed_from_the_look_before() -> None:
    looked = {"kafka": {"unit": "kafka", "verb": "observed", "after": [LEADER], "time": 990.0}}
    found = receipts.completed(receipt("stopped", before=[]), looked)
    assert receipts.failure(found) == ""
    assert found["before"] == [LEADER]
    assert receipts.failure(receipts.completed(receipt("stopped", before=[]), {})) != ""
    survived = receipts.completed(receipt("stopped", before=[], after=[LEADER], gone=True), looked)
    assert receipts.failure(survived) == "still runs: pid 4711"


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("stopped", "kafka pid 4711 gone, port 9092 closed"),
        ("paused", "kafka pid 4711 paused, no answer"),
        ("started", "kafka pid 5811 ready 1.2 s"),
    ],
)
def test_a_receipt_in_one_phrase(verb: str, text: str) -> None:
    assert receipts.describe(receipt(verb)) == text


def test_a_start_that_nobody_waited_for_is_judged_by_its_process() -> None:
    closed = {"9092": {"before": False, "after": False}}
    started = receipt("started", milestones={}, ports=closed, answers={"before": False, "after": False})
    assert receipts.failure(started) == ""
    assert receipts.describe(started) == "kafka pid 5811 started, not waited for"
    assert receipts.failure({**started, "after": []}) == "does not run"


def test_a_refuted_receipt_says_so() -> None:
    assert receipts.describe(receipt("stopped", before=[])) == "kafka was not running before, so nothing was taken away"


def test_what_is_outstanding() -> None:
    away = {"receipts": [receipts.judged(receipt("killed")), receipts.judged(receipt("paused", unit="cassandra"))]}
    assert receipts.outstanding([away]) == {"kafka": "start", "cassandra": "unpause"}
    failed = {"receipts": [receipts.judged(receipt("started", after=[]))]}
    assert receipts.outstanding([away, failed])["kafka"] == "start"
    back = {"receipts": [receipts.judged(receipt("started"))]}
    assert receipts.outstanding([away, back]) == {"cassandra": "unpause"}


def test_the_moment_it_was_done() -> None:
    assert receipts.ended(receipt("stopped")) == 1001.5


def test_what_ended_when_it_woke_up_and_was_started_is_said() -> None:
    woken = receipt("unpaused", before=[{**LEADER, "state": "T"}])

    assert receipts.judged(woken)["ok"] is True
    assert receipts.describe(woken) == "kafka pid 5811 started, since it ended when it woke up, ready 1.2 s"
    assert receipts.describe({**woken, "after": [LEADER]}) == "kafka pid 4711 ready 1.2 s"


FROZEN = {"before": {"status": "paused"}, "after": CONNECTED}
ASLEEP = [{**LEADER, "state": "T"}]


def outside(fault: str, undo: str, *, between: tuple[dict[str, Any], ...] = (), **changes: Any) -> str:
    """What is said of an undo after a fault that bit."""
    records = [{"kind": "fault", "receipts": [receipts.judged(receipt(fault))]}, *between]
    return receipts.outside(receipt(undo, **changes), records)


@pytest.mark.parametrize(
    ("fault", "undo", "changes", "text"),
    [
        ("stopped", "started", {"before": [RESTARTED]}, "kafka pid 5811 ran again although it was stopped"),
        ("killed", "started", {"before": [RESTARTED]}, "kafka pid 5811 ran again although it was killed"),
        ("paused", "unpaused", {"before": [LEADER]}, "kafka pid 4711 ran on although it was paused"),
        (
            "cut",
            "joined",
            {"before": [LEADER], "container": {"before": CONNECTED, "after": CONNECTED}},
            "kafka pid 4711 was on its network again",
        ),
    ],
)
def test_a_fault_that_somebody_else_has_undone(fault: str, undo: str, changes: dict[str, Any], text: str) -> None:
    assert outside(fault, undo, **changes) == text


@pytest.mark.parametrize(
    ("fault", "undo", "changes"),
    [
        ("stopped", "started", {}),
        ("paused", "unpaused", {"before": ASLEEP}),
        ("paused", "unpaused", {"before": [LEADER], "container": FROZEN}),
        ("paused", "unpaused", {"before": []}),  # it died of it
        ("cut", "joined", {"before": [LEADER], "container": {"before": {"connected": False}, "after": CONNECTED}}),
        # What did not survive its pause is started after it was unpaused, by the drill itself.
        ("paused", "started", {"before": [LEADER]}),
    ],
)
def test_a_fault_that_held_until_its_undo(fault: str, undo: str, changes: dict[str, Any]) -> None:
    assert outside(fault, undo, **changes) == ""


def test_what_a_failed_task_of_the_drill_has_left_is_nobody_else_s() -> None:
    tried = {"kind": "trouble", "task": "Start kafka", "message": "interrupted"}
    assert outside("stopped", "started", between=(tried,), before=[RESTARTED]) == ""


def test_a_second_undo_finds_what_the_first_has_brought_back() -> None:
    done = {"kind": "undo", "receipts": [receipts.judged(receipt("started"))]}
    assert outside("stopped", "started", between=(done,), before=[RESTARTED]) == ""


def test_a_fault_that_did_not_bite_was_not_undone_from_outside() -> None:
    toothless = receipts.judged(receipt("stopped", after=[LEADER], gone=False))
    assert receipts.outside(receipt("started", before=[LEADER]), [{"kind": "fault", "receipts": [toothless]}]) == ""
