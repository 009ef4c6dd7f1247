"""The lines of the terminal."""

from __future__ import annotations

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import live
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Check

from .snapshots import snapshot


def test_figures_show_growth_since_the_phase_began() -> None:
    before, earlier = snapshot(0, producer=1000, kafka=1000, cassandra=900), snapshot(20, producer=1200, kafka=1200)
    now = snapshot(23, producer=1230, kafka=1230, cassandra=900, lag=330)
    earlier["cassandra"]["count"] = 900
    earlier["lag"]["count"] = 300
    assert (
        live.figures(now, before, earlier)
        == "producer +230 ↑ 10.0/s  kafka +230 ↑ 10.0/s  cassandra +0 =  lag 330 ↑ 10.0/s"
    )


def test_a_fast_count_has_a_round_rate() -> None:
    text = live.figures(
        snapshot(3, cassandra=34567, lag=10), snapshot(0, cassandra=0), snapshot(0, cassandra=0, lag=70)
    )
    assert text.endswith("cassandra +34 567 ↑ 11 522/s  lag 10 ↓ 20.0/s")


def test_a_count_that_cannot_be_read_shows_its_age() -> None:
    text = live.figures(snapshot(5, kafka=None), None, None)
    assert "kafka ✗ unseen 5 s" in text
    never = snapshot(5, kafka=None)
    never["kafka"]["age"] = None
    assert "kafka ✗ unseen  " in live.figures(never, None, None)


@pytest.mark.parametrize(("fraction", "full"), [(-1, 0), (0, 0), (0.5, 10), (1, 20), (7, 20)])
def test_the_bar(fraction: float, full: int) -> None:
    assert live.bar(fraction) == "█" * full + "░" * (20 - full)


def test_progress_of_a_hold_and_of_a_budget() -> None:
    assert live.progress("outage", 23, 60, "x").startswith(" outage      00:23 ████████░░░░░░░░░░░░  x")
    assert live.progress("outage", 23, 60, "x").endswith("37 s left")
    assert live.progress("recovery", 23, 60, "x", budget=True).endswith("budget 37 s")
    assert live.progress("hold", 0, 0, "x").endswith("0 s left")


def test_a_line_on_a_terminal_is_cut_to_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(live.TERMINAL_VARIABLE, "20")
    assert live.rewrite("x" * 50) == "\r" + "x" * 18 + "…\x1b[K"
    assert live.rewrite("short") == "\rshort\x1b[K"
    monkeypatch.delenv(live.TERMINAL_VARIABLE)
    assert live.columns() == 0


def test_checks_in_a_line() -> None:
    checks = [
        Check("kafka", "grows", "grows", True, "10.0/s of 10.0/s offered"),
        Check("cassandra", "static", "grows", False, "+3 in 60 s"),
        Check("lag", "grows", "too few readings", None, "1 of at least 3"),
    ]
    assert live.checks_line(checks) == (
        "kafka grows ✔  cassandra static ✘ grows (+3 in 60 s)  lag grows ? too few readings (1 of at least 3)"
    )
    assert live.rates_note(checks) == "(10.0/s of 10.0/s offered)"
    assert live.rates_note([]) == ""


def test_labels_stand_in_a_column() -> None:
    assert live.line("steady", "ok") == " steady      ok"
    assert live.continued("more") == "             more"
    assert live.line("producer dead", "ok") == " producer dead  ok"
    assert live.thousands(1234567) == "1 234 567"
