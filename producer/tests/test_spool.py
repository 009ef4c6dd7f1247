"""The spool on its own: what is kept, what is given back, and what is said about a file that cannot be used."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from eventlog.spool import Block, Reject, Spool, SpoolError, SpoolFull, is_held, make_source, read_spool

LIMIT = 64 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "spool.db"


@pytest.fixture
def open_spool(path: Path) -> Iterator[Callable[..., Spool]]:
    opened: list[Spool] = []

    def make(limit: int = LIMIT, rate: float = 10.0) -> Spool:
        opened.append(Spool(path, limit, rate))
        return opened[-1]

    yield make
    for spool in opened:
        spool.close()


def fill(spool: Spool, count: int, size: int = 1024) -> None:
    """Count ``count`` more events, in blocks of at most 100."""
    made = spool.state.made
    events = [b"%0*d" % (size, seq) for seq in range(made + 1, made + count + 1)]
    blocks = [Block(made + 1 + at, events[at : at + 100]) for at in range(0, count, 100)]
    spool.commit(replace(spool.state, made=made + count), blocks)


def test_a_new_spool_is_a_new_source(open_spool: Callable[..., Spool], path: Path) -> None:
    state = open_spool(rate=25.0).state

    assert state == replace(state, made=0, settled=0, rejected=0, streaming=True, rate=25.0, reason=None)
    assert state.source != make_source()
    assert 1 <= len(state.source) <= 128


def test_the_mark_survives_the_events(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    fill(spool, 250)
    source = spool.state.source
    spool.commit(replace(spool.state, settled=250, streaming=False, rate=3.5))
    reader = spool.blocks()
    assert reader.after(0) is None
    reader.close()
    spool.close()

    again = open_spool(rate=99.0).state
    assert (again.source, again.made, again.settled) == (source, 250, 250)
    assert (again.streaming, again.rate) == (False, 3.5)


def test_blocks_come_back_in_order_from_any_seq(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    fill(spool, 250)
    with closing(spool.blocks()) as reader:
        for after in (0, 1, 99, 100, 101, 249):
            block = reader.after(after)
            assert block is not None
            assert block.first == after + 1
            assert block.last == min(250, (after // 100 + 1) * 100)
            assert [int(event) for event in block.events] == list(range(block.first, block.last + 1))
        assert reader.after(250) is None


def test_a_settled_part_of_a_block_is_not_sent_again(open_spool: Callable[..., Spool]) -> None:
    spool = open_spool()
    fill(spool, 250)
    spool.commit(replace(spool.state, settled=130))
    assert spool.state.buffered == 120
    with closing(spool.blocks()) as reader:
        block = reader.after(spool.state.settled)
    assert block is not None
    assert (block.first, block.last) == (131, 200)


def test_rejects_are_kept_with_reason_and_body(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    fill(spool, 10)
    spool.commit(replace(spool.state, settled=10, rejected=1), rejects=[Reject(4, "too large", b"body")])

    reading = read_spool(path)
    assert (reading.count, reading.acked, reading.buffered, reading.rejected) == (10, 9, 0, 1)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT seq, reason, body FROM rejects").fetchall() == [(4, "too large", b"body")]


def test_space_is_given_back_after_a_drain(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    while spool.tidy():
        pass
    for _ in range(20):
        fill(spool, 1000)
    full = path.stat().st_size + Path(f"{path}-wal").stat().st_size
    assert full > 20 << 20
    assert not spool.tidy()

    spool.commit(replace(spool.state, settled=spool.state.made))
    portions = 0
    while spool.tidy():
        portions += 1
    assert 2 < portions < 20
    assert path.stat().st_size < 5 << 20
    assert spool.used_bytes() < 1 << 20


def test_forgetting_much_takes_little_log(open_spool: Callable[..., Spool], path: Path) -> None:
    """On a full disk the log cannot grow: what makes room must fit into what it has."""
    spool = open_spool()
    for _ in range(30):
        fill(spool, 1000)
    spool._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    log = Path(f"{path}-wal")
    assert log.stat().st_size == 0
    spool.commit(replace(spool.state, settled=spool.state.made))
    assert log.stat().st_size < 1 << 20


def test_the_log_stays_within_its_budget(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    for _ in range(100):
        fill(spool, 400)
        spool.commit(replace(spool.state, settled=spool.state.made))
    assert Path(f"{path}-wal").stat().st_size < 8 << 20
    assert path.stat().st_size < 4 << 20


def test_the_limit_holds_until_a_twentieth_is_free(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool(limit=16 << 20)
    while not spool.limit_reached(100 << 10):
        fill(spool, 100)
    spool.hold_reserve()
    on_disk = sum(file.stat().st_size for file in path.parent.iterdir())
    assert 8 << 20 < on_disk <= 16 << 20

    spool.commit(replace(spool.state, settled=100))
    assert spool.limit_reached(1 << 10)
    spool.commit(replace(spool.state, settled=spool.state.made // 5))
    assert not spool.limit_reached(1 << 10)


def test_a_full_disk_keeps_nothing_of_the_transaction(open_spool: Callable[..., Spool], path: Path) -> None:
    """SQLite's own page limit stands in for the disk's end here; the process test meets the system's."""
    spool = open_spool()
    fill(spool, 100)
    before = spool.state
    pages = path.stat().st_size // 8192 + 40
    spool._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(SpoolFull, match="the disk is full"):
        fill(spool, 10_000)

    assert spool.state == before
    assert read_spool(path).count == 100


