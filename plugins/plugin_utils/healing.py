"""Mend what a killed drill has left: its journal, its lock, and the proof that the pipeline is well again.

Bringing the services back is the runtime's guard's work; this looks whether it succeeded and closes the journal.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import closing, journal, live, opening
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host, HostError
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Record
from ansible_collections.eventlog.drills.plugins.plugin_utils.lock import Holder, Lock, described, holder, is_gone
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal, RehearsalError, Say
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import why_not_healthy
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Verdict


def take_over(host: Host, folder: str, *, force: bool = False) -> Holder | None:
    """Take over a lock that was left behind, so that only one playbook heals; None when no drill holds the pipeline.

    :param force: also when it is not known that its holder is gone: a controller elsewhere cannot be looked at.
    :returns: the new holder: this playbook, with the ``drill`` and the ``run`` of the one before.
    :raises RehearsalError: the drill that holds the lock still runs, or another playbook heals it already.
    """
    lock = Lock(folder)
    try:
        seen = lock.look(host)
        if seen is None:
            return None
        if not force and not is_gone(seen):
            raise RehearsalError(described(seen))
        mine = holder(str(seen.get("drill", "?")), str(seen.get("run") or ""), heals=True)
        if lock.take_over(host, seen, mine):
            return mine
        now = lock.look(host)
    except HostError as error:
        raise RehearsalError(str(error)) from error
    raise RehearsalError(
        described(now) if now else f"drill {seen.get('drill')} was healed by another playbook meanwhile"
    )


def refusal(host: Host, folder: str, *, force: bool, unhealed: bool, breaks: bool) -> str:
    """Why nobody may touch the pipeline now, empty when no drill holds it.

    :param force: touch it whoever holds it.
    :param unhealed: touch it also before a killed drill was healed: nothing that its guard does would be in the way.
    :param breaks: take away a lock that does not keep from touching it, guard and sampler with it.
    """
    lock = Lock(folder)
    try:
        seen = lock.look(host)
        if seen is None:
            return ""
        if not force and not (unhealed and is_gone(seen)):
            return f"{described(seen)} (nothing was touched; -e drill_force=true acts all the same)"
        mine = holder(str(seen.get("drill", "?")))
        if breaks and lock.take_over(host, seen, mine):
            lock.release(host, mine["id"])
    except HostError:
        pass  # no drill holds what is not there, and whatever comes next says that the host does not answer
    return ""


def heal(
    mine: Holder,
    guard: Mapping[str, Any],
    host: Host,
    say: Say,
    *,
    folder: str,
    within: float,
    clearance: str,
) -> str:
    """See that the pipeline is well again, close the interrupted journal and release the lock.

    :param mine: as :func:`take_over` returned it.
    :param guard: what the guard did: ``state``, ``streaming``, ``done`` and ``failed``.
    :param within: seconds that the pipeline may take to be healthy.
    :param clearance: a shell script that makes the monitor forget a drill whose journal cannot be closed.
    :returns: one line saying what was done.
    """
    done = ", ".join(guard.get("done") or []) or "nothing was away"
    lock = Lock(folder)
    path = Path(str(mine.get("run") or "-"))
    if not (path / "state.json").is_file():
        lock.release(host, mine["id"])
        host.run(clearance)
        return f"{done}; the killed drill left no journal on this controller"
    rehearsal = Rehearsal.resume(path, host, say)
    if journal.last(rehearsal.records, "verdict"):
        lock.release(host, mine["id"])
        return f"{done}; the drill itself had ended, only its lock was left"
    reason = ", ".join(guard.get("failed") or []) or _not_healthy(rehearsal, guard, within)
    found = close(rehearsal, done=done, reason=reason, holder=mine["id"])
    return f"{found.outcome.label}: {found.reason}"


def close(rehearsal: Rehearsal, *, done: str, reason: str, holder: str) -> Verdict:
    """Close the journal of an interrupted drill: healed unless there is a reason why not.

    :param holder: id of who holds the lock in the drill's place.
    """
    state = "not healed" if reason else "healed"
    rehearsal.note(
        "lease", state=state, when=interrupted(rehearsal.records), text=f"{done}; {reason}" if reason else done
    )
    return closing.conclude(rehearsal, rehearsal.run.path.parent, holder=holder)


def interrupted(records: Iterable[Record]) -> str:
    """When a drill was interrupted, by the end of its journal: ``during outage``, ``after flink was stopped``."""
    when = "during the beginning"
    for record in records:
        if record["kind"] == "phase":
            when = f"{'during' if record['state'] == 'started' else 'after'} {record['phase']}"
        elif record["kind"] == "window" and record["state"] == "closed":
            when = "while the books were being closed"
        elif receipts_of := record.get("receipts"):
            services = " and ".join(dict.fromkeys(str(receipt["unit"]).partition("-")[0] for receipt in receipts_of))
            were = "were" if " and " in services else "was"
            done = {"fault": str(receipts_of[-1]["verb"]), "undo": "brought back"}.get(record["kind"])
            when = f"after {services} {were} {done}" if done else f"while {services} {were} being taken away"
    return when


def _not_healthy(rehearsal: Rehearsal, guard: Mapping[str, Any], within: float) -> str:
    """Why the pipeline is not as it was before, after waiting for it; empty when it is."""
    began = time.time()
    rehearsal.stop_sampler()
    rehearsal.start_sampler(opening.SAMPLER_LEASE_SECONDS)
    reason = "no sample yet"

    def done() -> bool:
        nonlocal reason
        fresh = [sample for sample in rehearsal.samples if float(sample["time"]) >= began]
        if fresh:
            reason = why_not_healthy(fresh[-1]) or _stream(fresh[-1], guard.get("streaming"))
        return bool(fresh) and not reason

    try:
        rehearsal.follow(done, until=began + within)
    except RehearsalError as error:
        return str(error)
    if reason:
        rehearsal.say(live.line("heal", f"not healthy after {within:.0f} s: {reason}"))
    return reason


def _stream(sample: Mapping[str, Any], wanted: bool | None) -> str:
    streaming = bool(sample["producer"].get("streaming"))
    if wanted is None or streaming == wanted:
        return ""
    return f"the producer is {'streaming' if streaming else 'not streaming'}, as it was not before"
