"""The monitor's page in a real browser, over a real pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from testing.pipeline import Pipeline, further_monitor
from testing.waiting import wait_until
from tests.browser.console_harness import NARROW, WIDE

TOKEN = "a-token-that-nobody-guesses"


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


def drawn(page: Page, hop: str) -> float:
    """The count at which a hop's line ends in the chart, read off the labels of the grid as a person does."""
    return float(
        page.evaluate(
            """(hop) => {
              const chart = document.querySelector("#counts");
              const labels = [...chart.querySelectorAll("line.grid + text")].map(
                (text) => [Number(text.getAttribute("y")) - 4, Number(text.textContent.replace(/\\D/g, ""))]);
              const [[y1, low], [y2, high]] = [labels[0], labels.at(-1)];
              const end = Number(chart.querySelector(`path.line.${hop}`).getAttribute("d").split(" ").at(-1));
              return low + ((end - y1) / (y2 - y1)) * (high - low);
            }""",
            hop,
        )
    )


@pytest.mark.browser
def test_figures_and_charts_move_while_events_flow(page: Page, pictures: Path) -> None:
    before = {hop: count(page, hop) for hop in ("producer", "kafka", "cassandra")}
    lines = {hop: drawn(page, hop) for hop in before}

    wait_until(lambda: all(count(page, hop) > seen + 5 for hop, seen in before.items()), 30, "every figure moves")
    for hop, line in lines.items():
        assert drawn(page, hop) > line + 5, f"the line of {hop} does not rise with its figure"
        # The page may draw between the two looks.
        assert abs(drawn(page, hop) - count(page, hop)) < 25, f"the line of {hop} does not end at its figure"
    for service in ("producer", "kafka", "cassandra", "flink"):
        expect(page.locator(f"#lamp-{service}")).to_have_class("up")
    page.screenshot(path=pictures / "monitor.png")
    page.set_viewport_size(NARROW)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= NARROW["width"], "the page is wider than a telephone"
    page.screenshot(path=pictures / "monitor-narrow.png", full_page=True)


@pytest.mark.browser
def test_a_database_that_stops_is_marked_stale_and_the_others_go_on(page: Page, pipeline: Pipeline) -> None:
    pipeline.play("stop", service="cassandra")
    try:
        expect(page.locator(".hop.cassandra")).to_have_class(re.compile("stale"), timeout=15_000)
        expect(page.locator(".hop.cassandra .age")).to_contain_text("stale, last seen")
        expect(page.locator("#lamp-cassandra")).to_have_class("down")
        seen = count(page, "kafka")
        wait_until(lambda: count(page, "kafka") > seen + 5, 30, "Kafka's figure goes on")
    finally:
        pipeline.play("start", service="cassandra")
    expect(page.locator(".hop.cassandra")).not_to_have_class(re.compile("stale"), timeout=60_000)


@pytest.mark.more_browser
def test_the_page_outlives_the_producer(page: Page, pipeline: Pipeline) -> None:
    pipeline.kill("producer")

    expect(page.locator("#lamp-producer")).to_have_class("down", timeout=30_000)
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#stream")).to_be_disabled()
    pipeline.play("start", service="producer")
    expect(page.locator("#lamp-producer")).to_have_class("up", timeout=30_000)
    seen = count(page, "producer")
    wait_until(lambda: count(page, "producer") > seen + 5, 30, "the figure moves again")


@pytest.mark.browser
def test_the_stream_is_paused_and_resumed_from_the_page(page: Page, pipeline: Pipeline) -> None:
    page.locator("#stream").click()
    expect(page.locator("#stream")).to_have_text("Resume")
    wait_until(lambda: not pipeline.counts()["producer"]["streaming"], 15, "the producer is paused")

    page.locator("#stream").click()
    expect(page.locator("#stream")).to_have_text("Pause")
    wait_until(lambda: pipeline.counts()["producer"]["streaming"], 15, "the producer streams")

    page.locator("#rate").fill("25")
    page.locator("#set").click()
    wait_until(lambda: pipeline.counts()["producer"]["rate"] == 25.0, 15, "the rate is set")
    pipeline.post("rate", {"rate": 10.0})


@pytest.mark.browser
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
        wait_until(lambda: count(page, "producer") > 0, 30, "the figures are there")
        page.close()


@pytest.mark.more_browser
def test_a_drill_announces_its_phases(page: Page, pipeline: Pipeline, pictures: Path) -> None:
    drill = pipeline.begin("drill_kafka", drill_hold=10)
    try:
        expect(page.locator("#drill .title")).to_contain_text("Kafka stops", timeout=60_000)
        expect(page.locator("#drill .phase")).to_contain_text("outage", timeout=60_000)
        wait_until(lambda: "stale" in str(page.locator(".hop.kafka").get_attribute("class")), 15, "Kafka is stale")
        page.screenshot(path=pictures / "monitor-drill.png")
    finally:
        assert drill.wait(300) == 0
    assert pipeline.verdict()["verdict"] == "PASS"