def test_a_reserve_is_held_and_released(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    reserve = Path(f"{path}.reserve")
    assert spool.hold_reserve()
    assert spool.hold_reserve()
    assert reserve.stat().st_blocks * 512 >= 8 << 20
    spool.release_reserve()
    assert not reserve.exists()
    spool.release_reserve()


def test_a_second_producer_is_refused(open_spool: Callable[..., Spool], path: Path) -> None:
    open_spool()
    with pytest.raises(SpoolError, match=rf"in use by another producer \(pid {os.getpid()}\): stop it first"):
        Spool(path, LIMIT, 10.0)


def test_a_reading_says_whether_a_producer_lives(open_spool: Callable[..., Spool], path: Path) -> None:
    with pytest.raises(SpoolError, match="does not exist"):
        read_spool(path)
    assert not is_held(path)

    spool = open_spool()
    fill(spool, 5)
    live = read_spool(path)
    assert (live.count, live.acked, live.buffered, live.alive, live.streaming) == (5, 0, 5, True, True)
    assert live.source == spool.state.source
    assert live.spool_bytes == spool.used_bytes()

    spool.commit(replace(spool.state, reason="the disk is full"))
    assert (read_spool(path).streaming, read_spool(path).reason) == (False, "the disk is full")
    spool.commit(replace(spool.state, streaming=False))
    assert (read_spool(path).streaming, read_spool(path).reason) == (False, "paused")

    spool.close()
    dead = read_spool(path)
    assert (dead.count, dead.alive, dead.streaming) == (5, False, False)
    assert dead.reason == "the producer is not running"


def test_a_stale_log_beside_a_deleted_spool_is_not_taken_over(open_spool: Callable[..., Spool], path: Path) -> None:
    """Only spool.db was removed, after a kill: its write-ahead log must not come to life in the new one."""
    first = open_spool()
    fill(first, 100)
    log = Path(f"{path}-wal").read_bytes()
    source = first.state.source
    first.close()
    path.unlink()
    Path(f"{path}-wal").write_bytes(log)

    state = open_spool().state
    assert state.source != source
    assert state.made == 0


def test_a_removed_file_is_noticed(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    assert not spool.removed()
    path.rename(path.with_name("elsewhere.db"))
    assert spool.removed()
    path.touch()
    assert spool.removed()


@pytest.mark.parametrize("content", [b"this is not a database" * 100, b"\0" * 4096])
def test_a_damaged_file_is_one_line(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(SpoolError, match="is damaged") as error:
        Spool(path, LIMIT, 10.0)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content
    with pytest.raises(SpoolError, match="is damaged"):
        read_spool(path)
    assert not is_held(path)


def test_a_damaged_page_is_one_line(open_spool: Callable[..., Spool], path: Path) -> None:
    spool = open_spool()
    fill(spool, 2000)
    spool.close()
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)

    with pytest.raises(SpoolError, match=r"is damaged|cannot be used"):
        open_spool()


def test_another_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(SpoolError, match="is not a spool"):
        Spool(path, LIMIT, 10.0)
    assert path.read_bytes() == before


def test_another_version_is_left_alone(open_spool: Callable[..., Spool], path: Path) -> None:
    open_spool().close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(SpoolError, match="is of version 7, this producer writes version 1"):
        open_spool()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match="its folder cannot be used: File exists"):
        Spool(tmp_path / "file" / "spool.db", LIMIT, 10.0)
