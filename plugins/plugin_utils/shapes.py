"""Judge the shape of a count over time from the sampler's snapshots.

A *reading* is one attempt to read one count. It either succeeded, and then its value is as old as the snapshot says, or
it did not, and then it says nothing about the count: a count that cannot be read is neither static nor growing.

Every judgement has three outcomes: it was seen (``True``), the opposite was seen (``False``), or there were too few
readings to tell (``None``). Nothing here knows Ansible, files or clocks; times are the sampler's.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

Snapshot = Mapping[str, Any]

COUNTS = ("producer", "kafka", "cassandra", "lag")
#: Further counts that can be judged: subject to hop and field of the snapshot.
PARTS = {
    "spool": ("producer", "buffered"),
    "dead_letters": ("kafka", "dead_letters"),
    "rejected": ("cassandra", "rejected"),
}
SHAPES = ("static", "grows", "drains", "unreachable", "reachable")
#: What ``flink`` may be expected to be: a state of the job and its tasks, not a count.
FLINK_STATES = ("running", "unreachable", "retried")

MIN_READINGS = 3
#: Seconds on either side of a reading for which it speaks: three samples at the usual two a second.
REACH_SECONDS = 1.5
#: Share of a phase that the readings must have seen; below it nothing is claimed about the phase.
MIN_SHARE = 0.75
#: A rate is "the offered rate" within this fraction of it, and what the samples cannot resolve.
RATE_TOLERANCE = 0.05
#: Events that a growth cannot resolve: at either end the next one may be about to come.
RESOLUTION_EVENTS = 2.0
#: Seconds by which two readings of one count may be apart in time and still be of the same moment.
SHOWN_SECONDS = 1.0
#: A partition whose progress has not moved for so long while others wait behind it stands still.
STUCK_SECONDS = 5.0
#: A growing count may pause this long between two readings before that is called a stall.
STALL_SECONDS = 5.0


@dataclass(frozen=True)
class Reading:
    """One attempt to read one count."""

    taken: float  #: when the snapshot was taken, seconds since the epoch on the sampler's clock
    at: float  #: when the value was true: ``taken`` less the value's age
    count: int | None
    reachable: bool


@dataclass(frozen=True)
class Check:
    """One expectation against what was seen."""

    subject: str  #: producer, kafka, cassandra, lag or flink
    expected: str
    seen: str
    ok: bool | None  #: None: could not be judged
    detail: str = ""
    share: float | None = None  #: of the phase that was seen, 0 to 1; None where it is no matter of time

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Growth:
    """How a count moved between its first and its last successful reading."""

    first: int
    last: int
    seconds: float
    longest_stall: float  #: longest time without growth, seconds
    fell: bool  #: it was lower at least once than before
    interval: float = 0.0  #: usual time between two readings, seconds

    @property
    def difference(self) -> int:
        """Last less first."""
        return self.last - self.first

    @property
    def rate(self) -> float:
        """Events per second; 0 when there was no time."""
        return self.difference / self.seconds if self.seconds > 0 else 0.0


def readings(
    samples: Iterable[Snapshot], subject: str, *, since: float = -math.inf, until: float = math.inf
) -> list[Reading]:
    """The readings of one count whose value was true, or whose reading failed, within ``[since, until]``.

    A value that was read before ``since`` and is only repeated afterwards does not count: it describes the time before.
    """
    found = []
    name, field = PARTS.get(subject, (subject, "count"))
    for sample in samples:
        hop = sample.get(name) or {}
        taken = float(sample["time"])
        count = hop.get(field)
        reachable = bool(hop.get("reachable")) and count is not None
        at = taken - float(hop.get("age") or 0.0) if reachable else taken
        if since <= at and taken <= until:
            found.append(Reading(taken, at, int(count) if count is not None else None, reachable))
    return found


def good(found: Iterable[Reading]) -> list[Reading]:
    """The readings that succeeded."""
    return [reading for reading in found if reading.reachable]


def growth(found: Iterable[Reading]) -> Growth | None:
    """The movement of a count over its successful readings; None when there are fewer than two."""
    values = [(reading.at, reading.count) for reading in good(found) if reading.count is not None]
    if len(values) < 2:
        return None
    stall = 0.0
    fell = False
    (highest_at, highest), *rest = values
    for at, count in rest:
        fell = fell or count < highest
        if count > highest:
            stall = max(stall, at - highest_at)
            highest_at, highest = at, count
    stall = max(stall, values[-1][0] - highest_at)
    interval = statistics.median(later - at for (at, _), (later, _) in itertools.pairwise(values))
    return Growth(values[0][1], values[-1][1], values[-1][0] - values[0][0], stall, fell, interval)


def seen_share(moments: Sequence[float], *, since: float, until: float) -> float:
    """The share of ``[since, until]``, 0 to 1, that lies within :data:`REACH_SECONDS` of one of the moments."""
    if until <= since:
        return 1.0 if moments else 0.0
    seen, reached = 0.0, since
    for moment in sorted(moments):
        start, end = max(moment - REACH_SECONDS, reached), min(moment + REACH_SECONDS, until)
        seen += max(0.0, end - start)
        reached = max(reached, end)
    return min(1.0, seen / (until - since))


def share(check: Mapping[str, Any]) -> str:
    """The share of a phase that a journalled check has seen, for people; empty where there is none."""
    seen = check.get("share")
    return "" if seen is None else f"{float(seen):.0%}"


def _demand_share(check: Check, moments: Sequence[float], *, since: float, until: float) -> Check:
    """The check, which confirms nothing about a phase that was hardly seen; what refutes it stands."""
    share = seen_share(moments, since=since, until=until)
    if check.ok and share < MIN_SHARE:
        detail = f"{share:.0%} of the phase was seen, {MIN_SHARE:.0%} must be; {check.detail}"
        return replace(check, seen="not seen", ok=None, detail=detail, share=share)
    return replace(check, share=share)


def offered_rate(samples: Iterable[Snapshot], *, since: float = -math.inf, until: float = math.inf) -> float | None:
    """Events per second that the producer was asked for: the median of what it said, or None when it never answered."""
    rates = [
        float(sample["producer"]["rate"])
        for sample in samples
        if since <= float(sample["time"]) <= until
        and sample.get("producer", {}).get("reachable")
        and sample["producer"].get("rate") is not None
    ]
    return statistics.median(rates) if rates else None


def judge(subject: str, expected: str | Sequence[str], found: Sequence[Reading], *, rate: float | None = None) -> Check:
    """Judge one count against a shape, or against any of several.

    :param expected: ``static``, ``grows``, ``drains``, ``unreachable`` or ``reachable``. Of several, each reading may
        belong to any: ``[unreachable, static]`` holds when every reading that succeeded shows one and the same value.
    :param rate: events per second that ``grows`` must show, within :func:`allowed_deviation`; None accepts any growth.
    :raises ValueError: a shape that does not exist.
    """
    shapes = _shapes(expected)
    unknown = [shape for shape in shapes if shape not in SHAPES]
    if unknown or not shapes:
        raise ValueError(f"{subject}: no such shape: {', '.join(unknown) or '(none)'}; choose from {', '.join(SHAPES)}")
    text = " or ".join(shapes)
    if len(found) < MIN_READINGS:
        return Check(subject, text, "too few readings", None, f"{len(found)} of at least {MIN_READINGS}")
    if "unreachable" in shapes and len(shapes) > 1:
        return _judge_tolerant(subject, text, [shape for shape in shapes if shape != "unreachable"], found, rate)
    checks = [_judge_one(subject, shape, found, rate) for shape in shapes]
    best = next((check for check in checks if check.ok), None) or next((c for c in checks if c.ok is False), checks[0])
    return Check(subject, text, best.seen, best.ok, best.detail)


def _judge_tolerant(subject: str, text: str, shapes: list[str], found: Sequence[Reading], rate: float | None) -> Check:
    """Unreachable readings are allowed; what could be read must fit one of the other shapes."""
    readable = good(found)
    if not readable:
        return Check(subject, text, "unreachable", True, f"none of {len(found)} readings succeeded")
    if len(readable) < MIN_READINGS and "static" in shapes:
        # One or two values among failures prove no growth, but they can refute "static".
        same = len({reading.count for reading in readable}) == 1
        detail = f"{len(readable)} of {len(found)} readings succeeded"
        return Check(subject, text, "unreachable or static" if same else "changes", same, detail)
    checks = [_judge_one(subject, shape, readable, rate) for shape in shapes]
    best = next((check for check in checks if check.ok), checks[0])
    return Check(
        subject, text, best.seen, best.ok, f"{best.detail}; {len(readable)} of {len(found)} readings succeeded"
    )


def _judge_one(subject: str, shape: str, found: Sequence[Reading], rate: float | None) -> Check:
    readable = good(found)
    if shape == "unreachable":
        seen = "unreachable" if not readable else "reachable"
        return Check(subject, shape, seen, not readable, f"{len(readable)} of {len(found)} readings succeeded")
    if shape == "reachable":
        ok = len(readable) == len(found)
        return Check(
            subject, shape, shape if ok else "unreachable", ok, f"{len(readable)} of {len(found)} readings succeeded"
        )
    moved = growth(readable)
    if moved is None or len(readable) < MIN_READINGS:
        # The others failed: the count was not observable, which is not a shape.
        seen = "unreachable" if not readable else "too few readings"
        return Check(subject, shape, seen, None, f"{len(readable)} of {len(found)} readings succeeded")
    return _judge_movement(subject, shape, moved, rate)


def _judge_movement(subject: str, shape: str, moved: Growth, rate: float | None) -> Check:
    seen = describe(moved)
    figures = f"{moved.difference:+d} in {moved.seconds:.0f} s"
    if shape == "static":
        return Check(subject, shape, seen, seen == "static", figures)
    if shape == "drains":
        return Check(subject, shape, seen, moved.last < moved.first, figures)
    if seen != "grows":
        return Check(subject, shape, seen, False, figures)
    if moved.longest_stall > allowed_stall(rate):
        return Check(subject, shape, "stalls", False, f"{figures}, but not at all for {moved.longest_stall:.0f} s")
    if rate is None:
        return Check(subject, shape, seen, True, f"{figures}, {moved.rate:.1f}/s")
    allowed = allowed_deviation(rate, moved.seconds, moved.interval)
    ok = abs(moved.rate - rate) <= allowed
    text = f"{moved.rate:.1f}/s of {rate:.1f}/s offered ± {allowed / rate:.1%}"
    return Check(subject, shape, seen if ok else "grows at another rate", ok, text)


def describe(moved: Growth) -> str:
    """The shape that a movement has: static, grows, drains or varies."""
    if moved.fell:
        return "varies" if moved.last >= moved.first else "drains"
    return "static" if moved.difference == 0 else "grows"


def allowed_stall(rate: float | None) -> float:
    """Seconds that a count may stand still and still be growing: longer for a rate below one event a second."""
    return max(STALL_SECONDS, 3.0 / rate) if rate else STALL_SECONDS


def allowed_deviation(rate: float, seconds: float, interval: float) -> float:
    """Events per second by which a measured rate may differ from the offered one.

    That is :data:`RATE_TOLERANCE`, and what a growth over ``seconds`` cannot resolve when it is read every ``interval``
    seconds: the events of one interval, for a count follows its source by up to that, and :data:`RESOLUTION_EVENTS`.
    """
    if seconds <= 0:
        return math.inf
    return RATE_TOLERANCE * rate + (RESOLUTION_EVENTS + rate * interval) / seconds


def settle(found: Sequence[Reading], *, since: float, within: float) -> tuple[list[Reading], float]:
    """Drop the readings before a count came to rest, for at most ``within`` seconds after ``since``.

    Records that were on their way when a server went keep arriving downstream for a moment.

    :returns: the remaining readings, and the seconds after ``since`` at which the count was last seen to move (0 when
        it was at rest from the start).
    """
    readable = good(found)
    if not readable:
        return list(found), 0.0
    final = readable[-1].count
    moving = [reading for reading in readable if reading.count != final]
    if not moving or moving[-1].at - since > within:
        return list(found), 0.0
    cut = moving[-1].taken
    return [reading for reading in found if reading.taken > cut], cut - since


def judge_flink(expected: str, samples: Iterable[Snapshot], *, since: float, until: float) -> Check:
    """Judge the job by its tasks, not by its state: RUNNING with every task SCHEDULED happens.

    :param expected: ``running`` (all tasks, at every reading), ``unreachable`` (REST does not answer), or ``retried``
        (running again, and the sink has reported more retries than when the samples began: it reports them only once
        the writes have succeeded).
    :raises ValueError: an expectation that does not exist.
    """
    if expected not in FLINK_STATES:
        raise ValueError(f"flink: no such state: {expected}; choose from {', '.join(FLINK_STATES)}")
    whole = [(float(sample["time"]), sample.get("flink") or {}) for sample in samples]
    if expected == "retried":
        return _judge_retried([hop for moment, hop in whole if moment <= until])
    looks = [(moment, hop) for moment, hop in whole if since <= moment <= until]
    found = [hop for _, hop in looks]
    if len(found) < MIN_READINGS:
        return Check("flink", expected, "too few readings", None, f"{len(found)} of at least {MIN_READINGS}")
    answered = [hop for hop in found if hop.get("reachable")]
    if expected == "unreachable":
        seen = "reachable" if answered else "unreachable"
        check = Check("flink", expected, seen, not answered, f"{len(answered)} of {len(found)} readings succeeded")
        return _demand_share(check, [moment for moment, _ in looks], since=since, until=until)
    running = [hop for hop in answered if tasks_run(hop)]
    detail = f"all tasks running in {len(running)} of {len(found)} readings"
    if len(running) < len(answered):
        return Check("flink", expected, "not always running", False, detail)
    # A reading that failed says nothing; only a stretch of them that is long enough to hide a restart leaves it open.
    silence = longest_silence([(moment, bool(hop.get("reachable"))) for moment, hop in looks])
    if len(answered) < MIN_READINGS or silence > STALL_SECONDS:
        return Check("flink", expected, "not always seen", None, f"{detail}, none for {silence:.0f} s")
    seen_at = [moment for moment, hop in looks if hop.get("reachable")]
    return _demand_share(Check("flink", expected, "running", True, detail), seen_at, since=since, until=until)


def longest_silence(seen: Sequence[tuple[float, bool]]) -> float:
    """The longest time between two answers, in seconds, counted from the first reading and up to the last.

    :param seen: when each reading was made, and whether it was answered.
    """
    marks = [seen[0][0], *(moment for moment, answered in seen if answered), seen[-1][0]] if seen else [0.0]
    return max((later - earlier for earlier, later in itertools.pairwise(marks)), default=0.0)


def _judge_retried(found: Sequence[Mapping[str, Any]]) -> Check:
    counts = [int(hop["retried"]) for hop in found if hop.get("reachable") and hop.get("retried") is not None]
    if len(counts) < MIN_READINGS or not tasks_run(found[-1]):
        return Check("flink", "retried", "not running", None, f"{len(counts)} readings of the retries")
    # The counter begins anew with the tasks.
    more = counts[-1] - counts[0] if counts[-1] >= counts[0] else counts[-1]
    return Check("flink", "retried", "retried" if more else "running", more > 0, f"{more} rows sent again")


def tasks_run(flink: Mapping[str, Any]) -> bool:
    """True when the job answers, is RUNNING, and every one of its tasks runs."""
    total = flink.get("tasks_total") or 0
    return (
        bool(flink.get("reachable"))
        and flink.get("state") == "RUNNING"
        and total > 0
        and flink.get("tasks_running") == total
    )


def _lag_margin(rate: float) -> int:
    """Records by which a lag may vary at a rate: one second's events, or ten."""
    return max(10, math.ceil(rate))


