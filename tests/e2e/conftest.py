"""One warm pipeline per session, gone at the end; evidence of it when a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.pipeline import Pipeline, free_offset


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A provisioned pipeline; nothing of it is left when the session ends."""
    found = Pipeline(tmp_path_factory.mktemp("warm"), free_offset())
    try:
        found.play("site", seconds=1200)
        yield found
    finally:
        found.play("teardown", teardown_purge=True, expect=None)
    assert found.processes() == []
    assert not found.root.exists()


@pytest.fixture
def cold(tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline that is not provisioned yet; whatever a test made of it is removed."""
    found = Pipeline(tmp_path, free_offset())
    yield found
    if found.root.exists():
        found.play("teardown", teardown_purge=True, expect=None)
    assert found.processes() == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add what the pipeline's servers said to the report of a test that failed."""
    report = yield
    used = getattr(item, "funcargs", {})
    if report.failed:  # type: ignore[attr-defined]
        for name in ("pipeline", "cold"):
            if name in used and used[name].root.exists():
                report.sections.append((f"evidence of the {name} pipeline", used[name].evidence()))  # type: ignore[attr-defined]
    return report
