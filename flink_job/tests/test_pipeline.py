"""The job on real servers: what a person sees, and what must survive."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from eventlog_job.state import State, positions

from testing.job import Stack, event, produce, wait_caught_up
from testing.settings import TOPIC
from testing.waiting import wait_until

#: Seconds; generous, since the machine may be busy with other tests.
PATIENCE = 240


class Stream:
    """Sends events of one source at a steady rate, on a thread, until it is stopped."""

    def __init__(self, stack: Stack, source: str, rate: int) -> None:
        self._producer = stack.kafka.producer()
        self._source = source
        self._rate = rate
        self._over = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        tenth = max(1, self._rate // 10)
        while not self._over.wait(0.1):
            produce(self._producer, self._source, range(self.sent + 1, self.sent + tenth + 1))
            self.sent += tenth

    def stop(self) -> set[tuple[str, int]]:
        """Ends it; returns what was acknowledged."""
        self._over.set()
        self._thread.join()
        return {(self._source, seq) for seq in range(1, self.sent + 1)}

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(stack: Stack) -> None:
    stack.start_flink()
    wait_until(stack.running, PATIENCE, "running job")


def ranges(stack: Stack) -> Iterator[tuple[int, int, int]]:
    """(partition, first, last) of the ingest log."""
    for row in stack.execute("SELECT partition, first_offset, last_offset FROM eventlog.ingest_log"):
        yield row.partition, row.first_offset, row.last_offset


def replays(stack: Stack) -> int:
    """Offsets that the ingest log holds more than once."""
    seen: list[tuple[int, int]] = [
        (partition, at) for partition, first, last in ranges(stack) for at in range(first, last + 1)
    ]
    return len(seen) - len(set(seen))


def workers(group: int) -> list[int]:
    """Python workers of a process group."""

    def is_worker(folder: Path) -> bool:
        with contextlib.suppress(OSError):
            return os.getpgid(int(folder.name)) == group and b"beam_boot\0" in (folder / "cmdline").read_bytes()
        return False

    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit() and is_worker(folder)]


def grown(stack: Stack, records: int) -> None:
    """Waits until so many more records are processed."""
    reached = stack.processed()
    wait_until(lambda: stack.processed() > reached + records, PATIENCE, f"{records} further records")


def metric(stack: Stack, name: str) -> int:
    """One of the sink's counters; Flink fetches them when asked, and answers with what it fetched before."""
    wait_until(lambda: name in stack.metrics(), 60, f"metric {name}")
    return stack.metrics()[name]


def exceptions(stack: Stack) -> list[Mapping[str, Any]]:
    """Failures of the job so far."""
    job = stack.rest("/jobs/overview")["jobs"][0]["jid"]
    entries: list[Mapping[str, Any]] = stack.rest(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]
    return entries


HOSTILE: list[tuple[bytes | None, str | None]] = [
    (None, "no value (a tombstone)"),
    (b"", "empty"),
    (b"not json", "not JSON: Expecting value at character 0"),
    (b"\xff\xfe\x00", "not UTF-8: byte 0"),
    (b"[1,2]", "not a JSON object but an array"),
    (b"1e400", "not a JSON object but a number"),
    (b"[" * 100_000, "not JSON that can be read: nested too deeply"),
    (b"{}", "source: missing"),
    (event("h", 1).replace(b'"seq":1', b'"seq":true'), "seq: must be an integer, is a boolean"),
    (event("h", 1).replace(b'"seq":1', b'"seq":0'), "seq: must be 1 to 2^63 - 1"),
    (event("h", 1).replace(b'"seq":1', b'"seq":-1'), "seq: must be 1 to 2^63 - 1"),
    (event("h", 1).replace(b'"seq":1', b'"seq":9223372036854775808'), "seq: must be 1 to 2^63 - 1"),
    (event("h", 1).replace(b'"h"', b'"\\ud800"'), "source: lone surrogate at character 0"),
    (event("", 1), "source: 0 characters, must be 1 to 128"),
    (event("s" * 70_000, 1, 80_000), "source: 70000 characters, must be 1 to 128"),
    (event("h", 1).replace(b"2024-", b"12024-"), "event_time: not of the form YYYY-MM-DDThh:mm:ss.mmmZ"),
    (event("h", 1).replace(b"2024-", b"1924-"), "event_time: before 1970"),
    (event("h", 7).replace(b"2024-", b"9999-"), None),
    (event("h\\u0000", 8), None),
    (event("h", 1, 12_582_912), "Cassandra refuses it: "),
]