@dataclass(frozen=True)
class Steady:
    """The healthy pipeline that a drill starts from and must come back to."""

    rate: float  #: offered events per second
    lag: int  #: highest lag seen
    streaming: bool = True

    @property
    def lag_limit(self) -> int:
        """Lag at which the pipeline counts as caught up: what was seen, and one second's events or ten on top."""
        return self.lag + _lag_margin(self.rate)


def healthy(sample: Snapshot) -> bool:
    """Every count could be read and every task of the job runs."""
    return all((sample.get(subject) or {}).get("reachable") for subject in COUNTS) and tasks_run(
        sample.get("flink") or {}
    )


def why_not_healthy(sample: Snapshot) -> str:
    """One line naming what is not healthy, empty when all is."""
    for subject in ("producer", "kafka", "cassandra", "lag"):
        hop = sample.get(subject) or {}
        if not hop.get("reachable"):
            return f"{subject} cannot be read: {hop.get('error') or 'no answer'}"
    flink = sample.get("flink") or {}
    if not flink.get("reachable"):
        return f"flink does not answer: {flink.get('error') or 'no answer'}"
    if not tasks_run(flink):
        tasks = f"{flink.get('tasks_running')} of {flink.get('tasks_total')}"
        return f"flink job is {flink.get('state')} with {tasks} tasks running"
    return ""


