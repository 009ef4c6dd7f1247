"""Finish a drill: see it converged, close the books, judge, write every report, and let go of the pipeline."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import (
    journal,
    ledger,
    live,
    observing,
    opening,
    shapes,
    verdict,
)
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import HostError, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import Conservation, number
from ansible_collections.eventlog.drills.plugins.plugin_utils.lock import Lock
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal, RehearsalError
from ansible_collections.eventlog.drills.plugins.plugin_utils.report import render_run, write_verdict
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Snapshot, healthy
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Verdict

#: Samples at either end of the drill that the law of counts is taken from; counts of one sample are read milliseconds
#: apart (on a machine that is overloaded, seconds), so a single one may be off by what passed meanwhile.
LAW_SAMPLES = 8
LAW_SECONDS = 30.0  #: that are waited for so many at most


def settle(rehearsal: Rehearsal, budget: float) -> None:
    """Wait until the pipeline has converged when the playbook did not get that far, and keep the moment.

    :param budget: seconds of the recovery that was not watched.
    """
    records = rehearsal.records
    if journal.last(records, "window") is None or rehearsal.away():
        return
    converged = [record for record in records if record["kind"] == "recovery" and record.get("drained") is not None]
    if rehearsal.undos() or not converged:
        observing.observe(rehearsal, observing.Phase("settling", until="converged", within=budget))
    rehearsal.save(settled=time.time())


def pass_window(rehearsal: Rehearsal) -> None:
    """Wait until the window has passed, as long as anything is waited for in this drill.

    Its end is where the producer stood when the drill had settled; it streams on meanwhile. Without that moment the
    window stays open.
    """
    began = rehearsal.state.settled
    if not began:
        return
    # The mark must be a reading from then on: an older one would leave out the youngest events.
    until = began + rehearsal.state.patience
    rehearsal.follow(lambda: _mark(rehearsal, began) is not None, until=until)
    mark = _mark(rehearsal, began)
    if mark is None:
        return
    target = opening.marks(mark)
    passed = rehearsal.follow(
        lambda: any(_passed(sample, target) for sample in rehearsal.samples if sample["time"] > target["at"]),
        until=until,
    )
    steady = rehearsal.steady
    reason = "" if passed or steady is None else observing.why_not_converged(rehearsal, steady)
    rehearsal.note("window", state="closed", passed=passed, seconds=time.time() - began, reason=reason, **target)


def _mark(rehearsal: Rehearsal, since: float) -> Snapshot | None:
    return next((s for s in rehearsal.samples if float(s["time"]) >= since and healthy(s)), None)


def _passed(sample: Snapshot, target: Mapping[str, Any]) -> bool:
    """Everything up to the target is acknowledged and processed: from here on the books can be read."""
    if not healthy(sample):
        return False
    acked = int(sample["producer"].get("acked") or 0) + int(sample["producer"].get("rejected") or 0)
    # What was acknowledged after the mark lies beyond the offsets of the mark, but at once in front of these.
    done = sample["cassandra"].get("next_offsets") or {}
    ends = target["offsets"]
    return acked >= int(target["generated"]) and all(int(done.get(p, 0)) >= int(end) for p, end in ends.items())


def close_books(rehearsal: Rehearsal, limits: Mapping[str, int] | None = None) -> None:
    """Read and balance the books of the window, and check the law of counts.

    :param limits: how many records may be ``repeated``, ``rewritten`` or ``rejected`` at most; no limit when left out.
    """
    records = rehearsal.records
    windows = journal.of_kind(records, "window")
    if not windows or rehearsal.away():
        return
    if windows[-1]["state"] != "closed":
        rehearsal.note("books", error="the pipeline did not come back far enough to close them")
        rehearsal.say(live.line("books", "not closed: the pipeline did not come back far enough"))
        return
    began = time.time()
    try:
        found = _read(rehearsal, request(rehearsal, windows[0], windows[-1]))
        balanced = ledger.balance(found)
    except (RehearsalError, HostError, KeyError, TypeError, ValueError) as error:
        rehearsal.note("books", error=str(error))
        rehearsal.say(live.line("books", f"cannot be read: {error}"))
        return
    if not windows[-1]["passed"]:
        balanced = balanced.unpassed(float(windows[-1]["seconds"]), str(windows[-1]["reason"]))
    rehearsal.note(
        "books",
        **{
            **balanced.as_dict(),
            "excesses": [*balanced.excesses, *ledger.beyond(balanced, limits or {})],
        },
        seconds=time.time() - began,
    )
    rehearsal.say(live.line("books", balanced.summary()))
    for text in [*balanced.losses, *balanced.excesses, *balanced.unclosed]:
        rehearsal.say(live.continued(text))
    _conserve(rehearsal, balanced, float(windows[0]["at"]), float(windows[-1]["at"]))
    _judge_resumption(rehearsal, found.get("resumed"))
    shown = found.get("monitor") or {}
    if "time" not in shown:
        rehearsal.note("note", text=f"the monitor does not answer: {shown.get('error') or 'no counts'}")
    # Two other counters: the one that people look at, and the hops themselves.
    _compare_counts(rehearsal, "monitor", shown)
    _compare_counts(rehearsal, "hops", found.get("counts") or {})


def _resumption(rehearsal: Rehearsal) -> tuple[float, Mapping[str, int]] | None:
    """When the job was started after its last savepoint (epoch seconds), and at which offsets that had ended."""
    records = rehearsal.records
    savepoints = [record for record in records if record.get("savepoint")]
    if not savepoints:
        return None
    starts = [
        float(receipt["time"])
        for record in journal.of_kind(records, "undo")
        for receipt in record["receipts"]
        if receipt["unit"].startswith("flink") and float(receipt["time"]) > float(savepoints[-1]["time"])
    ]
    return (min(starts), savepoints[-1]["next_offsets"]) if starts else None


def _judge_resumption(rehearsal: Rehearsal, seen: Mapping[str, int | None] | None) -> None:
    """Journal whether the job went on exactly where its savepoint had ended."""
    resumption = _resumption(rehearsal)
    if resumption is None:
        return
    since, expected = resumption
    check = shapes.same_offsets(expected, seen)
    until = time.time()
    rehearsal.note("observation", phase="resumption", since=since, until=until, samples=0, checks=[check.as_dict()])
    rehearsal.say(live.line("resumption", live.checks_line([check])))


def request(rehearsal: Rehearsal, first: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Any]:
    """What the books reader is asked for: the window of seqs per source, and from where to read the topic.

    A spool that was made anew is a new source: it begins at 1, and the old one ends where it was last seen.
    """
    reached: dict[str, int] = {}
    for sample in rehearsal.samples:
        source = sample["producer"].get("source")
        if source and first["at"] <= float(sample["time"]) <= last["at"] and sample["producer"]["count"] is not None:
            reached[str(source)] = int(sample["producer"]["count"])
    reached[str(last["source"])] = int(last["generated"])
    begins = {str(first["source"]): int(first["generated"]) + 1}
    return {
        "sources": {
            source: [begins.get(source, 1), end] for source, end in reached.items() if end >= begins.get(source, 1)
        },
        **_resumed(rehearsal),
        "kafka_from": first["offsets"] if first["topic_id"] == last["topic_id"] else {},
        # The host's own clock stamped what the sink wrote.
        "since": float(first["at"]) + rehearsal.state.offset,
    }


def _compare_counts(rehearsal: Rehearsal, whose: str, shown: Mapping[str, Any]) -> None:
    """Journal whether another counter shows what the sampler has seen; one that shows nothing is no evidence."""
    if "time" not in shown:
        return
    shown = {**shown, "time": float(shown["time"]) - rehearsal.state.offset}
    # What it shows lies between two samples, of which the later one may still have to be taken.
    moment = float(shown["time"]) + shapes.SHOWN_SECONDS
    rehearsal.follow(lambda: any(float(s["time"]) > moment for s in rehearsal.samples), until=time.time() + 5.0)
    checks = shapes.same_counts(shown, rehearsal.samples)
    until = time.time()
    fields = {"since": until, "until": until, "samples": 0, "checks": [check.as_dict() for check in checks]}
    rehearsal.note("observation", phase=whose, **fields)
    for check in checks:
        if not check.ok:
            rehearsal.say(live.continued(f"{whose}: {live.checks_line([check])}"))


def _resumed(rehearsal: Rehearsal) -> dict[str, Any]:
    resumption = _resumption(rehearsal)
    if resumption is None:
        return {}
    return {"resumed": {"since": resumption[0] + rehearsal.state.offset, "offsets": resumption[1]}}


def _read(rehearsal: Rehearsal, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    state = rehearsal.state
    reader = quoted(state.python, "-m", "eventlog.books", "--config", state.config, "--request", "-")
    script = f"printf %s {quoted(json.dumps(wanted))} | PYTHONPATH={quoted(state.pythonpath)} {reader}"
    found: dict[str, Any] = json.loads(rehearsal.host.run(script))
    return found


def _conserve(rehearsal: Rehearsal, balanced: ledger.Ledger, opened: float, closed: float) -> None:
    """Check the law of counts at the close against what it left unexplained at the begin.

    Rows, rejections and progress of a sample are of one moment, but where the rows come faster than they can be looked
    at one by one: then some of them are ahead of the progress, which makes a sample's sum too small, never too large.
    So of several samples the largest is the true one.
    """
    before = _copies([s for s in rehearsal.samples if float(s["time"]) <= opened][-LAW_SAMPLES:])
    unexplained = max((copies for copies, _ in before), default=0)

    def after() -> list[tuple[int, Snapshot]]:
        return _copies([s for s in rehearsal.samples if float(s["time"]) >= closed][-LAW_SAMPLES:])

    def sure() -> bool:
        found = after()
        return len(found) == LAW_SAMPLES or any(copies >= unexplained + balanced.repeated for copies, _ in found)

    rehearsal.follow(sure, until=time.time() + LAW_SECONDS)
    if not before or not after():
        rehearsal.note("conservation", residual=None, reason="too few samples at the begin or the close")
        return
    _, sample = max(after(), key=lambda found: found[0])
    law = Conservation(
        kafka=int(sample["kafka"]["count"]),
        cassandra=int(sample["cassandra"]["count"]),
        rejected=int(sample["cassandra"].get("rejected") or 0),
        repeated=balanced.repeated,
        lag=int(sample["kafka"]["count"]) - _processed(sample),
        before=unexplained,
    )
    if 0 < law.residual <= balanced.deleted:
        reason = f"{law.text()}, and any of {number(balanced.deleted)} deleted records may have been a further copy"
        rehearsal.note("conservation", residual=None, before=law.before, remark=law.remark(), reason=reason)
        return
    rehearsal.note("conservation", residual=law.residual, text=law.text(), before=law.before, remark=law.remark())
    if law.residual:
        rehearsal.say(live.continued(f"the counts do not add up: {law.text()}"))


def _copies(samples: Iterable[Snapshot]) -> list[tuple[int, Snapshot]]:
    """Per healthy sample what the law leaves for further copies in the topic."""
    return [
        (
            _processed(s) - int(s["cassandra"]["count"]) - int(s["cassandra"].get("rejected") or 0),
            s,
        )
        for s in samples
        if healthy(s)
    ]


def _processed(sample: Snapshot) -> int:
    """Records that the job has processed. Unlike the lag it needs no reading of Kafka, which is of another moment."""
    return sum(int(offset) for offset in (sample["cassandra"].get("next_offsets") or {}).values())


def conclude(rehearsal: Rehearsal, runs: Path, *, holder: str = "") -> Verdict:
    """Judge, write the verdict and every report, end the sampler and release the lock.

    :param holder: id of who holds the lock; the drill itself unless somebody finishes in its place.
    :raises RehearsalError: the reports cannot be written.
    """
    lock, mine = Lock(rehearsal.state.folder), holder or rehearsal.state.lock
    try:
        rehearsal.note_expired_lease()
        _note_lost_lock(rehearsal, lock, mine)
        rehearsal.stop_sampler()
    except (HostError, journal.JournalError) as error:
        rehearsal.note("note", text=f"not everything could be asked at the close: {error}")
    said = ""
    try:
        found = _judge(rehearsal)
        said = f"verdict {found.outcome.label}, but its reports cannot be written: "
        path = render_run(rehearsal.run, runs)
        order = Story.read(rehearsal.run, runs).order
    except (OSError, journal.JournalError) as error:
        raise RehearsalError(f"{said}{error}") from error
    finally:
        # Not before everything is written: whoever waits for the pipeline may move what belongs to this run.
        with contextlib.suppress(HostError):  # its holder ends now, so the next drill takes it over
            lock.release(rehearsal.host, mine)
    if order:
        rehearsal.say(live.line("order", order))
    rehearsal.say(live.line("verdict", f"{found.outcome.label}   {found.reason}"))
    for text in found.findings:
        rehearsal.say(live.continued(f"also: {text}"))
    rehearsal.say(live.line("report", _shown_path(path)))
    return found


def _judge(rehearsal: Rehearsal) -> Verdict:
    """The verdict, journalled and in its file, whatever the journal has become.

    :raises JournalError: neither can be written.
    """
    try:
        rehearsal.live_settings()
        found = verdict.judge(rehearsal.records)
        rehearsal.note("verdict", **found.as_dict())
    except journal.JournalError as error:
        found = Verdict(verdict.Outcome.UNKNOWN, f"the journal cannot be used: {error}")
        write_verdict(rehearsal.run, found)
    return found


def _note_lost_lock(rehearsal: Rehearsal, lock: Lock, mine: str) -> None:
    """Journal that somebody else has taken the pipeline while the drill ran."""
    now = lock.look(rehearsal.host)
    if now is None or now.get("id") != mine:
        taker = f"by {now.get('controller')} pid {now.get('pid')}" if now else "and released"
        rehearsal.note("lease", state="lost", text=f"taken {taker}")


def _shown_path(path: Path) -> str:
    """Relative to where the person is, when that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
