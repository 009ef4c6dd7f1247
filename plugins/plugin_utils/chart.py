"""Drawings for the report as inline SVG: no script, no font, no network, and readable without colour.

Lines differ in dash pattern and carry their name at their end; bands differ in hatching and carry their name on top.
Colours come from the page's custom properties, so that the same drawing serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Snapshot, readings
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Band

WIDTH = 1040
LEFT, RIGHT = 68, 116
PLOT_TOP = 46
#: Closest that two labels at the lines' ends may stand, in pixels.
LABEL_GAP = 17
#: Samples further apart than this many times the usual distance are not joined: nothing is known in between.
GAP_FACTOR = 3.5


@dataclass(frozen=True)
class Line:
    """One line of a plot: points as (seconds from the start, value); None breaks it."""

    name: str
    style: str  #: CSS class: colour and dash pattern
    points: list[tuple[float, float] | None]

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points without the breaks."""
        return [point for point in self.points if point is not None]


def count_line(samples: Sequence[Snapshot], subject: str, start: float, base: int = 0) -> Line:
    """The line of a count less ``base``; readings that failed and gaps between samples break it."""
    found = readings(samples, subject)
    usual = _usual_gap([reading.taken for reading in found])
    points: list[tuple[float, float] | None] = []
    before: float | None = None
    for reading in found:
        if not reading.reachable or reading.count is None:
            points.append(None)
            continue
        if before is not None and reading.at - before > GAP_FACTOR * usual:
            points.append(None)
        points.append((reading.at - start, float(reading.count - base)))
        before = reading.at
    return Line(subject, subject, points)


