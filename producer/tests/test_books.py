"""The books without servers: runs of records, repeats, positions, rewrites, requests."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from eventlog import event
from eventlog.books import Request, RequestError, main
from eventlog.intervals import IntervalSet
from eventlog.table_rows import count_rewrites
from eventlog.topic_records import TopicRecords
from hypothesis import given
from hypothesis import strategies as st


def encoded(source: str, seq: int) -> bytes:
    return event.EventFactory(source, 512).make(seq, 1, 1.0)[0]


# Few seqs and sources, so that repeats and runs both happen; None is a malformed record.
LOGS = st.lists(
    st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("ab"), st.integers(1, 12))), max_size=25), max_size=3
)


@given(LOGS)
def test_runs_against_remembering_every_record(partitions: list[list[tuple[str, int] | None]]) -> None:
    records = TopicRecords()
    positions: dict[str, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    malformed = []
    for number, log in enumerate(partitions):
        for offset, record in enumerate(log):
            records.add(number, offset, encoded(*record) if record else b"{}")
            if record:
                positions[record[0]][record[1]].append((number, offset))
            else:
                malformed.append((number, offset))
    sources = records.sources()
    assert set(sources) == set(positions)
    for source, seqs in positions.items():
        runs = sources[source]
        assert members(runs.seqs()) == set(seqs)
        assert members(runs.repeated()) == {seq for seq, places in seqs.items() if len(places) > 1}
        assert runs.further_copies(1, 12) == sum(len(places) - 1 for places in seqs.values())
        expected = {(seq, *place) for seq, places in seqs.items() for place in places if 3 <= seq <= 9}
        assert Counter(map(tuple, runs.positions(3, 9))) == Counter(expected)
    found = [(number, offset) for number, offsets in records.malformed.items() for offset in members(offsets)]
    assert sorted(found) == malformed
    places = records.at()
    for number, log in enumerate(partitions):
        for offset, record in enumerate(log):
            assert (places[number].event(offset) if number in places else None) == record
        if number in places:
            assert places[number].event(len(log)) is None
    assert records.records == sum(len(log) for log in partitions)


def members(found: IntervalSet) -> set[int]:
    return {number for first, last in found for number in range(first, last + 1)}


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (encoded("host-ab", 7), ("host-ab", 7)),
        (json.dumps({"seq": 7, "source": "host-ab"}, indent=1).encode(), ("host-ab", 7)),
        ('{"source":"münchen","seq":7}'.encode(), ("münchen", 7)),
        (b'{"source":"a\\"b","seq":7}', ('a"b', 7)),
        (b'{"source":"a","seq":9223372036854775807}', ("a", 2**63 - 1)),
        (None, None),
        (b"", None),
        (b"\xff\xfe", None),
        (b"[1]", None),
        (b'{"source":"a","seq":9223372036854775808}', None),
        (b'{"source":"a","seq":0}', None),
        (b'{"source":"a","seq":1.5}', None),
        (b'{"source":"a","seq":true}', None),
        (b'{"source":"","seq":1}', None),
        (json.dumps({"source": "a" * 129, "seq": 1}).encode(), None),
        (b'{"source":5,"seq":1}', None),
        (b'{"seq":1}', None),
    ],
)
def test_what_a_record_is(value: bytes | None, key: tuple[str, int] | None) -> None:
    records = TopicRecords()
    records.add(0, 0, value)
    assert [(source, *runs.seqs().ranges()[0]) for source, runs in records.sources().items()] == (
        [(key[0], key[1], key[1])] if key else []
    )
    assert bool(records.malformed) == (key is None)


def test_a_million_records_are_a_few_runs() -> None:
    records = TopicRecords()
    for block in range(200):
        partition = block % 4
        for index in range(100):
            seq = block * 100 + index + 1
            records.add(partition, (block // 4) * 100 + index, b'{"source":"a","seq":%d,' % seq)
    runs = records.sources()["a"]
    assert runs.seqs().ranges() == [[1, 20000]]
    assert len(runs._runs) == 200


BATCHES = st.lists(
    st.tuples(st.floats(0, 10), st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 20), st.integers(0, 20)),
    max_size=10,
)


@given(BATCHES, st.floats(0, 10))
def test_rewrites_against_remembering_every_offset(
    batches: list[tuple[float, str, int, int, int]], since: float
) -> None:
    batches = sorted((when, who, part, min(one, two), max(one, two)) for when, who, part, one, two in batches)
    seen, expected = set[tuple[int, int]](), 0
    for moment, _, partition, first, last in batches:
        offsets = {(partition, offset) for offset in range(first, last + 1)}
        if moment >= since:
            expected += len(offsets & seen)
        seen |= offsets
    rewrites = count_rewrites(batches, since)
    assert rewrites.total == expected == sum(rewrites.partitions.values()) == sum(rewrites.attempts.values())


def test_a_request_with_everything() -> None:
    request = Request.parse(
        {
            "sources": {"a": [5, 9]},
            "kafka_from": {"0": 3},
            "kafka_to": {"0": 8},
            "since": 1.5,
            "resumed": {"since": 2.5, "offsets": {"0": 7}},
            "timeout": 20,
        }
    )
    assert request == Request({"a": (5, 9)}, {0: 3}, {0: 8}, 1.5, (2.5, {0: 7}), 20.0)
    assert Request.parse({}) == Request(None, {}, None, 0.0, None, 300.0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be a JSON object"),
        ({"source": {}}, "source is not a key of a books request"),
        ({"sources": ["a"]}, "sources must map each source to its window"),
        ({"sources": {"a": [1]}}, "sources must map each source to its window"),
        ({"sources": {"a": [1, True]}}, "sources must map each source to its window"),
        ({"sources": {"a": [0, 4]}}, "the window of a begins at 0, the first seq is 1"),
        ({"kafka_from": {"zero": 1}}, "kafka_from must map partitions to offsets"),
        ({"kafka_to": {"0": -1}}, "kafka_to must map partitions to offsets"),
        ({"since": "yesterday"}, "since must be a number of seconds, not 'yesterday'"),
        ({"timeout": True}, "timeout must be a number of seconds, not True"),
    ],
)
def test_requests_that_cannot_be_used(document: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Request.parse(document)


def test_what_the_command_cannot_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = tmp_path / "request.json"
    for text in ("{", "[]", None):
        if text is None:
            request.unlink()
        else:
            request.write_text(text)
        assert main(["--config", str(tmp_path / "none.toml"), "--request", str(request)]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("books: ")
        assert said.err.count("\n") == 1
