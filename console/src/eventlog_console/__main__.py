"""``python -m eventlog_console``: serve until TERM or INT; runs that are under way go on.

Exit status 0 after an orderly stop, 2 when it cannot be started like this.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from eventlog_console.app import create_app
from eventlog_console.settings import Settings, SettingsError, ansible_playbook, default_runs, read_token

log = logging.getLogger("eventlog.console")

ROOT = Path(__file__).resolve().parents[3]
PORT = 5050
STOP_SECONDS = 2  # for requests that are under way when the console is stopped


class Server(uvicorn.Server):
    """Leaves the signals to us: uvicorn dies of a signal after its orderly stop, which would look like a crash."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield

    def end(self) -> None:
        """Answer what is under way and stop; safe in a signal handler."""
        self.should_exit = True


def read_arguments(words: Sequence[str]) -> Settings:
    """The settings that a command line asks for.

    :raises SettingsError: they are not usable.
    """
    parser = argparse.ArgumentParser(
        prog="python -m eventlog_console",
        description="Run the collection's playbooks from a browser. What follows -- goes to every ansible-playbook.",
    )
    parser.add_argument("--inventory", default="inventory/local", help="as for ansible-playbook -i")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; beyond this machine with a token only"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen on ({PORT})")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the token that clients must present")
    parser.add_argument(
        "--runs", type=Path, default=default_runs(ROOT), metavar="DIR", help="folder of all runs (runs/)"
    )
    parser.add_argument(
        "arguments", nargs="*", metavar="-- ARGUMENT", help="for every ansible-playbook, such as -e a=b"
    )
    options = parser.parse_args(words)
    for program, package in ((str(ansible_playbook()), "ansible-core"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            raise SettingsError(f"{program} is missing: install {package}")
    return Settings(
        ROOT,
        options.inventory,
        tuple(options.arguments),
        options.runs.resolve(),
        options.host,
        options.port,
        read_token(options.host, options.token_file),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=128)


def main(words: Sequence[str]) -> int:
    """Entry point; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        settings = read_arguments(words)
        listener = listen(settings.host, settings.port)
    except SettingsError as error:
        print(f"eventlog-drills: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"eventlog-drills: the console cannot listen: {error}. Choose another port: --port N", file=sys.stderr)
        return 2
    server = Server(
        uvicorn.Config(
            create_app(settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.end())
    print(
        f" console     http://{settings.host}:{listener.getsockname()[1]}/   (Ctrl-C ends it; a run goes on)",
        flush=True,
    )
    server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
