"""The monitor under load: many open pages, very many refreshes, a long outage. All of it beside real servers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from testing.pipeline import Pipeline, further_monitor
from testing.processes import resident
from testing.waiting import wait_until

PAGES = 50
RATE = 1000.0  # events per second of the long outage
HIGH_RATE = 20_000.0  # a fifth of what the generator takes: one that competes with the pages for the processor
ROUNDS, ROUND_SECONDS = 3, 5.0
REFRESHES = 28_800  # of eight hours, one a second
WARM_SECONDS = 700.0  # until the page's history of ten minutes is full, with some to spare
SLOPE_LIMIT = 2 << 20  # bytes in eight hours: what a page of garbage of the allocator's makes, but no leak
RESIDENT_LIMIT = 200 << 20  # bytes
OUTAGE_SECONDS = 600


async def _look(url: str, seen: list[int], number: int) -> None:
    async with websockets.connect(url, max_size=None) as page:
        async for _ in page:
            seen[number] += 1


@contextlib.contextmanager
def open_pages(port: int, count: int) -> Iterator[list[int]]:
    """Pages that listen to the feed meanwhile; gives how many messages each has had."""
    seen = [0] * count
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        await asyncio.gather(*(_look(f"ws://127.0.0.1:{port}/api/v1/live", seen, number) for number in range(count)))

    task = loop.create_task(serve())
    thread = threading.Thread(target=_run, args=(loop, task), daemon=True)
    thread.start()
    try:
        wait_until(lambda: all(seen), 30, f"{count} pages are open")
        yield seen
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        loop.run_until_complete(task)


def speed(pipeline: Pipeline, seconds: float) -> float:
    """Events per second that the producer generates, over that long."""
    first = pipeline.counts()
    time.sleep(seconds)
    last = pipeline.counts()
    return float((last["producer"]["count"] - first["producer"]["count"]) / (last["time"] - first["time"]))


@pytest.mark.load
def test_open_pages_do_not_slow_the_producer(pipeline: Pipeline) -> None:
    pipeline.post("rate", {"rate": HIGH_RATE})
    alone, watched = [], []
    try:
        for _ in range(ROUNDS):
            alone.append(speed(pipeline, ROUND_SECONDS))
            with open_pages(pipeline.port(5000), PAGES) as seen:
                before = list(seen)
                watched.append(speed(pipeline, ROUND_SECONDS))
                assert all(now > then for now, then in zip(seen, before, strict=True)), "every page is told"
    finally:
        pipeline.post("rate", {"rate": 10.0})
    print(f"producer alone {alone}, watched by {PAGES} pages {watched}")
    assert sum(alone) / ROUNDS > 0.9 * HIGH_RATE, "this is not the load that is meant"
    assert sum(watched) / sum(alone) > 0.95
    pipeline.drained(600)
    pipeline.post("resume")


@pytest.mark.memory
def test_eight_hours_of_refreshes_leave_memory_flat(pipeline: Pipeline, tmp_path: Path) -> None:
    # One that reads as often as it may.
    with further_monitor(pipeline, tmp_path, refresh_seconds=0.05) as monitor:
        measured: list[tuple[int, int]] = []

        def refreshes() -> int:
            return int(pipeline.metrics(monitor.port)["eventlog_refreshes_total"])

        wait_until(refreshes, 60, "it refreshes")
        with open_pages(monitor.port, 1):
            time.sleep(WARM_SECONDS)
            while not measured or measured[-1][0] < measured[0][0] + REFRESHES:
                measured.append((refreshes(), resident(monitor.pid)))
                time.sleep(5)
    slope = slope_of(measured) * REFRESHES
    course = [f"{size / 2**20:.1f}" for _, size in measured[:: len(measured) // 12]]
    print(f"{len(measured)} measurements, MiB {' '.join(course)}; {slope / 2**20:+.2f} MiB in {REFRESHES} refreshes")
    assert slope < SLOPE_LIMIT
    assert measured[-1][1] < RESIDENT_LIMIT


def slope_of(points: list[tuple[int, int]]) -> float:
    """The least-squares slope."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


@pytest.mark.load
def test_a_long_outage_of_kafka_needs_no_memory(pipeline: Pipeline) -> None:
    pipeline.play("stop", service="kafka")
    highest = dict.fromkeys(("producer", "monitor"), 0)
    try:
        pipeline.post("rate", {"rate": RATE})
        with open_pages(pipeline.port(5000), 1):
            end = time.monotonic() + OUTAGE_SECONDS
            while time.monotonic() < end:
                time.sleep(2)
                for unit in highest:
                    used = sum(resident(pid) for pid in pipeline.members(unit))
                    highest[unit] = max(highest[unit], used)
            counts = pipeline.counts()["producer"]
    finally:
        pipeline.post("rate", {"rate": 10.0})
        pipeline.play("start", service="kafka")
    print({unit: f"{used / 2**20:.0f} MiB" for unit, used in highest.items()}, counts)
    assert counts["buffered"] > 0.95 * RATE * OUTAGE_SECONDS
    assert all(used < RESIDENT_LIMIT for used in highest.values()), highest
    pipeline.drained(900)
    pipeline.post("resume")