def stuck_partitions(samples: Sequence[Snapshot]) -> list[str]:
    """One phrase for each partition that has records to be processed, but whose progress has not moved.

    It has not moved when it stands where it stood :data:`STUCK_SECONDS` before the last sample. A progress that was
    written with a time ahead of ours hides every later one.
    """
    last = samples[-1]
    before = last_healthy(samples, until=float(last["time"]) - STUCK_SECONDS)
    if before is None or not healthy(last):
        return []
    texts = []
    ends, progress = last["kafka"].get("partitions") or {}, last["cassandra"].get("next_offsets") or {}
    for partition, end in sorted(ends.items(), key=lambda item: int(item[0])):
        at, was = progress.get(partition, 0), (before["cassandra"].get("next_offsets") or {}).get(partition, 0)
        if at < end and at == was:
            ahead = (last["cassandra"].get("ahead") or {}).get(partition)
            why = f", and was written with a time {ahead:.0f} s ahead of now, so nothing newer shows" if ahead else ""
            texts.append(f"partition {partition} stands still at offset {at} of {end}{why}")
    return texts


def last_healthy(samples: Sequence[Snapshot], *, until: float) -> Snapshot | None:
    """The last sample up to a moment in which everything could be read; None when there is none."""
    return next((sample for sample in reversed(samples) if float(sample["time"]) <= until and healthy(sample)), None)


