"""The module producer_stream on a real producer, whose broker is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import eventlog
import pytest
from ansible_collections.eventlog.drills.plugins.module_utils import stream
from ansible_collections.eventlog.drills.plugins.modules import producer_stream
from eventlog.control import control

from testing.waiting import wait_until
from tests.unit.conftest import RunModule

pytestmark = pytest.mark.programs


@pytest.fixture
def producer(pipeline_toml: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A producer that streams into its spool; its socket is ``p.sock`` beside its configuration."""
    process = subprocess.Popen(
        [sys.executable, "-m", "eventlog.producer", "--config", str(pipeline_toml)],
        env={**os.environ, "PYTHONPATH": str(Path(eventlog.__file__).parent.parent)},
        stderr=subprocess.DEVNULL,
    )
    wait_until(pipeline_toml.with_name("p.sock").exists, 30, "the producer listens")
    yield process
    process.kill()
    process.wait()


@pytest.mark.usefixtures("producer")
def test_it_pauses_and_resumes_once(run_module: RunModule, short_dir: Path) -> None:
    socket = str(short_dir / "p.sock")

    for streaming in (False, True):
        before = control(socket, {"do": "status"})
        planned = run_module(producer_stream, check=True, socket=socket, streaming=streaming)
        assert planned["changed"]
        assert control(socket, {"do": "status"})["reason"] == before["reason"], "check mode only looks"

        assert run_module(producer_stream, socket=socket, streaming=streaming)["changed"]
        assert control(socket, {"do": "status"})["streaming"] is streaming
        assert not run_module(producer_stream, socket=socket, streaming=streaming)["changed"]


def test_a_producer_that_does_not_answer_is_said(
    producer: subprocess.Popen[bytes], run_module: RunModule, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ANSWER_SECONDS", 0.5)

    os.kill(producer.pid, signal.SIGSTOP)
    frozen = run_module(producer_stream, socket=str(short_dir / "p.sock"), streaming=False)
    producer.kill()
    producer.wait()
    gone = run_module(producer_stream, socket=str(short_dir / "p.sock"), streaming=False)

    assert "did not answer" in frozen["msg"]
    assert "the producer is not running" in gone["msg"]
    assert frozen["failed"]
    assert gone["failed"]
