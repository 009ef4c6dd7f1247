"""The producer: ``python -m eventlog.producer --config etc/pipeline.toml``.

SIGTERM and SIGINT stop it in order: no further events, then up to :data:`DRAIN_SECONDS` to send what is still in the
spool; what remains stays there for the next start. Exit status 0 after an orderly stop, 1 when it failed while
running, 2 when it could not start; the last line on standard error says why.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from eventlog.acks import Acks
from eventlog.config import Config, ConfigError, load
from eventlog.control import ControlError, ControlServer, RequestError
from eventlog.event import EventFactory
from eventlog.generator import Generator
from eventlog.publisher import Publisher
from eventlog.spool import Spool, SpoolError, explain

log = logging.getLogger("eventlog.producer")

DRAIN_SECONDS = 5.0


class Producer:
    """Spool, generator, publisher and control socket, wired together.

    Opening raises SpoolError or ControlError; nothing is left behind then.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._started = time.time()
        # A queue and not an event: putting is safe inside a signal handler that interrupts the waiting thread.
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._failure: BaseException | None = None
        self._spool = Spool(config.producer.spool, config.producer.spool_limit_bytes, config.producer.rate)
        try:
            state = self._spool.state
            acks = Acks(state.settled)
            self._publisher = Publisher(
                config, state.source, self._spool.blocks(), acks, made=lambda: self._spool.state.made
            )
            self._generator = Generator(
                self._spool,
                EventFactory(state.source, config.event.bytes),
                config.event.bytes,
                acks,
                committed=self._publisher.wake,
            )
            self._control = ControlServer(config.producer.socket, self._answer)
        except BaseException:
            self._spool.close()
            raise
        self._threads = {
            part: threading.Thread(target=self._guarded(part.run), name=name)
            for name, part in (("generator", self._generator), ("publisher", self._publisher))
        }

    def run(self) -> None:
        """Run until :meth:`stop`, then stop in order. Raises what a part failed with."""
        state = self._spool.state
        log.info(
            "source %s, seq %d, %d in the spool, %g events/s%s",
            state.source,
            state.made,
            state.buffered,
            state.rate,
            "" if state.streaming else ", paused",
        )
        for thread in self._threads.values():
            thread.start()
        self._control.start()
        self._ended.get()
        self._shut_down()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End :meth:`run`; may be called from a signal handler."""
        self._ended.put(None)

    def _shut_down(self) -> None:
        self._generator.stop()
        self._threads[self._generator].join()
        self._publisher.stop(within=DRAIN_SECONDS)
        self._threads[self._publisher].join()
        if self._failure is None:
            self._generator.step()  # writes down what was acknowledged since
        state = self._spool.state
        self._control.close()
        self._spool.close()
        log.info("stopped at seq %d, %d kept in the spool", state.made, state.buffered)

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        """A part that fails ends the whole: a producer without its publisher would only fill the disk."""

        def guarded() -> None:
            try:
                run()
            except BaseException as error:
                if isinstance(error, sqlite3.DatabaseError):
                    error = explain(self._config.producer.spool, error)
                self._failure = self._failure or error
                self._ended.put(None)

        return guarded

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        unknown = set(request) - {"do", "rate"}
        match request.get("do"):
            case "status" if set(request) == {"do"}:
                pass
            case "pause" if set(request) == {"do"}:
                self._generator.change(streaming=False)
                log.info("paused at seq %d", self._spool.state.made)
            case "resume" if set(request) == {"do"}:
                self._generator.change(streaming=True)
                log.info("resumed at seq %d", self._spool.state.made)
            case "rate" if not unknown:
                self._set_rate(request.get("rate"))
            case _:
                raise RequestError(
                    f"unknown request {dict(request)!r}: "
                    'expected {"do": "status"}, {"do": "pause"}, {"do": "resume"} or {"do": "rate", "rate": NUMBER}'
                )
        return self._status()

    def _set_rate(self, rate: object) -> None:
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            raise RequestError(f"rate is {rate!r}, expected a number of events per second")
        try:
            self._generator.change(rate=float(rate))
        except (ValueError, OverflowError) as error:
            raise RequestError(str(error)) from error
        log.info("rate set to %g events/s at seq %d", rate, self._spool.state.made)

    def _status(self) -> Mapping[str, Any]:
        return {
            **self._generator.status(),
            **self._publisher.status(),
            "alive": True,
            "pid": os.getpid(),
            "started": self._started,
        }


def configure_logging() -> None:
    """One line per event on standard error, with UTC time in milliseconds."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the producer; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m eventlog.producer", description="The event log's producer.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="etc/pipeline.toml of the pipeline")
    options = parser.parse_args(arguments)
    configure_logging()
    try:
        producer = Producer(load(options.config))
    except (ConfigError, SpoolError, ControlError) as error:
        log.critical("%s", error)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: producer.stop())
    try:
        producer.run()
    except SpoolError as error:
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
