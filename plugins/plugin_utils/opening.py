"""Begin a drill: lock, sampler, steady state, the plan's arithmetic, and the opening of the books."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, live, plan
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host, HostError, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.lock import Holder, Lock, described, held, holder, is_gone
from ansible_collections.eventlog.drills.plugins.plugin_utils.rehearsal import (
    Rehearsal,
    RehearsalError,
    Say,
    State,
    command_line,
)
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Snapshot, Steady, steady_state

#: How many of the last runs are looked at for the speed of catching up.
CAPACITY_RUNS = 20
#: A backlog that took so long to work off shows how fast the pipeline can be, and not only how fast it can be at least.
CAPACITY_SECONDS = 3.0
#: How long the plan waits for the settings of the running servers.
SETTINGS_SECONDS = 5.0
#: The sampler ends by itself this long after the last look at it, so that a killed controller leaves none behind.
SAMPLER_LEASE_SECONDS = 300.0


@dataclass(frozen=True)
class Opening:
    """What a drill is told before it begins; times in seconds."""

    drill: str
    title: str
    runs: Path
    folder: str  #: of the drill, on the host
    config: str  #: etc/pipeline.toml on the host
    root: str  #: of the pipeline, on the host
    python: str
    pythonpath: str
    host_name: str
    link: Path | None = None  #: a further link to the run, on the controller
    interval: float = 1.0
    steady_within: float = 60.0
    away: Mapping[str, float] = field(default_factory=dict)  #: seconds that each service will be away
    budget: float = 60.0
    patience: float = 180.0  #: how long anything is waited for after the undo
    streams: bool = True  #: whether the producer streams while services are away
    capacity: float = 0.0  #: events per second that the pipeline can process; 0: what earlier drills have measured
    retention_hours: float = 168.0
    settings: Mapping[str, Any] = field(default_factory=dict)  #: shown in the report
    settings_script: str = ""  #: text of the program that reads the settings of the running servers


class LeftoverError(RehearsalError):
    """The lock is held by a drill whose controller is gone: the pipeline must be healed first."""


@dataclass(frozen=True)
class Site:
    """What the host said when it was asked first."""

    config: Mapping[str, Any]
    disk_free: int


def begin(options: Opening, host: Host, say: Say) -> Rehearsal:
    """Begin the drill: from here on it is locked and the sampler looks.

    :returns: the running drill, of which :func:`find_steady` is the next step, unless its journal holds a refusal.
    :raises LeftoverError: the lock is held by a drill that was killed.
    :raises RehearsalError: there is no pipeline, or another drill holds the lock; then there is no run either.
    """
    lock, mine = Lock(options.folder), holder(options.drill)
    site = _enter(options, host, mine)
    try:
        run = journal.create_run(options.runs, options.drill, link=options.link)
    except journal.JournalError as error:
        lock.release(host, mine["id"])
        raise RehearsalError(str(error)) from error
    state = State(
        options.folder,
        options.config,
        options.python,
        options.pythonpath,
        options.interval,
        host.clock_offset(),
        options.patience,
        lock=mine["id"],
    )
    rehearsal = Rehearsal(run, host, state, say)
    rehearsal.save()
    rehearsal.note(
        "begin",
        drill=options.drill,
        title=options.title,
        run=run.name,
        host=options.host_name,
        controller=socket.gethostname(),
        command=command_line(),
        settings=dict(options.settings),
        clock_offset=state.offset,
        steady_within=options.steady_within,
        **planned(options, site),
    )
    say(f"{options.title}   run {run.name}")
    try:
        _sign(lock, host, mine, run)
        rehearsal.start_sampler(SAMPLER_LEASE_SECONDS)
        rehearsal.ask_settings(options.settings_script)
    except (RehearsalError, HostError) as error:
        rehearsal.note("preflight", checks=[plan.PlanCheck("begin", False, str(error)).as_dict()])
    return rehearsal


def _sign(lock: Lock, host: Host, mine: Holder, run: journal.Run) -> None:
    """Write into the lock which run holds it."""
    if not lock.take_over(host, mine, {**mine, "run": str(run.path)}):
        raise RehearsalError("the lock was taken over while the drill began, by a playbook that was told to")


def find_steady(rehearsal: Rehearsal) -> None:
    """Wait for the steady state, check the plan and open the books; the patience counts from the begin.

    When the journal holds a refusal afterwards, nothing was touched and the drill must be finished.

    :raises RehearsalError: the sampler is silent.
    """
    begin = rehearsal.records[0]
    steady = _await_steady(rehearsal, began=float(begin["time"]), within=float(begin["steady_within"]))
    if steady is not None and _preflight(rehearsal, begin, steady):
        _open_books(rehearsal)


def refusal(rehearsal: Rehearsal) -> str:
    """Why the drill was refused before it touched anything, empty when it was not."""
    for record in rehearsal.records:
        if record["kind"] == "steady" and not record["ok"]:
            return f"the pipeline is not steady: {record['reason']}"
        if record["kind"] == "preflight":
            for check in record["checks"]:
                if not check["ok"]:
                    return str(check["text"])
    return ""


def _enter(options: Opening, host: Host, mine: Holder) -> Site:
    """Take the lock and read what the plan needs, in one command."""
    lock = Lock(options.folder)
    stale = quoted(f"{options.folder}/samples.jsonl", f"{options.folder}/sampler.log")
    look = f"rm -f {stale}\n{_survey_script(options)}"
    text = _answer(host, f"{_absent(options)}\n{lock.take_script(mine, then=look)}")
    other = held(text)
    if other is not None:
        raise (LeftoverError if is_gone(other) else RehearsalError)(described(other))
    answer, _, rest = text.partition("\n")
    try:
        return _parse_survey(options, answer, rest)
    except RehearsalError:
        if answer.strip() != "ABSENT":
            lock.release(host, mine["id"])
        raise


def settings(options: Opening, host: Host) -> dict[str, Any]:
    """Settings as the running servers have them, by ``server name``; empty when nobody can be asked."""
    reader = quoted(options.python, "-c", options.settings_script, options.config)
    try:
        found: dict[str, Any] = json.loads(host.run(f"PYTHONPATH={quoted(options.pythonpath)} {reader} 2>/dev/null"))
    except (HostError, ValueError):
        return {}
    return found


def survey(options: Opening, host: Host) -> Site:
    """Read what the plan needs and touch nothing.

    :raises RehearsalError: there is no pipeline.
    """
    answer, _, rest = _answer(host, f"{_absent(options)}\n{_survey_script(options)}").partition("\n")
    return _parse_survey(options, answer, rest)


def _absent(options: Opening) -> str:
    return f"test -f {quoted(options.config)} || {{ echo ABSENT; exit 0; }}"


def _survey_script(options: Opening) -> str:
    return f"echo FREE; df -P -B1 {quoted(options.root)} | tail -n 1 | awk '{{print $4}}'; cat {quoted(options.config)}"


def _answer(host: Host, script: str) -> str:
    try:
        return host.run(script)
    except HostError as error:
        raise RehearsalError(str(error)) from error


def _parse_survey(options: Opening, answer: str, rest: str) -> Site:
    if answer.strip() == "ABSENT":
        text = f"there is no pipeline: {options.config} does not exist. Provision it first: playbooks/site.yml"
        raise RehearsalError(text)
    free, _, text = rest.partition("\n")
    try:
        return Site(tomllib.loads(text), int(free))
    except ValueError as error:
        raise RehearsalError(f"{options.config} cannot be read: {error}") from error


def _shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the clients' security settings, which may hold secrets."""
    kafka = {key: value for key, value in config.get("kafka", {}).items() if key != "client"}
    return {**config, "kafka": kafka}


