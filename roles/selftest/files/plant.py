"""Plant a defect in a running pipeline, and mend it.

    python plant.py CONFIG delete N            delete N rows that have just been written
    python plant.py CONFIG overwrite           change a row, empty a column, write from the future, point elsewhere
    python plant.py CONFIG reject N            delete N rows that have just been written, as if the sink refused them
    python plant.py CONFIG empty N             delete N rows of the first bucket, which is full and counted no more
    python plant.py CONFIG repeat N            append N records of the topic to it once more
    python plant.py CONFIG counterfeit         append two records once more, with another time and another text
    python plant.py CONFIG forge               a record of a stranger, and a row of an event that was never generated
    python plant.py CONFIG shift SKIP AGAIN    with the job away: let it skip SKIP records, and process AGAIN once more
    python plant.py CONFIG forget              with the job away: forget the savepoint with which it ended
    python plant.py CONFIG expire N            with the job away: remove N records that it has not read
    python plant.py CONFIG hurry S             write the progress of every partition S seconds in the future
    python plant.py CONFIG purge               remove every record of the topic
    python plant.py CONFIG drop                delete the topic
    python plant.py CONFIG freeze PIDFILE S    stop the Python workers of a unit, for at most S seconds
    python plant.py CONFIG thaw PIDFILE        let them go on
    python plant.py CONFIG hold S              hold the spool, as another producer would, for at most S seconds
    python plant.py CONFIG impersonate PIDFILE S   let the runtime take a process of ours for the unit's leader
    python plant.py CONFIG reveal PIDFILE      let it know the true one again
    python plant.py CONFIG end JSON            end the process that `hold` has left behind
    python plant.py CONFIG mend JSON           undo what was printed when rows were changed, deleted or forged

Each prints one JSON object: what `mend` must know, and the process that was `left` behind, which ends by itself. Runs
on the pipeline's host with its clients; takes them from PYTHONPATH.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from cassandra.cluster import Session
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from eventlog.config import Config, load
from eventlog.contents import milliseconds
from eventlog.event import EventFactory, format_time
from eventlog.hops.cassandra import connect
from eventlog.hops.kafka import KafkaHop
from eventlog.spool import read_spool

SECONDS = 20.0
STRANGER = "stranger"
#: How far ahead of the producer the forged row is: a bucket that the producer does not reach in a self-test.
AHEAD = 1_000_000
COLUMNS = ("event_time", "level", "service", "message")
ROW = f"source, bucket, seq, {', '.join(COLUMNS)}, position"
#: How far in the future a row is written, in seconds.
FUTURE = 3600.0


class PlantError(Exception):
    """The defect cannot be planted; one line saying why."""


def client(config: Config) -> dict[str, Any]:
    """librdkafka properties that every client of the pipeline has."""
    return {"bootstrap.servers": config.kafka.bootstrap_servers, **config.kafka.client}


@contextmanager
def tables(config: Config) -> Iterator[Session]:
    """A session of the pipeline's keyspace."""
    session = connect(config, SECONDS)
    try:
        yield session
    finally:
        session.cluster.shutdown()


def await_value(look: Callable[[], Any], what: str) -> Any:
    """The first true value of ``look``. Raises PlantError when there is none in time."""
    until = time.monotonic() + SECONDS
    while not (found := look()):
        if time.monotonic() > until:
            raise PlantError(f"{what}: not within {SECONDS:.0f} s")
        time.sleep(0.1)
    return found


def bucket(config: Config, seq: int) -> int:
    """The bucket of an event's row."""
    return (seq - 1) // config.event.bucket_size


# -- rows ------------------------------------------------------------------------------------------------------------


def delete(config: Config, count: str) -> dict[str, Any]:
    """Delete the rows of the next events: they are certainly of the window that a drill has opened before."""
    keys = following(config, int(count))
    with tables(config) as session:
        places = positions(session, keys)
        remove(session, keys)
    return {"rows": places}


def following(config: Config, count: int) -> list[tuple[str, int, int]]:
    """Source, bucket and seq of the next events."""
    spool = read_spool(config.producer.spool)
    return [(spool.source, bucket(config, seq), seq) for seq in range(spool.count + 1, spool.count + count + 1)]


