"""The course of a benchmark: every line of the table, in an order in which each finds what it needs.

Each part is measured on its own: what goes wrong in it is the reason why its lines have no figure, and the next part
brings the pipeline back into the state that it needs.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from eventlog.config import RATE_MAX

from bench import counting, drain, latency, load, producing, reconciling, recovering
from bench.figures import Line, shown, spread, typical
from bench.rig import SERVERS, BenchError, Progress, Rig, meanwhile, reason
from bench.stopping import Stop

MIB = float(1 << 20)
PERCENTILES = {"p50": 0.5, "p99": 0.99}
HALF = "half the drain's rate"
COUNTING = ("counting, kept connection", "counting, new process")


@dataclass(frozen=True)
class Variant:
    """Another drain: what differs from the usual pipeline, and whether the target of a drain is meant for it."""

    name: str
    variables: Mapping[str, int]
    judged: bool


@dataclass(frozen=True)
class Size:
    """How much is measured; it does not follow the machine's speed. Times are in seconds, but for ``minutes``."""

    small_table: int  # rows of the first count
    backlog: int  # records of each drain, of the first one less what was written when the small table was counted
    direct: int  # rows of the direct writer
    pairs: int  # measurements of the producer
    pair_events: int  # of each side of them
    latency_seconds: float
    latency_rates: tuple[float, ...]  # events per second
    half_drain: bool  # whether latency is measured at half the rate of the drain, too
    faults: tuple[tuple[str, str], ...]  # service and fault of each drill
    rehearsals: int  # of each fault
    hold: float
    minutes: float  # after which the benchmark ends, whatever is missing
    variants: tuple[Variant, ...] = ()

    @property
    def streams(self) -> dict[str, float | None]:
        """Name and rate of each stream whose latency is measured; None is half the drain's rate."""
        named: dict[str, float | None] = {f"{rate:g}/s": rate for rate in self.latency_rates}
        return {**named, HALF: None} if self.half_drain else named


#: `make bench`.
USUAL = Size(
    small_table=10_000,
    backlog=1_000_000,
    direct=300_000,
    pairs=5,
    pair_events=300_000,
    latency_seconds=10.0,
    latency_rates=(10.0, 1000.0),
    half_drain=False,
    faults=(("kafka", "kill"), ("cassandra", "kill"), ("flink", "kill"), ("flink", "stop")),
    rehearsals=1,
    hold=8.0,
    minutes=15.0,
)
#: `make bench-full`.
FULL = replace(
    USUAL,
    backlog=5_000_000,
    half_drain=True,
    faults=tuple((service, fault) for service in ("kafka", "cassandra", "flink") for fault in ("stop", "kill")),
    rehearsals=5,
    minutes=120.0,
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
    pair_events=20_000,
    latency_seconds=2.0,
    latency_rates=(100.0,),
    half_drain=False,
    faults=(("kafka", "kill"),),
    rehearsals=1,
    hold=8.0,
    minutes=15.0,
)


def plan(size: Size) -> list[Line]:
    """Every line of the table, in its order and without its figures."""
    beside = "the four servers at the same moment"
    plain = "consumer, same parse, same batches"
    lines = [
        Line("provisioning, warm cache", "s", "bare starts of the four servers at once", 1.5),
        Line("provisioning, nothing to do", "s", target=20.0),
        Line("producer", "events/s", "the same events, groups and client, a plain file", 0.5, at_least=True),
        Line("drain (a)", "rows/s", plain, 0.8, at_least=True),
        Line("drain (b)", "rows/s", "direct writer without Kafka"),
        Line("scale, events", "rows/s", "the first half of the drain, beside it the second", 0.95, at_least=True),
        Line("memory, idle", "MiB", beside, 1.2),
        Line("memory, full load", "MiB", beside, 1.2),
        *(Line(name, "ms", "the same of the small table", 1.5) for name in COUNTING),
        Line("books", "s", "topic and table read once", 1.5),
    ]
    for stream, rate in size.streams.items():
        for name, share in _latency_names(stream).items():
            target = 1.0 if (share, rate) == (0.99, 1000.0) else None
            lines.append(Line(name, "s", "consumer and direct writer, no Flink", target, absolute=True))
    for service, fault in size.faults:
        target, against = 1.5 if service == "flink" else 1.3, "bare start on the same data until it serves"
        lines += [
            Line(f"recovery, {service} {fault}", "s", against, target),
            Line(f"overhead, {service} {fault}", "s", target=15.0),
        ]
    for variant in size.variants:
        target = 0.8 if variant.judged else None
        lines.append(Line(f"drain (a), {variant.name}", "rows/s", plain, target, at_least=True))
    return lines


