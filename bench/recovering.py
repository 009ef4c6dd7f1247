"""Recovery and overhead: whole drills, beside the bare start of the same processes on the same data."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story

from bench.rig import FLINK, BenchError, Rig

UNITS = {"kafka": ("kafka",), "cassandra": ("cassandra",), "flink": FLINK}
#: A recovery that takes longer is measured all the same: a benchmark must not be failed by a slow machine.
BUDGET_SECONDS = 600


@dataclass(frozen=True)
class Rehearsal:
    """One drill, in seconds: from the undo to the first new row and to drained, its overhead, and the bare start."""

    drill: str
    fault: str
    first: float
    drained: float
    overhead: float
    bare: float


def rehearse(rig: Rig, service: str, fault: str, hold: float) -> Rehearsal:
    """Take the service away, start it by hand and end that; then run its drill with the same fault.

    Before that it is taken away and started once: what it left on disk since its last start, which may be minutes of
    writing, is replayed then, and both starts that are measured find about as little.

    Raises BenchError when the drill does not pass: the seconds of a recovery that lost something mean nothing.
    """
    rig.play(fault, service=service)
    rig.play("start", service=service)
    rig.play(fault, service=service)
    bare = rig.bare_start(UNITS[service])
    rig.play("start", service=service)
    rig.play(f"drill_{service}", drill_fault=fault, drill_hold=hold, drill_recovery_budget=BUDGET_SECONDS)
    run = journal.all_runs(rig.pipeline.runs)[-1]
    story = Story.read(run, rig.pipeline.runs)
    recovered = story.last("recovery") or {}
    first, drained = recovered.get("first record"), recovered.get("drained")
    if story.outcome.label != "PASS" or first is None or drained is None or story.overhead is None:
        raise BenchError(f"recovery: drill {service} ({fault}) ended {story.outcome.label}: {story.reason}")
    return Rehearsal(service, fault, float(first), float(drained), story.overhead, bare)
