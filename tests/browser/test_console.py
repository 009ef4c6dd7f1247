"""The console in a real browser, over a real pipeline."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from testing import ROOT
from testing.pipeline import UNITS, Pipeline
from tests.browser.console_harness import NARROW, WIDE, Console, badge, console, run_drill, step

HOLD = 6
SECONDS = 600
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture
def local(pipeline: Pipeline) -> Iterator[Console]:
    """A console on loopback."""
    with console(pipeline) as found:
        yield found


@pytest.fixture
def page(browser: Browser, local: Console) -> Iterator[Page]:
    """Its page; an error of the page's own fails the test."""
    context = browser.new_context(viewport=WIDE)
    found = context.new_page()
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.goto(local.url)
    expect(found.locator("#link")).to_have_text("live")
    yield found
    context.close()
    assert errors == []


@pytest.mark.browser
def test_a_drill_is_watched_to_its_verdict_by_every_browser(
    page: Page, browser: Browser, local: Console, pipeline: Pipeline, tmp_path: Path
) -> None:
    run_drill(page, "drill_flink", drill_hold=HOLD)

    step(page, "Watch the outage", "now", SECONDS)
    shown = page.locator("#now-command code").inner_text()
    assert shown.endswith(f"playbooks/drill_flink.yml -e drill_hold={HOLD} -e drill_runs_dir={pipeline.runs}")
    expect(page.locator("#progress-time")).to_contain_text(re.compile(rf"of .*{HOLD}"))
    assert not pipeline.members("flink-jobmanager")
    status, problem = local.ask("/api/v1/jobs", {"playbook": "stop", "options": {"service": "kafka"}})
    assert (status, problem["status"]) == (409, 409)
    assert "Drill 2" in problem["detail"]

    page.reload()
    step(page, "Watch the outage", "now", 30)
    expect(page.locator("#now-command code")).to_have_text(shown)
    phone = browser.new_context(viewport=NARROW, color_scheme="dark").new_page()
    phone.goto(local.url)
    expect(phone.locator("#now-command code")).to_have_text(shown)
    phone.screenshot(path=tmp_path / "console-390-dark.png", full_page=True)
    assert phone.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    before = figures(page)

    badge(page, "PASS", SECONDS)
    badge(phone, "PASS", 30)
    assert all(page.locator(f"#steps li.{state}").count() == 0 for state in ("now", "todo", "failed", "skipped"))
    after = figures(page)
    assert all(late > early for early, late in zip(before[:3], after[:3], strict=True)), (before, after)
    assert page.locator("#timeline .line.hop-cassandra").count() >= 1
    expect(page.locator("#log")).to_contain_text("verdict     PASS")
    page.screenshot(path=tmp_path / "console-1280.png", full_page=True)

    expect(page.locator("#runs tr").first).to_contain_text("✔ PASS")
    assert page.locator("#trend .mark").count() >= 1
    page.get_by_role("link", name="Open the report").click()
    expect(page.locator(".verdict")).to_contain_text("PASS")
    assert page.url.startswith(f"{local.url}/runs/")


def figures(page: Page) -> list[int]:
    """The counts that the page shows, without what stands beside them: hidden, it has no line of its own."""
    texts = page.locator("#figures dd").all_inner_texts()
    return [int(re.split(r"[^\d\u202f]", text, maxsplit=1)[0].replace("\u202f", "")) for text in texts]


@pytest.mark.browser
def test_a_cancelled_drill_is_healed(page: Page, pipeline: Pipeline) -> None:
    run_drill(page, "drill_flink", drill_hold=300)
    step(page, "Watch the outage", "now", SECONDS)

    page.get_by_role("button", name="Cancel and heal").click()

    badge(page, "ABORTED (healed)", SECONDS)
    assert all(pipeline.members(unit) for unit in UNITS)
    expect(page.locator("#log")).to_contain_text("ABORTED (healed)")
    assert pipeline.verdict()["outcome"] == "ABORTED (healed)"


