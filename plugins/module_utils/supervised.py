"""The process backend: units as programs of one supervisord, acted on as whole process groups.

supervisord makes every program the leader of a process group of its own, so the group is the unit: receipts, kill and
pause cover every member, Flink's Python workers included. The daemon never restarts anything by itself.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.backend import Backend, send, wait
from ansible_collections.eventlog.drills.plugins.module_utils.processes import (
    Member,
    boot_id,
    group_members,
    read_member,
)
from ansible_collections.eventlog.drills.plugins.module_utils.units import Unit, UnitError

FORK_SECONDS = 0.005  # between looks at a child that has not made its process group yet
SOCKET_NAME = "supervisor.sock"
SOCKET_PATH_LIMIT = 107  # sun_path of unix(7), less the final zero
LOG_TAIL_LINES = 15
TAIL_BYTES = 65536
SWEEP_SECONDS = 5.0  # how long members that outlive their leader get before SIGKILL

_CONFIG = """\
[unix_http_server]
file={socket}
chmod=0700
[supervisord]
logfile={root}/logs/supervisord.log
logfile_maxbytes=5MB
pidfile={run}/supervisord.pid
directory={root}
childlogdir={root}/logs
identifier={name}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files=units/*.conf
"""

_PROGRAM = """\
[program:{name}]
command={command}
directory={cwd}
autostart=false
autorestart=false
startsecs=0
stopsignal={stop_signal}
stopwaitsecs={stop_timeout:.0f}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=2
"""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class Supervisor(Backend):
    """One supervisord below ``root``, its socket and its records of what it started below ``run``.

    ``python`` and ``pythonpath`` run supervisord itself; every path is absolute. A pipeline that is already there keeps
    the ``run`` directory that it was begun with, so that its processes are found from another environment as well.
    """

    def __init__(self, root: str, run: str, name: str, python: str = "", pythonpath: str = "") -> None:
        self.root, self.name = Path(root), name
        self.python, self.pythonpath = python, pythonpath
        self.etc = self.root / "etc" / "units"
        self.config = self.root / "etc" / "supervisord.conf"
        self.run = self._settled_run() or Path(run)
        self.socket = self.run / SOCKET_NAME
        self._server = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(str(self.socket)))

    def _settled_run(self) -> Path | None:
        try:
            text = self.config.read_text(encoding="utf-8")
        except OSError:
            return None
        found = re.search(rf"^file=(.+)/{re.escape(SOCKET_NAME)}$", text, re.MULTILINE)
        # A copy of another pipeline's directory names that one's supervisord, which is none of our business.
        return Path(found.group(1)) if found and f"\ndirectory={self.root}\n" in text else None

    # -- the daemon ----------------------------------------------------------------------------------------------

    @property
    def rpc(self) -> Any:
        """supervisord's XML-RPC name space."""
        return self._server.supervisor

    def alive(self) -> bool:
        """Whether our supervisord answers."""
        try:
            return bool(self.rpc.getState()["statecode"] == 1)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def ensure_daemon(self) -> bool:
        """Start supervisord when it does not run; returns whether it was started."""
        if self.alive():
            return False
        if len(os.fsencode(str(self.socket))) > SOCKET_PATH_LIMIT:
            raise UnitError(
                f"the path of supervisord's socket is longer than {SOCKET_PATH_LIMIT} bytes: {self.socket}. "
                "Set pipeline_run_dir to a shorter directory."
            )
        for directory in (self.etc, self.root / "logs", self.run):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.config.write_text(
            _CONFIG.format(socket=self.socket, root=self.root, run=self.run, name=self.name), encoding="utf-8"
        )
        self.socket.unlink(missing_ok=True)
        result = subprocess.run(
            [self.python, "-m", "supervisor.supervisord", "-c", str(self.config)],
            env={**os.environ, "PYTHONPATH": self.pythonpath, "PYTHONNOUSERSITE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode or not wait(self.alive, 10):
            raise UnitError(f"supervisord did not start: {(result.stderr or result.stdout).strip()[-500:]}")
        return True

    def shutdown(self) -> bool:
        """Stop supervisord (its units must be stopped already); returns whether it ran."""
        if not self.alive():
            return False
        self.rpc.shutdown()
        if not wait(lambda: not self.alive(), 10):
            raise UnitError(f"supervisord did not stop within 10 s; see {self.root}/logs/supervisord.log")
        return True

    # -- what is known of a unit ---------------------------------------------------------------------------------

    def log_path(self, name: str) -> Path:
        """The file that holds a unit's standard output and error."""
        return self.root / "logs" / f"{name}.log"

    def _record_path(self, name: str) -> Path:
        return self.run / f"{name}.json"

    def _record(self, name: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self._record_path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if record.get("boot") == boot_id() else {}

    def _write_record(self, name: str, leader: Member, digest: str, log_offset: int) -> None:
        record = {"pid": leader.pid, "start_time": leader.start_time, "boot": boot_id()}
        self._record_path(name).write_text(json.dumps({**record, "digest": digest, "log_offset": log_offset}))

    def members(self, name: str) -> list[Member]:
        """The living processes of a unit, whether supervisord still knows them or not."""
        record = self._record(name)
        return group_members(record["pid"], record["start_time"]) if record else []

    def installed(self) -> list[str]:
        """Names of the units that are installed."""
        return sorted(path.stem for path in self.etc.glob("*.conf"))

    def current(self, unit: Unit) -> bool:
        """Whether the unit runs as it is described, its configuration files included."""
        return self.running(unit) and self._record(unit.name).get("digest") == unit.digest()

    def running(self, unit: Unit) -> bool:
        """Whether the unit's leader lives."""
        record = self._record(unit.name)
        return any(member.pid == record.get("pid") for member in self.members(unit.name))

    # -- verbs ---------------------------------------------------------------------------------------------------

    def outdated(self, unit: Unit) -> bool:
        """Whether the unit's description differs from the installed one."""
        path = self.etc / f"{unit.name}.conf"
        return not path.exists() or path.read_text(encoding="utf-8") != self._program(unit)

    def install(self, unit: Unit) -> bool:
        """Write the unit's description; a running process is left alone until the next start. Returns changed."""
        if not self.outdated(unit):
            return False
        self.etc.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.etc / f"{unit.name}.conf"
        path.write_text(self._program(unit), encoding="utf-8")
        path.chmod(0o600)
        return True

    def start(self, unit: Unit) -> bool:
        """Start the unit unless it runs as described; returns whether a process was started. Does not wait."""
        self.adopt(unit.name)
        if self.current(unit):
            return False
        self.stop(unit)
        self.refuse_foreign_ports(unit)
        self._load(unit)
        digest = unit.digest()
        log = self.log_path(unit.name)
        offset = log.stat().st_size if log.exists() else 0
        try:
            self.rpc.startProcess(unit.name, False)
        except xmlrpc.client.Fault as fault:
            # A process that ends within the call is reported so, and why is in its log only.
            said = self._said(unit, offset)
            raise UnitError(f"{unit.name} did not start: {fault.faultString}{said and ': '}{said}") from fault
        self._write_record(unit.name, self._leader(unit, offset), digest, offset)
        return True

    def adopt(self, name: str) -> bool:
        """Make the record that an interrupted start left unwritten, from what supervisord knows; returns whether."""
        if self.members(name) or not self.alive():
            return False
        try:
            pid = self.rpc.getProcessInfo(name)["pid"]
        except xmlrpc.client.Fault:  # it does not know the unit
            return False
        leader = read_member(pid) if pid else None
        if leader is None or leader.gone:
            return False
        self._write_record(name, leader, "", 0)
        return True

    def stop(self, unit: Unit) -> bool:
        """Stop the whole unit: its stop signal to the leader, SIGKILL to what is left; returns whether it ran."""
        members = self.members(unit.name)
        if not members:
            return False
        leader = self._record(unit.name)["pid"]
        if any(member.pid == leader for member in members):
            send(leader, signal.Signals[f"SIG{unit.stop_signal}"])
            for member in members:  # a paused process would never see the stop signal, or never answer its leader
                send(member.pid, signal.SIGCONT)
            wait(lambda: not self.running(unit), unit.stop_timeout)
        if not wait(lambda: not self.members(unit.name), SWEEP_SECONDS if not self.running(unit) else 0):
            self.kill(unit)
        return True

    def installed_unit(self, name: str) -> Unit:
        """What is needed to stop an installed unit of which only the name is known."""
        text = (self.etc / f"{name}.conf").read_text(encoding="utf-8")
        stop = dict(re.findall(r"^(stopsignal|stopwaitsecs)=(\w+)$", text, re.MULTILINE))
        signal_name, seconds = stop.get("stopsignal", Unit.stop_signal), stop.get("stopwaitsecs", Unit.stop_timeout)
        return Unit(name, [], "/", stop_signal=signal_name, stop_timeout=float(seconds))

    def remove(self, name: str) -> bool:
        """Forget a stopped unit; returns whether it was known."""
        path = self.etc / f"{name}.conf"
        if not path.exists():
            return False
        path.unlink()
        self._record_path(name).unlink(missing_ok=True)
        if self.alive():
            self.rpc.reloadConfig()
            with contextlib.suppress(xmlrpc.client.Fault):
                self.rpc.removeProcessGroup(name)
        return True

    def tail(self, unit: Unit) -> str:
        """The unit's last log lines since its last start, with the file's path."""
        log = self.log_path(unit.name)
        try:
            with log.open("rb") as file:
                size, begun = log.stat().st_size, self._record(unit.name).get("log_offset", 0)
                file.seek(max(begun if begun <= size else 0, size - TAIL_BYTES))  # it may have been rotated since
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        return "\n".join([f"Last lines of {log}:", *(f"  {line}" for line in lines[-LOG_TAIL_LINES:])])

    # -- internals -----------------------------------------------------------------------------------------------

    def await_ended(self, unit: Unit) -> None:
        """Let supervisord notice that the process ended: only then has it written the last lines to the log."""

        def reaped() -> bool:
            try:
                return not self.rpc.getProcessInfo(unit.name)["pid"]
            except (OSError, http.client.HTTPException, xmlrpc.client.Error):
                return True  # nobody is left to write anything

        wait(reaped, SWEEP_SECONDS)

    def _said(self, unit: Unit, log_offset: int) -> str:
        """The end of what the unit has written to its log since ``log_offset``."""
        try:
            text = self.log_path(unit.name).read_bytes()[log_offset:].decode("utf-8", "replace")
        except OSError:
            return ""
        return text.strip()[-1500:]

    def _leader(self, unit: Unit, log_offset: int) -> Member:
        """The process that supervisord has just forked, once it leads the process group that makes it findable."""
        info = self.rpc.getProcessInfo(unit.name)
        leader = read_member(info["pid"]) if info["pid"] else None
        while leader and leader.pgid != leader.pid and not leader.gone:
            time.sleep(FORK_SECONDS)
            leader = read_member(leader.pid)
        if leader is None:
            said = self._said(unit, log_offset)
            raise UnitError(f"{unit.name} ended at once ({info['description'] or info['spawnerr']}): {said}")
        return leader

    def _load(self, unit: Unit) -> None:
        """Make supervisord run the installed description, which may be new or changed."""
        self.install(unit)
        self.rpc.reloadConfig()
        with contextlib.suppress(xmlrpc.client.Fault):  # not known yet, or its old process is only now being reaped
            self.rpc.stopProcess(unit.name)
        with contextlib.suppress(xmlrpc.client.Fault):
            self.rpc.removeProcessGroup(unit.name)
        self.rpc.addProcessGroup(unit.name)

    def _program(self, unit: Unit) -> str:
        return _PROGRAM.format(
            name=unit.name,
            command=_escape(_command(unit)),
            cwd=_escape(unit.cwd),
            stop_signal=unit.stop_signal,
            stop_timeout=unit.stop_timeout,
            log=_escape(str(self.log_path(unit.name))),
        )


def _command(unit: Unit) -> str:
    """The unit's command line in supervisord's syntax.

    The environment goes through env(1), since supervisord's own list knows no escaping. A comment would begin at a
    blank with # or ; even within quotes, and %(here)s is expanded even when escaped; all such places are within single
    quotes, which may be closed and reopened in their middle.
    """
    command = shlex.join(["/usr/bin/env", *(f"{key}={value}" for key, value in sorted(unit.env.items())), *unit.argv])
    if "\n" in command:
        raise UnitError(f"{unit.name}: a line break in its command or environment cannot be told to supervisord")
    return re.sub(r"(\s)([#;])|(%)(\()", r"\1\3''\2\4", command)


def _escape(value: str) -> str:
    """supervisord expands %(name)s in its values."""
    return value.replace("%", "%%")
