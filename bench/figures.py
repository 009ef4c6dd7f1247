"""What a line of the table is, and the table itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """One line of the table.

    ``measured`` and ``ceiling`` are in ``unit`` and come from the same run; ``ceiling`` is None where the target is an
    absolute one. ``target`` bounds the ratio (or ``measured``, without a ceiling or if ``absolute``), from below if
    ``at_least``; None for a line that is only shown. ``samples`` are the single measurements behind both figures.
    """

    name: str
    unit: str
    measured: float
    ceiling: float | None
    against: str
    target: float | None
    at_least: bool
    note: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)
    absolute: bool = False

    @property
    def ratio(self) -> float | None:
        """Measured over ceiling; None without a ceiling, NaN over one of 0."""
        if self.ceiling is None:
            return None
        return self.measured / self.ceiling if self.ceiling else math.nan

    @property
    def figure(self) -> float:
        """What the target is about."""
        return self.measured if self.absolute or self.ratio is None else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None without one."""
        if self.target is None:
            return None
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    def as_dict(self) -> dict[str, Any]:
        """The line as JSON values, with its figure and whether the target is met."""
        return {**asdict(self), "ratio": self.ratio, "figure": self.figure, "met": self.met}


def ratio_line(
    name: str,
    unit: str,
    pairs: Sequence[tuple[float, float]],
    against: str,
    *,
    target: float | None,
    at_least: bool,
    note: str = "",
) -> Line:
    """The line of paired measurements (measured, ceiling): the pair with the median ratio stands for all of them."""
    ordered = sorted(pairs, key=lambda pair: pair[0] / pair[1])
    measured, ceiling = ordered[(len(ordered) - 1) // 2]
    samples = {"measured": [pair[0] for pair in pairs], "ceiling": [pair[1] for pair in pairs]}
    return Line(name, unit, measured, ceiling, against, target, at_least, note, samples)


def spread(values: Sequence[float]) -> str:
    """Median and range, for a note."""
    return f"median {shown(statistics.median(values))}, {shown(min(values))} to {shown(max(values))}, n={len(values)}"


def shown(value: float) -> str:
    """A figure for people: three digits that mean something."""
    if math.isnan(value):
        return "—"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def table(lines: Sequence[Line]) -> str:
    """The table as text."""
    head = ("what", "measured", "ceiling", "ratio", "target", "")
    rows = [head, *(cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    text = []
    for row, line in zip(rows, (None, *lines), strict=True):
        padded = [f"{row[0]:<{widths[0]}}", *(f"{row[i]:>{widths[i]}}" for i in range(1, len(head)))]
        text.append(" " + "  ".join(padded).rstrip() + (f"   {line.against}" if line else "   ceiling is"))
        if line and line.note:
            text.append(f"   {line.note}")
    return "\n".join(text)


def cells(line: Line) -> tuple[str, ...]:
    """Name, measured, ceiling, ratio, target and whether it is met, for people."""
    sign = "≥" if line.at_least else "≤"
    return (
        line.name,
        f"{shown(line.measured)} {line.unit}",
        "-" if line.ceiling is None else f"{shown(line.ceiling)} {line.unit}",
        "-" if line.ratio is None else shown(line.ratio),
        "shown"
        if line.target is None
        else f"{sign} {shown(line.target)}{f' {line.unit}' if line.absolute or line.ceiling is None else ''}",
        {True: "met", False: "MISSED", None: ""}[line.met],
    )