def _await_steady(rehearsal: Rehearsal, *, began: float, within: float) -> Steady | None:
    found: list[Steady] = []
    reason = ""

    def done() -> bool:
        nonlocal reason
        seen = steady_state(rehearsal.samples)
        if isinstance(seen, Steady):
            found.append(seen)
            return True
        reason = seen
        return False

    rehearsal.follow(done, until=began + within)
    seconds = time.time() - began
    if not found:
        reason = f"{reason} (after {seconds:.0f} s)"
        rehearsal.note("steady", ok=False, reason=reason, seconds=seconds)
        rehearsal.say(live.line("steady", f"no: {reason}"))
        return None
    steady, sample = found[0], rehearsal.samples[-1]
    rehearsal.note(
        "steady",
        ok=True,
        rate=steady.rate,
        lag=steady.lag,
        lag_limit=steady.lag_limit,
        streaming=steady.streaming,
        seconds=seconds,
        counts={hop: sample[hop]["count"] for hop in ("producer", "kafka", "cassandra", "lag")},
        flink=sample["flink"],
    )
    counts = " · ".join(f"{hop} {number(sample[hop]['count'])}" for hop in ("producer", "kafka", "cassandra", "lag"))
    rehearsal.say(live.line("steady", f"{counts}   {steady.rate:.1f}/s   ok after {seconds:.0f} s"))
    return steady


