"""The sampler as the process it is, without servers: its lines, its pace and its end."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.waiting import wait_until

pytestmark = pytest.mark.processes

SOURCE = Path(__file__).parents[1] / "src"


class Sampler:
    """``python -m eventlog.sampler``, writing to ``out``."""

    def __init__(self, config: Path, folder: Path) -> None:
        self._config = config
        self.out = folder / "samples.jsonl"
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "eventlog.sampler", "--config", str(self._config), "--out", str(self.out)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        self._process = subprocess.Popen(
            [*command, *options], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines."""
        text = self.out.read_text() if self.out.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}}") and line.startswith("{")]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.lines()) >= count, 30, f"{count} samples are written")

    def signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def end(self, timeout: float = 20) -> tuple[int, str]:
        """Exit status and what it said, once it has ended by itself."""
        assert self._process is not None
        said = self._process.communicate(timeout=timeout)[1]
        return self._process.returncode, said

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate(timeout=10)


@pytest.fixture
def sampler(write_config: Callable[..., Path], tmp_path: Path) -> Iterator[Sampler]:
    made = Sampler(write_config(), tmp_path)
    yield made
    made.kill()


def test_a_line_per_interval_without_drift(sampler: Sampler) -> None:
    sampler.start("--interval", "0.2", "--seconds", "6")
    assert sampler.end(60) == (0, "")
    lines = sampler.lines()
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert {"time", "producer", "kafka", "cassandra", "lag", "flink"} <= set(lines[0])
    assert not lines[0]["kafka"]["reachable"]
    # A busy machine may delay single samples and even skip some, but the pace is kept: 30 in 6 s.
    assert 20 <= len(lines) <= 31
    assert lines[-1]["time"] - lines[0]["time"] < 6.5


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_on_a_signal(sampler: Sampler, how: signal.Signals) -> None:
    sampler.start("--interval", "0.1")
    sampler.wait_for(2)
    sampler.signal(how)
    assert sampler.end() == (0, "")
    assert sampler.out.read_text().endswith("}\n")


def test_it_ends_with_its_lease(sampler: Sampler, tmp_path: Path) -> None:
    lease = tmp_path / "lease"
    lease.touch()
    sampler.start("--interval", "0.1", "--lease", str(lease))
    sampler.wait_for(2)
    lease.unlink()
    assert sampler.end() == (0, "")


def test_it_ends_when_its_lease_is_not_renewed(sampler: Sampler, tmp_path: Path) -> None:
    lease = tmp_path / "lease"
    lease.touch()
    sampler.start("--interval", "0.1", "--lease", str(lease), "--lease-seconds", "5")
    sampler.wait_for(2)
    long_ago = time.time() - 6
    os.utime(lease, (long_ago, long_ago))
    assert sampler.end() == (0, "")


def test_it_goes_on_where_an_earlier_one_was_killed(sampler: Sampler) -> None:
    sampler.out.write_text('{"sequence":41,"time":1.0}\n{"sequence":42,"ti')
    sampler.start("--interval", "0.1")
    wait_until(lambda: sampler.out.read_text().count("\n") >= 4, 30, "two samples are written")
    sampler.signal(signal.SIGTERM)
    assert sampler.end() == (0, "")
    lines = sampler.out.read_text().splitlines()
    assert lines[1] == '{"sequence":42,"ti', "the half line stays on a line of its own"
    assert [json.loads(line)["sequence"] for line in lines[2:4]] == [42, 43]


def test_what_it_cannot_use_is_one_line(sampler: Sampler, tmp_path: Path) -> None:
    sampler.out = tmp_path / "no" / "such" / "folder"
    sampler.start()
    status, said = sampler.end()
    assert status == 2
    assert said.count("\n") == 1
    assert "No such file or directory" in said
    sampler.out = tmp_path / "samples"
    sampler._config.write_text("[pipeline]\n")
    sampler.start()
    status, said = sampler.end()
    assert status == 2
    assert said.startswith("sampler: ")
    assert said.count("\n") == 1


def test_a_full_disk_costs_samples_and_nothing_else(sampler: Sampler) -> None:
    """A limit on the size of files stands in for the disk; Python is told of it by an error instead of a signal."""
    sampler.start("--interval", "0.1")
    assert sampler._process is not None
    sampler.wait_for(2)
    resource.prlimit(sampler._process.pid, resource.RLIMIT_FSIZE, (sampler.out.stat().st_size + 1500, 1 << 30))
    wait_until(lambda: not sampler.out.read_text().endswith("\n"), 10, "a line is cut short")
    resource.prlimit(sampler._process.pid, resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    reached = len(sampler.lines())
    sampler.wait_for(reached + 3)
    sampler.signal(signal.SIGTERM)
    status, said = sampler.end()
    assert status == 0
    assert "could not be written: only a part of it was written" in said
