"""Run the whole test suite in stages: each with its seconds, evidence when it fails, nothing left running at the end.

Usage: suite.py [--full] [STAGE …]      (with the environment's Python; without names, the stages of `make test`)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
RUN = (
    "EVENTLOG_TEST_RUN"  # every process of a run, detached ones included, inherits it: that is how leftovers are found
)
LOG_LINES = 25
AGAIN = 10  # tests of a stage that may fail at the first try: one accident spoils the warm pipeline for those after it
E2E = tuple(
    f"tests/e2e/test_{name}.py" for name in ("drill_flink", "faults", "losses", "signals", "watching", "drills")
)
PROCESS_TESTS = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*/tests/test_*_process.py"), *ROOT.glob("tests/unit/**/test_*_process.py"))
)

# A role by itself, and the whole pipeline on each runtime.
SCENARIOS = ("default", "process", "docker")


@dataclass
class Stage:
    """A command, and the minutes after which it has failed."""

    name: str
    command: list[str]
    minutes: float
    full: bool = False  # whether it belongs to `make test-full` only
    seconds: float = 0.0
    ok: bool = False
    again: int = 0  # tests that passed at the second try only
    environment: dict[str, str] = field(default_factory=dict)


def stages(folder: Path) -> list[Stage]:
    """All stages; their files go below ``folder``."""

    def pytest(name: str, *arguments: str) -> list[str]:
        cache = f"cache_dir={folder}/cache/{name}"
        return ["pytest", "-q", "--durations=5", "-o", cache, f"--basetemp={folder}/{name}", *arguments]

    return [
        Stage("check", ["python", "tools/check.py"], 15),
        Stage("trees", ["ansible-playbook", "tests/trees.yml", "-e", f"trees_environment={folder}/trees.env"], 20),
        Stage("processes", pytest("processes", "-m", "not (kafka or cassandra)", *PROCESS_TESTS), 15),
        Stage("producer", pytest("producer", "-m", "kafka or cassandra", "producer/tests"), 12),
        Stage(
            "sink",
            pytest("sink", "-m", "pipeline", "flink_job/tests/test_sink.py", "flink_job/tests/test_archive.py"),
            12,
        ),
        # One warm pipeline for each of these: provisioned, drilled in every way, interrupted, killed under load.
        Stage("e2e", pytest("e2e", "-m", "e2e and not matrix", *E2E), 45),
        Stage("provisioning", pytest("provisioning", "-m", "e2e", "tests/e2e/test_provisioning.py"), 30),
        Stage("collection", pytest("collection", "-m", "e2e and not matrix", "tests/e2e/test_collection.py"), 15),
        Stage("parity", pytest("parity", "-m", "e2e", "tests/e2e/test_parity.py"), 30),
        Stage("selftest", pytest("selftest", "-m", "e2e", "tests/e2e/test_selftest.py"), 30),
        Stage("browser", pytest("browser", "-m", "browser", "tests/browser"), 30),
        Stage("job", pytest("job", "-m", "pipeline", "flink_job/tests/test_pipeline.py"), 30),
        Stage("molecule", ["python", "tools/scenarios.py", *SCENARIOS], 25),
        # That the benchmark works; its figures decide nothing here.
        Stage(
            "bench",
            ["python", "-m", "bench", "--reduced", f"--folder={folder}/bench", f"--results={folder}/bench/results"],
            15,
            environment={"PYTHONPATH": f"{ROOT}:{ROOT}/producer/src:{ROOT}/flink_job/src"},
        ),
        Stage("matrix", pytest("matrix", "-m", "matrix", "tests/e2e"), 90, full=True),
        # The drills on processes are in the stages above.
        Stage(
            "containers",
            ["python", "tools/scenarios.py", "--except", *SCENARIOS],
            60,
            full=True,
            environment={"EVENTLOG_BACKEND": "docker"},
        ),
    ]


def environment(folder: Path) -> dict[str, str]:
    """What every stage sees."""
    found = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "EVENTLOG_PICTURES": os.environ.get("EVENTLOG_PICTURES", str(ROOT / "runs" / "pictures")),
        RUN: str(folder),
    }
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "trees.env").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            found[key] = value
    return found


def run(stage: Stage, folder: Path) -> None:
    """Run one stage, its output going straight to ours. Of tests with real servers those that fail run once more.

    A shared machine stands still for seconds at times. What passes at the second try only is counted and said.
    """
    print(f"\n───── {stage.name} ─────", flush=True)
    began = time.monotonic()
    stage.ok = execute(stage, folder, stage.command)
    failed = lost(folder, stage.name)
    if not stage.ok and 0 < len(failed) <= AGAIN:
        evidence(folder)
        sweep(folder)
        print(f"\n───── {stage.name}, once more: {', '.join(failed)} ─────", flush=True)
        stage.ok = execute(stage, folder, [*stage.command, "--last-failed", "--last-failed-no-failures=none"])
        stage.again = len(failed) if stage.ok else 0
    stage.seconds = time.monotonic() - began
    print(f"───── {stage.name}: {'ok' if stage.ok else 'FAILED'} in {stage.seconds:.0f} s", flush=True)


def lost(folder: Path, name: str) -> list[str]:
    """The tests of a stage that failed; none when it is no stage of tests, or did not get to its end."""
    try:
        found = json.loads((folder / "cache" / name / "v" / "cache" / "lastfailed").read_text(encoding="utf-8"))
    except OSError:
        return []
    return [test for test in found if "::" in test]


def execute(stage: Stage, folder: Path, command: list[str]) -> bool:
    """Run a command of a stage to its end; whether it succeeded in time."""
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env={**environment(folder), **stage.environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(stage.minutes * 60) == 0
    except subprocess.TimeoutExpired:
        print(f"stage {stage.name} did not end within {stage.minutes:g} minutes", flush=True)
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def leftovers(folder: Path) -> Iterator[tuple[int, str]]:
    """Processes of this run that still live: pid and command line."""
    mark = f"{RUN}={folder}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
                yield int(entry.name), command


def sweep(folder: Path) -> list[str]:
    """End what a stage left running; returns their command lines."""
    found = list(leftovers(folder))
    for pid, _ in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [command for _, command in found]


def evidence(folder: Path) -> None:
    """Print the last lines of every server's log of this run."""
    for log in sorted(folder.rglob("*")):
        if log.suffix not in (".log", ".out") or not log.is_file() or not log.stat().st_size:
            continue
        print(f"----- {log}")
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]:
            print(f"  {line[:240]}")


