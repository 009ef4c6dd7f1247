from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from eventlog_job.state import Resume, State, positions
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "flink")


def savepoint(state: State, name: str = "one") -> Path:
    folder = state.savepoints / name / "savepoint-1"
    folder.mkdir(parents=True)
    (folder / "_metadata").write_bytes(b"x")
    return folder


def test_a_note_is_found_once(state: State) -> None:
    resume = Resume(str(savepoint(state)), "topic-id", {0: 5, 3: 7})
    state.write_resume(resume)
    assert state.resume() == resume
    state.use_up_resume()
    assert state.resume() is None
    state.use_up_resume()
    assert json.loads((state.folder / "resume.used.json").read_text())["next_offsets"] == {"0": 5, "3": 7}


def test_a_note_whose_savepoint_is_gone_is_none(state: State) -> None:
    folder = savepoint(state)
    state.write_resume(Resume(str(folder), "topic-id", {}))
    (folder / "_metadata").unlink()
    assert state.resume() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"{}",
        b'{"savepoint": 1}',
        b'{"savepoint": "/x", "topic_id": "t", "next_offsets": []}',
        b'{"savepoint": "/x", "topic_id": "t", "next_offsets": {"a": 1}}',
    ],
)
def test_a_damaged_note_is_none(state: State, content: bytes) -> None:
    state.folder.mkdir()
    (state.folder / "resume.json").write_bytes(content)
    assert state.resume() is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"topic_id": 1}'])
def test_a_damaged_topic_file_is_none(state: State, content: bytes) -> None:
    state.folder.mkdir()
    (state.folder / "topic.json").write_bytes(content)
    assert state.topic_id() is None


def test_remembers_the_topic(state: State) -> None:
    assert state.topic_id() is None
    state.remember_topic("events", "first")
    state.remember_topic("events", "second")
    assert state.topic_id() == "second"
    assert [path.name for path in state.folder.iterdir()] == ["topic.json"]


def test_prune_keeps_the_newest_savepoints_and_no_former_checkpoints(state: State) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = savepoint(state, name).parent
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    for job in ("a" * 32, "0" * 32):
        (state.folder / "checkpoints" / job / "chk-1").mkdir(parents=True)
    state.prune(2)
    assert {path.name for path in state.savepoints.iterdir()} == {"new", "middle"}
    assert {path.name for path in (state.folder / "checkpoints").iterdir()} == {"0" * 32}


def test_prune_of_nothing(state: State) -> None:
    state.prune(2)


def split(topic: str, partition: int, offset: int, end: int = -(2**63)) -> bytes:
    name = topic.encode()
    return struct.pack(">H", len(name)) + name + struct.pack(">iqq", partition, offset, end)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", {}),
        (b"junk" + split("events", 1, 70) + b"junk" + split("events", 0, 5), {0: 5, 1: 70}),
        (split("events-rejected", 0, 5), {}),
        (split("other", 0, 5), {}),
        (split("events", 2, -3), {2: -3}),
        (split("events", 0, 5, end=9), {}),
        (split("events", 0, 5)[:-1], {}),
        (b"\x00\x06events" + split("events", 0, 5), {0: 5}),
    ],
)
def test_positions(tmp_path: Path, content: bytes, expected: dict[int, int]) -> None:
    (tmp_path / "_metadata").write_bytes(content)
    assert positions(tmp_path, "events") == expected


@given(st.binary(max_size=100), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=100))
def test_positions_are_found_in_any_surroundings(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, partition: int, offset: int, after: bytes
) -> None:
    folder = tmp_path_factory.mktemp("savepoint")
    (folder / "_metadata").write_bytes(before + split("a-topic", partition, offset) + after)
    assert positions(folder, "a-topic") == {partition: offset}
