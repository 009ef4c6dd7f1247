"""The page of a run: one self-contained HTML file, compared with the run before it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import chart
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.figures import Line, cells, shown

_STYLE = Path(chart.__file__).parent / "templates" / "style.css"
_SIGNS = {True: ("ok", "✔ met"), False: ("not", "✘ missed"), None: ("", "")}
#: Records are drawn in thousands: the axis has room for six digits.
_THOUSAND = 1000.0
#: Points of the drain's curve; more would only make the file larger.
_POINTS = 400


def previous(results: Path, path: Path) -> dict[str, Any] | None:
    """The newest run before ``path`` of the same size that was not interrupted, None when there is none."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for other in sorted(results.glob("*.json"), reverse=True):
        if other.name < path.name:
            found: dict[str, Any] = json.loads(other.read_text(encoding="utf-8"))
            # What was measured until an interruption is kept, and is too little to compare with.
            if found["size"] == document["size"] and not found.get("interrupted"):
                return found
    return None


def render(document: Mapping[str, Any], lines: list[Line], before: Mapping[str, Any] | None) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    verdicts = [line.met for line in lines if line.met is not None]
    return environment.get_template("page.html.j2").render(
        style=Markup(_STYLE.read_text(encoding="utf-8")),
        when=_moment(document["began"]),
        before=_moment(before["began"]) if before else "",
        minutes=f"{document['seconds'] / 60:.0f}",
        processors=document["machine"]["processors"],
        loads=" · ".join(f"{what} {load:.1f}" for what, load in document["machine"]["loads"]),
        reduced=document["reduced"],
        met=sum(verdicts),
        judged=len(verdicts),
        missing=sum(bool(line.why) for line in lines),
        interrupted=document["interrupted"],
        rows=[_row(line, before) for line in lines],
        drain=_drain(document["drain"]),
        recoveries=_recoveries(document["recoveries"]),
    )


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _row(line: Line, before: Mapping[str, Any] | None) -> dict[str, str]:
    name, measured, ceiling, ratio, target, _ = cells(line)
    style, word = _SIGNS[line.met]
    return {
        "name": name,
        "measured": measured,
        "ceiling": ceiling,
        "ratio": ratio,
        "target": target,
        "style": style,
        "word": word,
        "against": line.against,
        "note": line.note,
        "why": line.why,
        "before": _before(line, before),
    }


def _before(line: Line, before: Mapping[str, Any] | None) -> str:
    """The figure that the target is about, as the earlier run had it; "-" when it had none."""
    for other in before["lines"] if before else ():
        if other["name"] == line.name and other["figure"] is not None:
            return shown(other["figure"])
    return "-"


def _drain(trail: list[tuple[float, int]]) -> Markup:
    if not trail:
        return Markup()
    step = max(1, len(trail) // _POINTS)
    points = [(at, records / _THOUSAND) for at, records in [*trail[:-1:step], trail[-1]]]
    total = points[-1][1]
    processed = chart.Line("processed", "cassandra", [*points])
    left = chart.Line("backlog", "lag", [(at, total - records) for at, records in points])
    drawn = chart.timeline([processed], left, [], start=0.0, end=points[-1][0], label="Records processed over time")
    return Markup(drawn)


def _recoveries(found: list[Mapping[str, Any]]) -> Markup:
    rows = []
    for one in found:
        bare = [("ready", float(one["bare"]))]
        phases = [("first record", float(one["first"])), ("drained", float(one["drained"]) - float(one["first"]))]
        rows += [(f"{one['drill']} {one['fault']}, bare", bare), (f"{one['drill']} {one['fault']}", phases)]
    return Markup(chart.recovery_bars(rows, None)) if rows else Markup()
