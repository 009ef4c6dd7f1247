"""What a browser is told: everything once, then what is new, whole lines only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eventlog_console.catalogue import Catalogue
from eventlog_console.feed import POINTS, Feed, Tail, thinned
from eventlog_console.history import History
from eventlog_console.jobs import Jobs
from eventlog_console.status import Status
from eventlog_console.watch import Watch
from hypothesis import given
from hypothesis import strategies as st

from .conftest import NOW, ROOT, MakeRun, MakeSettings

HOP = {"count": 5, "reachable": True}
SAMPLE = {"time": NOW, "producer": HOP, "kafka": HOP, "cassandra": HOP, "lag": HOP}


def told(feed: Feed) -> dict[str, Any]:
    """The events of one look, by name."""
    found = {}
    for text in feed.fresh():
        name, _, data = text.partition("\n")
        found[name.removeprefix("event: ")] = json.loads(data.removeprefix("data: "))
    return found


def test_a_tail_gives_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.read() == b""

    path.write_bytes(b"one\ntw")
    assert tail.read() == b"one\n"
    assert tail.read() == b""
    with path.open("ab") as stream:
        stream.write(b"o\nthree\n")
    assert tail.read() == b"two\nthree\n"


def test_a_long_tail_is_cut_at_its_begin_between_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"".join(b"line %d\n" % number for number in range(100)))

    assert Tail(path).read(20) == b"line 98\nline 99\n"


@given(st.integers(0, 5 * POINTS))
def test_a_chart_gets_no_more_points_than_it_has_room_for_and_always_the_last(count: int) -> None:
    points = list(range(count))

    found = thinned(points)

    assert len(found) <= POINTS
    assert found[-1:] == points[-1:]
    assert found == sorted(set(found))


def test_a_browser_hears_all_of_it_once_and_then_what_is_new(make_settings: MakeSettings, make_run: MakeRun) -> None:
    settings = make_settings()
    watch = Watch(Catalogue.read(ROOT), Jobs(settings.state), History(settings.runs), Status(settings))
    run = make_run("flink", {"kind": "begin", "drill": "flink", "title": "Drill 2"})
    run.samples.write_text(json.dumps(SAMPLE) + "\n")
    feed = Feed(watch)
    assert told(feed) == {}
    watch.parts = watch.look()

    first = told(feed)
    assert first["drill"]["title"] == "Drill 2"
    assert first["history"][0]["run"] == run.name
    assert first["samples"] == {"reset": True, "points": [[NOW, 5, 5, 5, 5]]}
    assert first["job"] is None
    assert told(feed) == {}

    with run.samples.open("a") as stream:
        stream.write(json.dumps({**SAMPLE, "time": NOW + 1}) + "\n")
    assert told(feed) == {"samples": {"reset": False, "points": [[NOW + 1, 5, 5, 5, 5]]}}

    later = make_run("kafka", {"kind": "begin", "drill": "kafka", "title": "Drill 1"}, now=NOW + 60)
    watch.parts = watch.look()
    new = told(feed)
    assert new["drill"]["name"] == later.name
    assert new["samples"] == {"reset": True, "points": []}