def _usual_gap(moments: Sequence[float]) -> float:
    gaps = sorted(b - a for a, b in pairwise(moments))
    return gaps[len(gaps) // 2] if gaps else 1.0


@dataclass(frozen=True)
class Scale:
    """A plot's area and what it shows; pixels grow downwards."""

    seconds: float
    low: float
    high: float
    top: float
    height: float

    def x(self, seconds: float) -> float:
        """Pixels from the left."""
        return LEFT + (WIDTH - LEFT - RIGHT) * max(0.0, min(1.0, seconds / (self.seconds or 1.0)))

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return self.top + self.height * (1 - (value - self.low) / ((self.high - self.low) or 1.0))


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values between two bounds, about as many as wanted."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step) * step
    return [first + step * i for i in range(int((high - first) / step + 1e-9) + 1)]


def time_ticks(seconds: float) -> list[float]:
    """Round moments of a timeline, at most about ten."""
    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600) if seconds / s <= 10), 7200)
    return [float(i * step) for i in range(int(seconds // step) + 1)]


def timeline(
    lines: Sequence[Line], lag: Line, bands: Iterable[Band], *, start: float, end: float, label: str, height: int = 300
) -> str:
    """The counts above, the lag below, on one time axis with bands for what was away and for the recovery."""
    seconds = max(1.0, end - start)
    upper = _scale(lines, seconds, PLOT_TOP, height)
    lower = _scale([lag], seconds, PLOT_TOP + height + 40, 110)
    bottom = lower.top + lower.height
    shown = [band for band in bands if band.end > start and band.start < end]
    parts = [
        _svg(WIDTH, bottom + 44, "plot", label),
        _patterns(),
        *_bands(shown, upper, start, bottom),
        *_grid(upper),
        *_grid(lower),
        f'<text class="axis" x="{LEFT}" y="{lower.top - 10:.0f}">lag: records in Kafka not yet processed</text>',
        *_time_axis(upper, bottom, seconds),
        *(_path(line, upper) for line in lines),
        _area(lag, lower),
        _path(lag, lower),
        *_end_labels(lines, upper),
        *_end_labels([lag], lower),
        "</svg>",
    ]
    return "\n".join(parts)


def _svg(width: float, height: float, style: str, label: str, more: str = "") -> str:
    text = escape(label, quote=True)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" class="{style}" aria-label="{text}"{more}>'


def _scale(lines: Sequence[Line], seconds: float, top: float, height: float) -> Scale:
    values = [value for line in lines for _, value in line.known]
    low, high = min([*values, 0.0]), max([*values, 1.0])
    return Scale(seconds, low, high + 0.06 * (high - low), top, height)


def _patterns() -> str:
    return (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line class="hatching" x1="0" y1="0" x2="0" y2="7"/></pattern>'
        '<pattern id="dots" width="7" height="7" patternUnits="userSpaceOnUse">'
        '<circle class="dotting" cx="3.5" cy="3.5" r="1"/></pattern></defs>'
    )


def _bands(bands: Sequence[Band], scale: Scale, start: float, bottom: float) -> list[str]:
    parts = []
    for level, band in enumerate(bands):
        left, right = scale.x(band.start - start), scale.x(band.end - start)
        width = max(2.0, right - left)
        fill = "hatch" if band.kind == "fault" else "dots"
        box = f'x="{left:.1f}" y="{PLOT_TOP}" width="{width:.1f}" height="{bottom - PLOT_TOP:.1f}"'
        parts.append(f'<rect class="band {band.kind}" {box}/>')
        parts.append(f'<rect fill="url(#{fill})" {box}/>')
        # Neighbours would write over each other, so names alternate between two heights.
        y = 16 + 16 * (level % 2)
        text = f"{band.name}, {band.end - band.start:.0f} s"
        parts.append(f'<line class="edge {band.kind}" x1="{left:.1f}" x2="{left:.1f}" y1="{y + 4}" y2="{bottom:.1f}"/>')
        parts.append(_band_name(text, left, band.kind, y))
    return parts


def _band_name(text: str, left: float, kind: str, y: float) -> str:
    room = WIDTH - left
    anchor, x = ("start", left + 2) if room > 7.2 * len(text) else ("end", WIDTH - 4.0)
    return f'<text class="name {kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(scale: Scale) -> list[str]:
    parts = []
    for value in ticks(scale.low, scale.high, 5 if scale.height > 150 else 3):
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(round(value))}</text>'
        )
    return parts


def _time_axis(scale: Scale, bottom: float, seconds: float) -> list[str]:
    parts = [f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom:.1f}" y2="{bottom:.1f}"/>']
    for moment in time_ticks(seconds):
        x = scale.x(moment)
        parts.append(f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 5:.1f}"/>')
        text = f"{int(moment) // 60}:{int(moment) % 60:02d}"
        parts.append(f'<text class="axis" x="{x:.1f}" y="{bottom + 20:.1f}" text-anchor="middle">{text}</text>')
    parts.append(
        f'<text class="axis" x="{WIDTH - RIGHT:.0f}" y="{bottom + 38:.1f}" text-anchor="end">min:s from begin</text>'
    )
    return parts


def _path(line: Line, scale: Scale) -> str:
    commands = []
    pen_up = True
    for point in line.points:
        if point is None:
            pen_up = True
            continue
        commands.append(f"{'M' if pen_up else 'L'}{scale.x(point[0]):.1f} {scale.y(point[1]):.1f}")
        pen_up = False
    return f'<path class="line {line.style}" d="{"".join(commands)}"/>' if commands else ""


def _area(line: Line, scale: Scale) -> str:
    runs: list[list[tuple[float, float]]] = [[]]
    for point in line.points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    base = scale.y(max(0.0, scale.low))
    shapes = []
    for run in runs:
        if len(run) > 1:
            edge = "".join(f"L{scale.x(t):.1f} {scale.y(v):.1f}" for t, v in run)
            shapes.append(f"M{scale.x(run[0][0]):.1f} {base:.1f}{edge}L{scale.x(run[-1][0]):.1f} {base:.1f}Z")
    return f'<path class="area {line.style}" d="{"".join(shapes)}"/>' if shapes else ""


def _end_labels(lines: Sequence[Line], scale: Scale) -> list[str]:
    """Names at the ends of the lines, pushed apart where the lines meet."""
    ends = [(scale.y(line.known[-1][1]), line) for line in lines if line.known]
    placed: list[tuple[float, Line]] = []
    for y, line in sorted(ends, key=lambda end: end[0]):
        placed.append((max(y, placed[-1][0] + LABEL_GAP) if placed else y, line))
    # Pushed below the plot they would stand in the axis: shift the whole stack up.
    shift = max(0.0, placed[-1][0] - (scale.top + scale.height)) if placed else 0.0
    parts = []
    for y, line in placed:
        x = WIDTH - RIGHT + 8
        parts.append(
            f'<line class="line {line.style}" x1="{x}" x2="{x + 22}" y1="{y - shift:.1f}" y2="{y - shift:.1f}"/>'
        )
        parts.append(f'<text class="key" x="{x + 27}" y="{y - shift + 4:.1f}">{escape(line.name)}</text>')
    return parts


ROW, BAR_HEIGHT, NAME_WIDTH = 34, 20, 190


def recovery_bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], budget: float | None) -> str:
    """Recoveries as stacked bars, one row each: name, then (phase, seconds) in order.

    The phases are told apart by tone, by separators and by their names above the last bar.
    """
    longest = max([sum(seconds for _, seconds in parts) for _, parts in rows] + [0.1])
    full = max(longest, budget) if budget is not None and budget <= 2.5 * longest else longest
    scale = (WIDTH - NAME_WIDTH - 110) / full
    height = ROW * len(rows) + 14
    drawn = [_svg(WIDTH, height, "plot", "Seconds of each recovery phase")]
    for index, (name, parts) in enumerate(rows):
        y = index * ROW + 4
        strong = " strong" if index == len(rows) - 1 else ""
        drawn.append(
            f'<text class="axis{strong}" x="{NAME_WIDTH - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
        )
        drawn += _stack(parts, scale, y)
        total = sum(seconds for _, seconds in parts)
        drawn.append(
            f'<text class="key{strong}" x="{NAME_WIDTH + total * scale + 8:.1f}" y="{y + 15}">{total:.1f} s</text>'
        )
    if budget is not None and full >= budget:
        x = NAME_WIDTH + budget * scale
        drawn.append(f'<line class="budget" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 12}"/>')
        drawn.append(f'<text class="axis" x="{x:.1f}" y="{height}" text-anchor="middle">budget {budget:.0f} s</text>')
    drawn.append("</svg>")
    return "\n".join(drawn)


