"""The verbs on units, whatever the backend: what a module is told, done and proved by receipts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.backend import Backend, in_parallel, receipt
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError

STATES = (
    "installed", "started", "ready", "stopped", "killed", "paused", "unpaused", "observed", "absent"
)  # fmt: skip
VERBS: dict[str, Callable[[Backend, Unit], bool]] = {
    "stopped": lambda backend, unit: backend.stop(unit),
    "killed": lambda backend, unit: backend.kill(unit),
    "paused": lambda backend, unit: backend.pause(unit),
    "unpaused": lambda backend, unit: backend.unpause(unit),
}


def would_change(backend: Backend, units: list[Unit], state: str) -> bool:
    """What check mode answers: whether the verb would do anything."""
    members = [member for unit in units for member in backend.members(unit.name)]
    installed = set(backend.installed())
    known = installed & {unit.name for unit in units} if units else installed
    return {
        "installed": any(backend.outdated(unit) for unit in units),
        "started": any(not backend.current(unit) for unit in units),
        "ready": False,
        "observed": False,
        "stopped": bool(members),
        "killed": bool(members),
        "paused": any(member.state != "T" for member in members),
        "unpaused": any(member.state == "T" for member in members),
        "absent": bool(known) or (not units and backend.alive()),
    }[state]


def start(
    backend: Backend, units: list[Unit], wait: bool, since: float, milestones: dict[str, dict[str, float]]
) -> bool:
    """Start the units, and wait for them; what was started here and does not come up is stopped again."""
    changed = backend.ensure_daemon()
    started: list[Unit] = []
    try:
        for unit in units:
            if backend.start(unit):
                started.append(unit)
        if wait:
            milestones.update(_await_started(backend, units, started, since))
    except UnitError:
        in_parallel(started, backend.stop)
        raise
    return changed or bool(started)


def _await_started(
    backend: Backend, units: list[Unit], started: list[Unit], since: float
) -> dict[str, dict[str, float]]:
    """Wait for the units; one that ran already and ends meanwhile joins ``started``, once.

    A TaskManager that loses its JobManager in the middle of a bundle may end of it, seconds after the loss, and so may
    one that wakes up from a pause and finds that it was given up.
    """
    try:
        return backend.await_ready(units, since)
    except UnitError:
        # Its leader, that is: what the leader has forked may outlive it for a moment.
        ended = [unit for unit in units if unit not in started and not backend.running(unit)]
        if not ended:
            raise
        started.extend(unit for unit in ended if backend.start(unit))
        return backend.await_ready(units, since)


def apply(backend: Backend, units: list[Unit], state: str, wait: bool, since: float = 0.0) -> dict[str, Any]:
    """Bring the units to ``state``; returns the module's result. ``since`` as for :func:`run`."""
    before = {unit.name: backend.observe(unit) for unit in units}
    began = since or time.time()
    clock = time.monotonic() - (time.time() - began)
    milestones: dict[str, dict[str, float]] = {}
    changed = False
    if state == "installed":
        changed = any([backend.install(unit) for unit in units])  # noqa: C419 (every unit, not the first)
    elif state == "started":
        changed = start(backend, units, wait, clock, milestones) or changed
    elif state in VERBS:
        changed = any(in_parallel(units, lambda unit: VERBS[state](backend, unit)))
    if state == "ready":
        milestones.update(backend.await_ready(units, clock))
    elif state == "unpaused":  # what did not run before it was unpaused has nothing to come back to
        awaited = [unit for unit in units if before[unit.name]["members"]]
        milestones.update(_await_started(backend, awaited, [], clock))
    after = {unit.name: backend.observe(unit) for unit in units}
    return {
        "changed": changed,
        "receipts": [
            receipt(unit, state, before[unit.name], after[unit.name], began, milestones.get(unit.name, {}))
            for unit in units
        ],
    }


def remove(backend: Backend, units: list[Unit]) -> dict[str, Any]:
    """Stop and forget the units; without any, everything that is installed, and its daemon."""
    everything = not units
    targets = units or [backend.installed_unit(name) for name in backend.installed()]
    for unit in targets:
        backend.adopt(unit.name)
    changed = any(in_parallel(targets, backend.stop))
    changed = any([backend.remove(unit.name) for unit in targets]) or changed  # noqa: C419 (every unit)
    if everything:
        changed = backend.shutdown() or changed
    return {"changed": changed, "receipts": []}


def run(
    backend: Backend,
    specs: Iterable[Mapping[str, Any]],
    state: str,
    *,
    wait: bool,
    check: bool,
    since: float = 0.0,
) -> dict[str, Any]:
    """What a module of a backend does; returns its result.

    :param specs: the units, as the roles describe them.
    :param wait: whether a start waits until the units serve.
    :param check: only say what would be done.
    :param since: when the verb began (epoch seconds), if something that was done before belongs to it; 0 is now.
    :raises UnitError: a unit did not do as it was told.
    """
    units = [Unit.from_dict(spec) for spec in specs]
    if check:
        observed = {unit.name: backend.observe(unit) for unit in units}
        looked = [
            receipt(unit, "observed", observed[unit.name], observed[unit.name], time.time(), {}) for unit in units
        ]
        return {"changed": would_change(backend, units, state), "receipts": looked}
    return remove(backend, units) if state == "absent" else apply(backend, units, state, wait, since)
