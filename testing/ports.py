"""Ports that are free, below those that the kernel gives to outgoing connections."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

#: Of a pipeline without an offset.
PORTS = (9092, 9093, 9042, 7000, 8081, 6123, 6124, 6125, 6126, 5000)
#: Two runs of tests beside each other are told which block is theirs: what is free now is taken by the first that gets
#: to its servers. A block has its own offsets of pipelines (ports 16000 to 22000, 22000 to 28000) and single ports.
BLOCK = "EVENTLOG_TEST_BLOCK"
_BLOCKS = ((range(11000, 13000, 100), range(28200, 29400)), (range(17000, 19000, 100), range(29400, 30600)))
_next_port = itertools.count(os.getpid())


def _free(*ports: int) -> bool:
    with contextlib.suppress(OSError), contextlib.ExitStack() as held:
        for port in ports:
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        return True
    return False


def _block() -> tuple[range, range]:
    return _BLOCKS[int(os.environ.get(BLOCK, "0"))]


def free_offset() -> int:
    """A port offset at which every port of a pipeline is free."""
    for offset in _block()[0]:
        if _free(*(port + offset for port in PORTS)):
            return offset
    raise AssertionError("no free ports for a pipeline")


def free_ports(count: int) -> list[int]:
    """``count`` TCP ports that were free on loopback a moment ago; not those of an earlier call."""
    ports, found = _block()[1], []
    for _ in ports:
        port = ports[next(_next_port) % len(ports)]
        if _free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"no {count} free ports between {ports.start} and {ports.stop}")
