"""One request to the monitor of a pipeline, from its own host, with its token."""

from __future__ import annotations

import http.client
from pathlib import Path

from eventlog.config import load
from eventlog.monitor.settings import read_settings

TIMEOUT = 3.0  # seconds for the connection, and again for the answer
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what to call to reach who listens on all addresses


def ask(config_path: Path, method: str, path: str, body: bytes = b"") -> bytes:
    """The body of the monitor's answer. Raises ConfigError, or OSError when it gives no good one."""
    config = load(config_path)
    token = read_settings(config_path, config).token
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    host = EVERYWHERE.get(config.monitor.host, config.monitor.host)
    connection = http.client.HTTPConnection(host, config.monitor.port, timeout=TIMEOUT)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"the monitor gave no answer: {error!r}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"the monitor answered {answer.status}: {found[:500].decode('utf-8', 'replace')}")
    return found