def same_positions(before: Snapshot, after: Snapshot, name: str) -> list[Check]:
    """Whether two samples show the same counts, and per partition the same end and the same processed position."""
    expected = f"as at the end of {name}"
    pairs = [(hop, before[hop]["count"], after[hop]["count"]) for hop in ("producer", "kafka", "cassandra")]
    pairs.append(("end offsets", before["kafka"].get("partitions"), after["kafka"].get("partitions")))
    pairs.append(("positions", before["cassandra"].get("next_offsets"), after["cassandra"].get("next_offsets")))
    return [
        Check(
            subject,
            expected,
            "the same" if old == new else "different",
            old == new,
            f"{_shown(old)} then {_shown(new)}",
        )
        for subject, old, new in pairs
    ]


def same_counts(shown: Snapshot, samples: Sequence[Snapshot]) -> list[Check]:
    """Whether another counter shows what the sampler has seen shortly before and after it.

    A count that it cannot read, or that the sampler has not seen, says nothing.
    """
    checks = []
    for subject in ("producer", "kafka", "cassandra"):
        there = readings([shown], subject)
        if not good(there):
            continue
        at, count = there[0].at, int(there[0].count or 0)
        seen = good(readings(samples, subject))
        before = [r for r in seen if r.at <= at - SHOWN_SECONDS][-1:]
        after = [r for r in seen if r.at >= at + SHOWN_SECONDS][:1]
        if not before or not after:
            continue
        around = [r.count or 0 for r in seen if before[0].at <= r.at <= after[0].at]
        least, most = min(around), max(around)
        ok = least <= count <= most
        detail = f"{count}, between {least} and {most} were seen"
        checks.append(Check(subject, "as the sampler sees it", "the same" if ok else "another count", ok, detail))
    return checks


