"""The rate is exact by a clock the tests own; the generator counts what is on disk and nothing else."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from eventlog.acks import Acks
from eventlog.event import EventFactory, decode
from eventlog.generator import BURST_SECONDS, Generator, Meter
from eventlog.spool import Spool, read_spool
from hypothesis import given
from hypothesis import strategies as st

from testing.waiting import wait_until

RATES = st.one_of(st.sampled_from([0.5, 1.0, 10.0, 333.3, 2000.0, 50_000.0]), st.floats(0.1, 100_000))


@given(rate=RATES, steps=st.lists(st.floats(0.001, 0.9), min_size=1, max_size=200))
def test_no_event_is_missed_or_made_up(rate: float, steps: list[float]) -> None:
    """However the time is cut, floor(rate * elapsed) events have fallen due: no drift."""
    meter = Meter(rate, 1000.0)
    now, taken = 1000.0, 0
    for step in steps:
        now += step
        count = meter.due(now)
        meter.take(count)
        taken += count
        assert taken == int((now - 1000.0) * rate)


@given(rate=RATES, before=st.floats(0, 0.9), stall=st.floats(1.5, 1e6))
def test_a_stall_is_made_up_for_a_bounded_time_only(rate: float, before: float, stall: float) -> None:
    meter = Meter(rate, 0.0)
    meter.take(meter.due(before))

    burst = meter.due(before + stall)
    assert burst <= max(1, math.ceil(rate * BURST_SECONDS))

    meter.take(burst)
    following = meter.due(before + stall + 0.5)
    assert abs(following - rate * 0.5) <= 1


@given(rate=RATES, now=st.floats(0, 1e6))
def test_the_next_event_is_due_when_it_says(rate: float, now: float) -> None:
    meter = Meter(rate, now)
    assert meter.due(now) == 0
    moment = meter.next_due()
    assert moment - now == pytest.approx(1 / rate, rel=1e-3, abs=1e-9)
    assert meter.due(moment + 1e-6) >= 1


@given(rates=st.lists(RATES, min_size=1, max_size=10))
def test_a_new_rate_owes_nothing_for_the_old(rates: list[float]) -> None:
    meter, now = Meter(1.0, 0.0), 0.0
    for rate in rates:
        meter.restart(rate, now)
        assert meter.due(now) == 0
        now += 0.5
        assert meter.due(now) in {int(rate * 0.5), int(rate * 0.5) + 1}


@dataclass
class Bench:
    """A generator on a real spool whose time stands still unless a test moves it."""

    spool: Spool
    acks: Acks
    generator: Generator
    committed: list[int]
    now: list[float] = field(default_factory=lambda: [100.0])

    def after(self, seconds: float) -> int:
        """Events made after so much time and one turn."""
        before = self.generator.made
        self.now[0] += seconds
        self.generator.step()
        return self.generator.made - before

    def settle(self, upto: int) -> None:
        for seq in range(self.acks.settled + 1, upto + 1):
            self.acks.acknowledge(seq)


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    spools: list[Spool] = []

    def make(limit: int = 64 << 20, rate: float = 10.0, size: int = 1024) -> Bench:
        spool = Spool(tmp_path / "spool.db", limit, rate)
        spools.append(spool)
        acks, committed, now = Acks(spool.state.settled), list[int](), [100.0]
        generator = Generator(
            spool,
            EventFactory(spool.state.source, size),
            size,
            acks,
            committed=lambda: committed.append(spool.state.made),
            clock=lambda: now[0],
            wall=lambda: 1_795_000_000.0 + now[0],
        )
        return Bench(spool, acks, generator, committed, now)

    yield make
    for spool in spools:
        spool.close()


def test_what_is_counted_is_on_disk(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make_bench()
    assert bench.after(1.0) == 10
    assert bench.committed == [10]
    assert read_spool(tmp_path / "spool.db").count == 10
    assert bench.generator.status()["count"] == 10
    block = bench.spool.blocks().after(0)
    assert block is not None
    assert [decode(event).seq for event in block.events] == list(range(1, 11))


def test_what_is_settled_is_forgotten(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.after(1.0)
    bench.settle(7)
    bench.after(0.01)
    status = bench.generator.status()
    assert (status["count"], status["acked"], status["buffered"], status["rejected"]) == (10, 7, 3, 0)


def test_a_group_never_outgrows_its_share_of_the_limit(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(limit=16 << 20, rate=100_000.0)
    assert 900 < bench.after(1.0) <= 1024


def test_a_pause_is_not_made_up_for(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.after(1.0)
    bench.generator.change(streaming=False, timeout=0)
    assert bench.after(0.5) == 0
    assert bench.generator.status()["reason"] == "paused"
    assert bench.generator.status()["saved"] is True
    assert bench.after(100.0) == 0
    bench.generator.change(streaming=True, timeout=0)
    assert bench.after(0.0) == 0
    assert bench.after(1.0) == 10
    assert bench.generator.status()["streaming"] is True


def test_a_new_rate_holds_from_now_on(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.after(1.0)
    bench.generator.change(rate=500.0, timeout=0)
    assert bench.after(0.0) == 0
    assert bench.after(0.5) == 250
    assert bench.spool.state.rate == 500.0


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e9, math.nan, math.inf])
def test_an_impossible_rate_is_refused(make_bench: Callable[..., Bench], rate: float) -> None:
    bench = make_bench()
    with pytest.raises(ValueError, match=r"outside 0\.001 to 100000"):
        bench.generator.change(rate=rate)
    assert bench.generator.status()["rate"] == 10.0


def test_at_its_limit_it_says_so_and_goes_on_after_a_drain(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(limit=16 << 20, rate=1000.0)
    while bench.after(0.5):
        pass
    full = bench.generator.status()
    assert full["streaming"] is False
    assert full["reason"] == f"the spool has reached its limit of {16 << 20} bytes"
    assert bench.spool.state.reason == full["reason"]
    assert bench.after(60.0) == 0

    bench.settle(bench.generator.made // 2)
    bench.after(0.02)
    # One event proves that there is room; the sixty seconds are not made up for.
    assert bench.after(0.02) == 1
    assert bench.generator.status()["streaming"] is True
    assert bench.after(0.1) in {99, 100}


def test_a_removed_spool_stops_the_count(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make_bench()
    assert bench.after(1.0) == 10
    (tmp_path / "spool.db").unlink()
    assert bench.after(1.5) == 0
    assert bench.generator.status()["reason"] == "the spool file was removed: start the producer again"
    assert bench.after(0.1) == 0
    assert bench.after(5.0) == 0


def test_a_change_waits_until_it_is_on_disk(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make_bench(rate=0.001)
    assert bench.generator.change(streaming=False, timeout=0.01) is False
    thread = threading.Thread(target=bench.generator.run)
    thread.start()
    try:
        assert bench.generator.change(rate=20.0, timeout=5) is True
        reading = read_spool(tmp_path / "spool.db")
        assert (reading.rate, reading.reason) == (20.0, "paused")
    finally:
        bench.generator.stop()
        thread.join(10)
    assert not thread.is_alive()


def test_it_wakes_for_acknowledgements_while_paused(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(rate=1000.0)
    bench.after(1.0)
    bench.generator.change(streaming=False, timeout=0)
    thread = threading.Thread(target=bench.generator.run)
    thread.start()
    try:
        bench.settle(bench.generator.made)
        wait_until(lambda: bench.generator.status()["buffered"] == 0, 5, "the acknowledgements are saved")
    finally:
        bench.generator.stop()
        thread.join(10)
