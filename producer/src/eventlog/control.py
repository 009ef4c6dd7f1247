"""The control socket: one JSON object per line, asked and answered on a unix socket only its owner may open.

Requests: ``{"do": "status"}``, ``{"do": "pause"}``, ``{"do": "resume"}``, ``{"do": "rate", "rate": 25.0}``. Every
answer is ``{"ok": true, "status": {...}}``, the status being that after the request, or
``{"ok": false, "error": "..."}``.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# sockaddr_un.sun_path has 108 bytes on Linux, the last of them a zero.
PATH_BYTES_MAX = 107
LINE_BYTES_MAX = 64 << 10
# A client that opens a connection and says nothing is let go after this many seconds.
CLIENT_SECONDS = 30.0

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ControlError(Exception):
    """The producer could not be asked, or refused; the text is one line for a person."""


class ProducerUnreachable(ControlError):
    """Nobody answered: the producer is not running, or hangs."""


def control(socket_path: Path | str, request: Mapping[str, Any], timeout: float = 5.0) -> dict[str, Any]:
    """Ask the producer behind ``socket_path`` and return its status after the request.

    ``timeout`` in seconds bounds the whole exchange. Raises ProducerUnreachable when nobody answers, ControlError when
    the request is refused.
    """
    path = _checked(socket_path)
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode("utf-8") + b"\n")
            answer = _line(connection, deadline)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise ProducerUnreachable(f"the producer is not running (nobody listens on {path})") from error
    except TimeoutError as error:
        raise ProducerUnreachable(f"the producer did not answer on {path} within {timeout:g} s") from error
    except OSError as error:
        raise ProducerUnreachable(f"the producer cannot be asked on {path}: {error.strerror or error}") from error
    return _status(path, answer)


def _line(connection: socket.socket, deadline: float) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(LINE_BYTES_MAX)
        if not part:
            raise ConnectionResetError("it closed the connection without an answer")
        received += part
    return received


def _status(path: Path, answer: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(answer)
        if reply["ok"] is True:
            return dict(reply["status"])
        text = str(reply["error"])
    except (ValueError, KeyError, TypeError) as error:
        raise ControlError(f"what answers on {path} is not a producer") from error
    raise ControlError(text)


def _checked(path: Path | str) -> Path:
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise ControlError(
            f"the path of the control socket is {length} bytes long, the system takes at most {PATH_BYTES_MAX}: "
            f"set a shorter producer.socket than {path}"
        )
    return Path(path)


class RequestError(ValueError):
    """A request cannot be carried out as it is; the text says what is wrong with it."""


class _Handler(socketserver.StreamRequestHandler):
    """One connection; any number of requests, one per line."""

    timeout = CLIENT_SECONDS
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):  # a client may leave at any moment
            while line := self.rfile.readline(LINE_BYTES_MAX):
                self.wfile.write(json.dumps(self._reply(line)).encode("utf-8") + b"\n")
                if not line.endswith(b"\n"):
                    return

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except ValueError as error:
            return {"ok": False, "error": f"the request is not a line of JSON: {error}"}
        if not isinstance(request, dict):
            return {"ok": False, "error": "the request is not a JSON object"}
        try:
            return {"ok": True, "status": self.server.answer(request)}
        except RequestError as error:
            return {"ok": False, "error": str(error)}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self.answer = answer
        super().__init__(str(path), _Handler)

    def server_bind(self) -> None:
        super().server_bind()
        # Before listen(): until then nobody can connect, so there is no moment with wider permissions.
        self.path.chmod(0o600)


class ControlServer:
    """Answers on ``path`` from its own threads, between :meth:`start` and :meth:`close`.

    ``answer`` gets each request and returns the status, or raises RequestError. The
    socket of a dead producer is replaced; ControlError is raised when somebody listens on it, or when something else
    than a socket is in its place.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = _checked(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._clear()
            self._server = _Server(self._path, answer)
            self._inode = self._path.stat().st_ino
        except OSError as error:
            raise ControlError(f"control socket {path} cannot be opened: {error.strerror or error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="control", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more and remove the socket, unless it is another's by now."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _clear(self) -> None:
        """Remove a dead producer's socket."""
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlError(f"{self._path} is not a socket: move it away, or set another producer.socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self._path))
            except ConnectionRefusedError:
                self._path.unlink()
                return
            except TimeoutError:
                pass
        raise ControlError(f"control socket {self._path} is in use by another program: set another producer.socket")