def same_offsets(expected: Mapping[str, int], seen: Mapping[str, int | None] | None) -> Check:
    """Whether the job went on, in every partition, exactly where its savepoint had ended.

    :param seen: the offsets of the first records that were read, or where the job stands in a partition without any;
        None where that was not seen.
    """
    text = "from the savepoint's offsets"
    if seen is None:
        return Check("job", text, "not read", None, _shown(expected))
    unseen = [partition for partition in expected if seen.get(partition) is None]
    other = {p: seen.get(p) for p, at in expected.items() if p not in unseen and seen.get(p) != at}
    if other:
        return Check("job", text, "from others", False, f"{_shown(expected)} then {_shown(other)}")
    if unseen:
        return Check("job", text, "not seen in every partition", None, f"partition {', '.join(sorted(unseen))}")
    return Check("job", text, "from exactly these", True, _shown(expected))


def _shown(value: object) -> str:
    return " ".join(f"{k}:{v}" for k, v in sorted(value.items())) if isinstance(value, Mapping) else str(value)


def steady_state(samples: Sequence[Snapshot], *, wanted: int = MIN_READINGS) -> Steady | str:
    """The steady state shown by the last ``wanted`` samples, or one line saying why it is none yet."""
    recent = list(samples)[-wanted:]
    if len(recent) < wanted:
        return f"{len(recent)} of {wanted} samples so far"
    for sample in recent:
        reason = why_not_healthy(sample)
        if reason:
            return reason
    producer = recent[-1]["producer"]
    if not producer.get("streaming"):
        return f"the producer is not streaming: {producer.get('reason') or 'paused'}"
    rate = float(producer.get("rate") or 0.0)
    for subject in ("producer", "kafka", "cassandra"):
        moved = growth(readings(recent, subject))
        if moved is None or moved.difference <= 0:
            return f"{subject} does not grow"
    lags = [int(sample["lag"]["count"]) for sample in recent]
    return _still_catching_up(lags, rate) or Steady(rate=rate, lag=max(lags))


