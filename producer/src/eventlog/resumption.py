"""Where the job went on after a stop, per partition: the first offset that it read.

The sink's log has the first offset of every batch. Where no record has come since, the job has read nothing; there the
consumer group's offset, which every checkpoint commits, says where it stands.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from eventlog.config import Config
from eventlog.hops.kafka import client_properties

COMMIT_SECONDS = 10.0  # several checkpoints: a job that has just been started has committed nothing yet
POLL_SECONDS = 0.3
REQUEST_TIMEOUT = 5.0  # seconds


def resumed_at(config: Config, expected: Mapping[int, int], first: Mapping[int, int]) -> dict[int, int | None]:
    """The offset at which the job went on, per partition of ``expected``; None where that was not seen in time.

    ``expected`` is where it should have gone on, ``first`` the first offsets of the batches since. An offset that was
    committed and is smaller than the expected one is of the time before.
    """
    idle = set(expected) - set(first)
    until = time.monotonic() + COMMIT_SECONDS
    committed = _committed(config) if idle else {}
    while any(committed.get(partition, -1) < expected[partition] for partition in idle) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        committed = _committed(config)
    standing = {partition: at for partition, at in committed.items() if at >= expected.get(partition, 0)}
    return {partition: first.get(partition, standing.get(partition)) for partition in sorted(expected)}


def _committed(config: Config) -> dict[int, int]:
    """The group's offsets per partition; empty when they cannot be read."""
    client = AdminClient(client_properties(config, REQUEST_TIMEOUT))
    asked = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(config.flink.group_id)])
    try:
        found = asked[config.flink.group_id].result(REQUEST_TIMEOUT).topic_partitions
    except (KafkaException, TimeoutError):
        return {}
    return {at.partition: at.offset for at in found if at.topic == config.kafka.topic and at.offset >= 0}
