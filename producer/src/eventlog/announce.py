"""Tell the monitor how a drill stands: the announcement as JSON on standard input, nothing to make it forget the drill.

    python -m eventlog.announce --config etc/pipeline.toml < announcement.json

Exit status 1 with a line when the monitor does not take it. It gives up after a few seconds: a monitor that is gone or
frozen must not hold up what is announced.
"""

from __future__ import annotations

import argparse
import http.client
import sys
from collections.abc import Sequence
from pathlib import Path

from eventlog.config import ConfigError, load
from eventlog.monitor.settings import read_settings

TIMEOUT = 3.0  # seconds for the connection, and again for the answer
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what to call to reach who listens on all addresses


def announce(config_path: Path, body: bytes) -> None:
    """Send ``body``, or a clearance when it is empty.

    Raises ConfigError, or OSError when the monitor does not take it.
    """
    config = load(config_path)
    token = read_settings(config_path, config).token
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    host = EVERYWHERE.get(config.monitor.host, config.monitor.host)
    connection = http.client.HTTPConnection(host, config.monitor.port, timeout=TIMEOUT)
    try:
        connection.request("PUT" if body else "DELETE", "/api/v1/drill", body, headers)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise OSError(f"the monitor answered {answer.status}: {answer.read(500).decode('utf-8', 'replace')}")
    except http.client.HTTPException as error:
        raise OSError(f"the monitor gave no answer: {error!r}") from error
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m eventlog.announce", description="Tell the monitor of a drill.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="etc/pipeline.toml of the pipeline")
    options = parser.parse_args(arguments)
    try:
        announce(options.config, sys.stdin.buffer.read().strip())
    except (ConfigError, OSError) as error:
        print(f"announce: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
