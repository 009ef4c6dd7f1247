"""``python -m eventlog.monitor --config etc/pipeline.toml``: serve until TERM or INT.

Exit status 0 after an orderly stop, 2 when the configuration cannot be used or the address is taken.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from eventlog.config import ConfigError, load
from eventlog.counts import Counters
from eventlog.monitor.app import create_app
from eventlog.monitor.refresher import Refresher
from eventlog.monitor.settings import read_settings

log = logging.getLogger("eventlog.monitor")

STOP_SECONDS = 3  # for requests that are under way when the monitor is stopped


class Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn dies of a signal after its orderly stop, which would look like a crash."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield

    def end(self) -> None:
        """Answer what is under way and stop; safe in a signal handler."""
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=128)


def configure_logging() -> None:
    """One line per event on standard error, with UTC time in milliseconds."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m eventlog.monitor", description="Serve the counts of every hop.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="etc/pipeline.toml of the pipeline")
    options = parser.parse_args(arguments)
    configure_logging()
    try:
        config = load(options.config)
        settings = read_settings(options.config, config)
        counters = Counters(config)
        listener = listen(config.monitor.host, config.monitor.port)
    except ConfigError as error:
        log.critical("%s", error)
        return 2
    except OSError as error:
        log.critical(
            "monitor cannot listen on %s port %d: %s (set monitor.host and monitor.port to a free address)",
            config.monitor.host,
            config.monitor.port,
            error.strerror,
        )
        return 2
    refresher = Refresher(counters, config.monitor.refresh_seconds, settings.log_seconds)
    server = Server(
        uvicorn.Config(
            create_app(config, settings, refresher),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=1024,  # a page has nothing to say
            # A compressor for every page costs more memory than the bytes are worth.
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.end())
    refresher.start()
    log.info("Monitor listens on http://%s:%d/monitor", config.monitor.host, config.monitor.port)
    try:
        server.run(sockets=[listener])
    finally:
        refresher.stop()
        log.info("Monitor stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
