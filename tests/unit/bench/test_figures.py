"""What a line says of its figures, and how the page finds the run before."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bench import page
from bench.drain import halves, rate
from bench.figures import Line, cells, table, typical
from bench.latency import percentile
from bench.rig import BenchError, Progress


def line(measured: float | None, ceiling: float | None, **more: Any) -> Line:
    plan = {"against": "" if ceiling is None else "ceiling", "target": 0.8, "at_least": True, **more}
    return Line("drain", "rows/s", **plan).found(measured, ceiling)


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (line(80, 100), True),
        (line(79, 100), False),
        (line(130, 100, target=1.3, at_least=False), True),
        (line(131, 100, target=1.3, at_least=False), False),
        (line(15, None, target=15, at_least=False), True),
        (line(16, None, target=15, at_least=False), False),
        # Of an absolute target the ceiling is only shown.
        (line(0.9, 0.1, target=1.0, at_least=False, absolute=True), True),
        (line(80, 100, target=None), None),
        # Nothing is met by a ceiling that could not be measured.
        (line(80, 0), False),
        # Nor by what was not measured, or has nothing beside it.
        (line(None, None), None),
        (line(80, None, against="ceiling"), None),
        (line(None, 100), None),
    ],
)
def test_a_target_is_judged_by_its_figure(found: Line, met: bool | None) -> None:
    assert found.met is met


def test_the_pair_with_the_median_ratio_stands_for_all() -> None:
    measured, ceiling, samples = typical([(10, 100), (50, 100), (40, 50)])
    assert (measured, ceiling) == (50, 100)
    assert samples == {"measured": [10, 50, 40], "ceiling": [100, 100, 50]}


def test_a_line_says_why_until_all_of_it_is_there() -> None:
    found = Line("drain", "rows/s", "ceiling", 0.8, at_least=True)
    assert found.why == "not measured"
    found = found.found(80, note="of a million").lacking("Kafka is away")
    assert (found.measured, found.figure, found.why) == (80, None, "Kafka is away")
    assert found.lacking("no time left").why == "Kafka is away; no time left"
    found = found.found(ceiling=100)
    assert (found.measured, found.figure, found.note, found.why) == (80, 0.8, "of a million", "")
    assert found.lacking("too late").why == ""


def test_a_target_of_its_own_is_judged_without_the_ceiling_that_is_still_missing() -> None:
    found = line(0.5, None, against="direct path", target=1.0, at_least=False, absolute=True).lacking("no Kafka")
    assert (found.figure, found.met, found.why) == (0.5, True, "no Kafka")


def test_the_table_says_what_was_missed() -> None:
    text = table([line(79, 100), line(0, 0)])
    assert "MISSED" in text.splitlines()[1]
    assert "0.79" in text.splitlines()[1]
    assert cells(line(0, 0))[3] == "—"
    assert math.isnan(line(0, 0).figure or 0.0)


def test_the_table_says_what_is_missing_and_why() -> None:
    missing = line(None, 100).lacking("no answer in time")
    assert cells(missing) == ("drain", "no figure", "100.0 rows/s", "-", "≥ 0.8", "")
    head, row, why = table([missing]).splitlines()
    assert row.index("no figure") < head.index("ceiling")
    assert why.strip() == "no answer in time"
    assert cells(line(None, None, target=15, at_least=False))[1:] == ("no figure", "-", "-", "≤ 15.0 rows/s", "")


def test_a_rate_leaves_out_the_start_of_flink() -> None:
    trail = [Progress(0.0, 500), *(Progress(20.0 + second, 500 + 100 * (second + 1)) for second in range(11))]
    assert rate(trail) == pytest.approx(100.0)


def test_a_drain_that_slows_down_is_seen_in_its_halves() -> None:
    fast = [Progress(float(second), 100 * second) for second in range(11)]
    slow = [Progress(10.0 + second, 1000 + 50 * second) for second in range(1, 11)]
    assert halves([Progress(-20.0, 0), *fast, *slow]) == pytest.approx((100.0, 50.0))


def test_a_backlog_that_is_gone_at_once_has_no_rate() -> None:
    with pytest.raises(BenchError, match="too few"):
        rate([Progress(0.0, 0), Progress(1.0, 500)])


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_percentiles_are_values_that_were_seen(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(1, 101)], share) == value


def test_no_percentile_of_nothing() -> None:
    with pytest.raises(BenchError):
        percentile([], 0.5)


def test_the_run_before_has_the_same_size(tmp_path: Path) -> None:
    for name, size in (("1", "usual"), ("2", "reduced"), ("3", "usual"), ("4", "usual")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"size": size, "name": name}))
    found = page.previous(tmp_path, tmp_path / "3.json")
    assert found is not None
    assert found["name"] == "1"
    assert page.previous(tmp_path, tmp_path / "2.json") is None


def test_an_interrupted_run_is_not_compared_with(tmp_path: Path) -> None:
    for name, interrupted in (("1", ""), ("2", "interrupted"), ("3", "")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"size": 1, "name": name, "interrupted": interrupted}))
    found = page.previous(tmp_path, tmp_path / "3.json")
    assert found is not None
    assert found["name"] == "1"


def document(**more: Any) -> dict[str, Any]:
    return {
        "began": 0.0, "seconds": 60.0, "reduced": False, "machine": {"processors": 2, "loads": [["drain", 0.1]]},
        "drain": [[0.0, 0], [1.0, 500]], "recoveries": [], "interrupted": "", **more,
    }  # fmt: skip


def test_the_page_says_what_is_missing_and_why() -> None:
    before = {"began": 0.0, "lines": [line(None, 100).lacking("<no Kafka>").as_dict()]}
    found = line(None, 100).lacking("<no answer>")
    text = page.render(document(drain=[], interrupted="the time was over"), [found], before)
    assert "0 of 0 targets met, 1 of 1 lines without a figure" in text
    assert "It did not get to its end: the time was over." in text
    assert "no figure" in text
    assert "&lt;no answer&gt;" in text
    assert "None" not in text
    # And neither has a figure to compare: the other run's is shown as none.
    assert '<td class="n">-</td><td class="n">≥ 0.8</td>' in page.render(document(), [line(79, 100)], before)


def test_the_page_shows_the_figure_of_the_run_before() -> None:
    before = {"began": 0.0, "lines": [line(61.5, 100).as_dict()]}
    text = page.render(document(), [line(79, 100)], before)
    assert "without a figure" not in text
    assert "did not get to its end" not in text
    assert "0.615" in text
    assert "✘ missed" in text
    assert "0 of 1 targets met" in text
    assert "drain 0.1." in text
    assert "<svg" in text
    assert "http://" not in text
    assert "<script" not in text
