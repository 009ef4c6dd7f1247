"""``python -m eventlog_console.keeper JOB``: run a job's playbook, and heal when somebody cancels it.

A process of its own, in a session of its own: it ends with the playbook, whatever becomes of the console. It holds the
console's lock by an open file that it inherited. Exit status 0 when the job was seen to its end, however that was.
"""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from eventlog_console.jobs import HEAL, PLAY, Job
from eventlog_console.playing import play


def main(arguments: Sequence[str]) -> int:
    """Entry point; the exit status."""
    job = Job(Path(arguments[0]))
    # A keeper that is told to end leaves no drill half-way.
    signal.signal(signal.SIGTERM, lambda *_: job.cancel())
    asked = job.asked
    root = Path(asked["root"])
    status, rc = "failed", None
    try:
        status, rc = play(asked["command"], root=root, folder=job.path, name=PLAY, stop=lambda: job.cancelled)
        if status == "canceled" and asked["heal"]:
            _, rc = play(asked["heal"], root=root, folder=job.path, name=HEAL)
    except Exception:  # whatever it was, the job has ended and must say so; the trace is in keeper.log
        traceback.print_exc()
    job.end(status, rc)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
