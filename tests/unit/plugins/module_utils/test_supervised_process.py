"""Units under a real supervisord: small web servers that fork children."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import supervisor as supervisor_package
from ansible_collections.eventlog.drills.plugins.module_utils import supervised
from ansible_collections.eventlog.drills.plugins.module_utils.backend import receipt
from ansible_collections.eventlog.drills.plugins.module_utils.processes import group_members, read_member
from ansible_collections.eventlog.drills.plugins.module_utils.supervised import Supervisor
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError

from testing.waiting import wait_until

pytestmark = pytest.mark.programs

SITE = str(Path(supervisor_package.__file__).parent.parent)
# A web server that starts some children, says where it is, and ends on SIGTERM without caring for its children.
SERVER = """
import http.server, signal, subprocess, sys, time
port, children, reads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
for path in reads:
    print("configured with", open(path).read(), flush=True)
for _ in range(children):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
def end(*_):
    print("ending gracefully", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
server = http.server.HTTPServer(("127.0.0.1", port), Handler)
print("listening on", port, flush=True)
server.serve_forever()
"""


def graceful(pipeline: Pipeline, unit: Unit) -> bool:
    """Whether the server has said that it ends."""
    return "ending gracefully" in pipeline.supervisor.log_path(unit.name).read_text()


class Pipeline:
    """A supervisord in a directory of its own, and units for it."""

    def __init__(self, folder: Path, free_port: Callable[[], int]) -> None:
        self.folder, self.free_port = folder, free_port
        self.supervisor = self.again()

    def again(self) -> Supervisor:
        """A fresh view of the same pipeline, as the next module run has it."""
        return Supervisor(str(self.folder / "root"), str(self.folder / "run"), "test", sys.executable, SITE)

    def unit(self, name: str = "web", children: int = 1, code: str = SERVER, **more: Any) -> Unit:
        """A unit that runs the server."""
        port = self.free_port()
        script = self.folder / f"{name}.py"
        script.write_text(code)
        return Unit(
            **{
                "name": name,
                "argv": [sys.executable, str(script), str(port), str(children), *more.get("config_files", [])],
                "cwd": str(self.folder),
                "ports": [port],
                "probe": {"type": "http", "host": "127.0.0.1", "port": port, "path": "/"},
                "stop_timeout": 5.0,
                "ready_timeout": 10.0,
                **more,
            }
        )

    def start(self, unit: Unit) -> bool:
        """Start a unit and wait until it serves."""
        self.supervisor.ensure_daemon()
        started = self.supervisor.start(unit)
        self.supervisor.await_ready([unit], time.monotonic())
        return started

    def failure(self, unit: Unit) -> str:
        """What a start that must fail says."""
        with pytest.raises(UnitError) as failure:
            self.start(unit)
        return str(failure.value)

    def pids(self, unit: Unit) -> list[int]:
        """Pids of the unit's members, the leader first."""
        return [member.pid for member in self.again().members(unit.name)]

    def daemon(self) -> int:
        """The pid of supervisord."""
        return int(self.supervisor.rpc.getPID())

    def end(self) -> None:
        """Stop everything, whatever the test left behind."""
        for name in self.supervisor.installed():
            self.supervisor.kill(Unit(name, [], "/"))
        with contextlib.suppress(Exception):
            self.supervisor.shutdown()


@pytest.fixture
def pipeline(short_dir: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A pipeline whose units are gone when the test ends."""
    monkeypatch.setattr(supervised, "SWEEP_SECONDS", 0.2)
    found = Pipeline(short_dir, free_port)
    yield found
    found.end()


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


# -- start -----------------------------------------------------------------------------------------------------------


def test_a_start_brings_the_whole_unit_up_and_a_second_one_does_nothing(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=2)

    assert pipeline.start(unit)
    pids = pipeline.pids(unit)
    assert len(pids) == 3
    assert pipeline.supervisor.running(unit)
    assert pipeline.supervisor.current(unit)
    observed = pipeline.supervisor.observe(unit)
    assert observed["ports"] == {str(unit.ports[0]): True}
    assert observed["answers"] is True

    assert not pipeline.again().ensure_daemon()
    assert not pipeline.again().start(unit)
    assert pipeline.pids(unit) == pids


def test_the_milestones_of_a_start_are_in_order(pipeline: Pipeline) -> None:
    unit = pipeline.unit()
    pipeline.supervisor.ensure_daemon()
    since = time.monotonic()
    pipeline.supervisor.start(unit)

    reached = pipeline.supervisor.await_ready([unit], since)[unit.name]

    assert list(reached) == ["process", "port", "ready"]
    assert 0 < reached["process"] <= reached["port"] <= reached["ready"] < 10


def test_a_changed_configuration_file_makes_a_start_a_restart(pipeline: Pipeline) -> None:
    config = pipeline.folder / "server.conf"
    config.write_text("one")
    unit = pipeline.unit(config_files=[str(config)])
    pipeline.start(unit)
    before = pipeline.pids(unit)

    config.write_text("two")
    assert not pipeline.supervisor.current(unit)
    assert pipeline.start(unit)

    assert not set(before) & set(pipeline.pids(unit))
    log = pipeline.supervisor.log_path(unit.name).read_text()
    assert log.count("listening on") == 2
    assert "configured with one" in log
    assert "configured with two" in log


def test_a_changed_description_makes_a_start_a_restart(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=0)
    pipeline.start(unit)
    before = pipeline.pids(unit)
    changed = Unit(**{**unit.__dict__, "env": {"COLOUR": "blue"}})

    assert pipeline.start(changed)

    after = pipeline.pids(unit)
    assert len(after) == 1
    assert after != before
    assert b"COLOUR=blue" in Path(f"/proc/{after[0]}/environ").read_bytes()


def test_a_port_of_another_program_is_refused_with_its_owner(pipeline: Pipeline) -> None:
    unit = pipeline.unit()
    with socket.create_server(("127.0.0.1", unit.ports[0])):
        pipeline.supervisor.ensure_daemon()
        with pytest.raises(UnitError) as refusal:
            pipeline.supervisor.start(unit)

    text = str(refusal.value)
    assert f"port {unit.ports[0]} is in use by pid {os.getpid()}" in text
    assert "which this pipeline did not start" in text
    assert "-e pipeline_port_offset=" in text
    assert pipeline.pids(unit) == []


def test_a_process_that_dies_at_its_start_shows_its_last_lines(pipeline: Pipeline) -> None:
    unit = pipeline.unit(
        code="import sys, time; print('reading the config'); time.sleep(0.2); sys.exit('no such topic')"
    )

    text = pipeline.failure(unit)

    assert text.startswith("web ended while it was starting.")
    assert f"Last lines of {pipeline.supervisor.log_path('web')}:" in text
    assert "  no such topic" in text


@pytest.mark.parametrize("argv", [["/no/such/program"], [sys.executable, "-c", "raise SystemExit('wrong flag')"]])
def test_a_process_that_dies_at_once_says_why(pipeline: Pipeline, argv: list[str]) -> None:
    unit = pipeline.unit()
    unit = Unit(**{**unit.__dict__, "argv": argv})

    text = pipeline.failure(unit)

    assert "No such file or directory" in text or "wrong flag" in text
    assert pipeline.pids(unit) == []


def test_a_working_directory_that_is_missing_is_said(pipeline: Pipeline) -> None:
    unit = Unit(**{**pipeline.unit().__dict__, "cwd": "/no/such/directory"})

    assert "/no/such/directory" in pipeline.failure(unit)


def test_only_the_lines_of_the_last_start_are_shown(pipeline: Pipeline) -> None:
    unit = pipeline.unit(code="print('attempt', flush=True)")
    pipeline.failure(unit)

    assert pipeline.failure(unit).count("attempt") == 1


def test_the_lines_are_found_after_the_log_was_rotated(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=0)
    pipeline.supervisor.ensure_daemon()
    log = pipeline.supervisor.log_path(unit.name)
    log.write_text("old\n" * 1000)
    pipeline.start(unit)
    log.write_text("after the rotation\n")

    assert pipeline.supervisor.tail(unit).endswith("  after the rotation")


def test_a_server_that_never_listens_is_given_up_with_the_reason(pipeline: Pipeline) -> None:
    unit = pipeline.unit(argv=["/bin/sh", "-c", "echo thinking; sleep 600"], ready_timeout=1.0)

    text = pipeline.failure(unit)

    assert f"web is not ready after 1 s (port {unit.ports[0]} is closed)" in text
    assert "  thinking" in text


def test_nothing_in_a_command_or_environment_is_misread(pipeline: Pipeline) -> None:
    strange = [
        "",
        " ",
        "a b",
        "100 %",
        "%(here)s",
        "a #b",
        "a ;b",
        "#c",
        'say "x"',
        "it's",
        "back\\slash",
        "$HOME",
        "ü,=",
        "*",
    ]
    out = pipeline.folder / "seen.json"
    script = pipeline.folder / "echo.py"
    script.write_text(
        "import json, os, sys, time\n"
        "seen = [sys.argv[2:], {key: value for key, value in os.environ.items() if key.startswith('EV_')}]\n"
        "open(sys.argv[1] + '.new', 'w').write(json.dumps(seen))\n"
        "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "time.sleep(600)\n"
    )
    environment = {f"EV_{number}": value for number, value in enumerate(strange)}
    unit = Unit(name="echo", argv=[sys.executable, str(script), str(out), *strange], cwd="/", env=environment)
    pipeline.supervisor.ensure_daemon()

    pipeline.supervisor.start(unit)
    wait_until(out.exists, 10, "it has written", 0.02)

    assert json.loads(out.read_text()) == [strange, environment]


def test_a_line_break_is_refused_since_supervisord_would_lose_it(pipeline: Pipeline) -> None:
    unit = Unit(name="echo", argv=["/bin/echo", "two\nlines"], cwd="/")

    with pytest.raises(UnitError, match="echo: a line break"):
        pipeline.supervisor.install(unit)


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    supervisor = Supervisor(str(tmp_path), str(tmp_path / ("deep/" * 30)), "test", sys.executable, SITE)

    with pytest.raises(UnitError, match=r"longer than 107 bytes.*Set pipeline_run_dir to a shorter directory"):
        supervisor.ensure_daemon()


def test_a_supervisord_that_cannot_start_says_why(short_dir: Path) -> None:
    supervisor = Supervisor(str(short_dir / "root"), str(short_dir / "run"), "test", sys.executable, "/nowhere")
    (short_dir / "root" / "etc" / "units").mkdir(parents=True)
    (short_dir / "root" / "etc" / "units" / "broken.conf").write_text("[program:broken]\nstopsignal=NONSENSE\n")

    with pytest.raises(UnitError, match=r"supervisord did not start: .*broken"):
        supervisor.ensure_daemon()


# -- stop and kill ---------------------------------------------------------------------------------------------------


def test_a_stop_is_graceful_and_takes_the_children_along(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=2)
    pipeline.start(unit)
    pids = pipeline.pids(unit)

    assert pipeline.supervisor.stop(unit)

    assert pipeline.pids(unit) == []
    assert all((member := read_member(pid)) is None or member.gone for pid in pids)
    wait_until(lambda: graceful(pipeline, unit), 10, "it ends gracefully", 0.02)
    assert free(unit.ports[0])
    assert not pipeline.supervisor.stop(unit)


def test_a_stop_that_is_ignored_ends_in_a_kill(pipeline: Pipeline) -> None:
    stubborn = SERVER.replace("signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    unit = pipeline.unit(code=stubborn, stop_timeout=0.3)
    pipeline.start(unit)

    began = time.monotonic()
    assert pipeline.supervisor.stop(unit)

    assert 0.3 <= time.monotonic() - began < 5
    assert pipeline.pids(unit) == []


def test_the_unit_s_own_stop_signal_is_used(pipeline: Pipeline) -> None:
    unit = pipeline.unit(code=SERVER.replace("signal.SIGTERM, end", "signal.SIGINT, end"), stop_signal="INT")
    pipeline.start(unit)

    pipeline.supervisor.stop(unit)

    wait_until(lambda: graceful(pipeline, unit), 10, "it ends gracefully", 0.02)


def test_a_kill_leaves_nobody_and_the_next_start_is_fresh(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=2)
    pipeline.start(unit)
    pids = pipeline.pids(unit)

    assert pipeline.supervisor.kill(unit)
    assert all((member := read_member(pid)) is None or member.gone for pid in pids)
    assert "ending gracefully" not in pipeline.supervisor.log_path(unit.name).read_text()
    assert not pipeline.supervisor.kill(unit)

    assert pipeline.start(unit)
    assert not set(pids) & set(pipeline.pids(unit))


def test_nothing_is_restarted_behind_our_back(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=0)
    pipeline.start(unit)
    os.kill(pipeline.pids(unit)[0], signal.SIGKILL)

    wait_until(lambda: pipeline.supervisor.rpc.getProcessInfo(unit.name)["statename"] == "EXITED", 10, "it has ended")
    assert pipeline.pids(unit) == []
    assert free(unit.ports[0])


def test_a_start_after_the_leader_died_ends_the_children_first(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=2)
    pipeline.start(unit)
    leader, *children = pipeline.pids(unit)
    os.kill(leader, signal.SIGKILL)
    wait_until(lambda: pipeline.pids(unit) == children, 10, "the children are there", 0.02)
    assert not pipeline.supervisor.running(unit)

    assert pipeline.start(unit)

    assert not {leader, *children} & set(pipeline.pids(unit))
    assert all((member := read_member(pid)) is None or member.gone for pid in children)


# -- pause -----------------------------------------------------------------------------------------------------------


def test_a_pause_freezes_every_member_and_an_unpause_wakes_them(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=2)
    pipeline.start(unit)

    assert pipeline.supervisor.pause(unit)
    assert [member.state for member in pipeline.supervisor.members(unit.name)] == ["T", "T", "T"]
    observed = pipeline.supervisor.observe(unit, probe_timeout=0.2)
    assert observed["ports"] == {str(unit.ports[0]): True}  # the kernel still accepts connections
    assert observed["answers"] is False
    assert not pipeline.supervisor.pause(unit)

    assert pipeline.supervisor.unpause(unit)
    assert all(member.state != "T" for member in pipeline.supervisor.members(unit.name))
    assert pipeline.supervisor.observe(unit)["answers"] is True
    assert not pipeline.supervisor.unpause(unit)


def test_a_paused_unit_can_be_stopped_gracefully(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=1)
    pipeline.start(unit)
    pipeline.supervisor.pause(unit)

    assert pipeline.supervisor.stop(unit)

    assert pipeline.pids(unit) == []
    wait_until(lambda: graceful(pipeline, unit), 10, "it ends gracefully", 0.02)


def test_what_does_not_run_can_be_neither_paused_nor_woken(pipeline: Pipeline) -> None:
    unit = pipeline.unit()

    assert not pipeline.supervisor.pause(unit)
    assert not pipeline.supervisor.unpause(unit)


# -- accidents -------------------------------------------------------------------------------------------------------


def test_survivors_of_a_killed_supervisord_are_adopted_never_doubled(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=1)
    pipeline.start(unit)
    pids = pipeline.pids(unit)
    os.kill(pipeline.daemon(), signal.SIGKILL)
    wait_until(lambda: not pipeline.again().alive(), 10, "the supervisor has ended")

    assert pipeline.again().ensure_daemon()
    assert not pipeline.again().start(unit)
    assert pipeline.pids(unit) == pids

    changed = Unit(**{**unit.__dict__, "env": {"COLOUR": "red"}})
    assert pipeline.again().start(changed)
    pipeline.again().await_ready([changed], time.monotonic())
    after = pipeline.pids(unit)
    assert not set(pids) & set(after)
    assert all((member := read_member(pid)) is None or member.gone for pid in pids)
    assert pipeline.again().stop(changed)


def test_survivors_of_a_killed_supervisord_are_removed_without_it(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=1)
    pipeline.start(unit)
    pids = pipeline.pids(unit)
    os.kill(pipeline.daemon(), signal.SIGKILL)
    wait_until(lambda: not pipeline.again().alive(), 10, "the supervisor has ended")

    view = pipeline.again()
    assert view.stop(view.installed_unit(unit.name))
    assert view.remove(unit.name)

    assert all((member := read_member(pid)) is None or member.gone for pid in pids)
    assert view.installed() == []


def test_a_start_that_was_interrupted_before_its_record_leaves_no_second_process(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=1)
    pipeline.start(unit)
    orphan = pipeline.pids(unit)
    (pipeline.folder / "run" / "web.json").unlink()

    assert pipeline.start(unit)

    assert not set(orphan) & set(pipeline.pids(unit))
    assert all((member := read_member(pid)) is None or member.gone for pid in orphan)


@pytest.mark.parametrize("field", ["boot", "start_time"])
def test_a_record_of_another_boot_or_process_names_nobody(pipeline: Pipeline, field: str) -> None:
    unit = pipeline.unit(children=0)
    pipeline.start(unit)
    path = pipeline.folder / "run" / "web.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, field: "elsewhere" if field == "boot" else record[field] + 10_000_000}))

    assert pipeline.again().members(unit.name) == []
    assert not pipeline.again().stop(unit)
    path.write_text(json.dumps(record))


def test_a_torn_record_is_no_record(pipeline: Pipeline) -> None:
    (pipeline.folder / "run").mkdir()
    (pipeline.folder / "run" / "web.json").write_text('{"pid": 1, "sta')

    assert pipeline.supervisor.members("web") == []


def test_the_pipeline_is_found_from_an_environment_with_another_run_directory(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=0)
    pipeline.start(unit)
    root = str(pipeline.folder / "root")
    elsewhere = Supervisor(root, str(pipeline.folder / "other"), "test", sys.executable, SITE)

    assert elsewhere.alive()
    assert not elsewhere.start(unit)
    assert pipeline.pids(unit)[0] in elsewhere.owned()


def test_a_copy_of_a_pipeline_s_directory_does_not_act_on_the_original(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=0)
    pipeline.start(unit)
    shutil.copytree(pipeline.folder / "root", pipeline.folder / "copy")
    copy = Supervisor(str(pipeline.folder / "copy"), str(pipeline.folder / "copied"), "test", sys.executable, SITE)

    assert not copy.alive()
    assert copy.members(unit.name) == []
    assert not copy.stop(copy.installed_unit(unit.name))
    assert len(pipeline.pids(unit)) == 1


def test_removal_leaves_no_process_no_description_and_no_socket(pipeline: Pipeline) -> None:
    units = [pipeline.unit("one"), pipeline.unit("two")]
    for unit in units:
        pipeline.start(unit)
    daemon = pipeline.daemon()

    for unit in units:
        assert pipeline.supervisor.stop(unit)
        assert pipeline.supervisor.remove(unit.name)
        assert not pipeline.supervisor.remove(unit.name)
    assert pipeline.supervisor.shutdown()

    assert not pipeline.supervisor.shutdown()
    assert pipeline.supervisor.installed() == []
    wait_until(lambda: (member := read_member(daemon)) is None or member.gone, 10, "the daemon has ended", 0.02)
    assert list((pipeline.folder / "run").iterdir()) == []


def test_a_removed_unit_can_be_installed_and_started_again(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=0)
    pipeline.start(unit)
    pipeline.supervisor.stop(unit)
    pipeline.supervisor.remove(unit.name)

    assert pipeline.start(unit)
    assert len(pipeline.pids(unit)) == 1


def test_an_installed_unit_remembers_how_it_is_stopped(pipeline: Pipeline) -> None:
    pipeline.supervisor.install(pipeline.unit(stop_signal="QUIT", stop_timeout=60.0))

    unit = pipeline.supervisor.installed_unit("web")

    assert (unit.stop_signal, unit.stop_timeout) == ("QUIT", 60.0)


# -- receipts --------------------------------------------------------------------------------------------------------


def test_a_receipt_proves_a_kill(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=1)
    pipeline.start(unit)
    before, started = pipeline.supervisor.observe(unit), time.time()
    pipeline.supervisor.kill(unit)

    proof = receipt(unit, "killed", before, pipeline.supervisor.observe(unit), started, {})

    port = str(unit.ports[0])
    assert (proof["unit"], proof["verb"], proof["gone"]) == ("web", "killed", True)
    assert len(proof["before"]) == 2
    assert proof["after"] == []
    assert proof["ports"] == {port: {"before": True, "after": False}}
    assert proof["answers"] == {"before": True, "after": False}
    assert proof["seconds"] >= 0
    json.dumps(proof)


def test_a_receipt_does_not_call_a_living_member_gone(pipeline: Pipeline) -> None:
    unit = pipeline.unit(children=1)
    pipeline.start(unit)
    before = pipeline.supervisor.observe(unit)
    os.kill(before["members"][0]["pid"], signal.SIGKILL)
    wait_until(lambda: len(group_members(before["members"][0]["pid"])) == 1, 10, "one is left", 0.02)

    proof = receipt(unit, "killed", before, pipeline.supervisor.observe(unit), time.time(), {})

    assert proof["gone"] is False
