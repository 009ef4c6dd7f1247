"""The producer as a process, without Kafka: start, refusals, signals, kills, and a disk that ends."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from eventlog.control import ControlError, ProducerUnreachable
from eventlog.event import decode
from eventlog.spool import BlockReader, read_spool

from testing.producer import ProducerProcess
from testing.waiting import wait_until

pytestmark = pytest.mark.processes

Make = Callable[..., ProducerProcess]


def counted(path: Path) -> list[int]:
    """The seqs of all events in the spool."""
    seqs: list[int] = []
    with closing(BlockReader(path)) as reader:
        while block := reader.after(seqs[-1] if seqs else 0):
            seqs += [decode(event).seq for event in block.events]
    return seqs


def test_it_counts_at_its_rate_while_kafka_is_away(make_producer: Make) -> None:
    producer = make_producer(producer__rate=100.0)
    producer.start()
    begin = producer.ask("status")
    began = time.monotonic()
    wait_until(lambda: producer.ask("status")["count"] >= begin["count"] + 200, 20, "200 events are counted", 0.02)

    assert 1.9 <= time.monotonic() - began <= 4
    status = producer.ask("status")
    assert status["alive"] is True
    assert status["streaming"] is True
    assert status["reason"] is None
    assert status["rate"] == 100.0
    assert status["acked"] == 0
    assert status["buffered"] == status["count"]
    assert status["pid"] == producer.pid
    producer.until(lambda status: status["kafka_error"] is not None, "Kafka is said to be away", 10)
    assert "Kafka cannot be reached" in producer.log

    status_code, seconds = producer.stop()
    assert (status_code, producer.log.count("\n")) == (0, 3)
    assert seconds < 5
    reading = producer.reading()
    assert reading.count >= status["count"]
    assert counted(producer.config.producer.spool) == list(range(1, reading.count + 1))


def test_every_line_it_says_has_a_time(make_producer: Make) -> None:
    producer = make_producer()
    producer.start()
    producer.stop()
    lines = producer.log.splitlines()
    assert len(lines) >= 2
    for line in lines:
        moment, level, _ = line.split(" ", 2)
        assert len(moment) == len("2026-11-23T20:11:58.123Z")
        assert moment.endswith("Z")
        assert level in {"INFO", "WARNING"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_leaves_spool_and_no_socket(make_producer: Make, how: signal.Signals) -> None:
    producer = make_producer()
    producer.start()
    assert stat.S_IMODE(producer.config.producer.socket.stat().st_mode) == 0o600
    assert producer.stop(how)[0] == 0
    assert not producer.config.producer.socket.exists()
    with pytest.raises(ProducerUnreachable, match="the producer is not running"):
        producer.ask("status")
    assert producer.reading().reason == "the producer is not running"


def test_a_kill_keeps_what_was_counted(make_producer: Make) -> None:
    producer = make_producer(producer__rate=2000.0)
    producer.start()
    source = producer.ask("status")["source"]
    for _ in range(3):
        producer.until_beyond("buffered", 0, 10)
        last = producer.ask("status")["count"]
        producer.kill()
        reading = producer.reading()
        assert reading.count >= last
        assert reading.source == source
        assert counted(producer.config.producer.spool) == list(range(1, reading.count + 1))
        producer.start()
        assert producer.ask("status")["count"] >= reading.count
    producer.kill()


def test_pause_and_rate_survive_a_kill(make_producer: Make) -> None:
    producer = make_producer(producer__rate=50.0)
    producer.start()
    assert producer.ask("rate", rate=200)["rate"] == 200.0
    paused = producer.ask("pause")
    assert (paused["streaming"], paused["reason"], paused["saved"]) == (False, "paused", True)
    producer.kill()
    producer.start()
    status = producer.ask("status")
    assert (status["streaming"], status["rate"], status["count"]) == (False, 200.0, paused["count"])
    assert producer.reading().reason == "paused"

    assert producer.ask("resume")["streaming"] is True
    producer.until_beyond("count", paused["count"], 5)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"do": "rate", "rate": 0}, r"outside 0\.001 to 100000"),
        ({"do": "rate", "rate": -5}, r"outside 0\.001 to 100000"),
        ({"do": "rate", "rate": 10**400}, "too large"),
        ({"do": "rate", "rate": "10"}, "rate is '10', expected a number"),
        ({"do": "rate", "rate": True}, "rate is True, expected a number"),
        ({"do": "rate"}, "rate is None, expected a number"),
        ({"do": "dance"}, "unknown request"),
        ({"do": "pause", "rate": 5}, "unknown request"),
        ({}, "unknown request"),
    ],
)
def test_a_wrong_request_changes_nothing(make_producer: Make, request_: dict[str, Any], message: str) -> None:
    producer = make_producer()
    producer.start()
    with pytest.raises(ControlError, match=message):
        producer.ask(**{"do": None, **request_})
    status = producer.ask("status")
    assert (status["streaming"], status["rate"]) == (True, 10.0)


def test_a_second_producer_on_the_spool_is_refused(make_producer: Make) -> None:
    producer = make_producer()
    producer.start()
    other = make_producer(producer__socket=str(producer.config.producer.socket.with_name("other.sock")))

    status, said = other.run_to_end()

    assert status == 2
    assert said.count("\n") == 1
    assert f"is in use by another producer (pid {producer.pid}): stop it first" in said
    assert producer.ask("status")["streaming"] is True


def test_a_second_producer_on_the_socket_is_refused(make_producer: Make, tmp_path: Path) -> None:
    producer = make_producer()
    producer.start()
    status, said = make_producer(producer__spool=str(tmp_path / "other.db")).run_to_end()

    assert status == 2
    assert "is in use by another program: set another producer.socket" in said
    assert producer.ask("status")["streaming"] is True


def test_a_killed_producers_socket_is_no_obstacle(make_producer: Make) -> None:
    producer = make_producer()
    producer.start()
    producer.kill()
    assert producer.config.producer.socket.exists()
    producer.start()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event__bytes": 10}, "event.bytes is 10 (integer)"),
        ({"producer__socket": "/tmp/" + "s" * 110}, "bytes long, the system takes at most 107"),
    ],
)
def test_what_it_cannot_start_with_is_one_line(
    make_producer: Make, write_config: Callable[..., Path], change: dict[str, object], message: str
) -> None:
    producer = make_producer()
    write_config(**change)

    status, said = producer.run_to_end()

    assert status == 2
    assert message in said
    assert said.count("\n") == 1


def test_a_deleted_spool_is_a_new_source(make_producer: Make) -> None:
    producer = make_producer(producer__rate=500.0)
    producer.start()
    first = producer.ask("status")["source"]
    producer.kill()
    producer.config.producer.spool.unlink()

    producer.start()
    producer.until_beyond("count", 10, 10)
    assert producer.ask("status")["source"] != first
    producer.kill()
    assert counted(producer.config.producer.spool)[0] == 1


def test_a_spool_removed_while_it_runs_is_said(make_producer: Make) -> None:
    producer = make_producer(producer__rate=100.0)
    producer.start()
    producer.config.producer.spool.unlink()
    producer.until(lambda status: not status["streaming"], "it stops counting", 10)
    assert producer.ask("status")["reason"] == "the spool file was removed: start the producer again"
    assert producer.stop()[0] == 0


def test_a_damaged_spool_ends_it_with_one_line(make_producer: Make) -> None:
    producer = make_producer(producer__rate=2000.0)
    producer.start()
    wait_until(lambda: producer.config.producer.spool.stat().st_size > 6 << 20, 20, "the log was copied")
    with producer.config.producer.spool.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (2 << 20))
    producer.kill()

    status, said = producer.run_to_end()
    assert status in {1, 2}  # the damage shows at the start or with the first block that is read
    assert "is damaged" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_at_its_limit_it_stops_counting_and_says_so(make_producer: Make) -> None:
    limit = 16 << 20
    producer = make_producer(producer__rate=20_000.0, producer__spool_limit_bytes=limit)
    producer.start()
    producer.until(lambda status: not status["streaming"], "the limit is reached", 30)

    status = producer.ask("status")
    assert status["reason"] == f"the spool has reached its limit of {limit} bytes"
    assert status["buffered"] == status["count"] > 5000
    assert producer.reading().reason == status["reason"]
    folder = producer.config.producer.spool.parent
    files = [file for file in folder.iterdir() if file.name.startswith("spool.db")]
    assert sum(file.stat().st_size for file in files) <= limit
    assert producer.ask("status")["count"] == status["count"]
    producer.stop()
    assert counted(producer.config.producer.spool) == list(range(1, status["count"] + 1))


def test_a_disk_that_ends_is_survived(make_producer: Make) -> None:
    """The kernel refuses to write beyond RLIMIT_FSIZE, in the middle of a write, as a full file system does.

    A file system of a fixed size would need root to mount; this limit needs nothing, and can be lifted from outside
    while the producer runs, as when somebody makes room.
    """
    producer = make_producer(producer__rate=5000.0)
    producer.start()
    soft = 3 << 20
    resource.prlimit(producer.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    producer.until(lambda status: not status["streaming"], "the disk is full", 30)

    full = producer.ask("status")
    assert "the disk is full" in full["reason"] or "the spool cannot be written" in full["reason"]
    assert full["count"] > 0
    paused = producer.ask("pause")
    assert paused["reason"] == "paused"
    resumed = producer.ask("resume")
    assert resumed["reason"] == full["reason"]
    assert producer.ask("status")["count"] == full["count"]
    assert producer.log.count("not streaming") <= 2

    resource.prlimit(producer.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    producer.until(lambda status: bool(status["streaming"]), "it streams again", 10)
    producer.until_beyond("count", full["count"], 10)
    assert "streaming again at seq" in producer.log
    producer.kill()
    reading = producer.reading()
    assert counted(producer.config.producer.spool) == list(range(1, reading.count + 1))


def test_a_writer_that_blocks_the_spool_is_said(make_producer: Make) -> None:
    producer = make_producer(producer__rate=100.0)
    producer.start()
    with closing(sqlite3.connect(producer.config.producer.spool, isolation_level=None)) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        producer.until(lambda status: not status["streaming"], "it cannot write", 20)
        assert "database is locked" in producer.ask("status")["reason"]
        intruder.execute("ROLLBACK")
    producer.until(lambda status: bool(status["streaming"]), "it streams again", 20)


def test_a_frozen_producer_is_alive_and_forgives_its_freeze(make_producer: Make) -> None:
    producer = make_producer(producer__rate=50.0)
    producer.start()
    os.kill(producer.pid, signal.SIGSTOP)
    try:
        before = producer.reading()
        assert before.alive is True
        with pytest.raises(ProducerUnreachable, match="did not answer"):
            producer.ask("status", timeout=3)
        frozen = read_spool(producer.config.producer.spool).count
    finally:
        os.kill(producer.pid, signal.SIGCONT)
    producer.until_beyond("count", frozen, 10)
    # Three seconds at 50/s were missed; one second of them at most is made up for.
    assert producer.ask("status")["count"] - frozen < 100
