"""A real Kafka broker."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from testing.ports import free_ports
from testing.processes import Process, Server
from testing.trees import Trees
from testing.waiting import wait_until

START_SECONDS = 180.0
TOPIC_SECONDS = 60.0
#: Bytes; above the 16 MiB that Cassandra takes, so that a record may meet its limit.
LARGEST_RECORD = 33_554_432


class KafkaServer(Server):
    """One broker, combined with its controller, below ``folder``: stopped, killed, frozen and started again."""

    def __init__(self, trees: Trees, folder: Path) -> None:
        super().__init__()
        self._trees = trees
        self._folder = folder
        self.port, self._controller_port = free_ports(2)
        self._write_properties()
        self._format()

    @property
    def bootstrap_servers(self) -> str:
        """As clients want it."""
        return f"127.0.0.1:{self.port}"

    # -- acting ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the broker and wait until it answers."""
        assert self.process is None, "the broker is already running"
        self.process = Process("kafka", self._command("kafka.Kafka", "server.properties"), self._folder)
        wait_until(self._answers, START_SECONDS, f"Kafka answers on {self.bootstrap_servers}", 0.05)

    def stop(self) -> None:
        """An orderly stop (SIGTERM)."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def create_topic(self, name: str, partitions: int = 4, settings: Mapping[str, str] | None = None) -> None:
        """Create a topic and wait until it can be described; a deletion still under way is waited for."""
        admin = self.admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(settings or {}))

        def created() -> bool:
            try:
                admin.create_topics([topic])[name].result(10)
            except KafkaException:
                return self.has_topic(name)
            return True

        wait_until(created, TOPIC_SECONDS, f"topic {name} is created")
        wait_until(lambda: self.has_topic(name), TOPIC_SECONDS, f"topic {name} can be described")

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone."""
        admin = self.admin()  # kept: its requests die with it
        admin.delete_topics([name])[name].result(TOPIC_SECONDS)
        wait_until(lambda: not self.has_topic(name), TOPIC_SECONDS, f"topic {name} is gone")

    # -- looking ---------------------------------------------------------------------------------------------------

    def admin(self) -> AdminClient:
        """A client of its own: one that has known an earlier broker may hang on it."""
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def has_topic(self, name: str) -> bool:
        """Whether a topic exists and has its partitions."""
        metadata = self.admin().list_topics(timeout=10)
        return name in metadata.topics and bool(metadata.topics[name].partitions)

    def producer(self) -> Producer:
        """A client that sends idempotently, records of any size."""
        return Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "acks": "all",
                "enable.idempotence": True,
                "message.max.bytes": LARGEST_RECORD,
                "linger.ms": 5,
                "log_level": 0,
            }
        )

    def consumer(self, group: str = "tests") -> Consumer:
        """A client that commits nothing; its caller closes it."""
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": group,
                "enable.auto.commit": False,
                "fetch.message.max.bytes": LARGEST_RECORD,
                "log_level": 0,
            }
        )

    def end_offsets(self, topic: str) -> dict[int, int]:
        """End offset by partition."""
        consumer = self.consumer()
        try:
            return {number: end for number, (_, end) in _bounds(consumer, topic).items()}
        finally:
            consumer.close()

    def records(self, topic: str) -> list[tuple[int, int, bytes, bytes]]:
        """Every record of ``topic`` as (partition, offset, key, value), in partition and offset order."""
        consumer = self.consumer()
        try:
            missing = {number: end for number, (first, end) in _bounds(consumer, topic).items() if first < end}
            consumer.assign([TopicPartition(topic, number, 0) for number in missing])
            found: list[tuple[int, int, bytes, bytes]] = []

            def read() -> bool:
                for message in consumer.consume(5000, timeout=0.2) if missing else ():
                    assert message.error() is None, message.error()
                    found.append((message.partition(), message.offset(), message.key(), message.value()))
                    if message.offset() + 1 >= missing.get(message.partition(), 0):
                        missing.pop(message.partition(), None)
                return not missing

            wait_until(read, 60, f"{topic} is read to its end", interval=0)
        finally:
            consumer.close()
        return sorted(found, key=lambda record: record[:2])

    def _answers(self) -> bool:
        self.runs()
        return bool(self.admin().list_topics(timeout=1).brokers)

    # -- what it runs with -----------------------------------------------------------------------------------------

    def _command(self, main: str, *arguments: str) -> list[str]:
        options = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        return [str(self._trees.java), *options, "-Dlog4j2.level=WARN", "-cp", f"{self._trees.kafka}/lib/*", main,
                *arguments]  # fmt: skip

    def _format(self) -> None:
        words = ("format", "-t", "3q2-7wAAQACAAAAAAAAAAQ", "--standalone", "-c", "server.properties")
        command = self._command("kafka.tools.StorageTool", *words)
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"Kafka's storage cannot be formatted:\n{done.stdout}\n{done.stderr}"

    def _write_properties(self) -> None:
        listeners = f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller_port}",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker is taken back in 3 s instead of 12 s.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
        }
        text = "".join(f"{key}={value}\n" for key, value in properties.items())
        (self._folder / "server.properties").write_text(text, encoding="utf-8")


def _bounds(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First and end offset by partition; a broker that has just come back may not lead one yet."""
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions

    def ask() -> dict[int, tuple[int, int]]:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10) for number in partitions
        }

    return wait_until(ask, START_SECONDS, f"every partition of {topic} has a leader")