def _still_catching_up(lags: Sequence[int], rate: float) -> str:
    """Why these lags are of a backlog that is being worked off, empty when they are not."""
    # It must be within seconds of the offered rate.
    limit = max(100, math.ceil(10 * rate))
    if lags[-1] > limit:
        return (
            f"lag is {lags[-1]}, more than ten seconds of the offered rate ({limit}): the pipeline is still catching up"
        )
    # The largest is what a recovery has to come back to, so none may be of the way down.
    if max(lags) - lags[-1] > _lag_margin(rate):
        return f"lag falls from {max(lags)} to {lags[-1]}: the pipeline is still catching up"
    return ""


def converged(samples: Sequence[Snapshot], steady: Steady, *, since: float, wanted: int = MIN_READINGS) -> float | None:
    """When the pipeline was back at its steady state: the time of the first of ``wanted`` consecutive good samples.

    Good is: everything readable, every task running, lag within the steady limit, nothing piling up in the spool; and,
    if the producer streams, rows arriving from one sample to the next, so that a lag which has not grown yet is not
    mistaken for one that has drained.
    """
    streak: list[Snapshot] = []
    for sample in samples:
        if float(sample["time"]) < since:
            continue
        if not _caught_up(sample, steady):
            streak = []
            continue
        streak = [*streak, sample][-wanted:]
        if len(streak) == wanted and (not steady.streaming or _rows_arrive(streak, steady)):
            return float(streak[0]["time"])
    return None


