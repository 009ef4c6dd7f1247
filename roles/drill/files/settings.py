"""Print the settings that explain the seconds of a recovery, as the running servers have them.

    python settings.py CONFIG        prints {"kafka broker.session.timeout.ms": "2000", …}

Runs on the pipeline's host with its clients; takes them from PYTHONPATH. A server that does not answer leaves its
settings out.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from typing import Any

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from eventlog import publisher
from eventlog.config import Config, load
from eventlog_job.config import JobTuning

SECONDS = 5.0
BROKER = ("broker.session.timeout.ms", "broker.heartbeat.interval.ms")
TOPIC = ("retention.ms", "min.insync.replicas", "max.message.bytes")
FLINK = (
    "heartbeat.interval",
    "heartbeat.timeout",
    "restart-strategy.type",
    "restart-strategy.exponential-delay.initial-backoff",
    "restart-strategy.exponential-delay.max-backoff",
    "execution.checkpointing.interval",
    "execution.checkpointing.timeout",
    "parallelism.default",
)
SINK = ("request_timeout_seconds", "first_retry_seconds", "longest_retry_seconds", "write_timeout_seconds")


def kafka(config: Config) -> dict[str, Any]:
    """Settings of the broker and of the topic, asked from the broker itself."""
    client = AdminClient({"bootstrap.servers": config.kafka.bootstrap_servers, **config.kafka.client})
    broker = str(next(iter(client.list_topics(timeout=SECONDS).brokers)))
    wanted = {
        ConfigResource(ResourceType.BROKER, broker): ("kafka", BROKER),
        ConfigResource(ResourceType.TOPIC, config.kafka.topic): ("topic", TOPIC),
    }
    found = {}
    for resource, answer in client.describe_configs(list(wanted), request_timeout=SECONDS).items():
        name, keys = wanted[resource]
        entries = answer.result(SECONDS)
        found.update({f"{name} {key}": entries[key].value for key in keys if key in entries})
    return found


def flink(config: Config) -> dict[str, Any]:
    """Settings of the job manager, asked over REST."""
    with urllib.request.urlopen(f"{config.flink.rest_url}/jobmanager/config", timeout=SECONDS) as answer:
        entries = {entry["key"]: entry["value"] for entry in json.load(answer)}
    return {f"flink {key}": entries[key] for key in FLINK if key in entries}


def sink(config: Config) -> dict[str, Any]:
    """Settings of the sink: those of the pipeline's description, else its defaults."""
    with open(sys.argv[1], "rb") as stream:
        own = tomllib.load(stream).get("job", {})
    defaults = dataclasses.asdict(JobTuning())
    return {f"sink {key}": own.get(key, defaults[key]) for key in SINK if key in defaults}


def producer(config: Config) -> dict[str, Any]:
    """Settings of the producer's client."""
    return {"producer reconnect.backoff.max.ms": publisher.RECONNECT_MAX_MS}


def main() -> int:
    """Entry point."""
    config = load(sys.argv[1])
    parts: tuple[Callable[[Config], dict[str, Any]], ...] = (kafka, flink, sink, producer)
    found: dict[str, Any] = {}
    for part in parts:
        try:
            found.update(part(config))
        except Exception as error:  # whatever it is: the other settings are still worth having
            print(f"settings: {part.__name__}: {error}", file=sys.stderr)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
