"""Mend what a killed drill has left: its journal, its lock, and the proof that the pipeline is well again.

Bringing the services back is the runtime's guard's work; this looks whether it succeeded and closes the journal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import closing, journal, live, observing, opening
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host, HostError, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import Rehearsal, RehearsalError, Say
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import why_not_healthy
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Verdict


def leftover(host: Host, folder: str, *, force: bool = False) -> dict[str, Any] | None:
    """The owner of a lock that was left behind; None when no drill holds the pipeline.

    :param force: also when the owner is a controller elsewhere, which cannot be looked at from here.
    :raises RehearsalError: the drill that holds the lock still runs.
    """
    lock, name = quoted(opening.lock_folder(folder)), quoted(opening.lock_owner(folder))
    script = f"if test -d {lock}; then echo LOCKED; cat {name}; fi"
    try:
        answer, _, rest = host.run(f"{script} 2>/dev/null; true").partition("\n")
    except HostError as error:
        raise RehearsalError(str(error)) from error
    if answer.strip() != "LOCKED":
        return None
    owner = opening.parse_owner(rest)
    if not force and not opening.is_gone(owner):
        raise RehearsalError(opening.locked(owner))
    return owner


def heal(
    owner: Mapping[str, Any],
    guard: Mapping[str, Any],
    host: Host,
    say: Say,
    *,
    folder: str,
    within: float,
    clearance: str,
) -> str:
    """See that the pipeline is well again, close the interrupted journal and release the lock.

    :param owner: as :func:`leftover` returned it.
    :param guard: what the guard did: ``state``, ``streaming``, ``done`` and ``failed``.
    :param within: seconds that the pipeline may take to be healthy.
    :param clearance: a shell script that makes the monitor forget a drill whose journal cannot be closed.
    :returns: one line saying what was done.
    """
    done = ", ".join(guard.get("done") or []) or "nothing was away"
    path = Path(str(owner.get("run") or "-"))
    if not (path / "state.json").is_file():
        host.run(f"{opening.release_script(folder)}\n{clearance}")
        return f"{done}; the killed drill left no journal on this controller"
    rehearsal = Rehearsal.resume(path, host, say)
    if journal.last(rehearsal.records, "verdict"):
        host.run(opening.release_script(folder))
        return f"{done}; the drill itself had ended, only its lock was left"
    reason = ", ".join(guard.get("failed") or []) or _not_healthy(rehearsal, guard, within)
    found = close(rehearsal, done=done, reason=reason)
    return f"{found.outcome.label}: {found.reason}"


def close(rehearsal: Rehearsal, *, done: str, reason: str) -> Verdict:
    """Close the journal of an interrupted drill: healed unless there is a reason why not."""
    phase = observing.last_phase(rehearsal.records)
    state = "not healed" if reason else "healed"
    rehearsal.note("lease", state=state, phase=phase, text=f"{done}; {reason}" if reason else done)
    return closing.conclude(rehearsal, rehearsal.run.path.parent)


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
