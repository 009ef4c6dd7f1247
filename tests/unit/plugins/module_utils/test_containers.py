"""Units that are containers, seen and brought back through the interface of an engine that answers what it is told."""

from __future__ import annotations

import json
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils.containers import Containers, member, state
from ansible_collections.eventlog.drills.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError
from ansible_collections.eventlog.drills.plugins.modules import docker_units

from tests.unit.conftest import RunModule

LABELS = {
    "eventlog.pipeline": "test",
    "eventlog.unit": "kafka",
    "eventlog.digest": "d1",
    "eventlog.network": "eventlog-test",
    "eventlog.address": "172.30.0.11",
    "eventlog.aliases": "kafka",
}
ENDPOINT = {
    "IPAMConfig": {"IPv4Address": "172.30.0.11"},
    "IPAddress": "172.30.0.11",
    "Aliases": ["kafka", "0123456789ab"],
}
LEADER = "4711 4711 1 2048 Ss Wed Nov 25 20:01:02 2026 /sbin/docker-init -- java kafka.Kafka"
JAVA = "4720 4711 80 409600 Sl Wed Nov 25 20:01:02 2026 java kafka.Kafka"


def container(**changes: Any) -> dict[str, Any]:
    """What an engine says of a running container that is the unit ``kafka``, with changes of its state."""
    now = {
        "Status": "running",
        "Running": True,
        "Paused": False,
        "Pid": 4711,
        "StartedAt": "2026-11-25T20:01:02Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
        "ExitCode": 0,
        "OOMKilled": False,
        **changes,
    }
    return {
        "Id": "0123456789abcdef",
        "State": now,
        "Config": {"Labels": dict(LABELS)},
        "NetworkSettings": {"Networks": {"eventlog-test": dict(ENDPOINT)}},
    }


class FakeEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers like an engine from ``containers``, by name, and notes what it was asked to do."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self.processes: list[str] = [JAVA, LEADER]
        self.done: list[tuple[str, Any]] = []
        super().__init__(str(path), _Answers)

    def find(self, name: str) -> dict[str, Any] | None:
        """A container by its name or its id."""
        return self.containers.get(name) or next(
            (found for found in self.containers.values() if found["Id"] == name), None
        )


class _Answers(BaseHTTPRequestHandler):
    server: FakeEngine
    codes: ClassVar[dict[str, int]] = {"start": 204, "unpause": 204, "connect": 200}

    def address_string(self) -> str:
        return "a client"  # of a unix socket, which has no address

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, _, name, *verb = url.path.split("/")
        if name == "json":
            wanted = json.loads(parse_qs(url.query)["filters"][0])["label"][0].partition("=")
            listed = [
                {"Labels": found["Config"]["Labels"], "State": found["State"]["Status"]}
                for found in self.server.containers.values()
                if found["Config"]["Labels"].get(wanted[0]) == wanted[2]
            ]
            self.answer(200, json.dumps(listed).encode())
        elif (found := self.server.find(name)) is None:
            self.answer(404, b'{"message": "No such container"}')
        elif verb == ["json"]:
            self.answer(200, json.dumps(found).encode())
        elif verb == ["top"]:
            self.answer(200, json.dumps({"Processes": [line.split() for line in self.server.processes]}).encode())
        else:
            text = b"one\ntwo\n"
            self.answer(200, struct.pack(">BxxxL", 1, len(text)) + text)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        verb = self.path.rpartition("/")[2]
        if verb not in self.codes:
            self.answer(500, b'{"message": "not today"}')
            return
        self.server.done.append((verb, json.loads(body) if body else None))
        self.answer(self.codes[verb])


@pytest.fixture
def engine(short_dir: Path) -> Iterator[FakeEngine]:
    """An engine without containers."""
    with FakeEngine(short_dir / "docker.sock") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def containers(engine: FakeEngine) -> Containers:
    """The view of the pipeline ``test`` on it."""
    return Containers("test", Engine(str(engine.server_address)))


Look = Callable[..., dict[str, Any]]
UNIT = Unit(name="kafka", argv=["java"], cwd="/")


# -- looking -------------------------------------------------------------------------------------------------------


def test_the_containers_first_process_leads(engine: FakeEngine, containers: Containers) -> None:
    engine.containers["eventlog-test-kafka"] = container()
    found = containers.observe(UNIT)
    assert [process["pid"] for process in found["members"]] == [4711, 4720]
    assert found["container"]["connected"] is True
    assert containers.running(UNIT)


def test_there_is_nothing_of_a_container_that_is_not_there(containers: Containers) -> None:
    assert containers.observe(UNIT) == {"members": [], "ports": {}, "answers": None, "container": {}}
    assert not containers.running(UNIT)


def test_a_stopped_container_has_no_processes(engine: FakeEngine, containers: Containers) -> None:
    engine.containers["eventlog-test-kafka"] = container(Running=False, Status="exited", Pid=0)
    assert containers.members("kafka") == []
    assert not containers.running(UNIT)


def test_a_container_of_somebody_else_is_refused(engine: FakeEngine, containers: Containers) -> None:
    engine.containers["eventlog-test-kafka"] = container()
    engine.containers["eventlog-test-kafka"]["Config"]["Labels"] = None
    with pytest.raises(UnitError, match="did not make"):
        containers.members("kafka")


