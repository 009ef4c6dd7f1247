"""One drill on several backends: what must be the same, what may differ, and what is said of those not at hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import parity
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Run
from ansible_collections.eventlog.drills.plugins.plugin_utils.page import parity_page
from ansible_collections.eventlog.drills.plugins.plugin_utils.parity import Backend, compare
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story

Record = dict[str, Any]
Change = Callable[[list[Record]], None]


def receipt(verb: str, seconds: float, **further: Any) -> Record:
    return {"unit": "kafka", "verb": verb, "time": 10.0, "seconds": seconds, "ok": True, "why": "", **further}


def records(runtime: str, seconds: float) -> list[Record]:
    """The journal of a drill that passed; ``seconds`` make the backend a slow or a fast one."""
    check = {"subject": "producer", "expected": "grows", "seen": "grows", "ok": True, "detail": "10.0/s"}
    return [
        {"kind": "begin", "time": 1.0, "drill": "kafka", "settings": {"runtime": runtime}},
        {"kind": "fault", "time": 10.0, "receipts": [receipt("stopped", seconds)]},
        {"kind": "observation", "time": 20.0, "phase": "outage", "checks": [check]},
        {"kind": "undo", "time": 21.0, "receipts": [receipt("started", 1.0, milestones={"ready": 2.5 * seconds})]},
        {"kind": "recovery", "time": 30.0, "began": 21.0, "total": 4.0 * seconds,
         "at": dict.fromkeys(("process", "port", "ready", "first record", "drained"), 4.0 * seconds)},
        {"kind": "books", "time": 31.0, "window": round(300 * seconds), "lost": 0, "repeated": 0, "rewritten": 0},
        {"kind": "verdict", "time": 32.0, "outcome": "PASS", "reason": "nothing lost"},
    ]  # fmt: skip


@pytest.fixture
def backend(tmp_path: Path) -> Callable[..., Backend]:
    def make(name: str, runtime: str, seconds: float, change: Change = lambda _: None, **further: Any) -> Backend:
        runs = tmp_path / name
        folder = runs / "2026-11-23T20-00-00Z-kafka"
        folder.mkdir(parents=True)
        written = records(runtime, seconds)
        change(written)
        (folder / "journal.jsonl").write_text("".join(json.dumps(record) + "\n" for record in written))
        return Backend(name, f"inventory/{name}", story=Story.read(Run(folder), runs), **further)

    return make


def test_seconds_and_events_may_differ_and_are_shown(backend: Callable[..., Backend]) -> None:
    found = compare([backend("local", "process", 1.0), backend("docker", "docker", 2.0)])

    assert found.problems == []
    assert found.sentence == (
        "the same on local and docker: PASS, nothing lost, 1 faults, 1 undos, 1 expectations, 5 milestones"
    )
    lines = parity.table(found)
    assert [line.split() for line in lines[:3]] == [["kafka"], ["local", "docker"], ["process", "docker"]]
    assert any(line.split() == ["books", "events", "300", "600"] for line in lines)
    assert any(line.split() == ["fault", "kafka", "stopped", "✔", "1.0", "s", "✔", "2.0", "s"] for line in lines)
    assert any(line.split() == ["undo", "kafka", "started", "✔", "2.5", "s", "✔", "5.0", "s"] for line in lines)
    assert any(line.split() == ["drained", "4.0", "s", "8.0", "s"] for line in lines)
    assert any(line.split()[:2] == ["time", "overhead"] for line in lines)
    assert not any("differs" in line for line in lines)


def _fail(written: list[Record]) -> None:
    written[-1] |= {"outcome": "FAIL", "reason": "5 lost"}


def _lose(written: list[Record]) -> None:
    written[5]["lost"] = 5


def _spare(written: list[Record]) -> None:
    written[1]["receipts"] = []


def _other_verb(written: list[Record]) -> None:
    written[1]["receipts"][0]["verb"] = "killed"


def _refute(written: list[Record]) -> None:
    written[1]["receipts"][0] |= {"ok": False, "why": "still answers"}


def _unseen(written: list[Record]) -> None:
    written[2]["checks"][0] |= {"ok": None, "seen": "unknown"}


def _never(written: list[Record]) -> None:
    written[4]["at"]["drained"] = None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_fail, ["docker: FAIL, 5 lost", "verdict: local PASS, docker FAIL"]),
        (_lose, ["books lost: local 0, docker 5"]),
        (_spare, ["fault kafka stopped: local ✔ 1.0 s, docker none"]),
        (
            _other_verb,
            ["fault kafka stopped: local ✔ 1.0 s, docker none", "fault kafka killed: local none, docker ✔ 1.0 s"],
        ),
        (_refute, ["fault kafka stopped: local ✔ 1.0 s, docker ✘ still answers"]),
        (_unseen, ["outage producer grows: local ✔, docker ? unknown"]),
        (_never, ["recovery drained: local 4.0 s, docker never"]),
    ],
)
def test_whatever_else_differs_is_named(backend: Callable[..., Backend], change: Change, said: list[str]) -> None:
    found = compare([backend("local", "process", 1.0), backend("docker", "docker", 1.0, change)])

    assert found.problems == said
    lines = parity.table(found)
    assert sum(line.endswith("◀ differs") for line in lines) == len(found.differences) > 0
    assert lines[-1].startswith(" parity      ✘ ")
    assert all(problem in parity.document(found, "kafka") for problem in said)
    assert "differs" in parity_page(found, "kafka")


def test_the_same_failure_on_all_is_no_parity(backend: Callable[..., Backend]) -> None:
    found = compare([backend("local", "process", 1.0, _fail), backend("docker", "docker", 1.0, _fail)])

    assert found.differences == []
    assert found.problems == ["local: FAIL, 5 lost", "docker: FAIL, 5 lost"]


def test_a_backend_that_is_not_at_hand_is_named_and_no_problem(backend: Callable[..., Backend]) -> None:
    away = Backend("vms", "inventory/vms", away="host a: connection refused")
    found = compare([backend("local", "process", 1.0), backend("docker", "docker", 1.0), away])

    assert found.problems == []
    assert " not at hand vms: host a: connection refused" in parity.table(found)
    written = json.loads(parity.document(found, "kafka"))
    assert written["parity"] is True
    assert [entry["at_hand"] for entry in written["backends"]] == [True, True, False]
    assert written["backends"][2]["reason"] == "host a: connection refused"
    assert "Not at hand: vms. host a: connection refused" in parity_page(found, "kafka")


def test_a_backend_on_which_the_drill_did_not_begin_or_that_was_not_torn_down_is_a_problem(
    backend: Callable[..., Backend],
) -> None:
    broken = Backend("docker", "inventory/docker", trouble="The engine has no image x.")
    found = compare([backend("local", "process", 1.0, trouble="kafka does not stop"), broken])

    assert found.problems == ["docker: The engine has no image x.", "local: kafka does not stop"]
    assert compare([Backend("docker", "inventory/docker")]).problems == ["docker: the drill did not begin"]
