"""Have a running Cassandra write to its tables what it keeps in memory: flush.py JAVA AGENT MARK KEYSPACE.

``MARK`` is the argument of the server's command line that only this server has. Cassandra is managed over JMX alone,
and its own tool needs parts of Java that the small runtime lacks; so a management agent is loaded into the server for
the moment of the flush, on a free port of loopback, with a password that nobody else learns. It is gone afterwards.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

DAEMON = b"org.apache.cassandra.service.CassandraDaemon"
USER = "flush"
ATTACH_MILLISECONDS = 30_000  # what a busy machine may need to load the agent
FLUSH_SECONDS = 60.0


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


def launch(java: str, agent: str, *words: str) -> list[str]:
    """Run the agent's launcher; the lines that it prints."""
    command = [java, "-XX:TieredStopAtLevel=1", "-jar", agent, *words]
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.splitlines()


def execute(url: str, password: str, keyspace: str) -> None:
    """Flush every table of the keyspace over the agent."""
    request = urllib.request.Request(
        url,
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


def main(java: str, agent: str, mark: str, keyspace: str) -> None:
    """Load the agent, flush, unload it."""
    pid, password = find(mark), secrets.token_urlsafe(24)
    handle, settings = tempfile.mkstemp()
    try:
        os.write(handle, f"host=127.0.0.1\nport=0\nuser={USER}\npassword={password}\n".encode())
        os.close(handle)
        start = ("--startTimeout", str(ATTACH_MILLISECONDS), "--config", settings, "start", str(pid))
        lines = launch(java, agent, *start)
        if lines and "already attached" in lines[0]:
            # A killed run left it behind, with a password that nobody knows.
            launch(java, agent, "--quiet", "stop", str(pid))
            lines = launch(java, agent, *start)
        url = next((line for line in lines if line.startswith("http://127.0.0.1:")), None)
        if url is None:
            sys.exit(f"the management agent does not start: {lines[0] if lines else 'it says nothing'}")
        try:
            execute(url, password, keyspace)
        finally:
            launch(java, agent, "--quiet", "stop", str(pid))
    finally:
        os.unlink(settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
