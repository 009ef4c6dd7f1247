"""The `[kafka.client]` properties, which are librdkafka's, in the words of Kafka's Java client."""

from __future__ import annotations

from collections.abc import Mapping

from eventlog_job.config import ConfigError

_LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
_SAME_NAME = {"client.id", "security.protocol", "ssl.endpoint.identification.algorithm"}


def java_properties(bootstrap_servers: str, client: Mapping[str, str]) -> dict[str, str]:
    """Options of a Flink table, each with the prefix `properties.`.

    Raises:
        ConfigError: a property has no counterpart in the Java client.
    """
    properties = {"bootstrap.servers": bootstrap_servers}
    rest = dict(client)
    mechanism = rest.pop("sasl.mechanism", None) or rest.pop("sasl.mechanisms", None)
    if mechanism is not None:
        properties |= _sasl(mechanism, rest.pop("sasl.username", ""), rest.pop("sasl.password", ""))
    authority = rest.pop("ssl.ca.location", None)
    if authority is not None:
        properties |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": authority}
    unknown = sorted(rest.keys() - _SAME_NAME)
    if unknown:
        raise ConfigError(f"[kafka.client] {', '.join(unknown)}: not known to Kafka's Java client, which the job uses")
    properties |= rest
    return {f"properties.{name}": value for name, value in properties.items()}


def _sasl(mechanism: str, user: str, password: str) -> dict[str, str]:
    module = _LOGIN_MODULES.get(mechanism)
    if module is None:
        raise ConfigError(f"[kafka.client] sasl.mechanism {mechanism}: must be one of {', '.join(_LOGIN_MODULES)}")
    login = f'{module} required username="{_escaped(user)}" password="{_escaped(password)}";'
    return {"sasl.mechanism": mechanism, "sasl.jaas.config": login}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
