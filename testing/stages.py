"""The stages of the tests. A stage is a pytest marker; this plugin knows them, puts tests in their order, times them.

``--stage-report FILE`` keeps what became of each stage and test, for whoever runs several sessions, and shows failures
as they come.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

import pytest


class Lane(Enum):
    """What a stage runs beside."""

    CHECK = "check"  # the other checks, which need no server either
    ALONE = "alone"  # nothing: it judges by the clock, or fills what the others share
    PROCESSES = "processes"  # programs, then one warm pipeline of processes
    SERVERS = "servers"  # single servers, and pipelines with an end of their own
    FULL = "full"  # nothing; `make test-full` only


@dataclass(frozen=True)
class Stage:
    """A marker and what it means."""

    name: str
    lane: Lane
    what: str


#: In the order in which they run.
STAGES = (
    Stage("unit", Lane.CHECK, "needs no server and no clock; whatever has no other marker"),
    Stage("trees", Lane.ALONE, "the distribution trees are built, and found again"),
    Stage("processes", Lane.ALONE, "producer, monitor and sampler as processes, judged by the clock"),
    Stage("programs", Lane.PROCESSES, "console, supervisor and both APIs as processes, which wait for conditions"),
    Stage("provisioning", Lane.PROCESSES, "provisioning: repeated, in check mode, refused"),
    Stage("commands", Lane.PROCESSES, "the Makefile's targets and their exit statuses"),
    Stage("drills", Lane.PROCESSES, "all seven drills, their recovery beside bare starts"),
    Stage("faults", Lane.PROCESSES, "kill and pause of Kafka, Cassandra and Flink"),
    Stage("losses", Lane.PROCESSES, "kill -9 under load, compared record by record"),
    Stage("signals", Lane.PROCESSES, "a drill whose controller is ended heals"),
    Stage("browser", Lane.PROCESSES, "monitor and console in a browser"),
    Stage("teardown", Lane.PROCESSES, "stop, start without a network, purge"),
    Stage("servers", Lane.SERVERS, "producer, counts, books and sink on real servers"),
    Stage("job", Lane.SERVERS, "the job on real servers"),
    Stage("selftest", Lane.SERVERS, "every planted defect is caught"),
    Stage("docker", Lane.SERVERS, "drills on containers, and the comparison of backends"),
    Stage("molecule", Lane.SERVERS, "a role by itself"),
    Stage("more_provisioning", Lane.FULL, "interrupted provisioning, a damaged cache, a second pipeline, a token"),
    Stage("more_faults", Lane.FULL, "stop, kill and pause of every service and of each Flink process"),
    Stage("more_losses", Lane.FULL, "kill -9 of every unit under load"),
    Stage("more_signals", Lane.FULL, "every signal in every phase, a kill in the middle of every drill"),
    Stage("more_job", Lane.FULL, "the job's other tests"),
    Stage("more_browser", Lane.FULL, "monitor and console: the other pages and buttons"),
    Stage("collection", Lane.FULL, "the collection built, installed and used away from the checkout"),
    Stage("parity", Lane.FULL, "the comparison of backends, with runs of its own"),
    Stage("scenarios", Lane.FULL, "every molecule scenario, the drills on containers"),
    Stage("load", Lane.FULL, "the monitor under load, a long outage"),
    Stage("memory", Lane.FULL, "eight hours of the monitor's refreshes"),
    Stage("bench", Lane.FULL, "that the benchmark works"),
)
NAMES = tuple(stage.name for stage in STAGES)
UNIT = NAMES[0]


@dataclass
class Outcome:
    """What became of a stage: its seconds, setup and teardown of fixtures included, and its tests."""

    seconds: float = 0.0
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stage-report", type=Path, help="write what became of each stage there, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    for stage in STAGES:
        config.addinivalue_line("markers", f"{stage.name}: {stage.what}")
    config.pluginmanager.register(_Timer(config, config.getoption("--stage-report")), "stage-timer")


def stage_of(item: pytest.Item) -> str:
    """The stage of a test. Raises UsageError for one that is in several."""
    found = {mark.name for mark in item.iter_markers() if mark.name in NAMES}
    if len(found) > 1:
        raise pytest.UsageError(f"{item.nodeid} is in the stages {', '.join(sorted(found))}: a test is in one")
    return found.pop() if found else UNIT


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(stage_of(item))
    items.sort(key=lambda item: NAMES.index(stage_of(item)))


class _Timer:
    def __init__(self, config: pytest.Config, report: Path | None) -> None:
        self._config = config
        self._report = report
        self._outcomes: dict[str, Outcome] = {}
        self._stage = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began = time.monotonic()
        self._stage = stage_of(item)
        outcome = self._outcomes.setdefault(self._stage, Outcome())
        try:
            return (yield)
        finally:
            outcome.seconds += time.monotonic() - began
            self._write()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = self._outcomes[self._stage]
        if report.failed and self._report is not None:
            terminal = self._config.pluginmanager.getplugin("terminalreporter")
            parts = [report.longreprtext, *(f"----- {title}\n{text}" for title, text in report.sections)]
            terminal.write_line("\n".join(["", f"===== {report.when} of {report.nodeid}", *parts]))
        if report.failed and report.nodeid not in outcome.failed:
            outcome.failed.append(report.nodeid)
            if report.nodeid in outcome.passed:  # its teardown failed
                outcome.passed.remove(report.nodeid)
        elif report.when == "call" and report.passed:
            outcome.passed.append(report.nodeid)

    def _write(self) -> None:
        if self._report is not None:
            document = {name: asdict(outcome) for name, outcome in self._outcomes.items()}
            self._report.write_text(json.dumps(document, indent=1), encoding="utf-8")
