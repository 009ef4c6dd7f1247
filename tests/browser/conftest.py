"""One warm pipeline and one browser for all pages; evidence when a test fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.console_harness import chromium
from tests.e2e.pipeline import Pipeline, free_offset


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A provisioned pipeline; nothing of it is left at the end."""
    found = Pipeline(tmp_path_factory.mktemp("browser"), free_offset())
    try:
        found.play("site", seconds=1200)
        yield found
    finally:
        found.play("teardown", teardown_purge=True, expect=None)
    assert found.processes() == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's browser, headless."""
    with sync_playwright() as playwright:
        found = chromium(playwright)
        yield found
        found.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: EVENTLOG_PICTURES, or a temporary folder."""
    wanted = os.environ.get("EVENTLOG_PICTURES")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
