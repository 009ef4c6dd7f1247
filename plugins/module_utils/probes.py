"""Probes: is a server there, and does it answer a request of its own protocol?

An open port is not an answer: a stopped (SIGSTOP) server still accepts connections, and a starting one may listen long
before it serves. Every probe therefore sends the smallest real request of the protocol and reads its reply. Only the
standard library is used, so a probe runs on any host with Python.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

KAFKA_API_VERSIONS = 18  # request key, Kafka protocol guide
CQL_OPTIONS, CQL_SUPPORTED = 0x05, 0x06  # opcodes, CQL binary protocol v4, section 2.4


class NotReady(Exception):
    """The server does not answer yet; the text says what was seen."""


def port_open(host: str, port: int, timeout: float = 0.5) -> bool:
    """Whether a TCP connection to ``host:port`` is accepted within ``timeout`` seconds."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def probe(spec: Mapping[str, Any], timeout: float = 1.0) -> None:
    """Run the probe that ``spec`` describes: ``{"type": tcp|kafka|cql|http|flink_job|socket, …}``.

    Raises NotReady when the server does not answer as it should within ``timeout`` seconds, KeyError for an unknown
    type.
    """
    send = PROBES[spec["type"]]
    try:
        send(spec, timeout)
    except NotReady:
        raise
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise NotReady(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error


def answers(spec: Mapping[str, Any], timeout: float = 1.0) -> bool:
    """Whether the probe succeeds."""
    try:
        probe(spec, timeout)
    except NotReady:
        return False
    return True


def _tcp(spec: Mapping[str, Any], timeout: float) -> None:
    with socket.create_connection((spec["host"], spec["port"]), timeout):
        pass


def _kafka(spec: Mapping[str, Any], timeout: float) -> None:
    client = b"eventlog-probe"
    body = struct.pack(">hhih", KAFKA_API_VERSIONS, 0, 1, len(client)) + client
    with socket.create_connection((spec["host"], spec["port"]), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">i", len(body)) + body)
        size, correlation, error = struct.unpack(">iih", _receive(connection, 10))
    if correlation != 1 or error != 0 or size < 6:
        raise NotReady(f"unexpected answer to ApiVersions (error code {error})")


def _cql(spec: Mapping[str, Any], timeout: float) -> None:
    with socket.create_connection((spec["host"], spec["port"]), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">BBhBi", 4, 0, 0, CQL_OPTIONS, 0))
        opcode = _receive(connection, 9)[4]
    if opcode != CQL_SUPPORTED:
        raise NotReady(f"unexpected answer to OPTIONS (opcode {opcode})")


def _http(spec: Mapping[str, Any], timeout: float) -> None:
    _get(spec["host"], spec["port"], spec["path"], timeout)


def _flink_job(spec: Mapping[str, Any], timeout: float) -> None:
    """Every task of the one job is RUNNING. The job's own state is not enough: it is RUNNING while tasks wait."""
    overview = json.loads(_get(spec["host"], spec["port"], "/jobs/overview", timeout))
    jobs = [job for job in overview["jobs"] if job["state"] not in ("FINISHED", "CANCELED", "FAILED")]
    if len(jobs) != 1:
        raise NotReady(f"{len(jobs)} live jobs instead of 1")
    tasks = jobs[0]["tasks"]
    if not tasks["total"] or tasks["running"] != tasks["total"]:
        raise NotReady(f"job {jobs[0]['state']}, {tasks['running']} of {tasks['total']} tasks RUNNING")


def _socket(spec: Mapping[str, Any], timeout: float) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(spec["path"])
        connection.sendall(spec["request"].encode() + b"\n")
        if not connection.recv(1):
            raise NotReady("the connection was closed without an answer")


PROBES: dict[str, Callable[[Mapping[str, Any], float], None]] = {
    "tcp": _tcp,
    "kafka": _kafka,
    "cql": _cql,
    "http": _http,
    "flink_job": _flink_job,
    "socket": _socket,
}


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise NotReady("the connection was closed before the answer was complete")
        data += chunk
    return data


def _get(host: str, port: int, path: str, timeout: float) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise NotReady(f"GET {path} answered {response.status}")
    return body
