"""The monitor's page in a real browser, over a real pipeline."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.console_harness import NARROW, WIDE
from tests.e2e.pipeline import Pipeline, further_monitor, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

TOKEN = "a-token-that-nobody-guesses"
BUDGET = 600  # how fast a shared machine recovers is no matter of these tests


@pytest.fixture
def page(browser: Browser, pipeline: Pipeline) -> Iterator[Page]:
    """The page of a pipeline that streams; an error of the page's own fails the test."""
    context = browser.new_context(viewport=WIDE)
    found = context.new_page()
    errors: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.goto(f"http://127.0.0.1:{pipeline.port(5000)}/monitor")
    expect(found.locator("#link")).to_have_text("live")
    yield found
    context.close()
    assert errors == []


def count(page: Page, hop: str) -> int:
    """The figure of a hop as the page shows it."""
    text = page.locator(f".hop.{hop} .count").inner_text()
    return int(re.sub(r"\D", "", text) or -1)


def curve(page: Page) -> str:
    """What the chart of the counters draws now."""
    return str(page.locator("#counts").inner_html())


def test_figures_and_charts_move_while_events_flow(page: Page, pictures: Path) -> None:
    before = {hop: count(page, hop) for hop in ("producer", "kafka", "cassandra")}
    drawn = curve(page)

    wait_for(lambda: all(count(page, hop) > seen + 5 for hop, seen in before.items()), 30, "every figure moves")
    assert curve(page) != drawn
    for service in ("producer", "kafka", "cassandra", "flink"):
        expect(page.locator(f"#lamp-{service}")).to_have_class("up")
    page.screenshot(path=pictures / "monitor.png")
    page.set_viewport_size(NARROW)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= NARROW["width"], "the page is wider than a telephone"
    page.screenshot(path=pictures / "monitor-narrow.png", full_page=True)


def test_a_database_that_stops_is_marked_stale_and_the_others_go_on(page: Page, pipeline: Pipeline) -> None:
    pipeline.play("stop", service="cassandra")
    try:
        expect(page.locator(".hop.cassandra")).to_have_class(re.compile("stale"), timeout=15_000)
        expect(page.locator(".hop.cassandra .age")).to_contain_text("stale, last seen")
        expect(page.locator("#lamp-cassandra")).to_have_class("down")
        seen = count(page, "kafka")
        wait_for(lambda: count(page, "kafka") > seen + 5, 30, "Kafka's figure goes on")
    finally:
        pipeline.play("start", service="cassandra")
    expect(page.locator(".hop.cassandra")).not_to_have_class(re.compile("stale"), timeout=60_000)


def test_the_page_outlives_the_producer(page: Page, pipeline: Pipeline) -> None:
    pipeline.kill("producer")

    expect(page.locator("#lamp-producer")).to_have_class("down", timeout=30_000)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#stream")).to_be_disabled()
    pipeline.play("start", service="producer")
    expect(page.locator("#lamp-producer")).to_have_class("up", timeout=30_000)
    seen = count(page, "producer")
    wait_for(lambda: count(page, "producer") > seen + 5, 30, "the figure moves again")


def test_the_stream_is_paused_and_resumed_from_the_page(page: Page, pipeline: Pipeline) -> None:
    page.locator("#stream").click()
    expect(page.locator("#stream")).to_have_text("Resume")
    wait_for(lambda: not pipeline.counts()["producer"]["streaming"], 15, "the producer is paused")

    page.locator("#stream").click()
    expect(page.locator("#stream")).to_have_text("Pause")
    wait_for(lambda: pipeline.counts()["producer"]["streaming"], 15, "the producer streams")

    page.locator("#rate").fill("25")
    page.locator("#set").click()
    wait_for(lambda: pipeline.counts()["producer"]["rate"] == 25.0, 15, "the rate is set")
    pipeline.post("rate", {"rate": 10.0})


def test_others_need_the_token(browser: Browser, pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    with further_monitor(pipeline, tmp_path, host="0.0.0.0", token_file=str(file)) as guarded:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{guarded.port}/monitor")
        page.get_by_label("Token").fill("not-the-token-at-all")
        page.get_by_role("button").click()
        expect(page.get_by_role("alert")).not_to_be_empty()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button").click()
        expect(page.locator("#link")).to_have_text("live")
        wait_for(lambda: count(page, "producer") > 0, 30, "the figures are there")
        page.close()


def test_a_drill_announces_its_phases(page: Page, pipeline: Pipeline, pictures: Path) -> None:
    drill = subprocess.Popen(
        pipeline.command("drill_kafka", drill_hold=10, drill_recovery_budget=BUDGET), cwd=pipeline.folder,
        env=pipeline.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        expect(page.locator("#drill .title")).to_contain_text("Kafka stops", timeout=60_000)
        expect(page.locator("#drill .phase")).to_contain_text("outage", timeout=60_000)
        wait_for(lambda: "stale" in str(page.locator(".hop.kafka").get_attribute("class")), 15, "Kafka is stale")
        page.screenshot(path=pictures / "monitor-drill.png")
    finally:
        assert drill.wait(BUDGET) == 0
    assert pipeline.verdict()["verdict"] == "PASS"