def main(wanted: list[str], full: bool) -> int:
    """Run the stages; the exit status is 1 when one failed or left something running."""
    folder = Path(tempfile.mkdtemp(prefix="eventlog-"))
    everything = stages(folder)
    unknown = set(wanted) - {stage.name for stage in everything}
    if unknown:
        sys.exit(
            f"unknown stage {', '.join(sorted(unknown))}; there are: {', '.join(stage.name for stage in everything)}"
        )
    chosen = [stage for stage in everything if (stage.name in {*wanted, "trees"} if wanted else full or not stage.full)]
    try:
        for stage in chosen:
            run(stage, folder)
            if not stage.ok:
                evidence(folder)
            left = sweep(folder)
            if left:
                stage.ok = False
                print(
                    f"{stage.name} left {len(left)} processes running, which were ended:", *left, sep="\n  ", flush=True
                )
    finally:
        sweep(folder)
    print("\n───── stages ─────")
    for stage in chosen:
        again = f"   {stage.again} at the second try" if stage.again else ""
        print(f" {stage.name:<12} {'ok' if stage.ok else 'FAILED':<7} {stage.seconds:6.0f} s{again}")
    failed = [stage.name for stage in chosen if not stage.ok]
    print(f" {'all':<12} {'FAILED' if failed else 'ok':<7} {sum(stage.seconds for stage in chosen):6.0f} s", flush=True)
    if failed:
        print(f" the logs of the failed run are below {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("interrupted"))
    names = [name for name in sys.argv[1:] if name != "--full"]
    sys.exit(main(names, full="--full" in sys.argv[1:]))
