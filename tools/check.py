"""Run the checks that need no server, two at a time, and say for each how it went and how long it took.

The whole output of a check that failed follows its line.
Usage: check.py            (with the environment's Python)
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
STAND_IN = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "tests/unit/plugins/plugin_utils/stand_in").rglob("*.py")
)


@dataclass(frozen=True)
class Check:
    """A command of the environment; ``search`` is a folder whose files import each other by their plain names."""

    name: str
    command: tuple[str, ...]
    search: str = ""


# The longest first, so that the shorter ones fill the other core. Tests that watch real processes by the clock have
# their stage in `make test`, where nothing runs beside them.
CHECKS = (
    # Of every playbook it also checks the syntax.
    Check("ansible-lint", ("ansible-lint", "--nocolor", "-q")),
    Check(
        "unit tests",
        ("pytest", "-q", "-m", "unit"),
    ),
    Check("types", ("mypy",)),
    Check("types, stand-in", ("mypy", *STAND_IN), search="tests/unit/plugins/plugin_utils/stand_in"),
    Check("documentation", ("python", "tools/documentation.py")),
    Check("yamllint", ("yamllint", "--strict", ".")),
    Check("ruff", ("ruff", "check", "--output-format", "concise", ".")),
    Check("format", ("ruff", "format", "--check", "--output-format", "concise", ".")),
)


def run(check: Check) -> bool:
    """Run one check and say how it went."""
    began = time.monotonic()
    result = subprocess.run(
        [str(BIN / check.command[0]), *check.command[1:]],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "NO_COLOR": "1",
            "MYPYPATH": check.search,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    outcome = "FAILED" if result.returncode else "ok"
    output = result.stdout.strip()
    counted = output.splitlines()[-1:] if check.command[0] == "pytest" else []
    print(f" check           {check.name:<16} {outcome:<6} {time.monotonic() - began:5.1f} s", *counted, flush=True)
    if result.returncode:
        print(output, flush=True)
    return result.returncode == 0


def main() -> int:
    """Run all of them; the exit status is 1 when one fails."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, CHECKS))
    failed = [check.name for check, ok in zip(CHECKS, results, strict=True) if not ok]
    summary = f"failed: {', '.join(failed)}" if failed else "all passed"
    print(f" check           {summary} in {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
