"""The distributions that servers are started from."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testing import BIN, ROOT


@dataclass(frozen=True)
class Trees:
    """Where they are."""

    java_home: Path
    kafka: Path
    cassandra: Path
    flink: Path
    pipeline: Path

    @property
    def java(self) -> Path:
        """The program."""
        return self.java_home / "bin" / "java"


def environment() -> dict[str, str]:
    """Of every playbook that is run for a test: plain text, this checkout's configuration."""
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORCE_COLOR": "0",
    }


@cache
def trees() -> Trees:
    """All of them, built when the cache lacks one; raises AssertionError with what the playbook said."""
    with tempfile.TemporaryDirectory(prefix="eventlog-trees-") as folder:
        file = Path(folder) / "trees.json"
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), "-i", "inventory/local", "testing/trees.yml", "-e", f"trees_file={file}"],
            cwd=ROOT,
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=1200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        found = json.loads(file.read_text(encoding="utf-8"))
    names = ("kafka", "cassandra", "flink", "pipeline")
    return Trees(Path(found["java_home"]), *(Path(found["trees"][name]) for name in names))