def _stack(parts: Sequence[tuple[str, float]], scale: float, y: float) -> list[str]:
    drawn = []
    x = float(NAME_WIDTH)
    for name, seconds in parts:
        width = seconds * scale
        step = name.replace(" ", "-")
        title = f"<title>{escape(name)} {seconds:.1f} s</title>"
        box = f'x="{x:.1f}" y="{y}" width="{max(0.5, width):.1f}" height="{BAR_HEIGHT}"'
        drawn.append(f'<rect class="step {step}" {box}>{title}</rect>')
        text = f"{name} {seconds:.1f}"
        if width > 6.6 * len(text) + 8:
            drawn.append(f'<text class="inside {step}" x="{x + 5:.1f}" y="{y + 14.5}">{escape(text)}</text>')
        x += width
    return drawn


def sparkline(values: Sequence[float], style: str, label: str) -> str:
    """A small line without axes."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = 100 / (len(values) - 1)
    points = "".join(
        f"{'M' if i == 0 else 'L'}{i * step:.1f} {22 - 20 * (value - low) / span:.1f}" for i, value in enumerate(values)
    )
    return (
        _svg(100, 24, "spark", label, ' preserveAspectRatio="none"')
        + f'<path class="line {style}" d="{points}"/></svg>'
    )


def lag_values(samples: Sequence[Snapshot]) -> list[float]:
    """Readable lags in order."""
    return [
        float(reading.count) for reading in readings(samples, "lag") if reading.reachable and reading.count is not None
    ]