@dataclass
class Course:
    """One run of the benchmark; ``say`` is told what is measured next, and may raise Stop.

    ``lines`` are those of the plan by their names, ``interrupted`` says in one line why not all of them were reached.
    """

    rig: Rig
    size: Size
    say: Callable[[str], None]
    lines: dict[str, Line] = field(init=False)
    drained: list[Progress] = field(default_factory=list)
    rehearsals: list[recovering.Rehearsal] = field(default_factory=list)
    interrupted: str = ""
    _small: counting.Cost | None = None
    _sound: bool = False  # whether all that is needed runs, as far as is known

    def __post_init__(self) -> None:
        self.lines = {line.name: line for line in plan(self.size)}

    def run(self) -> None:
        """Measure, on a pipeline that is made for it and that the caller removes. Ends early, and says so, at a Stop.

        Whatever else is raised is a defect of the benchmark; what was measured until then is in ``lines`` all the same.
        """
        try:
            self._provisioning()
            self._counting_small()
            self._memory()
            self._producer()
            self._drain()
            self._counting_large()
            self._books()
            self._latency()
            self._drills()
            self._variants()
        except BaseException as error:
            self.interrupted = reason(error)
            self._lack(self.lines, f"not measured: {self.interrupted}")
            if not isinstance(error, Stop):
                raise

    def document(self) -> dict[str, Any]:
        """What was found, as JSON values."""
        return {
            "lines": [line.as_dict() for line in self.lines.values()],
            "drain": [
                [round(seen.at - self.drained[0].at, 3), seen.records - self.drained[0].records]
                for seen in self.drained
            ],
            "recoveries": [asdict(rehearsal) for rehearsal in self.rehearsals],
            "interrupted": self.interrupted,
        }

    # -- what every part needs -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _measure(self, what: str, *names: str) -> Iterator[None]:
        """Measure something; what is raised is why lines of these names lack something, and ends nothing else."""
        self.say(what)
        try:
            yield
        except Exception as error:
            self._sound = False
            seen = str(error) if isinstance(error, BenchError) else traceback.format_exc()
            print(f"bench: {what}: {seen.strip()}", file=sys.stderr, flush=True)
            self._lack(names, reason(error))

    def _lack(self, names: Iterable[str], why: str) -> None:
        for name in names:
            self.lines[name] = self.lines[name].lacking(why)

    def _found(
        self,
        name: str,
        measured: float | None = None,
        ceiling: float | None = None,
        note: str = "",
        samples: dict[str, list[float]] | None = None,
    ) -> None:
        self.lines[name] = self.lines[name].found(measured, ceiling, note=note, samples=samples)

    def _ready(self) -> None:
        """Bring back what an earlier part has left behind; nothing is done when none has failed."""
        if self._sound:
            return
        with contextlib.suppress(BenchError):  # what it cannot heal, it says; the next one starts what does not run
            self.rig.play("heal")
        self.rig.play("site")
        self.rig.learn()
        self._sound = True

    def _stock(self, records: int) -> None:
        """See to it that the topic has so many records at least, all processed, and that the stream is paused."""
        self._ready()
        self.rig.settle()
        missing = records - sum(self.rig.pipeline.ends().values())
        if missing > 0:
            load.fill(self.rig.config, missing)
            self.rig.settle()

    # -- the parts -------------------------------------------------------------------------------------------------

    def _provisioning(self) -> None:
        rig, first, second = self.rig, "provisioning, warm cache", "provisioning, nothing to do"
        with self._measure("provisioning", first, second):
            rig.play("teardown", teardown_purge=True)
            self._found(first, rig.play("site"))
            rig.learn()
            with self._measure("provisioning, nothing to do", second):
                changed, seconds = rig.changes("site")
                if changed:
                    raise BenchError(f"the second site.yml changed {changed} things, expected none")
                self._found(second, seconds)
            rig.play("teardown")
            self._found(first, ceiling=rig.bare_start(SERVERS))
            rig.play("site")
            self._sound = True

    def _counting_small(self) -> None:
        with self._measure("counting, small table", *COUNTING):
            self._stock(self.size.small_table)
            small = counting.cost(self.rig)
            for name, seconds in zip(COUNTING, (small.kept, small.cold), strict=True):
                self._found(name, ceiling=1000 * seconds)
            self._small = small

    def _memory(self) -> None:
        with self._measure("memory, idle", "memory, idle"):
            self._ready()
            self.rig.settle()
            self._resident("memory, idle", self.rig.resident())

    def _resident(self, name: str, resident: Mapping[str, int]) -> None:
        """All that runs, beside the servers alone at the same moment: what the pipeline adds to them."""
        bare = sum(resident[unit] for unit in SERVERS)
        parts = " · ".join(f"{unit} {size / MIB:.0f}" for unit, size in resident.items())
        self._found(name, sum(resident.values()) / MIB, bare / MIB, parts)

    def _producer(self) -> None:
        rig, size = self.rig, self.size
        with self._measure("producer", "producer"):
            self._ready()
            rig.settle()
            rig.play("stop", service="flink")
            with rig.further_producer(producing.TOPIC) as config:
                pairs = [
                    (
                        producing.through_the_spool(rig, config, size.pair_events),
                        producing.bare_loop(config, rig.pipeline.folder, size.pair_events),
                    )
                    for _ in range(size.pairs)
                ]
            note = f"the producer takes no rate above {shown(RATE_MAX)}/s; {spread([pair[0] for pair in pairs])}"
            measured, ceiling, samples = typical(pairs)
            self._found("producer", measured, ceiling, note, samples)

    def _drain(self) -> None:
        rig, size = self.rig, self.size
        loaded: list[dict[str, int]] = []

        def look() -> None:
            with contextlib.suppress(IndexError, OSError):  # units that are on their way
                loaded.append(rig.resident())

        with self._measure("drain", "drain (a)", "drain (b)", "scale, events", "memory, full load"):
            self._ready()
            # So that the large table has the same size everywhere: the small one was written to while it was counted.
            begin, end = self._backlog(in_all=size.small_table + size.backlog)
            with meanwhile(look, every=1.0):
                self.drained = drain.through_the_job(rig, sum(end.values()))
            through = drain.rate(self.drained)
            early, late = drain.halves(self.drained)
            self._found("drain (a)", through, note=self._records(begin, end))
            self._found("drain (b)", through)
            self._found("scale, events", late, early)
            with self._measure("drain, ceiling (a)", "drain (a)"):
                self._found("drain (a)", ceiling=drain.without_flink(rig, begin, end))
            with self._measure("drain, ceiling (b)", "drain (b)"):
                direct = drain.without_kafka(rig, size.direct)
                valid = direct >= drain.VALID_DIRECT
                note = "" if valid else f"no valid ceiling: it is below {shown(drain.VALID_DIRECT)} rows/s"
                self._found("drain (b)", ceiling=direct, note=note)
            if not loaded:
                raise BenchError("not all units were seen at one moment of the drain")
            self._resident("memory, full load", max(loaded, key=lambda seen: sum(seen.values())))

    def _backlog(self, in_all: int | None = None) -> tuple[dict[int, int], dict[int, int]]:
        """Fill the topic while Flink is stopped, by a backlog or up to ``in_all``; its ends before and after."""
        rig = self.rig
        rig.stream(None)
        rig.delivered()
        rig.play("stop", service="flink")
        begin = rig.pipeline.ends()
        load.fill(rig.config, self.size.backlog if in_all is None else in_all - sum(begin.values()))
        return begin, rig.pipeline.ends()

    def _records(self, begin: Mapping[int, int], end: Mapping[int, int]) -> str:
        return f"{sum(end.values()) - sum(begin.values())} records of {self.rig.config.event.bytes} bytes"

    def _counting_large(self) -> None:
        with self._measure("counting", *COUNTING):
            self._stock(self.size.small_table + self.size.backlog)
            large = counting.cost(self.rig)
            costs = [cost for cost in (large, self._small) if cost]
            rows = " and ".join(shown(cost.rows) for cost in costs)
            server = " and ".join(_by_the_server(cost) for cost in costs)
            for name, seconds in zip(COUNTING, (large.kept, large.cold), strict=True):
                self._found(name, 1000 * seconds, note=f"{rows} rows; SELECT count(*) took {server}")

    def _books(self) -> None:
        with self._measure("books", "books"):
            self._stock(self.size.small_table + self.size.backlog)
            seconds, events = reconciling.reconciled(self.rig)
            self._found("books", seconds, note=f"{events} events, none missing")
            self._found("books", ceiling=reconciling.read_once(self.rig))

    def _latency(self) -> None:
        rig, seconds = self.rig, self.size.latency_seconds
        counts: dict[str, tuple[float, int]] = {}  # of each stream that was measured: its rate, and how many events
        for stream, given in self.size.streams.items():
            with self._measure(f"latency at {stream}", *_latency_names(stream)):
                self._ready()
                if given is None and not self.drained:
                    raise BenchError("it needs the rate of the drain, which was not measured")
                rate = given or drain.rate(self.drained) // 2
                values = latency.latencies(rig, rate, seconds, rig.config.cassandra.keyspace)
                for name, share in _latency_names(stream).items():
                    self._found(name, latency.percentile(values, share))
                counts[stream] = rate, len(values)
        if not counts:
            return
        with self._measure("latency, direct path", *(name for stream in counts for name in _latency_names(stream))):
            self._ready()
            rig.play("stop", service="flink")
            with latency.direct_path(rig) as keyspace:
                for stream, (rate, count) in counts.items():
                    with self._measure(f"latency at {stream}, direct path", *_latency_names(stream)):
                        direct = latency.latencies(rig, rate, seconds, keyspace)
                        note = f"{rate:g}/s, n={count} and {len(direct)}"
                        for name, share in _latency_names(stream).items():
                            self._found(name, ceiling=latency.percentile(direct, share), note=note)
            rig.play("start", service="flink")
            rig.settle()

    def _drills(self) -> None:
        rig, size = self.rig, self.size
        for service, fault in size.faults:
            recovery, overhead = f"recovery, {service} {fault}", f"overhead, {service} {fault}"
            with self._measure(recovery, recovery, overhead):
                self._ready()
                rig.stream(10.0)
                found: list[recovering.Rehearsal] = []
                for number in range(size.rehearsals):
                    if number:
                        self.say(f"{recovery}, once more")
                    found.append(recovering.rehearse(rig, service, fault, size.hold))
                    self.rehearsals.append(found[-1])
                first, drained, besides = (
                    [getattr(one, what) for one in found] for what in ("first", "drained", "overhead")
                )
                measured, ceiling, samples = typical([(one.first, one.bare) for one in found])
                note = f"first row after {spread(first)}; drained after {spread(drained)}"
                self._found(recovery, measured, ceiling, note, samples)
                self._found(overhead, max(besides), note=spread(besides))

    def _variants(self) -> None:
        rig = self.rig
        for variant in self.size.variants:
            name = f"drain (a), {variant.name}"
            with self._measure(f"drain, {variant.name}", name):
                self._ready()
                rig.play("site", **variant.variables)
                begin, end = self._backlog()
                trail = drain.through_the_job(rig, sum(end.values()))
                self._found(name, drain.rate(trail), note=self._records(begin, end))
                self._found(name, ceiling=drain.without_flink(rig, begin, end))


def _latency_names(stream: str) -> dict[str, float]:
    """Names of the lines of a stream, and the share that each is about."""
    return {f"latency {name}, {stream}": share for name, share in PERCENTILES.items()}


def _by_the_server(cost: counting.Cost) -> str:
    if cost.server is None:
        return f"more than {counting.SERVER_SECONDS:g} s, or failed"
    return f"{shown(1000 * cost.server)} ms"
