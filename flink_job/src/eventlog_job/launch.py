"""Starts the JobManager with the job in it: `python -m eventlog_job.launch --config etc/pipeline.toml`.

It checks the configuration and then *becomes* Flink's own start script, so that the pid stays the same. Where the job
resumes is decided by the job itself, when the REST interface is up (see `eventlog_job.start`).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from eventlog_job.config import ConfigError, JobConfig


def command(flink_home: Path, config: Path) -> list[str]:
    """The argv of the JobManager."""
    return [
        str(flink_home / "bin" / "standalone-job.sh"),
        "start-foreground",
        "--job-classname",
        "org.apache.flink.client.python.PythonDriver",
        "-py",
        str(Path(__file__).with_name("job.py")),
        "--config",
        str(config),
    ]


def main() -> int:
    """Entry point; returns only if it could not start: 2."""
    parser = argparse.ArgumentParser(description="Starts the Flink JobManager with the event log's job.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    path: Path = parser.parse_args().config.resolve()
    try:
        JobConfig.load(path)
        argv = command(_flink_home(), path)
        os.execv(argv[0], argv)
    except ConfigError as error:
        print(f"eventlog_job.launch: {error}", file=sys.stderr)
    except OSError as error:
        print(f"eventlog_job.launch: {argv[0]}: {error.strerror or error}", file=sys.stderr)
    return 2


def _flink_home() -> Path:
    # Only looked for, not imported: that would take longer than the rest of this program.
    spec = importlib.util.find_spec("pyflink")
    if spec is None or spec.origin is None:
        raise ConfigError("pyflink is not on PYTHONPATH, which must name the Flink tree")
    return Path(spec.origin).parent


if __name__ == "__main__":
    sys.exit(main())
