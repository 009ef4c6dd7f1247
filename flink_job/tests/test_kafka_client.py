from __future__ import annotations

import pytest
from eventlog_job.config import ConfigError
from eventlog_job.kafka_client import java_properties


def test_only_the_servers_on_loopback() -> None:
    assert java_properties("a:1", {}) == {"properties.bootstrap.servers": "a:1"}


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ({"security.protocol": "SSL"}, {"properties.security.protocol": "SSL"}),
        (
            {"ssl.ca.location": "/ca.pem"},
            {"properties.ssl.truststore.type": "PEM", "properties.ssl.truststore.location": "/ca.pem"},
        ),
        (
            {"sasl.mechanisms": "SCRAM-SHA-256", "sasl.username": "me", "sasl.password": 'a"b\\c'},
            {
                "properties.sasl.mechanism": "SCRAM-SHA-256",
                "properties.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
                'username="me" password="a\\"b\\\\c";',
            },
        ),
    ],
)
def test_translates_security(client: dict[str, str], expected: dict[str, str]) -> None:
    assert java_properties("a:1", client) == {"properties.bootstrap.servers": "a:1", **expected}


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ({"socket.timeout.ms": "1"}, "[kafka.client] socket.timeout.ms: not known to Kafka's Java client"),
        ({"sasl.username": "me"}, "[kafka.client] sasl.username: not known"),
        ({"sasl.mechanism": "GSSAPI"}, "[kafka.client] sasl.mechanism GSSAPI: must be one of PLAIN, "),
    ],
)
def test_refuses_what_has_no_counterpart(client: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        java_properties("a:1", client)
    assert str(caught.value).startswith(message)
