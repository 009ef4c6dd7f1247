"""Make the controller's environment: a virtual environment with exactly the locked packages.

Runs on a bare Python with nothing but its standard library. Says in one line what is missing and how to get it.
Usage: environment.py VENV REQUIREMENTS CACHE
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path


def missing(problem: str, remedy: str) -> None:
    """End with one line that says what is wrong and what to do."""
    sys.exit(f"eventlog-drills: {problem}. {remedy}")


def check_machine() -> None:
    """Refuse a machine on which the pipeline's own packages do not exist."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version not in ("3.11", "3.12"):
        missing(
            f"Python 3.11 or 3.12 is needed and this is {version} (Flink's packages exist for no other)",
            "Install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) "
            "or name it: make PYTHON=/path/to/python3.11",
        )
    if sys.platform != "linux" or platform.machine() != "x86_64":
        missing(
            f"Linux on x86_64 is needed and this is {sys.platform} on {platform.machine()}",
            "The Java runtime and PyFlink are published for no other platform that the pipeline supports",
        )
    # Debian's python3 without its venv package has the module venv and lacks ensurepip.
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        missing(f"this Python {version} lacks venv", f"apt-get install python{version}-venv")
    if not shutil.which("git"):
        missing("git is not installed", "apt-get install git")


def uv_requirement(lock: str) -> str:
    """The locked uv with its hashes, as pip's --require-hashes wants it."""
    return "".join(re.findall(r"^uv==.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL))


def run(command: list[str], env: dict[str, str]) -> None:
    """Run a command quietly; on failure show what it printed."""
    result = subprocess.run(command, check=False, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        sys.exit(f"eventlog-drills: {command[0]} failed:\n{result.stdout[-3000:]}")


def main(folder: str, requirements: str, cache_folder: str) -> None:
    """Create or refresh the environment; nothing happens when the lock file has not changed."""
    check_machine()
    venv, cache = Path(folder).resolve(), Path(cache_folder)
    lock = Path(requirements).read_text(encoding="utf-8")
    stamp = venv / f".{Path(requirements).stem}"
    digest = hashlib.sha256((lock + sys.version).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    started = time.monotonic()
    tools = f"{Path(requirements).stem} tools"
    print(f" environment Python {platform.python_version()}, installing {tools} …", flush=True)
    env = {**os.environ, "UV_CACHE_DIR": str(cache / "uv"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # A company's own certificate authority is in the system's store, and pip looks there.
    env.setdefault("UV_SYSTEM_CERTS", "1")
    env.pop("PYTHONPATH", None)
    if "PIP_INDEX_URL" in env:
        env.setdefault("UV_DEFAULT_INDEX", env["PIP_INDEX_URL"])
    python = venv / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", "--clear", str(venv)], env)
    if not (venv / "bin" / "uv").exists():
        pin = venv / "uv.txt"
        pin.write_text(uv_requirement(lock), encoding="utf-8")
        run(
            [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps",
             "--cache-dir", str(cache / "pip"), "--requirement", str(pin)],
            env,
        )  # fmt: skip
    run(
        [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--require-hashes",
         "--python", str(python), "--requirements", requirements],
        env,
    )  # fmt: skip
    # Ansible looks for collections on Python's own search path, so this line makes the checkout's collection known from
    # every directory, without an installation.
    site = next((venv / "lib").glob("python*/site-packages"))
    (site / "eventlog_drills.pth").write_text(f"{Path(__file__).resolve().parent.parent / 'collections'}\n")
    stamp.write_text(digest)
    print(f" environment ready in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