def remove(session: Session, keys: Iterable[tuple[str, int, int]]) -> None:
    """Delete rows."""
    statement = session.prepare("DELETE FROM events WHERE source = ? AND bucket = ? AND seq = ?")
    for key in keys:
        session.execute(statement, key)


def overwrite(config: Config) -> dict[str, Any]:
    """Change the rows of the next four events, each in another way."""
    keys = following(config, 4)
    with tables(config) as session:
        places = positions(session, keys)
        future = int((time.time() + FUTURE) * 1_000_000)
        level = session.execute(
            session.prepare("SELECT level FROM events WHERE source = ? AND bucket = ? AND seq = ?"), keys[2]
        ).one()[0]
        partition, offset = places[3]
        for key, using, column, value in (
            (keys[0], "", "message", "planted"),
            (keys[1], "", "service", None),
            (keys[2], f"USING TIMESTAMP {future}", "level", level),
            (keys[3], "", "position", (partition, offset + 1)),
        ):
            statement = session.prepare(
                f"UPDATE events {using} SET {column} = ? WHERE source = ? AND bucket = ? AND seq = ?"
            )
            session.execute(statement, (value, *key))
    return {"rows": places}


def reject(config: Config, count: str) -> dict[str, Any]:
    """Put the next events among the rejected records in the place of their rows."""
    topic = KafkaHop(config, SECONDS).read()
    planted = delete(config, count)
    records = [[topic.topic_id, *place] for place in planted["rows"]]
    with tables(config) as session:
        insert = session.prepare(
            "INSERT INTO rejected (topic_id, partition, offset, reason) VALUES (?, ?, ?, 'planted')"
        )
        for record in records:
            session.execute(insert, record)
    return {**planted, "rejected": records}


def empty(config: Config, count: str) -> dict[str, Any]:
    """Delete rows of the first bucket once it is full; they are of a time long before the window."""
    source = read_spool(config.producer.spool).source
    with tables(config) as session:
        counted = session.prepare("SELECT state FROM counted WHERE source = ?")

        def full() -> bool:
            row = session.execute(counted, (source,)).one()
            return bool(row and row[0] and row[0][0] > 0 and 0 not in (row[0][1] or ()))

        await_value(full, "the first bucket is full")
        select = session.prepare(
            "SELECT source, bucket, seq, toUnixTimestamp(event_time), level, service, message, position"
            " FROM events WHERE source = ? AND bucket = 0 LIMIT ?"
        )
        kept = [[*row] for row in session.execute(select, (source, int(count)))]
        remove(session, [(row[0], row[1], row[2]) for row in kept])
    return {"kept": kept}


def positions(session: Session, keys: Iterable[tuple[str, int, int]]) -> list[list[int]]:
    """Where in the topic the events of these rows are (partition, offset), once all rows are there."""
    select = session.prepare("SELECT position FROM events WHERE source = ? AND bucket = ? AND seq = ?")

    def look() -> list[list[int]]:
        found = [session.execute(select, key).one() for key in keys]
        return [list(row.position) for row in found] if all(found) else []

    places: list[list[int]] = await_value(look, "rows of new events")
    return places


def forge(config: Config) -> dict[str, Any]:
    """Send a record of a source that is no producer, and write a row that was never in the topic."""
    event = {
        "source": STRANGER, "seq": 1, "event_time": "2024-05-17T08:00:00.000Z",
        "level": "INFO", "service": "selftest", "message": "planted",
    }  # fmt: skip
    send(config, [(None, json.dumps(event).encode())])
    spool = read_spool(config.producer.spool)
    seq = spool.count + AHEAD
    with tables(config) as session:
        session.execute(
            session.prepare("INSERT INTO buckets (source, bucket) VALUES (?, ?)"), (spool.source, bucket(config, seq))
        )
        session.execute(
            session.prepare("INSERT INTO events (source, bucket, seq, message) VALUES (?, ?, ?, 'planted')"),
            (spool.source, bucket(config, seq), seq),
        )
    return {"forged": [[spool.source, seq]]}


