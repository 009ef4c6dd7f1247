"""kill -9 of every unit while thousands of events per second flow; topic and table compared record by record."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import pytest

from testing.pipeline import Key, Pipeline
from testing.waiting import wait_until

RATE = 2000.0
SERVICES = {
    "flink-taskmanager": "flink",
    "flink-jobmanager": "flink",
    "cassandra": "cassandra",
    "kafka": "kafka",
    "producer": "producer",
}
OFTEN = ("kafka", "flink-taskmanager")  # in `make test`


def ranges(keys: set[Key]) -> str:
    """Keys as ranges per source, for a message."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for source, seq in sorted(keys):
        by_source[source].append(seq)
    parts = []
    for source, seqs in by_source.items():
        for _, run in itertools.groupby(enumerate(seqs), lambda pair: pair[1] - pair[0]):
            found = [seq for _, seq in run]
            parts.append(f"{source} {found[0]}–{found[-1]}")
    return ", ".join(parts) or "none"


def made(pipeline: Pipeline, count: float) -> dict[str, Any]:
    """The first counts with more events than that."""

    def look() -> dict[str, Any] | None:
        counts = pipeline.counts()
        return counts if counts["producer"]["count"] > count else None

    return wait_until(look, 120, f"{count:.0f} events are made")


@pytest.mark.parametrize(
    "unit",
    [pytest.param(unit, marks=getattr(pytest.mark, "losses" if unit in OFTEN else "more_losses")) for unit in SERVICES],
)
def test_a_kill_under_load_loses_nothing(pipeline: Pipeline, unit: str) -> None:
    begin = pipeline.counts()["producer"]["count"]
    since = pipeline.ends()
    pipeline.post("rate", {"rate": RATE})
    # The counts may be from before the new rate: it is measured from when it has shown.
    first = made(pipeline, begin + RATE)
    last = made(pipeline, first["producer"]["count"] + 2 * RATE)
    wait_until(lambda: pipeline.counts()["cassandra"]["count"] > begin + 2 * RATE, 120, "the load reaches the table")
    reached = (last["producer"]["count"] - first["producer"]["count"]) / (last["time"] - first["time"])
    assert reached > 0.9 * RATE, f"{reached:.0f}/s is not the load that is meant"

    killed = pipeline.kill(unit)
    pipeline.play("start", service=SERVICES[unit])
    assert not set(killed) & set(pipeline.members(unit))
    made(pipeline, pipeline.counts()["producer"]["count"] + 2 * RATE)

    pipeline.post("rate", {"rate": 10.0})
    counted = pipeline.drained(300)["producer"]
    records = pipeline.topic(since)
    rows = pipeline.rows()
    pipeline.post("resume")

    sent = {(record["source"], record["seq"]) for record in records}
    # Whatever the producer counted is in the topic without a gap, …
    assert {source for source, _ in sent} == {counted["source"]}
    seqs = sorted(seq for _, seq in sent)
    assert seqs[-1] == counted["count"]
    assert seqs == list(range(seqs[0], seqs[-1] + 1)), "the topic has gaps"
    # … and in the table, at a position where the topic holds exactly that event.
    assert not sent - rows.keys(), f"lost between Kafka and Cassandra: {ranges(sent - rows.keys())}"
    positions = defaultdict(set)
    for record in records:
        positions[record["source"], record["seq"]].add(record["at"])
    wrong = {key for key in sent if rows[key] not in positions[key]}
    assert not wrong, f"rows that point at another record: {ranges(wrong)}"
    beyond = {key for key in rows if key[1] > counted["count"]}
    assert not beyond, f"rows of events that were never counted: {ranges(beyond)}"
    assert len(seqs) > 4 * RATE
