"""Probes against tiny servers that speak just enough of each protocol, well or badly."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils.probes import NotReady, answers, port_open, probe

Handler = Callable[[socket.socket], None]
Serve = Callable[[Handler], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that serves each connection with a handler on a port of its own, until the test ends."""
    listeners: list[socket.socket] = []

    def start(handler: Handler) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    handler(connection)

        threading.Thread(target=loop, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data)) or pytest.fail("the probe closed the connection early")
    return data


def kafka(error: int = 0, correlation: int | None = None) -> Handler:
    """A broker that answers ApiVersions version 0 (size, correlation, error code, empty array)."""

    def handle(connection: socket.socket) -> None:
        size = struct.unpack(">i", receive(connection, 4))[0]
        key, version, asked = struct.unpack(">hhi", receive(connection, size)[:8])
        assert (key, version) == (18, 0)
        answer = struct.pack(">ihi", asked if correlation is None else correlation, error, 0)
        connection.sendall(struct.pack(">i", len(answer)))
        connection.sendall(answer)

    return handle


def cql(opcode: int = 0x06) -> Handler:
    """A node that answers OPTIONS of protocol version 4."""

    def handle(connection: socket.socket) -> None:
        version, _, _, asked, size = struct.unpack(">BBhBi", receive(connection, 9))
        assert (version, asked, size) == (4, 0x05, 0)
        connection.sendall(struct.pack(">BBhBi", 0x84, 0, 0, opcode, 0))

    return handle


def web(body: bytes | dict[str, Any], status: int = 200) -> Handler:
    """A web server with one answer."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()

    def handle(connection: socket.socket) -> None:
        while b"\r\n\r\n" not in connection.recv(65536):
            pass
        connection.sendall(b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))

    return handle


def silence(connection: socket.socket) -> None:
    """What a stopped process looks like: the connection is accepted and nothing ever comes."""
    connection.settimeout(10)
    while connection.recv(65536):
        pass


def hang_up(connection: socket.socket) -> None:
    """A server that closes at once, as one does that is starting or shutting down."""


def jobs(*entries: tuple[str, int, int]) -> dict[str, Any]:
    return {
        "jobs": [
            {"jid": f"{number}", "state": state, "tasks": {"running": running, "total": total}}
            for number, (state, running, total) in enumerate(entries)
        ]
    }


def spec(kind: str, port: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "host": "127.0.0.1", "port": port, **more}


@pytest.mark.parametrize(
    ("kind", "handler", "more"),
    [
        ("tcp", silence, {}),
        ("kafka", kafka(), {}),
        ("cql", cql(), {}),
        ("http", web({"ok": True}), {"path": "/healthz"}),
        ("http", web(b"not JSON, and fine"), {"path": "/"}),
        ("flink_job", web(jobs(("RUNNING", 4, 4))), {}),
        ("flink_job", web(jobs(("FINISHED", 0, 4), ("RUNNING", 2, 2))), {}),
    ],
)
def test_a_server_that_serves_answers(serve: Serve, kind: str, handler: Handler, more: dict[str, Any]) -> None:
    assert answers(spec(kind, serve(handler), **more))


@pytest.mark.parametrize(
    ("kind", "handler", "more", "seen"),
    [
        ("kafka", silence, {}, "timed out"),
        ("kafka", hang_up, {}, "closed before the answer was complete|reset"),
        ("kafka", kafka(error=35), {}, "error code 35"),
        ("kafka", kafka(correlation=7), {}, "unexpected answer"),
        ("kafka", web(b"a web server on this port"), {}, "unexpected answer|closed|timed out"),
        ("cql", silence, {}, "timed out"),
        ("cql", hang_up, {}, "closed before the answer was complete|reset"),
        ("cql", cql(opcode=0x00), {}, "opcode 0"),
        ("http", silence, {"path": "/"}, "timed out"),
        ("http", hang_up, {"path": "/"}, "RemoteDisconnected|reset"),
        ("http", web(b"", 503), {"path": "/healthz"}, "GET /healthz answered 503"),
        ("flink_job", web(jobs()), {}, "0 live jobs"),
        ("flink_job", web(jobs(("RUNNING", 1, 1), ("RUNNING", 1, 1))), {}, "2 live jobs"),
        ("flink_job", web(jobs(("RUNNING", 3, 4))), {}, "job RUNNING, 3 of 4 tasks RUNNING"),
        ("flink_job", web(jobs(("INITIALIZING", 0, 0))), {}, "0 of 0 tasks"),
        ("flink_job", web({"errors": ["starting"]}), {}, "KeyError"),
        ("flink_job", web(b"<html>"), {}, "JSONDecodeError"),
    ],
)
def test_a_server_that_does_not_serve_is_not_ready_and_says_why(
    serve: Serve, kind: str, handler: Handler, more: dict[str, Any], seen: str
) -> None:
    with pytest.raises(NotReady, match=seen):
        probe(spec(kind, serve(handler), **more), timeout=0.3)


@pytest.mark.parametrize("kind", ["tcp", "kafka", "cql", "flink_job"])
def test_a_closed_port_is_not_ready(kind: str, free_port: Callable[[], int]) -> None:
    with pytest.raises(NotReady, match="ConnectionRefusedError"):
        probe(spec(kind, free_port()))


def test_a_probe_of_an_unknown_type_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        probe({"type": "gopher"})


def test_a_unix_socket_that_answers_is_ready(short_dir: Path) -> None:
    path = short_dir / "s"
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(100))
                connection.sendall(b"{}\n")

        thread = threading.Thread(target=answer)
        thread.start()
        probe({"type": "socket", "path": str(path), "request": '{"request": "status"}'})
        thread.join()

    assert heard == [b'{"request": "status"}\n']


def test_a_unix_socket_that_nobody_serves_is_not_ready(short_dir: Path) -> None:
    with pytest.raises(NotReady, match="FileNotFoundError"):
        probe({"type": "socket", "path": str(short_dir / "none"), "request": "x"})


def test_a_port_is_open_only_while_somebody_listens(serve: Serve, free_port: Callable[[], int]) -> None:
    assert port_open("127.0.0.1", serve(silence))
    assert not port_open("127.0.0.1", free_port())
