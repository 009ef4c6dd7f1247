"""A stand-in for the monitor's ear: keeps what it was told, a line each, in the order in which it came."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Append what is on standard input to ``announced.jsonl`` beside the configuration."""
    path = Path(sys.argv[sys.argv.index("--config") + 1]).with_name("announced.jsonl")
    with path.open("a") as stream:
        stream.write(sys.stdin.read() + "\n")


if __name__ == "__main__":
    main()
