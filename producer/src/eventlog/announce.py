"""Tell the monitor how a drill stands: the announcement as JSON on standard input, nothing to make it forget the drill.

    python -m eventlog.announce --config etc/pipeline.toml < announcement.json

Exit status 1 with a line when the monitor does not take it. It gives up after a few seconds: a monitor that is gone or
frozen must not hold up what is announced.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eventlog.config import ConfigError
from eventlog.monitor.client import ask


def announce(config_path: Path, body: bytes) -> None:
    """Send ``body``, or a clearance when it is empty.

    Raises ConfigError, or OSError when the monitor does not take it.
    """
    ask(config_path, "PUT" if body else "DELETE", "/api/v1/drill", body)


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
