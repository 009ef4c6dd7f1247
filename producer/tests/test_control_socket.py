"""The control socket: who may ask, what is answered, and what is said when nobody does."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from eventlog.control import ControlError, ControlServer, ProducerUnreachable, RequestError, control


def answer(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if request.get("do") == "wrong":
        raise RequestError("no such request")
    return {"asked": request.get("do")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "p.sock"


@pytest.fixture
def server(path: Path) -> Iterator[ControlServer]:
    server = ControlServer(path, answer)
    server.start()
    yield server
    server.close()


@pytest.mark.usefixtures("server")
def test_a_request_is_answered(path: Path) -> None:
    assert control(path, {"do": "status"}, 5) == {"asked": "status"}


@pytest.mark.usefixtures("server")
def test_a_refusal_is_an_error(path: Path) -> None:
    with pytest.raises(ControlError, match="no such request"):
        control(path, {"do": "wrong"}, 5)


@pytest.mark.usefixtures("server")
def test_one_connection_may_ask_often(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with closing(connection.makefile("rw")) as lines:
            for number in range(3):
                lines.write(json.dumps({"do": number}) + "\n")
                lines.flush()
                assert json.loads(lines.readline()) == {"ok": True, "status": {"asked": number}}


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("line", "message"), [(b"\xff{\n", "not a line of JSON"), (b"[1]\n", "not a JSON object")])
def test_nonsense_is_answered(path: Path, line: bytes, message: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(line)
        reply = json.loads(connection.makefile().readline())
    assert reply["ok"] is False
    assert message in reply["error"]


@pytest.mark.usefixtures("server")
def test_an_endless_line_ends_the_connection(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.settimeout(10)
        connection.sendall(b"x" * (64 << 10))
        lines = connection.makefile("rb")
        assert b"not a line of JSON" in lines.readline()
        assert lines.readline() == b""


@pytest.mark.usefixtures("server")
def test_a_silent_client_keeps_nobody_waiting(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        assert control(path, {"do": "status"}, 5) == {"asked": "status"}


@pytest.mark.usefixtures("server")
def test_only_the_owner_may_ask(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_socket_goes_with_the_server(path: Path, server: ControlServer) -> None:
    server.close()
    assert not path.exists()
    with pytest.raises(ProducerUnreachable, match="the producer is not running"):
        control(path, {"do": "status"}, 5)


def test_a_dead_producers_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ProducerUnreachable, match="the producer is not running"):
        control(path, {"do": "status"}, 5)

    server = ControlServer(path, answer)
    server.start()
    try:
        assert control(path, {"do": "status"}, 5) == {"asked": "status"}
    finally:
        server.close()


@pytest.mark.usefixtures("server")
def test_a_live_socket_is_not_taken(path: Path) -> None:
    with pytest.raises(ControlError, match="is in use by another program"):
        ControlServer(path, answer)
    assert control(path, {"do": "status"}, 5) == {"asked": "status"}


def test_what_is_not_a_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ControlError, match="is not a socket"):
        ControlServer(path, answer)
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_said(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 60) / ("e" * 60) / "p.sock"
    message = r"bytes long, the system takes at most 107: set a shorter producer\.socket"
    with pytest.raises(ControlError, match=message):
        ControlServer(path, answer)
    with pytest.raises(ControlError, match=message):
        control(path, {"do": "status"}, 5)
    assert not path.parent.exists()


def test_a_producer_that_hangs_is_not_waited_for(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen()
        with pytest.raises(ProducerUnreachable, match=r"did not answer on .* within 0\.2 s"):
            control(path, {"do": "status"}, 0.2)


def test_something_else_on_the_socket_is_said(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def greet() -> None:
            connection, _ = other.accept()
            connection.recv(1000)
            connection.sendall(b"220 hello\n")
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ControlError, match="is not a producer"):
            control(path, {"do": "status"}, 5)
        thread.join(5)
