"""The spool: every counted event is on disk here until Kafka has acknowledged it.

One SQLite file in write-ahead mode with ``synchronous=FULL``: a commit that returned survives a kill and a power cut.
Events are stored as blocks, one row for up to a few hundred consecutive events, which costs a few microseconds per
event. The single row of ``state`` holds what must outlive the blocks: the source, the high-water mark ``made``, the
cursor ``settled`` (every event up to it was acknowledged or refused for good), and whether and how fast to stream.

Two connections write and read it inside the producer (:class:`Spool` by the generator, :class:`BlockReader` by the
publisher); :func:`read_spool` serves everybody else, whether the producer lives or not.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

# "evlg": marks the file as ours (SQLite's application_id), so that another database is never written to.
APPLICATION_ID = 0x65766C67
SCHEMA_VERSION = 1
PAGE_SIZE = 8192
# Measured with 1 KB events, 50 commits/s: 4 MiB of write-ahead log costs 25 % against 16 MiB, and 12 MiB less disk.
WAL_BYTES = 4 << 20
# Must cover the growth of the file while a full write-ahead log and one more transaction are copied into it.
RESERVE_BYTES = 8 << 20
GROUP_BYTES = 2 << 20
# Free pages are given back to the file system once they are at least this much and half of the file.
GIVE_BACK_BYTES = 4 << 20
_GIVE_BACK_PAGES = 512
# One transaction drops so many blocks at most, so that it always fits into a write-ahead log that cannot grow.
_DROP_BLOCKS = 128
# After the limit was reached, streaming goes on when a twentieth of it is free again, not with every single block.
_HYSTERESIS = 0.95

_SCHEMA = f"""
CREATE TABLE blocks (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE rejects (seq INTEGER PRIMARY KEY, reason TEXT NOT NULL, time REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    source TEXT NOT NULL, made INTEGER NOT NULL, settled INTEGER NOT NULL, rejected INTEGER NOT NULL,
    streaming INTEGER NOT NULL, rate REAL NOT NULL, reason TEXT
);
PRAGMA user_version = {SCHEMA_VERSION};
"""


class SpoolError(Exception):
    """The spool cannot be used; the text is one line for a person."""


class SpoolFull(Exception):
    """A transaction did not fit on the disk (or the disk failed); nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class State:
    """What outlives the blocks. ``streaming`` is what was asked for, ``reason`` why it does not happen all the same."""

    source: str
    made: int
    settled: int
    rejected: int
    streaming: bool
    rate: float
    reason: str | None

    @property
    def acked(self) -> int:
        """Events acknowledged by Kafka, all others up to ``settled`` having been refused for good."""
        return self.settled - self.rejected

    @property
    def buffered(self) -> int:
        """Events counted, but neither acknowledged nor refused."""
        return self.made - self.settled


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive events, ``first`` to ``first + len(events) - 1``; an event never contains a line feed."""

    first: int
    events: Sequence[bytes]

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


@dataclass(frozen=True, slots=True)
class Reject:
    """An event Kafka refused for good, and why."""

    seq: int
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SpoolReading:
    """The spool as seen from outside the producer. ``count = acked + buffered + rejected``.

    ``alive``: a producer process holds the spool; ``streaming`` is never true without it. ``spool_bytes``: bytes in
    use inside the file.
    """

    count: int
    acked: int
    buffered: int
    rejected: int
    spool_bytes: int
    source: str
    alive: bool
    streaming: bool
    reason: str | None
    rate: float


class Spool:
    """The writing side, owned by one thread of one producer.

    Opening takes the lock beside the file, creates the file at its first use (and with it a new source) and raises
    SpoolError when another producer holds it, or when the file is damaged, foreign or from another version.
    """

    def __init__(self, path: Path, limit_bytes: int, rate: float) -> None:
        self._path = path
        self.limit_bytes = limit_bytes
        self._wal_bytes = min(WAL_BYTES, limit_bytes // 8)
        self._reserve_bytes = min(RESERVE_BYTES, limit_bytes // 4)
        self.group_bytes = min(GROUP_BYTES, limit_bytes // 16)
        self.capacity = limit_bytes - self._reserve_bytes - self._wal_bytes - self.group_bytes
        self._reserve = Path(f"{path}.reserve")
        self._lock = _take_lock(path)
        try:
            self._connection = self._open(rate)
        except BaseException:
            os.close(self._lock)
            raise
        self._inode = path.stat().st_ino
        self._limited = False
        self._settled_left = True
        self._returning = False

    def _open(self, rate: float) -> sqlite3.Connection:
        with _explained(self._path):
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)
            try:
                new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
                if new:
                    # These three hold only if they come before the first table.
                    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                else:
                    _check_version(connection, self._path)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                # Some builds overwrite what is deleted with zeros, which doubles the writing and needs room to forget.
                connection.execute("PRAGMA secure_delete = OFF")
                connection.execute(f"PRAGMA wal_autocheckpoint = {self._wal_bytes // PAGE_SIZE}")
                connection.execute(f"PRAGMA journal_size_limit = {self._wal_bytes}")
                if new:
                    with _transaction(connection):
                        for statement in filter(str.strip, _SCHEMA.split(";\n")):
                            connection.execute(statement)
                        first = (make_source(), rate)
                        connection.execute("INSERT INTO state VALUES (1, ?, 0, 0, 0, 1, ?, NULL)", first)
                self._state = replace(_state(connection, self._path), reason=None)
            except BaseException:
                connection.close()
                raise
        return connection

    @property
    def state(self) -> State:
        """As of the last commit that returned."""
        return self._state

    def commit(self, state: State, blocks: Iterable[Block] = (), rejects: Iterable[Reject] = ()) -> None:
        """Store ``blocks`` and ``rejects``, drop some blocks that are settled, and make ``state`` the state.

        All of it or nothing, on disk when it returns. Raises SpoolFull when the disk has no room or fails, and
        SpoolError when the file is found damaged.
        """
        try:
            with _transaction(self._connection):
                self._connection.executemany(
                    "INSERT INTO blocks VALUES (?, ?, ?)",
                    ((block.last, block.first, b"\n".join(block.events)) for block in blocks),
                )
                self._connection.executemany(
                    "INSERT OR REPLACE INTO rejects VALUES (?, ?, ?, ?)",
                    ((reject.seq, reject.reason, time.time(), reject.body) for reject in rejects),
                )
                if state.settled != self._state.settled:
                    self._drop_settled(state.settled)
                self._connection.execute(
                    "UPDATE state SET made = ?, settled = ?, rejected = ?, streaming = ?, rate = ?, reason = ?",
                    (state.made, state.settled, state.rejected, state.streaming, state.rate, state.reason),
                )
        except sqlite3.OperationalError as error:
            raise SpoolFull(_disk_reason(error)) from error
        except sqlite3.DatabaseError as error:
            raise explain(self._path, error) from error
        self._state = state

    def used_bytes(self) -> int:
        """Bytes in use inside the file (pages that hold something)."""
        return _used_bytes(self._connection)

    def limit_reached(self, incoming: int) -> bool:
        """Whether ``incoming`` bytes would go beyond the limit; once so, until a twentieth of it is free again."""
        bound = self.capacity * _HYSTERESIS if self._limited else self.capacity
        # A block costs its bytes and up to one page more.
        self._limited = self.used_bytes() + incoming + PAGE_SIZE > bound
        return self._limited

    def tidy(self) -> bool:
        """One portion of what needs no hurry: drop settled blocks, then return free pages to the file system.

        True if there may be more to do. On a full disk nothing happens until a commit has made room.
        """
        with suppress(sqlite3.OperationalError):
            if self._settled_left:
                with _transaction(self._connection):
                    self._drop_settled(self._state.settled)
                return True
            self._returning = self._return_pages()
        return self._returning

    def _drop_settled(self, settled: int) -> None:
        dropped = self._connection.execute(
            "DELETE FROM blocks WHERE last IN (SELECT last FROM blocks WHERE last <= ? ORDER BY last LIMIT ?)",
            (settled, _DROP_BLOCKS),
        ).rowcount
        self._settled_left = dropped == _DROP_BLOCKS

    def _return_pages(self) -> bool:
        free, pages = (self._pragma(name) for name in ("freelist_count", "page_count"))
        if free * PAGE_SIZE >= GIVE_BACK_BYTES and free * 2 >= pages:
            # The pragma frees one page per step and returns no row; only executescript() makes all the steps.
            self._connection.executescript(f"PRAGMA incremental_vacuum({_GIVE_BACK_PAGES})")
            return True
        if self._returning:
            self._checkpoint()  # the file itself only shrinks now
        return False

    def hold_reserve(self) -> bool:
        """Make the reserve on disk, if it is not there; False when there is no room for it."""
        try:
            handle = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(handle, 0, self._reserve_bytes)
        except OSError:
            self.release_reserve()
            return False
        finally:
            os.close(handle)
        return True

    def release_reserve(self) -> None:
        """Give the reserve up, so that a full disk has room to forget what was acknowledged."""
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        with suppress(sqlite3.OperationalError):
            self._checkpoint()

    def removed(self) -> bool:
        """Whether the file was removed or replaced underneath: what is counted from now on would not be kept."""
        try:
            return self._path.stat().st_ino != self._inode
        except OSError:
            return True

    def blocks(self) -> BlockReader:
        """A reader of the committed blocks, for another thread."""
        return BlockReader(self._path)

    def close(self) -> None:
        """Close the file and let go of the lock; a second call does nothing."""
        if self._lock < 0:
            return
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        self._connection.close()
        os.close(self._lock)
        self._lock = -1

    def _checkpoint(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


class BlockReader:
    """Reads committed blocks in order, beside the writer."""

    def __init__(self, path: Path) -> None:
        self._connection = _connect_read_only(path, check_same_thread=False)

    def after(self, seq: int) -> Block | None:
        """The events of the first block beyond ``seq``, without those up to ``seq``; None when there is none."""
        row = self._connection.execute(
            "SELECT first, body FROM blocks WHERE last > ? ORDER BY last LIMIT 1", (seq,)
        ).fetchone()
        if row is None:
            return None
        first, body = row
        skip = max(0, seq + 1 - first)
        return Block(first + skip, body.split(b"\n")[skip:])

    def close(self) -> None:
        self._connection.close()


def make_source() -> str:
    """A new source: the host's name and a random suffix, at most 71 characters of ``[A-Za-z0-9._-]``."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "host"
    return f"{host}-{secrets.token_hex(3)}"


def read_spool(path: Path) -> SpoolReading:
    """The spool's counts, at the same cost whatever it holds. Raises SpoolError, whose text is one line."""
    if not path.is_file():
        raise SpoolError(f"spool {path} does not exist (has the producer ever been started?)")
    # Asked first: a producer that ends in between leaves a reading that is still right.
    alive = is_held(path)
    with _explained(path), closing(_connect_read_only(path)) as connection:
        _check_version(connection, path)
        state = _state(connection, path)
        used = _used_bytes(connection)
    if not alive:
        reason: str | None = "the producer is not running"
    elif not state.streaming:
        reason = "paused"
    else:
        reason = state.reason
    return SpoolReading(
        count=state.made,
        acked=state.acked,
        buffered=state.buffered,
        rejected=state.rejected,
        spool_bytes=used,
        source=state.source,
        alive=alive,
        streaming=reason is None,
        reason=reason,
        rate=state.rate,
    )


def is_held(path: Path) -> bool:
    """Whether a producer process holds the spool at ``path`` (a frozen one does)."""
    try:
        handle = os.open(_lock_path(path), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock_path(path: Path) -> Path:
    # Beside the database, because SQLite's own locks come and go with each transaction.
    return Path(f"{path}.lock")


def _take_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolError(f"spool {path}: its folder cannot be used: {error.strerror}") from error
    # A reader's is_held() holds the lock for an instant: only what lasts is another producer.
    deadline = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise SpoolError(
                f"spool {path} is in use by another producer (pid {holder}): stop it first, or use another spool"
            ) from None
        break
    with suppress(OSError):  # the pid only serves the message above, and the disk may be full
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
    return handle


def _connect_read_only(path: Path, check_same_thread: bool = True) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=check_same_thread, timeout=2)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has already rolled back after some errors
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise explain(path, error) from error


def explain(path: Path, error: sqlite3.DatabaseError) -> SpoolError:
    """What SQLite says about the spool at ``path``, with what to do about it."""
    if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return SpoolError(f"spool {path} is damaged ({error}): move it away and start again")
    return SpoolError(f"spool {path} cannot be used: {error}")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    if int(connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
        raise SpoolError(f"{path} is not a spool: choose another producer.spool, or move the file away")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version != SCHEMA_VERSION:
        raise SpoolError(
            f"spool {path} is of version {version}, this producer writes version {SCHEMA_VERSION}: "
            "drain it with the producer that made it, then remove it"
        )


def _state(connection: sqlite3.Connection, path: Path) -> State:
    row = connection.execute("SELECT source, made, settled, rejected, streaming, rate, reason FROM state").fetchone()
    if row is None:
        raise SpoolError(f"spool {path} is damaged (it has no state): move it away and start again")
    source, made, settled, rejected, streaming, rate, reason = row
    return State(source, made, settled, rejected, bool(streaming), rate, reason)


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _disk_reason(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full"
    return f"the spool cannot be written ({error}{f', {name}' if name else ''})"