def test_the_units_that_run_are_found_by_their_labels(engine: FakeEngine, containers: Containers) -> None:
    others = {**LABELS, "eventlog.pipeline": "other"}
    engine.containers = {
        "running": container(),
        "frozen": container(Status="paused", Paused=True),
        "ended": container(Status="exited", Running=False),
        "foreign": container(),
        "tools": container(),
    }
    engine.containers["frozen"]["Config"]["Labels"]["eventlog.unit"] = "cassandra"
    engine.containers["ended"]["Config"]["Labels"]["eventlog.unit"] = "monitor"
    engine.containers["foreign"]["Config"]["Labels"] = others
    del engine.containers["tools"]["Config"]["Labels"]["eventlog.unit"]
    assert sorted(containers.found()) == ["cassandra", "kafka"]


def test_the_tail_is_what_the_container_printed(engine: FakeEngine, containers: Containers) -> None:
    engine.containers["eventlog-test-kafka"] = container()
    assert containers.tail(UNIT).splitlines()[1:] == ["  one", "  two"]


def test_an_engine_that_is_not_there_is_named(short_dir: Path) -> None:
    with pytest.raises(EngineError, match=r"no Docker engine answers at .*gone\.sock"):
        Engine(str(short_dir / "gone.sock")).inspect("kafka")


def test_a_line_of_ps_is_a_process() -> None:
    found = member(JAVA)
    assert (found.pid, found.pgid, found.threads, found.rss, found.state) == (4720, 4711, 80, 409600 * 1024, "S")
    assert found.cmdline == "java kafka.Kafka"
    assert found.start_time == member(LEADER).start_time


def test_a_line_that_is_not_understood_is_shown() -> None:
    with pytest.raises(EngineError, match="what is not understood: 'PID USER'"):
        member("PID USER")


@pytest.mark.parametrize(
    ("endpoint", "connected", "address", "aliases"),
    [
        (ENDPOINT, True, "172.30.0.11", ["kafka"]),
        (None, False, "", []),
        # A stopped container has no address but the one that it will have.
        ({**ENDPOINT, "IPAddress": ""}, True, "172.30.0.11", ["kafka"]),
        ({**ENDPOINT, "IPAddress": "172.30.0.2", "Aliases": None}, True, "172.30.0.2", []),
    ],
)
def test_a_state_tells_how_a_container_is_connected(
    endpoint: dict[str, Any] | None, connected: bool, address: str, aliases: list[str]
) -> None:
    found = container()
    found["NetworkSettings"]["Networks"] = {"eventlog-test": endpoint} if endpoint else {}
    seen = state(found)
    assert (seen["connected"], seen["address"], seen["aliases"]) == (connected, address, aliases)
    assert seen["wanted"] == {"address": "172.30.0.11", "aliases": ["kafka"]}


# -- bringing back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "cut", "text", "verbs"),
    [
        ({}, False, "", []),
        ({"Running": False, "Status": "exited"}, False, "kafka started", ["start"]),
        ({"Paused": True, "Status": "paused"}, False, "kafka continued", ["unpause"]),
        ({}, True, "kafka connected again", ["connect"]),
        ({"Running": False}, True, "kafka started and connected again", ["start", "connect"]),
    ],
)
def test_a_unit_is_brought_back_as_it_needs(
    engine: FakeEngine, containers: Containers, changes: dict[str, Any], cut: bool, text: str, verbs: list[str]
) -> None:
    engine.containers["eventlog-test-kafka"] = container(**changes)
    if cut:
        engine.containers["eventlog-test-kafka"]["NetworkSettings"]["Networks"] = {}
    assert containers.bring_back("kafka") == text
    assert [verb for verb, _ in engine.done] == verbs


def test_it_comes_back_with_its_address_and_its_names(engine: FakeEngine, containers: Containers) -> None:
    engine.containers["eventlog-test-kafka"] = container()
    engine.containers["eventlog-test-kafka"]["NetworkSettings"]["Networks"] = {}
    containers.bring_back("kafka")
    endpoint = engine.done[0][1]["EndpointConfig"]
    assert endpoint == {"IPAMConfig": {"IPv4Address": "172.30.0.11"}, "Aliases": ["kafka"]}


def test_a_container_that_was_removed_cannot_be_brought_back(containers: Containers) -> None:
    with pytest.raises(EngineError, match=r"was removed; playbooks/site\.yml makes it anew, with its data"):
        containers.bring_back("kafka")


# -- the module ----------------------------------------------------------------------------------------------------


@pytest.fixture
def look(engine: FakeEngine, run_module: RunModule, tmp_path: Path) -> Look:
    """A function that runs the module for the unit ``kafka``."""

    def run(state: str, **arguments: Any) -> dict[str, Any]:
        return run_module(
            docker_units,
            pipeline="test",
            socket=str(engine.server_address),
            records=str(tmp_path / "units"),
            units=[{"name": "kafka", "argv": ["java"], "cwd": "/"}],
            state=state,
            **arguments,
        )

    return run


def test_a_container_that_somebody_removed_is_reported(engine: FakeEngine, look: Look) -> None:
    assert "warnings" not in look("observed")
    engine.containers["eventlog-test-kafka"] = container()
    assert look("started")["receipts"][0]["container"]["after"]["id"] == "0123456789ab"
    engine.containers.clear()
    found = look("observed")
    assert found["receipts"][0]["after"] == []
    assert "eventlog-test-kafka was removed by somebody else" in str(found["warnings"])


def test_a_kill_is_proved_against_what_was_seen_before(engine: FakeEngine, look: Look) -> None:
    engine.containers["eventlog-test-kafka"] = container()
    before = look("observed")
    engine.containers["eventlog-test-kafka"] = container(Running=False, Status="exited", ExitCode=137)
    proof = look("killed", before={"seen": before["seen"], "began": before["began"]})["receipts"][0]
    assert proof["gone"] is True
    assert [process["pid"] for process in proof["before"]] == [4711, 4720]
    assert proof["container"]["after"]["exit_code"] == 137
