"""The identity of the Kafka topic, which a re-created topic of the same name does not share."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

#: Seconds one question to Kafka may take.
_REQUEST_SECONDS = 5.0


class TopicError(Exception):
    """Kafka or the topic cannot be reached at the moment; the message is for a person."""


class Topics:
    """Asks Kafka for topic ids.

    Args:
        bootstrap_servers: where Kafka is.
        client: further librdkafka properties.
    """

    def __init__(self, bootstrap_servers: str, client: Mapping[str, str]) -> None:
        self._servers = bootstrap_servers
        # librdkafka prints each refused connection to stderr by default; the errors raised here say the same, once.
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, **client})

    def topic_id(self, topic: str) -> str:
        """The topic's id in Kafka's own base64 form. Raises TopicError."""
        try:
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_REQUEST_SECONDS)
            return str(asked[topic].result(timeout=_REQUEST_SECONDS + 1.0).topic_id)
        except (KafkaException, TimeoutError) as error:
            raise TopicError(f"Kafka at {self._servers}, topic {topic}: {_text(error)}") from error

    def delete_group(self, group: str) -> None:
        """Deletes a consumer group with its committed offsets; one that does not exist is fine. Raises TopicError."""
        try:
            self._admin.delete_consumer_groups([group], request_timeout=_REQUEST_SECONDS)[group].result(
                _REQUEST_SECONDS + 1.0
            )
        except KafkaException as error:
            if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise TopicError(f"Kafka at {self._servers}, group {group}: {_text(error)}") from error
        except TimeoutError as error:
            raise TopicError(f"Kafka at {self._servers}, group {group}: no answer") from error


def _text(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return str(error.args[0].str())
    return "no answer"
