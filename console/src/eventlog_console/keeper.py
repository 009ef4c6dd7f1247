"""``python -m eventlog_console.keeper JOB``: run a job's playbook, and heal when somebody cancels it.

A process of its own, in a session of its own: it ends with the playbook, whatever becomes of the console. It holds the
console's lock by an open file that it inherited. Exit status 0 when the job was seen to its end, however that was.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from eventlog_console.jobs import HEAL, PLAY, Job
from eventlog_console.playing import play

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt() -> None:
    """Become the parent of what the playbook leaves behind: Ansible's workers have sessions of their own."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> None:
    """Kill what a killed playbook left running: a task that goes on would work against the healing."""
    while orphans := Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
        for pid in map(int, orphans):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def main(arguments: Sequence[str]) -> int:
    """Entry point; the exit status."""
    job = Job(Path(arguments[0]))
    # A keeper that is told to end leaves no drill half-way.
    signal.signal(signal.SIGTERM, lambda *_: job.cancel())
    adopt()
    asked = job.asked
    root = Path(asked["root"])
    status, rc = "failed", None
    try:
        status, rc = play(asked["command"], root=root, folder=job.path, name=PLAY, stop=lambda: job.cancelled)
        if status == "canceled":
            end_orphans()
        if status == "canceled" and asked["heal"]:
            _, rc = play(asked["heal"], root=root, folder=job.path, name=HEAL)
    except Exception:  # whatever it was, the job has ended and must say so; the trace is in keeper.log
        traceback.print_exc()
    job.end(status, rc)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
