"""The lock of a pipeline: one drill at a time, and what a killed one has left is taken over by one successor only.

It is a file in the drill's folder on the pipeline's host, one JSON object that says who holds it. Every change of it is
one shell command within ``flock``, whose lock the kernel gives back however that command ends; and the file is moved
into place, so that there is never one without its holder's name. Whoever changes or removes it names the holder that
was seen: what somebody else has taken meanwhile is left alone.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.processes import boot_id, read_member
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host, quoted

#: Who holds a lock: ``id``, ``drill``, ``run``, ``controller``, ``pid``, ``start_time``, ``boot``, ``pids``, ``since``,
#: and ``host_boot``, which the host adds: its own boot when the lock was taken.
Holder = dict[str, Any]

_BOOT = "/proc/sys/kernel/random/boot_id"
#: Exit status of the shell that found the lock held.
_HELD = 3


@dataclass(frozen=True)
class Lock:
    """The lock of the pipeline whose drills use this folder on its host."""

    folder: str

    @property
    def path(self) -> str:
        """The file that says who holds it."""
        return f"{self.folder}/lock.json"

    # -- shell scripts -------------------------------------------------------------------------------------------

    def take_script(self, holder: Mapping[str, Any], then: str = "true") -> str:
        """Take the lock and run ``then``, or print ``HELD`` and the holder."""
        body = f"if test -e {quoted(self.path)}; then {self._show}; exit {_HELD}; fi\n{self._write(holder)}"
        return f"{self._alone(body)}\ncase $? in 0) ;; {_HELD}) exit 0 ;; *) exit 1 ;; esac\n{then}"

    def look_script(self) -> str:
        """Print ``HELD`` and the holder, or nothing."""
        return f"if test -e {quoted(self.path)}; then {self._show}; fi"

    def replace_script(self, seen: str, holder: Mapping[str, Any]) -> str:
        """Put ``holder`` in the place of the one with the id ``seen`` and print ``TAKEN``, unless it is another."""
        return self._alone(f"if {self._is(seen)}; then {self._write(holder)}\necho TAKEN; fi")

    def release_script(self, mine: str) -> str:
        """Give the lock back and let guard and sampler end, which live by the lease, if it is ``mine``."""
        names = [f"{self.folder}/{name}" for name in ("lease", "before.json", "guard.json")]
        return self._alone(f"if {self._is(mine)}; then rm -f {quoted(*names, self.path)}; echo RELEASED; fi")

    @property
    def _show(self) -> str:
        return f"echo HELD; cat {_BOOT} {quoted(self.path)}"

    def _is(self, identity: str) -> str:
        file = quoted(self.path)
        if not identity:  # a file that is no holder's has none
            return f"test -e {file} && ! grep -q '\"id\": ' {file}"
        return f"grep -qsF {quoted(json.dumps({'id': identity})[1:-1])} {file}"

    def _write(self, holder: Mapping[str, Any]) -> str:
        text = json.dumps({key: value for key, value in holder.items() if key != "host_boot"})
        fresh = quoted(f"{self.path}.new")
        line = f'printf \'%s, "host_boot": "%s"}}\\n\' {quoted(text[:-1])} "$(cat {_BOOT})"'
        return f"umask 077\n{line} > {fresh} && mv -f {fresh} {quoted(self.path)} || exit 1"

    def _alone(self, body: str) -> str:
        """The body in a shell of its own, while nobody else changes the lock."""
        mutex = quoted(f"{self.folder}/lock.mutex")
        return f"mkdir -p -m 700 {quoted(self.folder)} && (\nflock 9 || exit 1\n{body}\n) 9>>{mutex}"

    # -- the same, on a host -------------------------------------------------------------------------------------

    def look(self, host: Host) -> Holder | None:
        """Who holds the lock, None when nobody does.

        :raises HostError: the host cannot be asked.
        """
        return held(host.run(self.look_script()))

    def take_over(self, host: Host, seen: Mapping[str, Any], holder: Mapping[str, Any]) -> bool:
        """Put ``holder`` in the place of the one that was ``seen``; False when somebody else was faster.

        :raises HostError: the host cannot be asked.
        """
        return host.run(self.replace_script(str(seen.get("id") or ""), holder)).strip() == "TAKEN"

    def release(self, host: Host, mine: str) -> bool:
        """Give back a lock that is ``mine``; False when it was not any more.

        :raises HostError: the host cannot be asked.
        """
        return host.run(self.release_script(mine)).strip() == "RELEASED"


def held(answer: str) -> Holder | None:
    """The holder that a script has printed, None when it printed none; empty when what it printed is no holder.

    Its ``host_now`` is the host's boot of this moment.
    """
    word, _, rest = answer.partition("\n")
    if word.strip() != "HELD":
        return None
    boot, _, text = rest.partition("\n")
    try:
        holder = json.loads(text)
    except ValueError:
        return {}
    return {**holder, "host_now": boot.strip()} if isinstance(holder, dict) else {}


def holder(drill: str, run: str = "", **more: Any) -> Holder:
    """The playbook that this process works for, as a new holder.

    :param drill: name of the drill.
    :param run: its folder on this machine, once there is one.
    """
    playbook = read_member(os.getppid())  # tasks run in worker processes of it
    return {
        "id": secrets.token_hex(8),
        "drill": drill,
        "run": run,
        "controller": socket.gethostname(),
        "pid": os.getppid(),
        "start_time": playbook.start_time if playbook else 0,
        "boot": boot_id(),
        "pids": _pid_namespace(),
        "since": time.time(),
        **more,
    }


def _pid_namespace() -> str:
    """The name space in which our pids mean something, for example ``pid:[4026531836]``."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def is_gone(holder: Mapping[str, Any]) -> bool:
    """Whether the playbook that held a lock is known to have ended; of one that cannot be seen from here it is not."""
    if not holder:
        # No holder ever wrote that: it is what an editor or a full disk has left.
        return True
    beside = holder.get("boot") == holder.get("host_boot")
    if beside and holder.get("host_now") not in (None, "", holder.get("host_boot")):
        return True  # it ran on the pipeline's own machine, which has been started anew since
    if holder.get("boot") != boot_id() or holder.get("pids") != _pid_namespace():
        return False
    pid = int(holder.get("pid") or 0)
    member = read_member(pid)
    if member is not None:
        return member.gone or member.start_time != holder.get("start_time")
    return not _exists(pid)


def _exists(pid: int) -> bool:
    """Whether there is a process of that number, even one of another user's that /proc hides."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def described(holder: Mapping[str, Any]) -> str:
    """Who holds the lock and what to do about it, in one line."""
    drill = holder.get("drill", "?")
    if is_gone(holder):
        return f"drill {drill} was killed and has left its lock: ansible-playbook playbooks/heal.yml"
    minutes = (time.time() - float(holder.get("since") or 0.0)) / 60
    playbook = f"pid {holder.get('pid')} on {holder.get('controller')}, begun {minutes:.0f} min ago"
    what = f"the healing of drill {drill}" if holder.get("heals") else f"drill {drill}"
    return (
        f"{what} ({playbook}) holds this pipeline. Wait for it, or if that playbook is gone: "
        "ansible-playbook playbooks/heal.yml -e drill_force=true"
    )
