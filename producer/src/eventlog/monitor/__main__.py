"""Entry point: ``python -m eventlog.monitor --config etc/pipeline.toml``."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import sys
from pathlib import Path

import uvicorn

from eventlog.config import ConfigError, load
from eventlog.monitor.app import create_app
from eventlog.monitor.refresher import Refresher


def main() -> int:
    """Serve until TERM. Exit status 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m eventlog.monitor", description="Show and control the pipeline.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    for name in ("cassandra", "kafka"):  # their clients report every attempt to reach a server that is down
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        config = load(options.config)
        if not ipaddress.ip_address(config.monitor.host).is_loopback:
            raise ConfigError(
                f"monitor.host is {config.monitor.host}: the monitor controls the producer and has no log-in, "
                "so it listens on loopback only; reach it through ssh -L"
            )
    except (ConfigError, OSError, ValueError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        return 2
    with Refresher(config) as refresher:
        uvicorn.run(
            create_app(config, refresher),
            host=config.monitor.host,
            port=config.monitor.port,
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
