"""A real Kafka broker for the tests marked ``kafka``, and the configuration file the programs under test read."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from eventlog.config import Config, load

START_DEADLINE = 60.0


def wait_until(condition: Callable[[], bool], timeout: float, what: str, interval: float = 0.02) -> float:
    """Seconds it took until ``condition()`` held; AssertionError saying ``what`` was awaited after ``timeout`` s."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > timeout:
            raise AssertionError(f"after {timeout:g} s still not so: {what}")
        time.sleep(interval)
    return time.monotonic() - begin


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
        self._admin().delete_topics([name])[name].result(10)
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
            missing = {
                number: ends[1]
                for number in partitions
                if (ends := consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10))[0] < ends[1]
            }
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


def _required(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).exists():
        pytest.fail(
            f"{variable} is {value or 'not set'}: set it to {what}, or leave these tests out with -m 'not kafka'"
        )
    return Path(value)


@pytest.fixture(scope="session")
def kafka_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], KafkaBroker]]:
    """Makes brokers (formatted, not started); all of them are stopped at the end."""
    java = _required("EVENTLOG_JAVA", "a Java 17 binary")
    jars = _required("EVENTLOG_KAFKA_LIB", "the folder of Kafka's jars")
    brokers: list[KafkaBroker] = []

    def make() -> KafkaBroker:
        brokers.append(KafkaBroker(java, jars, tmp_path_factory.mktemp("kafka")))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.kill()


@pytest.fixture(scope="session")
def kafka(kafka_factory: Callable[[], KafkaBroker]) -> KafkaBroker:
    """The session's running broker; a test that stops it starts it again."""
    broker = kafka_factory()
    broker.start()
    return broker


@pytest.fixture
def topic(kafka: KafkaBroker, request: pytest.FixtureRequest) -> str:
    """A fresh topic of four partitions, named after the test."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:100] + f"-{time.time_ns()}"
    kafka.create_topic(name)
    return name


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes a whole ``pipeline.toml`` below the test's folder; keyword arguments ``section__key=value`` change it."""

    def write(**changes: Any) -> Path:
        values: dict[str, dict[str, Any]] = {
            "pipeline": {"name": "test", "root": str(tmp_path)},
            "event": {"bytes": 1024, "bucket_size": 1000},
            "kafka": {"bootstrap_servers": "127.0.0.1:1", "topic": "events", "dead_letter_topic": "events-rejected"},
            "cassandra": {"contact_points": ["127.0.0.1"], "port": 1, "keyspace": "eventlog", "datacenter": "dc1"},
            "flink": {
                "rest_url": "http://127.0.0.1:1",
                "job_name": "event-log",
                "group_id": "event-log",
                "state_dir": str(tmp_path / "flink"),
                "parallelism": 2,
            },
            "producer": {
                "spool": str(tmp_path / "spool.db"),
                "socket": str(tmp_path / "p.sock"),
                "rate": 10.0,
                "spool_limit_bytes": 256 << 20,
            },
            "monitor": {"host": "127.0.0.1", "port": 1, "refresh_seconds": 1.0},
        }
        for name, value in changes.items():
            section, key = name.split("__", 1)
            values[section][key] = value
        path = tmp_path / "pipeline.toml"
        path.write_text("\n".join(f"[{section}]\n{_toml(keys)}" for section, keys in values.items()))
        return path

    return write


@pytest.fixture
def config(write_config: Callable[..., Path]) -> Config:
    """A configuration that points at no server."""
    return load(write_config())


def _toml(keys: Mapping[str, Any]) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, list):
            return "[" + ", ".join(literal(item) for item in value) + "]"
        if isinstance(value, dict):
            return "{" + ", ".join(f'"{key}" = {literal(item)}' for key, item in value.items()) + "}"
        return repr(value)

    return "".join(f"{key} = {literal(value)}\n" for key, value in keys.items())