def _caught_up(sample: Snapshot, steady: Steady) -> bool:
    if not healthy(sample):
        return False
    buffered = int(sample["producer"].get("buffered") or 0)
    return int(sample["lag"]["count"]) <= steady.lag_limit and buffered <= steady.lag_limit


def _rows_arrive(streak: Sequence[Snapshot], steady: Steady) -> bool:
    moved = growth(readings(streak, "cassandra"))
    # Less than half of the offered rate over the streak is not the pipeline that was steady before.
    return moved is not None and moved.difference > 0 and moved.rate >= 0.5 * steady.rate


def at_rest(samples: Sequence[Snapshot], *, since: float, wanted: int = MIN_READINGS) -> float | None:
    """When everything came to rest: the time of the first of ``wanted`` consecutive samples with equal counts,
    nothing buffered and no lag; None when that has not happened."""
    streak: list[Snapshot] = []
    for sample in samples:
        if float(sample["time"]) < since:
            continue
        quiet = healthy(sample) and not sample["lag"]["count"] and not sample["producer"].get("buffered")
        if quiet and streak and any(sample[hop]["count"] != streak[-1][hop]["count"] for hop in COUNTS):
            streak = []
        streak = [*streak, sample] if quiet else []
        if len(streak) >= wanted:
            return float(streak[0]["time"])
    return None


def judge_phase(
    expect: Mapping[str, str | Sequence[str]],
    samples: Sequence[Snapshot],
    *,
    since: float,
    until: float,
    rate: float | None,
    settle_seconds: float = 0.0,
) -> list[Check]:
    """Judge every expectation of a phase.

    :param expect: shape or shapes per subject; ``flink`` takes a state instead.
    :param rate: events per second that growing counts must show; None accepts any growth.
    :param settle_seconds: a count that is to be static may still move for this long at the beginning.
    """
    checks: dict[str, Check] = {}
    rest = 0.0
    # What is to be static first: the lag can only grow from when the sink has come to rest.
    for subject in sorted(expect, key=lambda name: "static" not in _shapes(expect[name])):
        shapes = _shapes(expect[subject])
        if subject == "flink":
            checks[subject] = judge_flink(shapes[0], samples, since=since, until=until)
            continue
        # What piles up or drains beside the counters moves at a rate of its own.
        growth_rate = None if subject in PARTS else rate
        # The reading at which the sink was last seen to move is still part of its movement.
        begin = since + rest + (0.001 if rest else 0.0) if subject == "lag" else since
        found = readings(samples, subject, since=begin, until=until)
        # A reading that failed is evidence where the count may be out of reach, and none of anything else.
        moments = [reading.at for reading in found if reading.reachable or "unreachable" in shapes]
        moved = 0.0
        if "static" in shapes:
            found, moved = settle(found, since=since, within=settle_seconds)
            rest = max(rest, moved)
        check = judge(subject, shapes, found, rate=growth_rate)
        if moved > 0:
            check = replace(check, detail=f"{check.detail}; at rest after {moved:.1f} s")
        checks[subject] = _demand_share(check, moments, since=begin, until=until)
    return [checks[subject] for subject in expect]


def _shapes(shape: str | Sequence[str]) -> list[str]:
    return [shape] if isinstance(shape, str) else list(shape)
