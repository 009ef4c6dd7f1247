#!/usr/bin/python
# Copyright: the Event Log Drills authors
# SPDX-License-Identifier: Apache-2.0
"""Create Kafka topics and keep their settings."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_topics
short_description: Create Kafka topics and keep their settings
version_added: "0.1.0"
description:
  - Creates the topics that are missing and alters the settings that differ. Never deletes anything, never lowers a
    partition count.
requirements: [confluent-kafka >= 2.6]
options:
  bootstrap_servers: {description: Brokers to ask., type: str, required: true}
  client: {description: Further librdkafka properties., type: dict, default: {}}
  timeout: {description: Seconds until the brokers must have answered., type: float, default: 30}
  topics:
    description: The topics.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the topic., type: str, required: true}
      partitions: {description: Number of partitions., type: int, default: 1}
      replication: {description: Replicas of each partition., type: int, default: 1}
      config: {description: "Topic settings, for example C(retention.ms).", type: dict, default: {}}
attributes:
  check_mode: {support: full, description: Says what would be created or altered.}
author: [Event Log Drills authors]
"""

EXAMPLES = r"""
- name: Create the event topic
  eventlog.drills.kafka_topics:
    bootstrap_servers: 127.0.0.1:9092
    topics:
      - name: events
        partitions: 4
        config: {retention.ms: 604800000}
"""

RETURN = r"""
created: {description: Topics that were created., returned: success, type: list, elements: str}
altered:
  description: Topics whose settings or partition count were altered.
  returned: success
  type: list
  elements: str
"""

import traceback
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import (
        AdminClient,
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        NewPartitions,
        NewTopic,
        ResourceType,
    )

    IMPORT_ERROR = None
except ImportError:
    IMPORT_ERROR = traceback.format_exc()


def _results(futures: dict[Any, Any]) -> dict[Any, Any]:
    return {key: future.result() for key, future in futures.items()}


def _differing(admin: Any, topic: dict[str, Any], timeout: float) -> list[Any]:
    resource = ConfigResource(ResourceType.TOPIC, topic["name"])
    current = next(iter(_results(admin.describe_configs([resource], request_timeout=timeout)).values()))
    return [
        ConfigEntry(key, str(value), incremental_operation=AlterConfigOpType.SET)
        for key, value in topic["config"].items()
        if key not in current or current[key].value != str(value)
    ]


def ensure(admin: Any, topics: list[dict[str, Any]], timeout: float, check: bool) -> dict[str, Any]:
    """Create and alter; returns the names of both kinds. Raises KafkaException."""
    existing = admin.list_topics(timeout=timeout).topics
    missing = [topic for topic in topics if topic["name"] not in existing]
    altered = []
    for topic in topics:
        if topic in missing:
            continue
        entries = _differing(admin, topic, timeout) if topic["config"] else []
        grows = len(existing[topic["name"]].partitions) < topic["partitions"]
        if entries or grows:
            altered.append(topic["name"])
        if entries and not check:
            resource = ConfigResource(ResourceType.TOPIC, topic["name"], incremental_configs=entries)
            _results(admin.incremental_alter_configs([resource], request_timeout=timeout))
        if grows and not check:
            _results(
                admin.create_partitions([NewPartitions(topic["name"], topic["partitions"])], request_timeout=timeout)
            )
    if missing and not check:
        new = [
            NewTopic(
                topic["name"],
                num_partitions=topic["partitions"],
                replication_factor=topic["replication"],
                config={key: str(value) for key, value in topic["config"].items()},
            )
            for topic in missing
        ]
        _results(admin.create_topics(new, operation_timeout=timeout, request_timeout=timeout))
    return {"created": [topic["name"] for topic in missing], "altered": altered}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "bootstrap_servers": {"type": "str", "required": True},
            "client": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 30.0},
            "topics": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "partitions": {"type": "int", "default": 1},
                    "replication": {"type": "int", "default": 1},
                    "config": {"type": "dict", "default": {}},
                },
            },
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR:
        if module.check_mode:  # before the first installation there is no client library, and no topic either
            module.exit_json(changed=True, created=[topic["name"] for topic in module.params["topics"]], altered=[])
        module.fail_json(msg=missing_required_lib("confluent-kafka"), exception=IMPORT_ERROR)
    args = module.params
    servers = args["bootstrap_servers"]
    try:
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0, **args["client"]})
        result = ensure(admin, args["topics"], args["timeout"], module.check_mode)
    except KafkaException as error:
        if module.check_mode:  # a broker that the real run would have started first
            module.exit_json(changed=True, created=[topic["name"] for topic in args["topics"]], altered=[])
        module.fail_json(msg=f"Kafka at {servers}: {error.args[0].str()}")
    module.exit_json(changed=bool(result["created"] or result["altered"]), **result)


if __name__ == "__main__":
    main()
