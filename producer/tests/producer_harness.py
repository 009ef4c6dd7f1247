"""What the tests run: a real Kafka broker, and the producer as the process it is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import eventlog
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from eventlog.config import Config
from eventlog.control import ProducerUnreachable, control
from eventlog.event import decode
from eventlog.spool import SpoolReading, read_spool

START_DEADLINE = 60.0


def wait_until(condition: Callable[[], bool], timeout: float, what: str, interval: float = 0.02) -> float:
    """Seconds it took until ``condition()`` held; AssertionError saying ``what`` was awaited after ``timeout`` s."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout:
            raise AssertionError(f"after {timeout:g} s still not so: {what}")
        time.sleep(interval)
    return time.monotonic() - begin


def freeze(pid: int) -> None:
    """SIGSTOP to the group that a process leads; every thread of that process has stopped afterwards."""
    os.killpg(pid, signal.SIGSTOP)

    def stopped() -> bool:
        try:
            stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
        except OSError:  # a thread ended meanwhile
            return False
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    wait_until(stopped, 10, f"process {pid} has stopped")


def free_ports(count: int) -> list[int]:
    """``count`` TCP ports that were free on loopback a moment ago."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class KafkaBroker:
    """One broker, combined with its controller, in ``folder``; it can be stopped, killed, frozen and started again."""

    def __init__(self, java: Path, jars: Path, folder: Path) -> None:
        self._java = java
        self._jars = jars
        self._folder = folder
        self.port, self._controller_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "kafka.log"
        self._write_properties()
        self._run(
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "3q2-7wAAQACAAAAAAAAAAQ",
            "--standalone",
            "-c",
            "server.properties",
        )

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the broker and wait until it answers."""
        assert self._process is None, "the broker is already running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", "server.properties"),
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, START_DEADLINE, f"Kafka answers on {self.bootstrap_servers}")

    def stop(self) -> None:
        """An orderly stop (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: it keeps its port, accepts connections and says nothing."""
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def create_topic(self, name: str, partitions: int = 4, settings: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until it can be described; a deletion still under way is waited for."""
        admin = self._admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(settings or {}))

        def created() -> bool:
            try:
                admin.create_topics([topic])[name].result(10)
            except KafkaException:
                return False
            return True

        wait_until(created, 20, f"topic {name} is created")
        wait_until(lambda: self.has_topic(name), 20, f"topic {name} can be described")

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        admin = self._admin()  # kept: its requests die with it
        admin.delete_topics([name])[name].result(10)
        wait_until(lambda: not self.has_topic(name), 20, f"topic {name} is gone")

    def has_topic(self, name: str) -> bool:
        metadata = self._admin().list_topics(timeout=10)
        return name in metadata.topics and bool(metadata.topics[name].partitions)

    def records(self, topic: str) -> list[tuple[int, int, bytes, bytes]]:
        """Every record of ``topic`` as (partition, offset, key, value), in partition and offset order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": "tests",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            bounds = {number: _bounds(consumer, topic, number) for number in partitions}
            missing = {number: end for number, (first, end) in bounds.items() if first < end}
            consumer.assign([TopicPartition(topic, number, 0) for number in missing])
            found: list[tuple[int, int, bytes, bytes]] = []
            deadline = time.monotonic() + 60
            while missing:
                assert time.monotonic() < deadline, f"could not read {topic} to its end: {missing}"
                for message in consumer.consume(5000, timeout=0.2):
                    assert message.error() is None, message.error()
                    found.append((message.partition(), message.offset(), message.key(), message.value()))
                    if message.offset() + 1 >= missing.get(message.partition(), 0):
                        missing.pop(message.partition(), None)
        finally:
            consumer.close()
        return sorted(found)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Kafka ended with {self._process.returncode}:\n{self._tail()}"
        try:
            return bool(self._admin().list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        self._process = None

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def _command(self, main: str, *arguments: str) -> list[str]:
        options = ["-Xms128m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dlog4j2.level=WARN"]
        return [str(self._java), *options, "-cp", f"{self._jars}/*", main, *arguments]

    def _run(self, main: str, *arguments: str) -> None:
        done = subprocess.run(
            self._command(main, *arguments), cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{main} failed:\n{done.stdout}\n{done.stderr}"

    def _write_properties(self) -> None:
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "auto.create.topics.enable": "false",
            # A killed broker is taken back in 3 s instead of 12 s.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
        }
        text = "".join(f"{key}={value}\n" for key, value in properties.items())
        (self._folder / "server.properties").write_text(text)


def _bounds(consumer: Consumer, topic: str, number: int) -> tuple[int, int]:
    """First and end offset of a partition; a broker that has just come back may not lead it yet."""
    found: list[tuple[int, int]] = []

    def ask() -> bool:
        try:
            found.append(consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10))
        except KafkaException:
            return False
        return True

    wait_until(ask, START_DEADLINE, f"partition {number} of {topic} has a leader")
    return found[0]


class ProducerProcess:
    """``python -m eventlog.producer`` as a process of its own; what it says is in ``log``."""

    def __init__(self, config: Config, config_file: Path) -> None:
        self.config = config
        self._config_file = config_file
        self._log = config_file.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        wait_until(self._answers, 20, f"the producer answers; it says:\n{self.log}")

    def launch(self) -> None:
        """Start it without waiting."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stderr=log, env=_environment())

    def run_to_end(self, timeout: float = 20) -> tuple[int, str]:
        """Start it where it is expected to end by itself: exit status and what it said."""
        done = subprocess.run(
            self._command(), capture_output=True, text=True, timeout=timeout, check=False, env=_environment()
        )
        return done.returncode, done.stderr

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """An orderly stop: exit status and the seconds it took."""
        assert self._process is not None
        begin = time.monotonic()
        self._process.send_signal(how)
        status = self._process.wait(20)
        self._process = None
        return status, time.monotonic() - begin

    def wait(self, timeout: float = 20) -> int:
        """The exit status, once it ends by itself."""
        assert self._process is not None
        status = self._process.wait(timeout)
        self._process = None
        return status

    def ask(self, do: str, timeout: float = 10, **more: Any) -> dict[str, Any]:
        """One request on the control socket."""
        return control(self.config.producer.socket, {"do": do, **more}, timeout)

    def until(self, condition: Callable[[dict[str, Any]], bool], what: str, timeout: float = 30) -> dict[str, Any]:
        """The first status for which ``condition`` holds."""
        last: dict[str, Any] = {}

        def holds() -> bool:
            last.update(self.ask("status"))
            return condition(last)

        try:
            wait_until(holds, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast status: {last}\nthe producer says:\n{self.log}") from None
        return last

    def until_beyond(self, key: str, value: int, timeout: float = 30) -> dict[str, Any]:
        """The first status whose ``key`` is greater than ``value``."""
        return self.until(lambda status: int(status[key]) > value, f"{key} is beyond {value}", timeout)

    def reading(self) -> SpoolReading:
        return read_spool(self.config.producer.spool)

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "eventlog.producer", "--config", str(self._config_file)]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the producer ended with {self._process.returncode}:\n{self.log}"
        try:
            self.ask("status", timeout=2)
        except ProducerUnreachable:
            return False
        return True


def _environment() -> dict[str, str]:
    """The child finds the package where this process found it, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(eventlog.__file__).parents[1])}


def sequence(broker: KafkaBroker, topic: str, source: str) -> list[int]:
    """The seqs of ``source`` in ``topic``, repeats included, in order of partition and offset."""
    events = (decode(value) for _, _, _, value in broker.records(topic))
    return [event.seq for event in events if event.source == source]