@pytest.mark.job
def test_hostile_records_become_letters_and_the_job_goes_on(stack: Stack) -> None:
    assert event("h", 1).count(b"2024-") == 1
    # So large a limit lets the largest record meet Cassandra's own.
    stack.job = {"largest_record_bytes": 33_554_432}
    producer = stack.kafka.producer()
    for number, (value, _) in enumerate(HOSTILE):
        producer.produce(TOPIC, value, partition=0)
        producer.produce(TOPIC, event("good", number + 1), partition=0)
    assert producer.flush(60) == 0
    start(stack)
    wait_caught_up(stack, PATIENCE)
    refused = {2 * number: reason for number, (_, reason) in enumerate(HOSTILE) if reason is not None}
    wait_until(lambda: len(stack.dead_letters()) >= len(refused), PATIENCE, "dead letters")
    letters = {letter["offset"]: letter for letter in stack.dead_letters()}
    assert letters.keys() == refused.keys()
    for offset, reason in refused.items():
        assert letters[offset]["reason"].startswith(reason)
        value = HOSTILE[offset // 2][0]
        assert letters[offset]["bytes"] == (None if value is None else len(value))
        assert letters[offset]["truncated"] == (value is not None and len(value) > 524_288)
    good = {("good", number + 1) for number in range(len(HOSTILE))}
    assert set(stack.rows()) == good | {("h", 7), ("h\0", 8)}
    found = stack.execute("SELECT offset, reason FROM eventlog.rejected")
    assert {row.offset: row.reason for row in found} == {at: letters[at]["reason"] for at in refused}
    wanted = {"written": len(good) + 2, "rejected": len(refused), "rewritten": 0}
    wait_until(lambda: wanted.items() <= stack.metrics().items(), 60, f"metrics {wanted}")
    assert exceptions(stack) == []


@pytest.mark.job
def test_a_graceful_stop_replays_nothing(stack: Stack) -> None:
    with Stream(stack, "host", 1_000) as stream:
        start(stack)
        wait_until(lambda: stack.processed() > 3_000, PATIENCE, "rows")
        status, told = stack.stop_job(60)
        assert (status, told["stopped"], told["reason"]) == (0, "savepoint", None)
        assert stack.jobmanager is not None
        assert stack.jobmanager.wait(60) == 0
        stack.stop_flink()
        before = stack.progress()
        assert told["next_offsets"] == {str(partition): at for partition, at in before.items()}
        assert positions(Path(told["savepoint"]), TOPIC) == before
        start(stack)
        wait_until(lambda: stack.processed() > sum(before.values()) + 2_000, PATIENCE, "further rows")
        sent = stream.stop()
    wait_caught_up(stack, PATIENCE)
    assert set(stack.rows()) == sent
    assert replays(stack) == 0
    assert metric(stack, "rewritten") == 0
    assert State(stack.state).resume() is None
    # Stopped twice, the second time with nothing there.
    assert stack.stop_job(60)[1]["stopped"] == "savepoint"
    stack.stop_flink()
    status, told = stack.stop_job(60)
    assert (status, told["stopped"], told["savepoint"]) == (0, "absent", None)


@pytest.mark.more_job
def test_killed_at_once_after_a_resume_nothing_is_lost(stack: Stack) -> None:
    """The savepoint is used up and no checkpoint has been made yet: the group's offsets are behind it."""
    with Stream(stack, "host", 500) as stream:
        start(stack)
        wait_until(lambda: stack.processed() > 1_000, PATIENCE, "rows")
        assert stack.stop_job(60)[1]["stopped"] == "savepoint"
        stack.stop_flink()
        stack.start_flink()
        wait_until(lambda: State(stack.state).resume() is None, PATIENCE, "use of the resume file")
        stack.kill_flink()
        start(stack)
        sent = stream.stop()
    wait_caught_up(stack, PATIENCE)
    assert set(stack.rows()) == sent


@pytest.mark.job
def test_kill_of_everything_loses_nothing(stack: Stack) -> None:
    with Stream(stack, "host", 2_000) as stream:
        start(stack)
        for _ in range(2):
            grown(stack, 3_000)
            # Right after a checkpoint there would be nothing to replay.
            wait_until(lambda: ahead(stack) > 500, PATIENCE, "records beyond the last checkpoint")
            assert stack.taskmanager is not None
            group = stack.taskmanager.pid
            stack.kill_flink()
            assert workers(group) == []
            replayed = ahead(stack)
            start(stack)
        sent = stream.stop()
    wait_caught_up(stack, PATIENCE)
    assert set(stack.rows()) == sent
    assert replayed > 0
    assert replays(stack) >= replayed
    wait_until(lambda: metric(stack, "rewritten") == replayed, 60, f"{replayed} rewritten rows are counted")


def ahead(stack: Stack) -> int:
    """Records that were processed and that a start from the group's offsets would process again."""
    committed = stack.committed()
    return sum(at - committed.get(partition, 0) for partition, at in stack.progress().items())


@pytest.mark.more_job
def test_workers_end_with_their_taskmanager(stack: Stack) -> None:
    with Stream(stack, "host", 200) as stream:
        start(stack)
        wait_until(lambda: stack.processed() > 200, PATIENCE, "rows")
        assert stack.taskmanager is not None
        group = stack.taskmanager.pid
        assert len(workers(group)) == stack.parallelism
        os.kill(group, signal.SIGKILL)
        wait_until(lambda: not workers(group), 30, "end of the orphans")
        stack.taskmanager.kill()
        stack.start_taskmanager()
        grown(stack, 0)
        sent = stream.stop()
    wait_caught_up(stack, PATIENCE)
    assert set(stack.rows()) == sent


@pytest.mark.more_job
def test_cassandra_away_and_back(stack: Stack) -> None:
    with Stream(stack, "host", 100) as stream:
        start(stack)
        wait_until(lambda: stack.processed() > 200, PATIENCE, "rows")
        stack.cassandra.kill()
        sent = stream.sent
        wait_until(lambda: stream.sent > sent + 1_000, PATIENCE, "ten seconds of events")
        status, told = stack.stop_job(3)
        assert (status, told["stopped"]) == (1, "deadline")
        assert "waits for Cassandra" in told["reason"]
        assert stack.running()
        stack.cassandra.start()
        reached = stack.processed()
        assert stack.jobmanager is not None
        # The stop that was asked for is still pending in the JobManager and completes now. Its status is 2 when it ends
        # without anybody having fetched the outcome of the savepoint.
        assert stack.jobmanager.wait(PATIENCE) in (0, 2)
        stack.stop_flink()
        assert stack.processed() >= reached
        start(stack)
        acknowledged = stream.stop()
    wait_caught_up(stack, PATIENCE)
    assert set(stack.rows()) == acknowledged


@pytest.mark.more_job
def test_a_frozen_cassandra_is_waited_for(stack: Stack) -> None:
    with Stream(stack, "host", 100) as stream:
        start(stack)
        wait_until(lambda: stack.processed() > 200, PATIENCE, "rows")
        stack.cassandra.freeze()
        try:
            sent = stream.sent
            wait_until(lambda: stream.sent > sent + 1_500, PATIENCE, "fifteen seconds of events")
            assert stack.running()
        finally:
            stack.cassandra.thaw()
        events_sent = stream.stop()
    wait_caught_up(stack, PATIENCE)
    assert set(stack.rows()) == events_sent
    assert exceptions(stack) == []


@pytest.mark.more_job
def test_starts_before_its_servers(stack: Stack) -> None:
    produce(stack.kafka.producer(), "host", range(1, 101))
    stack.kafka.stop()
    stack.cassandra.kill()
    stack.start_flink()
    assert stack.jobmanager is not None
    wait_until(lambda: "waiting, 5 s of at most 600 s" in stack.jobmanager_log(), PATIENCE, "line about Kafka")
    assert stack.rest("/jobs/overview") == {"jobs": []}
    stack.kafka.start()
    wait_until(stack.running, PATIENCE, "running job")
    stack.cassandra.start()
    wait_caught_up(stack, PATIENCE)
    assert len(stack.rows()) == 100
    assert exceptions(stack) == []


@pytest.mark.more_job
def test_a_topic_made_anew_while_the_job_runs(stack: Stack) -> None:
    start(stack)
    produce(stack.kafka.producer(), "former", range(1, 1_001))
    wait_caught_up(stack, PATIENCE)
    stack.kafka.delete_topic(TOPIC)
    stack.create_topics()
    produce(stack.kafka.producer(), "latter", range(1, 501))
    wait_until(lambda: len(stack.rows()) == 1_500, PATIENCE, "rows of both topics")
    former, latter = per_topic(stack)
    assert sorted([former, latter]) == [500, 1_000]


@pytest.mark.more_job
def test_a_topic_made_anew_while_the_job_is_stopped(stack: Stack) -> None:
    start(stack)
    produce(stack.kafka.producer(), "former", range(1, 101))
    wait_caught_up(stack, PATIENCE)
    assert stack.stop_job(60)[1]["stopped"] == "savepoint"
    stack.stop_flink()
    stack.kafka.delete_topic(TOPIC)
    stack.create_topics()
    # More records than the former topic had: its offsets would be found in the new one, and skip records.
    produce(stack.kafka.producer(), "latter", range(1, 1_001))
    start(stack)
    wait_until(lambda: len(stack.rows()) == 1_100, PATIENCE, "rows of both topics")
    assert "was made anew" in stack.jobmanager_log()


def per_topic(stack: Stack) -> list[int]:
    total: dict[str, int] = {}
    for row in stack.execute("SELECT topic_id, next_offset FROM eventlog.progress"):
        total[row.topic_id] = total.get(row.topic_id, 0) + row.next_offset
    return list(total.values())
