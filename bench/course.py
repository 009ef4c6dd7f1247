"""The course of a benchmark: every line of the table, in an order in which each finds what it needs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from eventlog.config import RATE_MAX

from bench import counting, drain, latency, load, producing, reconciling, recovering
from bench.figures import Line, ratio_line, shown, spread
from bench.rig import SERVERS, BenchError, Progress, Rig, meanwhile

MIB = float(1 << 20)


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
    faults: tuple[tuple[str, str], ...]  # service and fault of each drill
    hold: float


#: `make bench`.
USUAL = Size(
    small_table=10_000,
    backlog=1_000_000,
    direct=300_000,
    pairs=3,
    pair_seconds=1.0,
    latency_seconds=10.0,
    latency_rates=(10.0, 1000.0),
    faults=(("kafka", "kill"), ("cassandra", "kill"), ("flink", "kill"), ("flink", "stop")),
    hold=8.0,
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
    faults=(("kafka", "kill"),),
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
        there = sum(rig.pipeline.ends().values()) - sum(begin.values())
        if there < size.backlog:
            load.fill(rig.config, size.backlog - there)
        end = rig.pipeline.ends()
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
        backlog = f"{sum(end.values()) - sum(begin.values())} records of {rig.config.event.bytes} bytes"
        self.lines += [
            Line("drain (a)", "rows/s", through, plain, "consumer, same parse, same batches", 0.8, True, backlog),
            Line("drain (b)", "rows/s", through, direct, f"direct writer without Kafka{valid}", None, True),
            _memory("memory, idle", idle),
            _memory("memory, full load", max(loaded, key=lambda seen: sum(seen.values()))),
        ]

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
        for rate in self.size.latency_rates:
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
            self.say(f"recovery, {service} {fault}")
            one = recovering.rehearse(rig, service, fault, self.size.hold)
            self.rehearsals.append(one)
            target = 1.5 if service == "flink" else 1.3
            against = "bare start on the same data until it serves"
            note = f"drained after {one.drained:.1f} s; one run"
            self.lines += [
                Line(f"recovery, {service} {fault}", "s", one.first, one.bare, against, target, False, note),
                Line(f"overhead, {service} {fault}", "s", one.overhead, None, "", 15.0, False),
            ]


def _memory(name: str, resident: dict[str, int]) -> Line:
    """All that runs, beside the servers alone at the same moment: what the pipeline adds to them."""
    bare = sum(resident[unit] for unit in SERVERS)
    parts = " · ".join(f"{unit} {size / MIB:.0f}" for unit, size in resident.items())
    return Line(
        name, "MiB", sum(resident.values()) / MIB, bare / MIB, "the four servers at the same moment", 1.2, False, parts
    )