def _preflight(rehearsal: Rehearsal, begin: Mapping[str, Any], steady: Steady) -> bool:
    spooled = int(rehearsal.samples[-1]["producer"].get("spool_bytes") or 0)
    # They have been asked for since the begin; a server that keeps its settings to itself stops no drill.
    rehearsal.follow(lambda: bool(rehearsal.live_settings()), until=time.time() + SETTINGS_SECONDS)
    planned = plan_of(begin, steady.rate, spooled, rehearsal.live_settings())
    checks = plan.check(planned)
    rehearsal.note(
        "preflight",
        checks=[check.as_dict() for check in checks],
        summary=plan.summary(planned),
        peak_lag=planned.peak_lag,
        drain_seconds=planned.drain_seconds if planned.drain_seconds != float("inf") else None,
    )
    failed = [check for check in checks if not check.ok]
    for check in failed:
        rehearsal.say(live.line("preflight", check.text))
    if not failed:
        rehearsal.say(live.line("preflight", f"{plan.summary(planned)}   nothing must be lost"))
    return not failed


def planned(options: Opening, site: Site) -> dict[str, Any]:
    """What the plan is made from, as the journal's first record holds it."""
    return {
        "config": _shown_config(site.config),
        "disk_free": site.disk_free,
        "away": dict(options.away),
        "streams": options.streams,
        "budget": options.budget,
        "capacity": asdict(_capacity(options, site)),
        "retention_hours": options.retention_hours,
    }


def _capacity(options: Opening, site: Site) -> plan.Capacity:
    """What was said about the speed of catching up, else the highest that this pipeline's last drills have measured."""
    if options.capacity > 0:
        return plan.Capacity(options.capacity, limit=True, source="drill_capacity")
    found = plan.Capacity()
    for run in journal.all_runs(options.runs)[-CAPACITY_RUNS:]:
        with contextlib.suppress(journal.JournalError):
            records = journal.read_records(run.journal)
            theirs = (records[0].get("config") or {}).get("pipeline") if records else None
            if theirs == site.config.get("pipeline"):
                found = max([found, *map(_measured, journal.of_kind(records, "recovery"))], key=lambda one: one.rate)
    return found


def _measured(recovered: Mapping[str, Any]) -> plan.Capacity:
    rate = float(recovered.get("catch_up_rate") or 0.0)
    busy = dict(recovered.get("segments") or []).get("drained", 0.0) >= CAPACITY_SECONDS
    return plan.Capacity(rate, limit=busy, source="measured by an earlier drill") if rate else plan.Capacity()


def plan_of(begin: Mapping[str, Any], rate: float, spooled: int, live: Mapping[str, Any]) -> plan.Plan:
    """The plan of a drill at an offered rate (events per second) with so many bytes in the spool already.

    :param begin: what :func:`planned` returned.
    :param live: settings as the running servers have them, by ``server name``; the retention is taken from them.
    """
    kept = live.get("topic retention.ms")
    retention = begin["retention_hours"] if kept is None else float(kept) / 3_600_000
    return plan.Plan(
        rate=rate if begin["streams"] else 0.0,
        event_bytes=int(begin["config"]["event"]["bytes"]),
        away=begin["away"],
        spool_bytes=spooled,
        spool_limit_bytes=int(begin["config"]["producer"]["spool_limit_bytes"]),
        retention_hours=retention if retention >= 0 else float("inf"),
        disk_free_bytes=begin["disk_free"],
        capacity=plan.Capacity(**begin["capacity"]),
        budget=begin["budget"],
    )


def _open_books(rehearsal: Rehearsal) -> None:
    sample = rehearsal.samples[-1]
    rehearsal.note("window", state="opened", **{**marks(sample), "offsets": _offsets_before(rehearsal.samples)})


def _offsets_before(samples: Sequence[Snapshot]) -> dict[str, int]:
    """Offsets of a reading of Kafka that was made before the producer's last one; none when there was no such.

    The hops of one sample are read side by side, so its offsets may already lie behind events that had not been
    generated when the producer was asked: those would be missing from the books.
    """
    asked = _read_at(samples[-1], "producer")
    for sample in reversed(samples):
        if sample["kafka"].get("reachable") and _read_at(sample, "kafka") < asked:
            return dict(sample["kafka"].get("partitions") or {})
    return {}


def _read_at(sample: Snapshot, hop: str) -> float:
    return float(sample["time"]) - float(sample[hop].get("age") or 0.0)


def marks(sample: Snapshot) -> dict[str, Any]:
    """Where the books stand at a sample: high-water mark of the source, offsets, and the counts of the law."""
    return {
        "at": sample["time"],
        "source": sample["producer"].get("source"),
        "generated": sample["producer"]["count"],
        "acked": sample["producer"].get("acked"),
        "refused": sample["producer"].get("rejected"),
        "kafka": sample["kafka"]["count"],
        "offsets": sample["kafka"].get("partitions") or {},
        "topic_id": sample["kafka"].get("topic_id"),
        "dead_letters": sample["kafka"].get("dead_letters"),
        "cassandra": sample["cassandra"]["count"],
        "rejected": sample["cassandra"].get("rejected") or 0,
        "next_offsets": sample["cassandra"].get("next_offsets") or {},
        "lag": sample["lag"]["count"],
    }
