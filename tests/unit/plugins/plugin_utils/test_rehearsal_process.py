"""Whole drills against a stand-in pipeline: what went wrong is in the verdict, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import (
    announcing,
    closing,
    healing,
    journal,
    live,
    observing,
    opening,
    report,
    usage,
    verdict,
)
from ansible_collections.eventlog.drills.plugins.plugin_utils import rehearsal as rehearsing
from ansible_collections.eventlog.drills.plugins.plugin_utils.lock import Lock
from ansible_collections.eventlog.drills.plugins.plugin_utils.observing import Phase
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal, RehearsalError, redacted
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome

from testing.waiting import wait_until

from .stage import Stage, receipt

pytestmark = pytest.mark.programs

OUTAGE = Phase(
    "outage",
    duration=1.5,
    settle=0.5,
    expect={"producer": "grows", "kafka": "grows", "cassandra": "static", "lag": "grows", "flink": "unreachable"},
)
RECOVERY = Phase("recovery", until="converged", within=10.0)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def rehearse(stage: Stage, rehearsal: Rehearsal, **books: object) -> None:
    """Take Flink away, watch, bring it back, watch."""
    stage.scene("flink")
    rehearsal.absorb([receipt("stopped")])
    observing.observe(rehearsal, OUTAGE)
    stage.scene(**books)
    rehearsal.absorb([receipt("started")])
    observing.observe(rehearsal, RECOVERY)


def kinds(rehearsal: Rehearsal) -> set[str]:
    return {record["kind"] for record in rehearsal.records}


def test_a_drill_that_goes_well(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal)
    found = stage.finish(rehearsal)
    assert (found.outcome, found.findings) == (Outcome.PASS, []), found.reason
    assert kinds(rehearsal) >= {"begin", "steady", "preflight", "window", "fault", "undo", "recovery", "books", "disk"}
    assert found.reason.startswith("nothing lost, recovered in")
    text = "\n".join(stage.said)
    for label in ("steady", "preflight", "fault", "outage", "undo", "recovery", "books", "disk", "verdict", "report"):
        assert f"\n {label}" in f"\n{text}", label
    assert "producer grows ✔  kafka grows ✔  cassandra static ✔  lag grows ✔  flink unreachable ✔" in text


def test_every_report_is_rendered_and_nothing_is_left(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal)
    stage.finish(rehearsal)
    folder = stage.path / "runs" / "latest"
    assert json.loads((folder / "verdict.json").read_text())["verdict"] == "PASS"
    page = (folder / "report.html").read_text()
    for text in (
        "Drill 2 · Flink stops",
        "<svg",
        "What happened",
        "Expected and seen",
        "Receipts",
        "broker.session.timeout.ms",
    ):
        assert text in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("0", "0", "8")
    assert "# Drill 2 · Flink stops" in (folder / "report.md").read_text()
    assert json.loads((folder / "report.json").read_text())["outcome"] == "PASS"
    assert "hush" not in "".join(path.read_text() for path in folder.iterdir())
    assert not (stage.path / "drill" / "lock.json").exists()
    assert not (stage.path / "drill" / "lease").exists()


def test_a_lost_row_is_named(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal, lost=[20, 21])
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.FAIL
    assert "2 in Kafka, but not in Cassandra: lost between Kafka and Cassandra" in found.reason
    assert "✘ FAIL" in (stage.path / "runs" / "latest" / "report.html").read_text()


def test_repeats_and_rewrites_beyond_the_limits(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal, rewritten=7)
    found = stage.finish(rehearsal, rewritten=0)
    assert (found.outcome, found.reason) == (Outcome.FAIL, "7 records rewritten, but at most 0 may be")


def test_copies_that_nobody_counts_break_the_law(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal, repeated=3)
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.FAIL
    assert found.reason.startswith("the counts do not add up")
    assert found.reason.endswith("residual -3")


def test_books_that_cannot_be_read(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal, unreadable="the table is gone")
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.UNKNOWN
    assert "the table is gone" in found.reason


def test_a_fault_that_did_not_bite(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearsal.absorb([receipt("stopped", after=receipt("started")["after"], gone=False)])
    found = stage.finish(rehearsal)
    # The unit counts as away until somebody has brought it back, so the books stay open.
    assert found.outcome is Outcome.INVALID
    assert found.reason == "the fault did not bite: flink-jobmanager still runs: pid 4799"


def test_an_outage_with_the_wrong_shape(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearsal.absorb([receipt("stopped")])
    observing.observe(rehearsal, OUTAGE)  # Flink only says that it is away: rows keep arriving
    rehearsal.absorb([receipt("started")])
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.FAIL
    assert "outage: cassandra should be static, but grows" in found.reason


def test_a_service_that_does_not_come_back(stage: Stage) -> None:
    rehearsal = stage.begin()
    stage.scene("flink")
    rehearsal.absorb([receipt("stopped")])
    rehearsal.absorb([receipt("started", after=[])])
    assert rehearsal.away() == [{"role": "flink", "verb": "start"}]
    found = stage.finish(rehearsal)
    assert (found.outcome, found.reason) == (Outcome.FAIL, "flink-jobmanager did not come back: does not run")


def test_a_recovery_that_never_ends(stage: Stage) -> None:
    rehearsal = stage.begin()
    stage.scene("flink")
    rehearsal.absorb([receipt("stopped"), receipt("started")])
    result = observing.observe(rehearsal, Phase("recovery", until="converged", within=0.5))
    assert result["ok"] is False
    assert result["recovery"]["reason"] == "flink does not answer: connection refused"
    rehearsal.stop_sampler()


def test_a_recovery_over_its_budget_is_degraded(stage: Stage) -> None:
    rehearsal = stage.begin()
    stage.scene("flink")
    rehearsal.absorb([receipt("stopped")])
    observing.observe(rehearsal, OUTAGE)
    stage.scene()
    begun = receipt("started", seconds=1.0)
    begun["time"] -= 1.0
    rehearsal.absorb([begun])
    observing.observe(rehearsal, Phase("recovery", until="converged", within=0.9))
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.DEGRADED
    assert found.reason.startswith("nothing lost, but recovery took")


def test_kafka_away_is_unreachable_and_never_static(stage: Stage) -> None:
    rehearsal = stage.begin(drill="kafka", away={"kafka": 1.0})
    stage.scene("kafka")
    rehearsal.absorb([receipt("killed", unit="kafka")])
    result = observing.observe(
        rehearsal, Phase("outage", duration=1.0, expect={"kafka": "unreachable", "lag": "static", "spool": "grows"})
    )
    assert {check["subject"]: check["ok"] for check in result["checks"]} == {"kafka": True, "lag": None, "spool": True}
    stage.scene()
    rehearsal.absorb([receipt("started", unit="kafka")])
    assert stage.finish(rehearsal).outcome is Outcome.UNKNOWN


def test_a_pipeline_that_is_not_steady_is_refused(stage: Stage) -> None:
    stage.scene("cassandra")
    rehearsal = stage.begin(steady_within=1.0)
    assert opening.refusal(rehearsal).startswith("the pipeline is not steady: cassandra cannot be read")
    found = closing.conclude(rehearsal, stage.path / "runs")
    assert found.outcome is Outcome.INVALID
    assert found.findings == []


def test_the_patience_for_the_steady_state_counts_from_the_begin(stage: Stage) -> None:
    stage.scene("cassandra")
    rehearsal = opening.begin(stage.options(steady_within=1.0), stage.host, stage.said.append)
    time.sleep(1.5)  # whatever was done meanwhile
    began = time.time()
    opening.find_steady(rehearsal)
    assert time.time() - began < 0.9
    assert opening.refusal(rehearsal).startswith("the pipeline is not steady: cassandra cannot be read")
    closing.conclude(rehearsal, stage.path / "runs")


def test_the_disk_is_measured_before_the_steady_state_is_found(stage: Stage) -> None:
    rehearsal = opening.begin(stage.options(), stage.host, stage.said.append)
    usage.measure_disk(rehearsal, flushed=True)
    measured = journal.last(rehearsal.records, "disk")
    assert measured is not None
    assert measured["generated"] == rehearsal.samples[-1]["producer"]["count"]
    closing.conclude(rehearsal, stage.path / "runs")


def test_the_window_ends_where_the_drill_had_settled(stage: Stage) -> None:
    rehearsal = stage.begin()
    closing.pass_window(rehearsal)
    assert [window["state"] for window in journal.of_kind(rehearsal.records, "window")] == ["opened"]
    closing.settle(rehearsal, budget=10.0)
    settled = rehearsal.state.settled
    wait_until(
        lambda: rehearsal.fetch() and float(rehearsal.samples[-1]["time"]) > settled + 1.0, 10, "the sampler goes on"
    )
    closing.pass_window(rehearsal)
    closed = journal.last(rehearsal.records, "window") or {}
    assert (closed["state"], closed["passed"]) == ("closed", True)
    assert closed["at"] == next(s["time"] for s in rehearsal.samples if float(s["time"]) >= settled)
    assert closed["generated"] < rehearsal.samples[-1]["producer"]["count"]
    closing.conclude(rehearsal, stage.path / "runs")


def test_a_plan_that_must_lose_data_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, spool_limit=100_000)
    rehearsal = stage.begin(away={"kafka": 30.0})
    assert opening.refusal(rehearsal).startswith("the spool would overflow while Kafka is away: 100/s x 60 s")
    rehearsal.stop_sampler()


def test_one_drill_at_a_time(stage: Stage) -> None:
    rehearsal = stage.begin()
    with pytest.raises(RehearsalError, match=r"drill flink \(pid \d+ on .*\) holds this pipeline") as error:
        stage.begin()
    assert not isinstance(error.value, opening.LeftoverError)
    with pytest.raises(RehearsalError, match="holds this pipeline"):
        healing.take_over(stage.host, str(stage.path / "drill"))
    closing.conclude(rehearsal, stage.path / "runs")
    assert healing.take_over(stage.host, str(stage.path / "drill")) is None


def leave_behind(stage: Stage) -> dict[str, Any]:
    """Make the lock that of a process that has ended; returns its holder."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path = stage.path / "drill" / "lock.json"
    holder = {**json.loads(path.read_text()), "pid": ended.pid}
    path.write_text(json.dumps(holder))
    return holder


