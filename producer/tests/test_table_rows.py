"""Reading the tables without a server: what is asked for, how much at once, and which buckets are opened again."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from eventlog.contents import Original, RowContents
from eventlog.event import EventFactory
from eventlog.hops.cassandra import BucketState
from eventlog.table_rows import CONCURRENT_READS, PAGE_BYTES, Tables

BUCKET = 100
NOW = 1_795_000_000.0


class Answer(list[tuple[Any, ...]]):
    """The rows of a request."""

    def one(self) -> tuple[Any, ...] | None:
        return self[0] if self else None


class Session:
    """Answers the statements of the books from dictionaries."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Any, ...]] = {}  # seq → row
        self.state: tuple[int, frozenset[int]] | None = None
        self.statements: dict[str, Any] = {}
        self.in_flight = self.most_in_flight = 0

    def execution_profile_clone_update(self, _: object, **changes: Any) -> Any:
        return SimpleNamespace(**changes)

    def prepare(self, query: str) -> Any:
        return self.statements.setdefault(query, SimpleNamespace(query=query, fetch_size=5000))

    def execute_async(self, statement: Any, values: tuple[Any, ...], execution_profile: Any) -> Any:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return SimpleNamespace(result=lambda: self._answer(statement.query, values))

    def _answer(self, query: str, values: tuple[Any, ...]) -> Answer:
        self.in_flight -= 1
        kinds: dict[str, Callable[..., Answer]] = {
            "SELECT seq": lambda _, bucket, low, high: Answer(
                row for seq, row in sorted(self.rows.items()) if low <= seq <= high and (seq - 1) // BUCKET == bucket
            ),
            "SELECT count": lambda _, bucket: Answer([(sum((seq - 1) // BUCKET == bucket for seq in self.rows),)]),
            "SELECT state": lambda _: Answer([(self.state,)] if self.state else []),
            "INSERT INTO counted": self._save,
        }
        return next(answer for begin, answer in kinds.items() if query.startswith(begin))(*values)

    def _save(self, _: str, state: tuple[int, frozenset[int]]) -> Answer:
        self.state = state
        return Answer()


def rows(session: Session, last: int) -> None:
    """Rows 1 to ``last``, as the sink writes them."""
    factory = EventFactory("a", 512)
    length = len(factory.event(1, b"2026-11-18T11:06:40.000Z", 512))
    assert length == 512
    for seq in range(1, last + 1):
        level, service, message, _ = factory.fields(seq, 300)
        session.rows[seq] = (seq, int(NOW * 1000), level, service, message, (0, seq), 1, 1, 1, 1, None)


def read(session: Session, first: int, last: int, deadline: float = 60.0) -> tuple[RowContents, dict[int, int]]:
    """The rows of a window, and the buckets that were opened again."""
    tables = Tables(session, BUCKET, time.monotonic() + deadline)
    contents = RowContents(Original("a", (first, last), NOW - 60, NOW + 60))
    counted = tables.counted("a")
    tables.rows("a", contents, 1024)
    return contents, tables.reopen("a", contents, counted)


def test_every_row_is_read_a_few_answers_at_a_time() -> None:
    session = Session()
    rows(session, 5000)
    del session.rows[2500]
    contents, reopened = read(session, 51, 4950)
    assert contents.present.ranges() == [[51, 2499], [2501, 4950]]
    assert not contents.altered
    assert reopened == {}, "no bucket was taken for full"
    assert session.most_in_flight == CONCURRENT_READS
    (statement,) = [known for query, known in session.statements.items() if query.startswith("SELECT seq")]
    assert statement.fetch_size == PAGE_BYTES // 1024


def test_buckets_of_the_window_that_are_not_full_any_more() -> None:
    session = Session()
    rows(session, 1000)
    session.state = (10, frozenset({2}))
    for seq in (10, 150, 250, 960, 961):  # 10 is of the first bucket, but before the window
        del session.rows[seq]
    _, reopened = read(session, 51, 950)
    assert reopened == {0: 99, 1: 99, 9: 98}
    assert session.state == (10, frozenset({0, 1, 2, 9}))
    assert BucketState(*session.state).full_buckets() == 6


def test_full_buckets_are_left_as_they_are() -> None:
    session = Session()
    rows(session, 1000)
    session.state = (10, frozenset())
    assert read(session, 51, 950)[1] == {}
    assert session.state == (10, frozenset())


def test_the_deadline_ends_it() -> None:
    session = Session()
    rows(session, 200)
    with pytest.raises(TimeoutError, match="not read to the end"):
        read(session, 1, 200, deadline=-1.0)
