"""The course of a benchmark: every line of the table, in an order in which each finds what it needs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from eventlog.config import RATE_MAX

from bench import counting, drain, latency, load, producing, reconciling, recovering
from bench.figures import Line, ratio_line, shown, spread
from bench.rig import SERVERS, BenchError, Progress, Rig, meanwhile

MIB = float(1 << 20)
PLAIN = "consumer, same parse, same batches"


@dataclass(frozen=True)
class Variant:
    """Another drain: what differs from the usual pipeline, and whether the target of a drain is meant for it."""

    name: str
    variables: Mapping[str, int]
    judged: bool


@dataclass(frozen=True)
class Size:
    """How much is measured; times are in seconds."""

    small_table: int  # rows of the first count
    backlog: int  # records in the topic, at least
    direct: int  # rows of the direct writer
    pairs: int  # measurements of the producer
    pair_seconds: float
    latency_seconds: float
    latency_rates: tuple[float, ...]  # events per second
    half_drain: bool  # whether latency is measured at half the rate of the drain, too
    faults: tuple[tuple[str, str], ...]  # service and fault of each drill
    rehearsals: int  # of each fault
    hold: float
    variants: tuple[Variant, ...] = ()


#: `make bench`.
USUAL = Size(
    small_table=10_000,
    backlog=1_000_000,
    direct=300_000,
    pairs=5,
    pair_seconds=3.0,
    latency_seconds=10.0,
    latency_rates=(10.0, 1000.0),
    half_drain=False,
    faults=(("kafka", "kill"), ("cassandra", "kill"), ("flink", "kill"), ("flink", "stop")),
    rehearsals=1,
    hold=8.0,
)
#: `make bench-full`.
FULL = replace(
    USUAL,
    backlog=5_000_000,
    half_drain=True,
    faults=tuple((service, fault) for service in ("kafka", "cassandra", "flink") for fault in ("stop", "kill")),
    rehearsals=5,
    # The smallest events that the producer makes, and one task more than the usual one.
    variants=(
        Variant("384 bytes", {"event_bytes": 384}, judged=True),
        Variant("two tasks", {"flink_parallelism": 2}, judged=False),
    ),
)
#: Proves that the benchmark works; its figures mean nothing.
REDUCED = Size(
    small_table=2_000,
    backlog=100_000,
    direct=20_000,
    pairs=1,
    pair_seconds=0.2,
    latency_seconds=2.0,
    latency_rates=(100.0,),
    half_drain=False,
    faults=(("kafka", "kill"),),
    rehearsals=1,
    hold=8.0,
)


@dataclass
class Course:
    """One run of the benchmark; ``say`` is told what is measured next."""

    rig: Rig
    size: Size
    say: Callable[[str], None]
    lines: list[Line] = field(default_factory=list)
    drained: list[Progress] = field(default_factory=list)
    rehearsals: list[recovering.Rehearsal] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Measure on a pipeline that is made for it and removed afterwards; the results as JSON values."""
        try:
            self._provisioning()
            small = self._small_table()
            self._backlog_and_drain()
            self._counting(small)
            self._books()
            self._latency()
            self._drills()
            self._variants()
        finally:
            self.rig.play("teardown", teardown_purge=True)
        first = self.drained[0]
        return {
            "lines": [line.as_dict() for line in self.lines],
            "drain": [[round(seen.at - first.at, 3), seen.records - first.records] for seen in self.drained],
            "recoveries": [asdict(rehearsal) for rehearsal in self.rehearsals],
        }

    def _provisioning(self) -> None:
        self.say("provisioning")
        rig = self.rig
        rig.play("teardown", teardown_purge=True)
        first = rig.play("site")
        rig.learn()
        changed, second = rig.changes("site")
        if changed:
            raise BenchError(f"provisioning: the second site.yml changed {changed} things, expected none")
        rig.play("teardown")
        bare = rig.bare_start(SERVERS)
        rig.play("site")
        self.lines += [
            Line("provisioning, warm cache", "s", first, bare, "bare starts of the four servers at once", 1.5, False),
            Line("provisioning, nothing to do", "s", second, None, "", 20.0, False),
        ]

    def _small_table(self) -> counting.Cost:
        self.say("counting, small table")
        self.rig.stream(self.size.small_table / 5)
        while self.rig.control("status")["count"] < self.size.small_table:
            time.sleep(0.1)
        self.rig.settle()
        return counting.cost(self.rig)

    def _backlog_and_drain(self) -> None:
        rig, size = self.rig, self.size
        rig.settle()
        idle = rig.resident()
        rig.play("stop", service="flink")
        begin = rig.pipeline.ends()
        self._producer()
        self.say("drain")
        end = self._fill(begin)
        loaded: list[dict[str, int]] = []

        def look() -> None:
            with contextlib.suppress(IndexError, ProcessLookupError):  # units that are on their way
                loaded.append(rig.resident())

        with meanwhile(look, every=1.0):
            self.drained = drain.through_the_job(rig, sum(end.values()))
        through = drain.rate(self.drained)
        self.say("drain, ceilings")
        plain = drain.without_flink(rig, begin, end)
        direct = drain.without_kafka(rig, size.direct)
        valid = "" if direct >= drain.VALID_DIRECT else f", not valid: below {shown(drain.VALID_DIRECT)} rows/s"
        early, late = drain.halves(self.drained)
        self.lines += [
            Line("drain (a)", "rows/s", through, plain, PLAIN, 0.8, True, self._backlog(begin, end)),
            Line("drain (b)", "rows/s", through, direct, f"direct writer without Kafka{valid}", None, True),
            Line(
                "scale, events", "rows/s", late, early, "the first half of the drain, beside it the second", 0.95, True
            ),
            _memory("memory, idle", idle),
            _memory("memory, full load", max(loaded, key=lambda seen: sum(seen.values()))),
        ]

    def _variants(self) -> None:
        rig = self.rig
        for variant in self.size.variants:
            self.say(f"drain, {variant.name}")
            rig.play("site", **variant.variables)
            rig.settle()
            rig.play("stop", service="flink")
            begin = rig.pipeline.ends()
            end = self._fill(begin)
            through = drain.rate(drain.through_the_job(rig, sum(end.values())))
            plain = drain.without_flink(rig, begin, end)
            target = 0.8 if variant.judged else None
            name, note = f"drain (a), {variant.name}", self._backlog(begin, end)
            self.lines.append(Line(name, "rows/s", through, plain, PLAIN, target, True, note))
        if self.size.variants:
            rig.play("site")

    def _fill(self, begin: Mapping[int, int]) -> dict[int, int]:
        """Fill the topic up to the backlog; its ends."""
        there = sum(self.rig.pipeline.ends().values()) - sum(begin.values())
        if there < self.size.backlog:
            load.fill(self.rig.config, self.size.backlog - there)
        return self.rig.pipeline.ends()

    def _backlog(self, begin: Mapping[int, int], end: Mapping[int, int]) -> str:
        return f"{sum(end.values()) - sum(begin.values())} records of {self.rig.config.event.bytes} bytes"

    def _producer(self) -> None:
        self.say("producer")
        rig, seconds = self.rig, self.size.pair_seconds
        pairs = [
            (producing.through_the_spool(rig, seconds), producing.bare_loop(rig.config, rig.pipeline.folder, seconds))
            for _ in range(self.size.pairs)
        ]
        note = f"the producer takes no rate above {shown(RATE_MAX)}/s; {spread([pair[0] for pair in pairs])}"
        against = "the same events, groups and client, a plain file"
        self.lines.append(ratio_line("producer", "events/s", pairs, against, target=0.5, at_least=True, note=note))

    def _counting(self, small: counting.Cost) -> None:
        self.say("counting")
        self.rig.settle()
        large = counting.cost(self.rig)
        rows = f"{large.rows} rows against {small.rows}"
        server = f"SELECT count(*) took {shown(1000 * large.server)} ms and {shown(1000 * small.server)} ms"
        for name, much, little in (("kept", large.kept, small.kept), ("cold", large.cold, small.cold)):
            what = "kept connection" if name == "kept" else "new process"
            self.lines.append(Line(f"counting, {what}", "ms", 1000 * much, 1000 * little, rows, 1.5, False, server))

    def _books(self) -> None:
        self.say("books")
        self.rig.settle()
        seconds, events = reconciling.reconciled(self.rig)
        once = reconciling.read_once(self.rig)
        self.lines.append(
            Line("books", "s", seconds, once, "topic and table read once", 1.5, False, f"{events} events, none missing")
        )

    def _latency(self) -> None:
        rig, seconds = self.rig, self.size.latency_seconds
        found: dict[float, list[float]] = {}
        half = (drain.rate(self.drained) // 2,) if self.size.half_drain else ()
        for rate in (*self.size.latency_rates, *half):
            self.say(f"latency at {rate:g}/s")
            found[rate] = latency.latencies(rig, rate, seconds, rig.config.cassandra.keyspace)
        self.say("latency, direct path")
        rig.play("stop", service="flink")
        with latency.direct_path(rig) as keyspace:
            direct = {rate: latency.latencies(rig, rate, seconds, keyspace) for rate in found}
        rig.play("start", service="flink")
        rig.settle()
        for rate, values in found.items():
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                target = 1.0 if (name, rate) == ("p99", 1000.0) else None
                mine, theirs = latency.percentile(values, share), latency.percentile(direct[rate], share)
                note = f"n={len(values)} and {len(direct[rate])}"
                against = "consumer and direct writer, no Flink"
                self.lines.append(
                    Line(f"latency {name}, {rate:g}/s", "s", mine, theirs, against, target, False, note, absolute=True)
                )

    def _drills(self) -> None:
        rig = self.rig
        rig.stream(10.0)
        for service, fault in self.size.faults:
            found = []
            for _ in range(self.size.rehearsals):
                self.say(f"recovery, {service} {fault}")
                found.append(recovering.rehearse(rig, service, fault, self.size.hold))
            self.rehearsals += found
            first, drained, overhead = (
                [getattr(one, what) for one in found] for what in ("first", "drained", "overhead")
            )
            pairs = [(one.first, one.bare) for one in found]
            target = 1.5 if service == "flink" else 1.3
            name, against = f"recovery, {service} {fault}", "bare start on the same data until it serves"
            note = f"first row after {spread(first)}; drained after {spread(drained)}"
            self.lines += [
                ratio_line(name, "s", pairs, against, target=target, at_least=False, note=note),
                Line(f"overhead, {service} {fault}", "s", max(overhead), None, "", 15.0, False, spread(overhead)),
            ]


def _memory(name: str, resident: dict[str, int]) -> Line:
    """All that runs, beside the servers alone at the same moment: what the pipeline adds to them."""
    bare = sum(resident[unit] for unit in SERVERS)
    parts = " · ".join(f"{unit} {size / MIB:.0f}" for unit, size in resident.items())
    return Line(
        name, "MiB", sum(resident.values()) / MIB, bare / MIB, "the four servers at the same moment", 1.2, False, parts
    )
