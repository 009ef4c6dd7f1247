"""Have a running Cassandra write to its tables what it keeps in memory: flush.py AGENT MARK KEYSPACE.

``MARK`` is the argument of the server's command line that only this server has. Cassandra is managed over JMX alone,
and its own tool needs parts of Java that the small runtime lacks; so a management agent is loaded into the server for
the moment of the flush, on a free port of loopback, with a password that nobody else learns. It is gone afterwards.
The server's JVM is asked for that over its own socket, which costs no second and third JVM as Java's tools do.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

DAEMON = b"org.apache.cassandra.service.CassandraDaemon"
USER = "flush"
ATTACH_SECONDS = 30.0  # what a busy machine may need to load the agent
FLUSH_SECONDS = 60.0
POLL_SECONDS = 0.02
REFUSED = "the management agent does not start"


def find(mark: str) -> int:
    """Pid of the server whose command line has this argument (so has ours, but we are no server)."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        # In a container the program that starts it has the same arguments.
        if DAEMON in words and mark.encode() in words and words[0].endswith(b"java"):
            return int(entry.name)
    sys.exit(f"no process with the argument {mark}: Cassandra does not run")


def connect(pid: int) -> socket.socket:
    """A connection to the server's JVM; it opens the socket when a file of a certain name and SIGQUIT ask for it."""
    wish, deadline = Path(f"/tmp/.attach_pid{pid}"), time.monotonic() + ATTACH_SECONDS
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ATTACH_SECONDS)
    try:
        # Nobody listens when it was never asked for, or when an earlier process of this pid has left the socket.
        while connection.connect_ex(f"/tmp/.java_pid{pid}"):
            if time.monotonic() > deadline:
                sys.exit(f"{REFUSED}: the JVM opens no socket within {ATTACH_SECONDS:.0f} s")
            if not wish.exists():
                wish.touch()  # without it the signal would only make the JVM print its threads
                os.kill(pid, signal.SIGQUIT)
            time.sleep(POLL_SECONDS)
    finally:
        wish.unlink(missing_ok=True)
    return connection


def ask(pid: int, command: str, *arguments: str) -> str:
    """The answer of the server's JVM to one command of HotSpot's attach protocol (its AttachListener), version 1."""
    words = ("1", command, *arguments, "", "", "")[:5]  # every command has three arguments
    try:
        with connect(pid) as connection:
            connection.sendall("".join(f"{word}\0" for word in words).encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("utf-8", "replace")
    except OSError as error:
        sys.exit(f"{REFUSED}: {error}")
    status, _, text = answer.partition("\n")
    if status != "0":
        sys.exit(f"{REFUSED}: {command} ended with status {status}: {text.strip()}")
    return text


def load(pid: int, agent: str, options: str) -> None:
    """Load the agent's jar into the server, or speak to it there."""
    said = ask(pid, "load", "instrument", "false", f"{agent}={options}").strip()
    if said not in ("", "0", "return code: 0"):  # which of them depends on Java's version
        sys.exit(f"{REFUSED}: {said}")


def url(pid: int) -> str | None:
    """Where the agent in the server answers, from the property that it sets; None when there is none."""
    found = re.search(r"^jolokia\.agent=(.+)$", ask(pid, "properties"), re.MULTILINE)
    return found.group(1).replace("\\", "").strip() if found else None


def execute(address: str, password: str, keyspace: str) -> None:
    """Flush every table of the keyspace over the agent."""
    request = urllib.request.Request(
        address,
        data=json.dumps(
            {
                "type": "exec",
                "mbean": "org.apache.cassandra.db:type=StorageService",
                "operation": "forceKeyspaceFlush(java.lang.String,[Ljava.lang.String;)",
                "arguments": [keyspace, []],
            }
        ).encode(),
        headers={"Authorization": "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=FLUSH_SECONDS) as answer:
        found = json.load(answer)
    if found["status"] != 200:
        sys.exit(f"Cassandra did not flush: {found.get('error')}")


def started(pid: int) -> str:
    """Where the agent that was just loaded answers: it starts by itself, and then says so."""
    deadline = time.monotonic() + ATTACH_SECONDS
    while time.monotonic() < deadline:
        if address := url(pid):
            return address
        time.sleep(POLL_SECONDS)
    sys.exit(f"{REFUSED}: it names no address within {ATTACH_SECONDS:.0f} s")


def main(agent: str, mark: str, keyspace: str) -> None:
    """Load the agent, flush, unload it."""
    pid, password = find(mark), secrets.token_urlsafe(24)
    if url(pid):
        # A killed run left it behind, with a password that nobody knows.
        load(pid, agent, "mode=stop")
    load(pid, agent, f"host=127.0.0.1,port=0,user={USER},password={password}")
    try:
        execute(started(pid), password, keyspace)
    finally:
        load(pid, agent, "mode=stop")


if __name__ == "__main__":
    main(*sys.argv[1:])