@pytest.mark.more_browser
def test_a_killed_console_leaves_the_run_and_finds_it_again(browser: Browser, pipeline: Pipeline) -> None:
    with console(pipeline) as first:
        page = browser.new_page(viewport=WIDE)
        page.goto(first.url)
        run_drill(page, "drill_kafka", drill_hold=15)
        step(page, "Watch the outage", "now", SECONDS)
        first.process.kill()
        first.process.wait(30)
        expect(page.locator("#link")).to_contain_text("no connection")
        page.close()

        with console(pipeline) as second:
            page = browser.new_page(viewport=WIDE)
            page.goto(second.url)
            badge(page, "running", 30)
            expect(page.locator("#now-title")).to_contain_text("Drill 1")
            status, _ = second.ask("/api/v1/jobs", {"playbook": "heal"})
            assert status == 409
            badge(page, "PASS", SECONDS)
            page.close()
    assert all(pipeline.members(unit) for unit in UNITS)


@pytest.mark.more_browser
def test_services_are_killed_started_and_paused(page: Page, pipeline: Pipeline) -> None:
    kafka = page.locator("#service-list li", has=page.get_by_role("heading", name="kafka"))
    expect(kafka.locator(".lamp")).to_have_text("● up", timeout=60_000)

    page.get_by_role("button", name="kill kafka").click()
    expect(page.locator("#now-command code")).to_contain_text("playbooks/kill.yml -e service=kafka")
    badge(page, "done", SECONDS)
    assert not pipeline.members("kafka")
    expect(kafka.locator(".lamp")).to_have_text("○ does not answer", timeout=60_000)
    expect(kafka.locator(".units")).to_contain_text("not running", timeout=60_000)

    page.get_by_role("button", name="start kafka", exact=True).click()
    expect(kafka.locator(".lamp")).to_have_text("● up", timeout=SECONDS * 1000)
    assert pipeline.members("kafka")
    badge(page, "done", SECONDS)

    producer = page.locator("#service-list li", has=page.get_by_role("heading", name="producer"))
    page.get_by_role("button", name="Pause the producer").click()
    expect(producer.locator(".lamp")).to_contain_text("paused", timeout=SECONDS * 1000)
    badge(page, "done", SECONDS)
    page.get_by_role("button", name="Resume the producer").click()
    expect(producer.locator(".lamp")).to_contain_text("streaming", timeout=SECONDS * 1000)
    badge(page, "done", SECONDS)


@pytest.mark.more_browser
def test_a_drill_from_a_terminal_is_shown_and_nothing_starts_beside_it(
    page: Page, local: Console, pipeline: Pipeline
) -> None:
    drill = pipeline.begin("drill_flink", drill_hold=HOLD)
    try:
        expect(page.locator("#now-kicker")).to_contain_text("started from a terminal", timeout=SECONDS * 1000)
        expect(page.get_by_role("button", name="start kafka", exact=True)).to_be_disabled()
        status, problem = local.ask("/api/v1/jobs", {"playbook": "stop", "options": {"service": "kafka"}})
        assert status == 409
        assert "in a terminal" in problem["detail"]
    finally:
        drill.wait(SECONDS)
    badge(page, "PASS", 60)


@pytest.mark.browser
def test_beyond_this_machine_only_the_token_opens_it(browser: Browser, pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    refused = subprocess.run(
        [sys.executable, "-m", "eventlog_console", "--host", "0.0.0.0", "--port", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "--token-file" in refused.stderr

    with console(pipeline, "--host", "0.0.0.0", "--token-file", str(file)) as guarded:
        assert guarded.ask("/api/v1/catalogue")[0] == 401
        assert guarded.ask("/api/v1/catalogue", Authorization=f"Bearer {TOKEN}x")[0] == 401
        assert guarded.ask("/api/v1/catalogue", Authorization=f"Bearer {TOKEN}")[0] == 200
        page = browser.new_page()
        page.goto(guarded.url)
        assert page.url == f"{guarded.url}/login"
        page.get_by_label("Token").fill("not-the-token-at-all")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#link")).to_have_text("live")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto(guarded.url)
        assert page.url == f"{guarded.url}/login"
        page.close()
        text = guarded.log.read_text()
    assert TOKEN not in text