def heal(stage: Stage, holder: dict[str, Any], guard: Mapping[str, Any], *, within: float) -> str:
    """Heal, with the stand-in monitor made to forget when the journal is not here."""
    options = stage.options()
    words = (options.folder, options.config, options.python, options.pythonpath)
    return healing.heal(
        holder,
        guard,
        stage.host,
        stage.said.append,
        folder=options.folder,
        within=within,
        clearance=announcing.script(None, *words),
    )


def test_the_monitor_is_told_how_the_drill_stands(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearse(stage, rehearsal)
    stage.finish(rehearsal)
    wait_until(lambda: any(told and told["verdict"] for told in stage.announced()), 10, "the verdict is told")
    told = [known for known in stage.announced() if known]
    stations = [(known["phase"]["name"], known["phase"]["kind"]) for known in told]
    wanted = [
        ("finding the steady state", "steady"),
        ("taking away flink", "fault"),
        ("away", "fault"),
        ("outage", "fault"),
        ("bringing back", "fault"),
        ("recovery", "recovery"),
        ("closing the books", "closing"),
    ]
    assert list(dict.fromkeys(stations)) == wanted
    outage = next(known["phase"] for known in told if known["phase"]["name"] == "outage")
    assert outage["until"] - outage["since"] == OUTAGE.duration
    assert told[-1]["verdict"]["outcome"] == "PASS"
    assert [(band["name"], band["kind"]) for band in told[-1]["bands"]] == [
        ("flink stopped", "fault"),
        ("recovery", "recovery"),
    ]
    assert all(band["since"] <= band["until"] for band in told[-1]["bands"])


def test_a_monitor_that_cannot_be_told_is_no_matter_of_the_drill(stage: Stage) -> None:
    told = announcing.script({"drill": "flink"}, str(stage.path), "/nowhere", "/no/such/python", "")
    began = time.monotonic()
    stage.host.run(told)
    assert time.monotonic() - began < 5
    wait_until(lambda: "not found" in (stage.path / "announce.log").read_text(), 10, "the refusal is logged")


def test_a_killed_drill_is_healed_and_closed(stage: Stage) -> None:
    rehearsal = stage.begin()
    stage.scene("flink")
    rehearsal.absorb([receipt("stopped")])
    rehearsal.note("phase", phase="outage", state="started", at=0.0)
    leave_behind(stage)
    with pytest.raises(opening.LeftoverError, match="was killed"):
        stage.begin()
    holder = healing.take_over(stage.host, str(stage.path / "drill"))
    assert holder is not None
    stage.scene()
    guard = {"state": "healed", "streaming": True, "done": ["flink-jobmanager started"], "failed": []}
    text = heal(stage, holder, guard, within=10.0)
    assert text == "ABORTED (healed): interrupted during outage; healed: flink-jobmanager started"
    assert not (stage.path / "drill" / "lock.json").exists()
    assert json.loads((rehearsal.run.path / "verdict.json").read_text())["healed"] is True


def test_what_does_not_heal_is_said(stage: Stage) -> None:
    stage.begin()
    leave_behind(stage)
    holder = healing.take_over(stage.host, str(stage.path / "drill")) or {}
    stage.scene("cassandra")
    text = heal(stage, holder, {"streaming": True}, within=1.0)
    assert text.startswith("ABORTED (not healed): interrupted during the beginning; not healed: nothing was away")
    assert "cassandra cannot be read" in text


def test_a_drill_whose_lock_was_taken_is_invalid_and_leaves_it_alone(stage: Stage) -> None:
    rehearsal = stage.begin()
    taken = healing.take_over(stage.host, str(stage.path / "drill"), force=True)
    found = closing.conclude(rehearsal, stage.path / "runs")
    assert found.outcome is Outcome.INVALID
    assert found.reason.startswith("the lock of the drill was lost while it ran: taken by")
    assert taken is not None
    assert json.loads((stage.path / "drill" / "lock.json").read_text())["id"] == taken["id"]


def test_the_lock_is_given_back_after_the_verdict(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = stage.begin()
    held = []

    def render(*_: Any) -> Path:
        held.append((stage.path / "drill" / "lock.json").exists())
        raise OSError("the disk is full")

    monkeypatch.setattr(closing, "render_run", render)
    with pytest.raises(RehearsalError, match="its reports cannot be written: the disk is full"):
        closing.conclude(rehearsal, stage.path / "runs")
    assert held == [True]
    assert not (stage.path / "drill" / "lock.json").exists()


def test_a_lock_without_a_journal_here_is_only_released(stage: Stage) -> None:
    rehearsal = stage.begin()
    text = heal(stage, {**leave_behind(stage), "run": "/nowhere"}, {}, within=1.0)
    assert text == "nothing was away; the killed drill left no journal on this controller"
    wait_until(lambda: None in stage.announced(), 10, "the end is told")
    rehearsal.stop_sampler()


def test_without_a_pipeline_there_is_no_drill(stage: Stage) -> None:
    stage.config.unlink()
    with pytest.raises(RehearsalError, match=r"there is no pipeline: .*pipeline\.toml does not exist"):
        stage.begin()
    assert not (stage.path / "runs").exists()


def test_a_broken_description_leaves_no_lock(stage: Stage) -> None:
    stage.config.write_text("[[[")
    with pytest.raises(RehearsalError, match="cannot be read"):
        stage.begin()
    assert not (stage.path / "drill" / "lock.json").exists()


def test_a_silent_sampler_ends_the_drill(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal.SAMPLER_SILENCE_SECONDS", 0.5
    )
    with pytest.raises(RehearsalError, match="the sampler is silent"):
        stage.begin(pythonpath="/nowhere")


def test_a_look_does_not_outlive_its_controller(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = stage.begin()
    monkeypatch.setattr("os.getppid", lambda: 1)
    with pytest.raises(RehearsalError, match="the controller has gone"):
        observing.observe(rehearsal, OUTAGE)
    monkeypatch.undo()
    closing.conclude(rehearsal, stage.path / "runs")


def test_an_expired_lease_makes_the_run_invalid(stage: Stage) -> None:
    rehearsal = stage.begin()
    guard = {"state": "expired", "time": 1.0, "done": ["flink-jobmanager started"], "failed": []}
    (stage.path / "drill" / "guard.json").write_text(json.dumps(guard))
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.INVALID
    assert found.reason == "the lease ran out and undid the fault: flink-jobmanager started"


def test_a_fault_undone_from_outside_makes_the_run_invalid(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearsal.absorb([receipt("stopped")])
    by_hand = receipt("started")["after"]
    rehearsal.absorb([receipt("started", before=by_hand)])
    found = stage.finish(rehearsal)
    assert found.outcome is Outcome.INVALID
    assert found.reason.startswith("the fault was undone from outside: flink-jobmanager pid 4799 ran again")


def test_receipts_are_journalled_once_and_on_this_machines_clock(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearsal.save(offset=100.0)
    ahead = receipt("stopped")
    ahead["time"] += 100.0
    (record,) = rehearsal.absorb([ahead])
    assert rehearsal.absorb([ahead]) == []
    assert abs(record["receipts"][0]["time"] - record["time"]) < 5.0
    closing.conclude(rehearsal, stage.path / "runs")


def test_a_paused_stream_is_brought_back_last(stage: Stage) -> None:
    rehearsal = stage.begin()
    rehearsal.note("note", streaming=False)
    rehearsal.absorb([receipt("stopped", unit="kafka"), receipt("paused", unit="cassandra")])
    assert rehearsal.away() == [
        {"role": "kafka", "verb": "start"},
        {"role": "cassandra", "verb": "unpause"},
        {"role": "producer", "verb": "resume_stream"},
    ]
    closing.conclude(rehearsal, stage.path / "runs")


def test_on_a_terminal_the_line_is_rewritten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(live.TERMINAL_VARIABLE, "100")
    rehearsal = stage.begin()
    stage.scene("flink")
    rehearsal.absorb([receipt("stopped")])
    observing.observe(rehearsal, Phase("outage", duration=0.6))
    rewritten = [line for line in stage.said if line.startswith("\r")]
    assert len(rewritten) > 3
    assert all(len(line.strip("\r\n").removesuffix("\x1b[K")) < 100 for line in rewritten)
    assert rewritten[-1].endswith("\n")
    closing.conclude(rehearsal, stage.path / "runs")


def test_there_is_no_going_on_without_a_drill(tmp_path: Path, stage: Stage) -> None:
    with pytest.raises(RehearsalError, match="holds no running drill"):
        Rehearsal.resume(tmp_path, stage.host, stage.said.append)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("drill_hold=8", "drill_hold=8"),
        ("monitor_token=abc", "monitor_token=…"),
        ("a=1 db_password=x", "a=1 db_password=…"),
        ('{"api_key": "x"}', "{…}"),
        ("--ask-vault-pass", "--ask-vault-pass"),
    ],
)
def test_secrets_do_not_reach_the_journal(word: str, shown: str) -> None:
    assert redacted(word) == shown


def test_samples_survive_in_the_runs_folder(stage: Stage) -> None:
    rehearsal = stage.begin()
    closing.conclude(rehearsal, stage.path / "runs")
    again = journal.read_records(rehearsal.run.samples)
    assert again == rehearsal.samples
    assert len(again) >= 3


def lock_is_free(stage: Stage) -> bool:
    return not (stage.path / "drill" / "lock.json").exists()


def test_a_damaged_journal_still_ends_in_a_verdict(stage: Stage) -> None:
    rehearsal = stage.begin()
    with rehearsal.run.journal.open("a") as stream:
        stream.write("not a record\n")
    with pytest.raises(RehearsalError, match="cannot be written"):
        closing.conclude(rehearsal, stage.path / "runs")
    found = verdict.read(rehearsal.run.path)
    assert found["outcome"] == "UNKNOWN"
    assert found["reason"].startswith("the journal cannot be used: ")
    assert lock_is_free(stage)


def test_a_report_that_cannot_be_drawn_takes_nothing_with_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = stage.begin()

    def broken(_: object) -> str:
        raise KeyError("nothing")

    monkeypatch.setattr(report, "run_page", broken)
    with pytest.raises(RehearsalError, match=r"reports cannot be written: report.html: 'nothing'"):
        stage.finish(rehearsal)
    assert verdict.read(rehearsal.run.path)["outcome"] == "PASS"
    assert (rehearsal.run.path / "junit.xml").is_file()
    assert lock_is_free(stage)


def test_a_sampler_that_does_not_start_is_a_refusal(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RehearsalError("the sampler does not start: no such file")

    monkeypatch.setattr(Rehearsal, "start_sampler", broken)
    rehearsal = opening.begin(stage.options(), stage.host, stage.said.append)
    assert "sampler does not start" in opening.refusal(rehearsal)
    found = closing.conclude(rehearsal, stage.path / "runs")
    assert (found.outcome.label, found.reason.partition(":")[0]) == ("INVALID", "refused")
    assert lock_is_free(stage)


def test_a_sampler_that_dies_leaves_a_verdict(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "SAMPLER_SILENCE_SECONDS", 1.0)
    rehearsal = stage.begin()
    rehearsal.stop_sampler()
    with pytest.raises(RehearsalError, match="the sampler is silent"):
        stage.finish(rehearsal)
    found = closing.conclude(rehearsal, stage.path / "runs")
    assert found.outcome.label == "UNKNOWN"
    assert lock_is_free(stage)


def test_a_drill_whose_lock_is_taken_while_it_begins_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lock, "take_over", lambda *_: False)
    rehearsal = opening.begin(stage.options(), stage.host, stage.said.append)
    assert "taken over while the drill began" in opening.refusal(rehearsal)
    assert closing.conclude(rehearsal, stage.path / "runs").outcome is Outcome.INVALID
    assert verdict.read(rehearsal.run.path)["outcome"] == "INVALID"
