"""The program that has Cassandra flush, beside a process that behaves like its JVM with the agent."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FLUSH = Path(__file__).resolve().parents[3] / "roles" / "cassandra" / "files" / "flush.py"
AGENT = "/trees/agent.jar"
MARK = "-Dcassandra.config=file:///tmp/test_flush.yaml"
# A JVM as far as it is spoken to: it opens its socket when a file and SIGQUIT ask for it, and its agent, which starts
# in its own time, serves flushes over HTTP. What is done to it is printed.
JVM = r"""
import base64, http.server, json, os, signal, socket, sys, threading, time
state = {"address": None, "secret": None}
def say(*words): print(json.dumps(words), flush=True)
class Agent(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        trusted = self.headers["Authorization"] == "Basic " + base64.b64encode(state["secret"].encode()).decode()
        say("flush", request["operation"].partition("(")[0], request["arguments"][0], trusted)
        body = sys.argv[1].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
def start(options):
    time.sleep(0.1)
    server = http.server.HTTPServer(("127.0.0.1", 0), Agent)
    state.update(secret=options["user"] + ":" + options["password"], address=server.server_address[1])
    server.serve_forever()
def answer(words):
    if words[1] == "properties":
        url = "jolokia.agent=http\\://127.0.0.1\\:%d/jolokia\n" % state["address"] if state["address"] else ""
        return "#Sat Nov 28\njava.version=17.0.9\n" + url
    jar, _, text = words[4].partition("=")
    options = dict(pair.split("=") for pair in text.split(","))
    say("load", jar, *sorted(options))
    if "mode" in options: state["address"] = None
    else: threading.Thread(target=start, args=[options], daemon=True).start()
    return "return code: 0\n"
def listen(*_):
    if not os.path.exists(f"/tmp/.attach_pid{os.getpid()}"):
        say("threads printed"); return
    server = socket.socket(socket.AF_UNIX); server.bind(f"/tmp/.java_pid{os.getpid()}"); server.listen()
    threading.Thread(target=serve, args=[server], daemon=True).start()
def serve(server):
    while True:
        with server.accept()[0] as client:
            data = b""
            while data.count(b"\0") < 5: data += client.recv(4096)
            client.sendall(b"0\n" + answer(data.decode().split("\0")).encode())
signal.signal(signal.SIGQUIT, listen)
if "left" in sys.argv: threading.Thread(target=start, args=[{"user": "x", "password": "y"}], daemon=True).start()
time.sleep(0.3); say("up")
while True: time.sleep(600)
"""


@pytest.fixture
def flush() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flush", FLUSH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def jvm(tmp_path: Path) -> Iterator[Callable[..., Callable[[], list[list[Any]]]]]:
    """A function that starts the stand-in; what that returns ends it and says what was done to it."""
    started: list[subprocess.Popen[str]] = []
    java = tmp_path / "java"
    java.symlink_to(Path(sys.executable).resolve())

    def start(answer: dict[str, Any], *words: str) -> Callable[[], list[list[Any]]]:
        daemon = "org.apache.cassandra.service.CassandraDaemon"
        command = [str(java), "-c", JVM, json.dumps(answer), daemon, MARK, *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        assert json.loads(process.stdout.readline()) == ["up"]

        def done() -> list[list[Any]]:
            process.kill()
            return [json.loads(line) for line in process.communicate()[0].splitlines()]

        return done

    yield start
    for process in started:
        process.kill()
        process.wait()
        Path(f"/tmp/.java_pid{process.pid}").unlink(missing_ok=True)
        assert not Path(f"/tmp/.attach_pid{process.pid}").exists()


LOADED = ["load", AGENT, "host", "password", "port", "user"]
STOPPED = ["load", AGENT, "mode"]
FLUSHED = ["flush", "forceKeyspaceFlush", "eventlog", True]


def test_the_agent_is_there_for_the_flush_only(flush: ModuleType, jvm: Callable[..., Any]) -> None:
    done = jvm({"status": 200})

    flush.main(AGENT, MARK, "eventlog")
    flush.main(AGENT, MARK, "eventlog")  # over the socket that is open by now

    assert done() == [LOADED, FLUSHED, STOPPED] * 2


def test_an_agent_that_was_left_behind_is_replaced(flush: ModuleType, jvm: Callable[..., Any]) -> None:
    done = jvm({"status": 200}, "left")

    flush.main(AGENT, MARK, "eventlog")

    assert done() == [STOPPED, LOADED, FLUSHED, STOPPED]


def test_a_flush_that_fails_is_said_and_the_agent_removed(flush: ModuleType, jvm: Callable[..., Any]) -> None:
    done = jvm({"status": 500, "error": "the disk is full"})

    with pytest.raises(SystemExit, match="Cassandra did not flush: the disk is full"):
        flush.main(AGENT, MARK, "eventlog")

    assert done()[-1] == STOPPED


def test_a_server_that_does_not_run_is_said(flush: ModuleType) -> None:
    with pytest.raises(SystemExit, match="Cassandra does not run"):
        flush.main(AGENT, MARK, "eventlog")


def test_a_jvm_that_opens_no_socket_is_given_up(
    flush: ModuleType, jvm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush, "ATTACH_SECONDS", 0.2)
    monkeypatch.setattr(flush.signal, "SIGQUIT", 0)  # which does nothing
    jvm({"status": 200})

    with pytest.raises(SystemExit, match="the management agent does not start: the JVM opens no socket"):
        flush.main(AGENT, MARK, "eventlog")
