"""The Docker engine's HTTP interface over its unix socket: looking at containers and bringing them back.

Creating, stopping and removing is done from the controller with community.docker. What is here runs on the engine's own
host, in a container with Python's standard library and nothing else, and must go on when the controller is gone.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.eventlog.drills.plugins.module_utils.units import UnitError

SECONDS = 60.0  # a stop waits on the server's side until the container has ended


class EngineError(UnitError):
    """The engine refused, or cannot be reached."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """One engine; ``path`` is its socket. Every method raises EngineError."""

    def __init__(self, path: str) -> None:
        self.path = path

    def containers(self, label: str) -> list[dict[str, Any]]:
        """Every container with the label ``key=value``, running or not, as the engine lists them."""
        found: list[dict[str, Any]] = self._json("GET", "/containers/json", all=1, filters={"label": [label]})
        return found

    def inspect(self, name: str) -> dict[str, Any] | None:
        """Everything about a container; None when there is none of that name."""
        status, body = self._ask("GET", f"/containers/{quote(name)}/json")
        if status == http.client.NOT_FOUND:
            return None
        return self._checked(status, body) or {}

    def processes(self, name: str, arguments: str) -> list[str]:
        """The lines of ``ps`` with these arguments for a running container, as its host sees them, without the head."""
        status, body = self._ask("GET", f"/containers/{quote(name)}/top", ps_args=arguments)
        if status in (http.client.NOT_FOUND, http.client.CONFLICT):  # it has ended since it was seen running
            return []
        return [" ".join(fields) for fields in self._checked(status, body)["Processes"] or []]

    def logs(self, name: str, lines: int) -> list[str]:
        """The last lines of a container's output, both streams."""
        status, body = self._ask("GET", f"/containers/{quote(name)}/logs", stdout=1, stderr=1, tail=lines)
        if status != http.client.OK:
            return []
        return _frames(body).decode("utf-8", "replace").splitlines()

    def start(self, name: str) -> None:
        """Start a container that exists."""
        self._post(f"/containers/{quote(name)}/start")

    def unpause(self, name: str) -> None:
        """Thaw a paused container."""
        self._post(f"/containers/{quote(name)}/unpause")

    def connect(self, network: str, name: str, address: str, aliases: list[str]) -> None:
        """Connect a container to a network, with its address and names there."""
        endpoint = {"IPAMConfig": {"IPv4Address": address}, "Aliases": aliases}
        self._post(f"/networks/{quote(network)}/connect", {"Container": name, "EndpointConfig": endpoint})

    def _post(self, path: str, body: Any = None) -> None:
        self._checked(*self._ask("POST", path, body))

    def _json(self, method: str, path: str, **query: Any) -> Any:
        return self._checked(*self._ask(method, path, **query))

    def _checked(self, status: int, body: bytes) -> Any:
        if status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED):
            return None
        found = json.loads(body) if body.strip() else None
        if status >= http.client.BAD_REQUEST:
            raise EngineError(f"the engine refuses: {(found or {}).get('message', status)}")
        return found

    def _ask(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, bytes]:
        text = urlencode({key: json.dumps(value) if isinstance(value, dict) else value for key, value in query.items()})
        connection = _Connection(self.path)
        try:
            connection.request(
                method,
                f"{path}?{text}" if text else path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(f"no Docker engine answers at {self.path}: {error}") from error
        finally:
            connection.close()


def _frames(body: bytes) -> bytes:
    """The text of an attached stream: frames of 8 bytes of head, the last four its length, and the text."""
    text, at = b"", 0
    while at + 8 <= len(body):
        length = int.from_bytes(body[at + 4 : at + 8], "big")
        text += body[at + 8 : at + 8 + length]
        at += 8 + length
    return text
