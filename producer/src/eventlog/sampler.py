"""The sampler: one snapshot of all counts per interval, as one JSON line each.

    python -m eventlog.sampler --config etc/pipeline.toml --out samples.jsonl --interval 1 --lease run/sampler.lease

It runs beside the pipeline while somebody watches, and never for longer: it ends on TERM or INT, after ``--seconds``,
and when its lease is gone or has not been touched for ``--lease-seconds``.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

from eventlog.config import ConfigError, load
from eventlog.counts import Counters, Snapshot

DEADLINE_SHARE = 0.8  # of the interval: how long a reading may take, so that the next one still begins in time
LONGEST = 4 * 3600.0  # seconds a sampler lives unless told otherwise
TAIL_BYTES = 65536  # a sample has about 1,000


class Lease:
    """A file that whoever wants the samples keeps touching. ``None`` as the path: a lease that never ends."""

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds

    def holds(self) -> bool:
        """Whether the file is there and was touched within the last ``seconds``."""
        if self._path is None:
            return True
        try:
            return time.time() - self._path.stat().st_mtime <= self._seconds
        except OSError:
            return False


class Samples:
    """The file of samples: appended to, one whole line per write, flushed by being unbuffered.

    ``sequence`` goes on after the last line of an existing file, so that a gap is visible as one.
    """

    def __init__(self, path: Path) -> None:
        tail = _tail(path)
        self.sequence = _last_sequence(tail)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # An earlier sampler may have been killed in the middle of a line.
        self._half_line = bool(tail) and not tail.endswith(b"\n")

    def append(self, snapshot: Snapshot) -> None:
        """Write one line. Raises OSError when that fails; the sequence number is used up all the same."""
        self.sequence += 1
        text = json.dumps({"sequence": self.sequence, **snapshot.to_dict()}, separators=(",", ":"))
        line = (b"\n" if self._half_line else b"") + text.encode() + b"\n"
        written = os.write(self._file, line)
        self._half_line = written < len(line)
        if self._half_line:
            raise OSError(errno.ENOSPC, "only a part of it was written")

    def close(self) -> None:
        os.close(self._file)


def _tail(path: Path) -> bytes:
    """The file's end, enough for some lines; empty when there is no file yet."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except FileNotFoundError:
        return b""


def _last_sequence(tail: bytes) -> int:
    for line in reversed(tail.splitlines()):
        try:
            return int(json.loads(line)["sequence"])
        except (ValueError, KeyError, TypeError):
            continue  # half a line
    return 0


def run(
    counters: Counters,
    samples: Samples,
    *,
    interval: float,
    seconds: float,
    goes_on: Callable[[], bool],
    ended: SimpleQueue[None],
) -> None:
    """Sample every ``interval`` seconds, for ``seconds`` or until ``ended`` holds something or ``goes_on`` says no.

    The moments are multiples of the interval from the start, so they do not drift; one that is missed is left out.
    """
    began = time.monotonic()
    tick = 0
    while goes_on():
        snapshot = counters.read(interval * DEADLINE_SHARE)
        try:
            samples.append(snapshot)
        except OSError as error:  # a full disk: the samples to come may be written again
            print(
                f"sampler: sample {samples.sequence} could not be written: {error.strerror}",
                file=sys.stderr,
                flush=True,
            )
        elapsed = time.monotonic() - began
        tick = max(tick + 1, int(elapsed / interval))
        if tick * interval >= seconds:
            return
        with suppress(Empty):
            ended.get(timeout=max(0.0, tick * interval - elapsed))
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 0 after its time, 2 for a wrong argument or configuration."""
    options = _parser().parse_args(arguments)
    # A queue and not an event: putting is safe inside a signal handler that interrupts the waiting thread.
    ended: SimpleQueue[None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(None))
    try:
        config = load(options.config)
        counters = Counters(config)
        samples = Samples(options.out)
    except (ConfigError, OSError) as error:
        print(f"sampler: {error}", file=sys.stderr)
        return 2
    lease = Lease(options.lease, options.lease_seconds)
    with counters:
        run(
            counters,
            samples,
            interval=options.interval,
            seconds=options.seconds,
            goes_on=lease.holds,
            ended=ended,
        )
    samples.close()
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m eventlog.sampler", description="Write one snapshot per interval.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines to append to")
    parser.add_argument("--interval", type=_positive, default=1.0, help="seconds between samples (default 1)")
    parser.add_argument(
        "--seconds", "--max-seconds", type=_positive, default=LONGEST, help="end after so long (default four hours)"
    )
    parser.add_argument("--lease", type=Path, help="end when this file is gone or not touched for --lease-seconds")
    parser.add_argument("--lease-seconds", type=_positive, default=60.0, help="how long the lease lasts (default 60)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
