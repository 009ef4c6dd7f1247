"""A stand-in for the sampler: the same command line, the scene's snapshots."""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

from eventlog.scene import Scene


def main() -> None:
    """Write snapshots until the lease has gone."""
    parser = argparse.ArgumentParser()
    for name in ("--config", "--out", "--lease"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--interval", "--lease-seconds"):
        parser.add_argument(name, type=float, required=True)
    options = parser.parse_args()
    scene = Scene(options.config.with_name("scene.json"))
    pause = threading.Event()
    while options.lease.exists():
        with options.out.open("a") as stream:
            stream.write(json.dumps(scene.read()) + "\n")
        pause.wait(options.interval)


if __name__ == "__main__":
    main()