def mend(config: Config, planted: str) -> dict[str, Any]:
    """Write the rows that are missing, from the topic, delete those that are forged, and let hidden progress show."""
    found = json.loads(planted)
    with tables(config) as session:
        insert = session.prepare(f"INSERT INTO events ({ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        for row in found.get("kept", []):
            session.execute(insert, (*row[:-1], tuple(row[-1])))
        for record in found.get("rejected", []):
            session.execute(
                session.prepare("DELETE FROM rejected WHERE topic_id = ? AND partition = ? AND offset = ?"), record
            )
        for partition, offset, value in records(config, found.get("rows", [])):
            event = json.loads(value)
            # The driver takes a timestamp as milliseconds since 1970, too.
            values = (milliseconds(event["event_time"].encode()), *(event[name] for name in COLUMNS[1:]))
            key = (event["source"], bucket(config, event["seq"]), event["seq"])
            session.execute(insert, (*key, *values, (partition, offset)))
        for source, seq in found.get("forged", []):
            key = (source, bucket(config, seq))
            session.execute(
                session.prepare("DELETE FROM events WHERE source = ? AND bucket = ? AND seq = ?"), (*key, seq)
            )
            session.execute(session.prepare("DELETE FROM buckets WHERE source = ? AND bucket = ?"), key)
        if "hurried" in found:
            catch_up(session, int(found["hurried"]))
    return {}


# -- records ---------------------------------------------------------------------------------------------------------


def repeat(config: Config, count: str) -> dict[str, Any]:
    """Send the newest events once more, as a producer does that has forgotten its acknowledgements."""
    spool = read_spool(config.producer.spool)
    newest = range(spool.count - int(count) + 1, spool.count + 1)
    with tables(config) as session:
        places = positions(session, [(spool.source, bucket(config, seq), seq) for seq in newest])
    send(config, [(partition, value) for partition, _, value in records(config, places)])
    return {}


def counterfeit(config: Config) -> dict[str, Any]:
    """Send two of the next events once more, one with another event_time, one with another message."""
    keys = following(config, 2)
    with tables(config) as session:
        places = positions(session, keys)
    (first, _, later), (second, _, true) = records(config, places)
    moment = (milliseconds(json.loads(later)["event_time"].encode()) or 0) / 1000 + 1
    source, _, seq = keys[0]
    another = EventFactory(source, len(later)).event(seq, format_time(moment).encode(), len(later))
    send(config, [(first, another), (second, true[:-9] + b'planted"}')])
    return {"rows": places}


def send(config: Config, values: Iterable[tuple[int | None, bytes]]) -> None:
    """Send records (partition, value); raises PlantError when one is not acknowledged."""
    producer = Producer({**client(config), "acks": "all"})
    errors = []
    for partition, value in values:
        place = {} if partition is None else {"partition": partition}
        producer.produce(
            config.kafka.topic, value, **place, on_delivery=lambda error, _: errors.append(error) if error else None
        )
    if producer.flush(SECONDS) or errors:
        raise PlantError(f"records were not acknowledged by Kafka: {errors}")


def records(config: Config, places: Iterable[Iterable[int]]) -> Iterator[tuple[int, int, bytes]]:
    """The records at these places (partition, offset), in their order."""
    consumer = Consumer({**client(config), "group.id": "eventlog-selftest", "enable.auto.commit": False})
    with closing(consumer):
        for partition, offset in places:
            consumer.assign([TopicPartition(config.kafka.topic, partition, offset)])
            message = consumer.poll(SECONDS)
            if message is None or message.error():
                raise PlantError(f"partition {partition} offset {offset}: {message and message.error()}")
            yield partition, offset, message.value()


def unwritten(config: Config, session: Session, partition: int, start: int, end: int) -> int:
    """The first offset of a partition from ``start`` on whose record has no row; ``end`` when all have one."""
    select = session.prepare("SELECT seq FROM events WHERE source = ? AND bucket = ? AND seq = ?")
    for _, offset, value in records(config, [[partition, offset] for offset in range(start, end)]):
        event = json.loads(value)
        if session.execute(select, (event["source"], bucket(config, event["seq"]), event["seq"])).one() is None:
            return offset
    return end


def processed(config: Config, session: Session) -> tuple[dict[int, int], Mapping[int, int]]:
    """Per partition the first offset that the job, which is away, has not processed, and the end."""
    topic = KafkaHop(config, SECONDS).read()
    rows = session.execute("SELECT topic_id, partition, next_offset FROM progress")
    # What the killed sink had written without coming to say so is not waiting any more.
    done = {
        row.partition: unwritten(config, session, row.partition, row.next_offset, topic.partitions[row.partition])
        for row in rows
        if row.topic_id == topic.topic_id
    }
    return done, topic.partitions


def shift(config: Config, skip: str, again: str) -> dict[str, Any]:
    """Commit other offsets than those that were processed; every other partition goes on where it stands."""
    admin = AdminClient(client(config))
    with tables(config) as session:

        def choice() -> tuple[dict[int, int], int, int] | None:
            done, ends = processed(config, session)
            ahead = [p for p, offset in done.items() if ends[p] - offset >= int(skip)]
            behind = [p for p, offset in done.items() if offset >= int(again) and p not in ahead[:1]]
            return (done, ahead[0], behind[0]) if ahead and behind else None

        done, ahead, behind = await_value(choice, "a partition with a backlog, and another with records behind it")
    skipped = [[ahead, done[ahead] + number] for number in range(int(skip))]
    offsets = {**done, ahead: done[ahead] + int(skip), behind: done[behind] - int(again)}
    wanted = [TopicPartition(config.kafka.topic, number, offset) for number, offset in offsets.items()]
    group = ConsumerGroupTopicPartitions(config.flink.group_id, wanted)
    for answer in admin.alter_consumer_group_offsets([group]).values():
        failed = [place.error for place in answer.result(SECONDS).topic_partitions if place.error]
        if failed:
            raise PlantError(f"the group's offsets cannot be changed: {failed[0]}")
    return {"rows": skipped}


def forget(config: Config) -> dict[str, Any]:
    """Take the note of the savepoint away, so that the next start goes by the group's offsets."""
    Path(config.flink.state_dir, "resume.json").unlink()
    return {}


def expire(config: Config, count: str) -> dict[str, Any]:
    """Remove the next records that the job would read, and leave some behind them, which show it the way."""
    with tables(config) as session:

        def choice() -> tuple[int, int] | None:
            done, ends = processed(config, session)
            behind = [(number, offset) for number, offset in done.items() if ends[number] - offset >= 2 * int(count)]
            return behind[0] if behind else None

        partition, offset = await_value(choice, "a partition with a backlog")
    delete_records(config, {partition: offset + int(count)})
    return {}


def purge(config: Config) -> dict[str, Any]:
    """Remove all records, as a retention that is too short does."""
    delete_records(config, KafkaHop(config, SECONDS).read().partitions)
    return {}


def delete_records(config: Config, ends: Mapping[int, int]) -> None:
    """Remove the records of each partition before an offset."""
    wanted = [TopicPartition(config.kafka.topic, number, end) for number, end in ends.items()]
    admin = AdminClient(client(config))  # its answers come only as long as it lives
    for answer in admin.delete_records(wanted).values():
        answer.result(SECONDS)


def drop(config: Config) -> dict[str, Any]:
    """Delete the topic, and wait until it is gone."""
    admin = AdminClient(client(config))
    for answer in admin.delete_topics([config.kafka.topic]).values():
        answer.result(SECONDS)
    await_value(lambda: config.kafka.topic not in admin.list_topics(timeout=SECONDS).topics, "the topic is gone")
    return {}


# -- processes -------------------------------------------------------------------------------------------------------


def workers(pidfile: str) -> list[int]:
    """Pids of the Python processes in the group of a unit's leader."""
    leader = json.loads(Path(pidfile).read_text(encoding="utf-8"))["pid"]
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            program = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")[0]
            if os.getpgid(int(name)) == leader and b"python" in program:
                found.append(int(name))
    return found


def hurry(config: Config, seconds: str) -> dict[str, Any]:
    """Write the progress as it is, but later than the job will for so many seconds."""
    moment = int((time.time() + float(seconds)) * 1_000_000)
    with tables(config) as session:
        for row in session.execute("SELECT topic_id, partition, next_offset FROM progress"):
            session.execute(
                "UPDATE progress USING TIMESTAMP %s SET next_offset = %s WHERE topic_id = %s AND partition = %s",
                (moment, row.next_offset, row.topic_id, row.partition),
            )
    return {"hurried": moment}


def catch_up(session: Session, moment: int) -> None:
    """Write the progress that the job's own log shows, once it is not hidden any more; a later one of the job stays."""
    time.sleep(max(0.0, moment / 1_000_000 - time.time()))
    reached: dict[tuple[str, int], int] = {}
    for row in session.execute("SELECT topic_id, partition, last_offset FROM ingest_log"):
        place = (row.topic_id, row.partition)
        reached[place] = max(reached.get(place, 0), row.last_offset + 1)
    for place, offset in reached.items():
        session.execute(
            "UPDATE progress USING TIMESTAMP %s SET next_offset = %s WHERE topic_id = %s AND partition = %s",
            (moment + 1, offset, *place),
        )


def freeze(config: Config, pidfile: str, seconds: str) -> dict[str, Any]:
    """Stop the workers now; they go on after so many seconds at the latest."""
    pids = workers(pidfile)
    if not pids:
        raise PlantError(f"{pidfile}: its unit has no Python workers")
    left = leave_behind(float(seconds), lambda: signal_all(pids, signal.SIGCONT))
    signal_all(pids, signal.SIGSTOP)
    return {"left": left}


def thaw(config: Config, pidfile: str) -> dict[str, Any]:
    """Let the workers go on."""
    signal_all(workers(pidfile), signal.SIGCONT)
    return {}


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to what is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def hold(config: Config, seconds: str) -> dict[str, Any]:
    """Take the spool's lock, which is free while the producer is away."""
    handle = os.open(f"{config.producer.spool}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    await_value(lambda: locked(handle), "the spool is free")
    return {"left": leave_behind(float(seconds))}  # a lock of flock(2) lives as long as any process has the file open


def locked(handle: int) -> bool:
    """Try to lock an open file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def impersonate(config: Config, pidfile: str, seconds: str) -> dict[str, Any]:
    """Put the name of a process that does nothing where the runtime remembers a unit's leader."""
    path = Path(pidfile)
    record = json.loads(path.read_text(encoding="utf-8"))
    pid, start = leave_behind(float(seconds))
    path.rename(real(path))
    path.write_text(json.dumps({**record, "pid": pid, "start_time": start}), encoding="utf-8")
    return {"left": [pid, start]}


def reveal(config: Config, pidfile: str) -> dict[str, Any]:
    """Undo `impersonate`."""
    path = Path(pidfile)
    real(path).replace(path)
    return {}


def real(path: Path) -> Path:
    """Where the true record is meanwhile: not among the records, by its name."""
    return path.with_suffix(".real")


def end(config: Config, left: str) -> dict[str, Any]:
    """End a process that was left behind, known by pid and start time."""
    pid, start = json.loads(left)
    if start_time(pid) == start:
        signal_all([pid], signal.SIGKILL)
        await_value(lambda: start_time(pid) != start, f"pid {pid} is gone")
    return {}


def leave_behind(seconds: float, action: Callable[[], object] = lambda: None) -> tuple[int, int]:
    """Do something later in a process of its own group, which nobody waits for; returns its pid and start time."""
    pid = os.fork()
    if pid:
        return pid, start_time(pid)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    time.sleep(seconds)
    action()
    os._exit(0)


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 when it does not live."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


COMMANDS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "delete": delete, "overwrite": overwrite, "reject": reject, "empty": empty, "repeat": repeat,
    "counterfeit": counterfeit, "forge": forge, "shift": shift, "forget": forget, "expire": expire, "purge": purge,
    "drop": drop, "hurry": hurry, "freeze": freeze, "thaw": thaw, "hold": hold, "impersonate": impersonate,
    "reveal": reveal, "end": end, "mend": mend,
}  # fmt: skip


def main() -> int:
    """Entry point; the text of an error goes to standard error, with exit status 1."""
    _, config, command, *words = sys.argv
    try:
        print(json.dumps(COMMANDS[command](load(config), *words)))
    except Exception as error:  # whatever it is, the self-test shows its text
        print(f"plant: {command}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
