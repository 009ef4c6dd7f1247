"""Watch one phase of a drill: show it, wait for its end, and judge what was seen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, live, owners, recovery, shapes
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal, RehearsalError, base_sample
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Check, Steady

#: What a phase may wait for.
CONDITIONS = ("converged", "at_rest")


@dataclass(frozen=True)
class Phase:
    """What to watch; times in seconds. Either ``duration`` or ``until``."""

    name: str
    duration: float | None = None
    until: str | None = None
    within: float = 60.0  #: budget of a recovery; one that takes longer is waited for all the same
    expect: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    rate: float | None = None  #: growth that is expected; the offered rate when left out
    any_rate: bool = False  #: growth of any speed will do
    settle: float = 3.0  #: how long a count that is to be static may still move
    same_as: str | None = None  #: an earlier phase that ended with the very counts and positions this one must end with


def observe(rehearsal: Rehearsal, phase: Phase) -> dict[str, Any]:
    """Watch the phase and journal what was seen; a failed expectation is recorded, never raised.

    :returns: ``ok``, ``checks``, ``seconds``, and for ``until: converged`` the ``recovery``.
    :raises RehearsalError: no drill runs or its sampler is gone.
    """
    steady = rehearsal.steady
    if steady is None:
        raise RehearsalError(
            "no steady state was recorded: begin the drill first (eventlog.drills.drill, tasks_from: begin)"
        )
    # A phase begins with the change before it, or where the phase before it ended.
    began = max(rehearsal.last_change(), rehearsal.last_end()) if phase.until is None else _recovery_began(rehearsal)
    budget = phase.within if phase.until == "converged" else rehearsal.state.patience
    planned = phase.duration if phase.until is None else budget
    rehearsal.note("phase", phase=phase.name, state="started", at=began, until=phase.until, planned=planned)
    if phase.until is None:
        return _hold(rehearsal, phase, began)
    return _await(rehearsal, phase, steady, began)


def _recovery_began(rehearsal: Rehearsal) -> float:
    moments = [float(receipt["time"]) for record in rehearsal.undos() for receipt in record.get("receipts", [])]
    return min(moments, default=time.time())


#: The live line's rates are taken over so long.
RATE_SECONDS = 3.0


class _Display:
    """The live line: rewritten on a terminal, else one every few seconds."""

    def __init__(self, rehearsal: Rehearsal, label: str, began: float, total: float, *, budget: bool) -> None:
        self._rehearsal = rehearsal
        self._label, self._began, self._total, self._budget = label, began, total, budget
        self._said = time.time()

    def text(self) -> str:
        samples = self._rehearsal.samples
        if not samples:
            return live.line(self._label, "no sample yet")
        elapsed = min(time.time() - self._began, self._total)
        # The way a count moves is judged over seconds: from one sample to the next a slow one would flicker.
        earlier = base_sample(samples, float(samples[-1]["time"]) - RATE_SECONDS)
        counts = live.figures(samples[-1], base_sample(samples, self._began), earlier)
        return live.progress(self._label, elapsed, self._total, counts, budget=self._budget)

    def tick(self) -> None:
        if live.columns():
            self._rehearsal.say(live.rewrite(self.text()))
        elif time.time() - self._said >= live.SECONDS_BETWEEN_LINES:
            self._said = time.time()
            self._rehearsal.say(self.text())

    def finish(self, text: str) -> None:
        self._rehearsal.say(f"{live.rewrite(text)}\n" if live.columns() else text)


def _hold(rehearsal: Rehearsal, phase: Phase, began: float) -> dict[str, Any]:
    duration = float(phase.duration or 0.0)
    end = began + duration
    display = _Display(rehearsal, phase.name, began, duration, budget=False)
    rehearsal.follow(lambda: _seen_until(rehearsal) >= end, until=end + 3 * rehearsal.state.interval, each=display.tick)
    checks = _judge(rehearsal, phase, began, end)
    display.finish(display.text())
    return _record(rehearsal, phase, began, end, checks=checks)


def _seen_until(rehearsal: Rehearsal) -> float:
    samples = rehearsal.samples
    return float(samples[-1]["time"]) if samples else 0.0


def _await(rehearsal: Rehearsal, phase: Phase, steady: Steady, began: float) -> dict[str, Any]:
    # Without an undo to begin with, only what comes from now on counts: things may have moved since the last change.
    since = max(began, rehearsal.last_change())
    moment: list[float] = []
    undos = rehearsal.undos()
    ordered = recovery.ordered(undos, rehearsal.last_change()) if undos else 0.0
    patience = max(rehearsal.state.patience, phase.within)
    converging = phase.until == "converged"
    display = _Display(
        rehearsal, phase.name, began + ordered, phase.within if converging else patience, budget=converging
    )

    def done() -> bool:
        found = (
            shapes.converged(rehearsal.samples, steady, since=since)
            if converging
            else shapes.at_rest(rehearsal.samples, since=since)
        )
        if found is not None:
            moment.append(found)
        return found is not None

    # The budget is what the recovery is judged by, not how long it is watched: what came late is not lost.
    reached = rehearsal.follow(done, until=since + patience, each=display.tick)
    end = moment[-1] if moment else time.time()
    if converging:
        return _recovered(rehearsal, phase, steady, display, began=began, end=end)
    checks = _judge(rehearsal, phase, began, end)
    if not reached:
        missing = "not at rest" if phase.until == "at_rest" else f"not {phase.until}"
        checks.append(Check("pipeline", str(phase.until), missing, False, f"after {end - began:.0f} s"))
    display.finish(live.line(phase.name, f"{'at rest' if reached else 'not at rest'} after {end - began:.1f} s"))
    return _record(rehearsal, phase, began, end, checks=checks)


#: Seconds that the job's own counters may take to reach its REST interface.
METRICS_SECONDS = 12.0


def _recovered(
    rehearsal: Rehearsal, phase: Phase, steady: Steady, display: _Display, *, began: float, end: float
) -> dict[str, Any]:
    if phase.expect.get("flink") == "retried":
        patience = time.time() + METRICS_SECONDS
        rehearsal.follow(lambda: _retried(rehearsal), until=patience)
        end = max(end, _seen_until(rehearsal))
    checks = _judge(rehearsal, phase, began, end)
    undos = rehearsal.undos()
    named = owners.owners(undos, journal.of_kind(rehearsal.records, "fault"), rehearsal.live_settings())
    found = recovery.split(undos, rehearsal.samples, steady, since=rehearsal.last_change(), owners=named)
    if found is None:
        # Nothing was taken away in this drill, so there is nothing to split: only whether it converged.
        back = shapes.converged(rehearsal.samples, steady, since=began)
        found = recovery.Recovery(began, {"drained": None if back is None else back - began})
    reason = why_not_converged(rehearsal, steady) if found.total is None else ""
    flush = recovery.flush(undos, rehearsal.samples, steady)
    record = rehearsal.note(
        "recovery",
        phase=phase.name,
        **{**found.as_dict(), "budget": phase.within, "waited": end - began - found.ordered, "reason": reason},
        flush=flush,
        unseen=max(0.0, time.time() - _seen_until(rehearsal)),
        catch_up_rate=recovery.catch_up_rate(rehearsal.samples, began),
    )
    display.finish(live.line(phase.name, recovery_text(record)))
    for text in recovery_details(record):
        rehearsal.say(live.continued(text))
    return {**_record(rehearsal, phase, began, end, checks=checks, ok=found.total is not None), "recovery": record}


def _retried(rehearsal: Rehearsal) -> bool:
    return shapes.judge_flink("retried", rehearsal.samples, since=0.0, until=time.time()).ok is True


def recovery_text(record: Mapping[str, Any]) -> str:
    """The milestones of a recovery in one line."""
    steps = [f"{name} {moment:.1f} s" for name, moment in record["at"].items() if moment is not None]
    if record.get("drained") is None:
        return f"{' ▸ '.join(steps) or 'nothing came back'}   not drained: {record.get('reason')}"
    over = "" if float(record["total"]) <= float(record["budget"]) else "   over"
    return f"{' ▸ '.join(steps)}   (budget {float(record['budget']):.0f} s){over}"


def recovery_details(record: Mapping[str, Any]) -> list[str]:
    """What is worth knowing beside the milestones: the flush of the spool, and what owns a long phase."""
    lengths = dict(record["segments"])
    texts = [recovery.flush_text(record["flush"])] if record.get("flush") else []
    return texts + [f"{name} took {lengths[name]:.1f} s: {owner}" for name, owner in record["owners"].items()]


def why_not_converged(rehearsal: Rehearsal, steady: Steady) -> str:
    """What still keeps the pipeline from having converged."""
    samples = rehearsal.samples
    if not samples:
        return "there are no samples"
    reason = shapes.why_not_healthy(samples[-1])
    if reason:
        return reason
    lag, buffered = int(samples[-1]["lag"]["count"]), int(samples[-1]["producer"].get("buffered") or 0)
    if lag > steady.lag_limit:
        reason = f"lag is {live.thousands(lag)}, steady is up to {live.thousands(steady.lag_limit)}"
    elif buffered > steady.lag_limit:
        reason = f"{live.thousands(buffered)} events still wait in the spool"
    else:
        reason = "no new rows arrive in Cassandra"
    return "; ".join([reason, *shapes.stuck_partitions(samples)])


def _judge(rehearsal: Rehearsal, phase: Phase, since: float, until: float) -> list[Check]:
    rate = None
    if not phase.any_rate:
        rate = phase.rate or shapes.offered_rate(rehearsal.samples, since=since, until=until)
    checks = shapes.judge_phase(
        phase.expect, rehearsal.samples, since=since, until=until, rate=rate, settle_seconds=phase.settle
    )
    return checks + (_compare(rehearsal, phase.same_as, until) if phase.same_as else [])


def _compare(rehearsal: Rehearsal, earlier: str, until: float) -> list[Check]:
    """Counts and positions now against those at the end of an earlier phase."""
    ends = [r["until"] for r in rehearsal.records if r["kind"] == "observation" and r["phase"] == earlier]
    before = shapes.last_healthy(rehearsal.samples, until=float(ends[-1])) if ends else None
    after = shapes.last_healthy(rehearsal.samples, until=until)
    if before is None or after is None or before is after:
        return [Check("positions", f"as at the end of {earlier}", "no healthy sample to compare", None)]
    return shapes.same_positions(before, after, earlier)


def _record(
    rehearsal: Rehearsal, phase: Phase, since: float, until: float, *, checks: list[Check], ok: bool = True
) -> dict[str, Any]:
    seen = [sample for sample in rehearsal.samples if since <= float(sample["time"]) <= until]
    rehearsal.note("phase", phase=phase.name, state="ended", at=until)
    record = rehearsal.note(
        "observation",
        phase=phase.name,
        since=since,
        until=until,
        samples=len(seen),
        checks=[check.as_dict() for check in checks],
    )
    if checks:
        text = f"expected  {live.checks_line(checks)} {live.rates_note(checks)}"
        rehearsal.say(live.continued(text.rstrip()))
    return {"ok": ok and all(check.ok for check in checks), "seconds": until - since, "checks": record["checks"]}
