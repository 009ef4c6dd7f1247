"""What a line of the table is, and the table itself."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

#: Why a line has no figure as long as nothing else is known.
NOT_YET = "not measured"


@dataclass(frozen=True)
class Line:
    """One line of the table, with or without its figure.

    ``measured`` and ``ceiling`` are in ``unit`` and come from the same run; None is what was not measured. ``against``
    is what the ceiling is, empty where there is none. ``target`` bounds the ratio (or ``measured``, without a ceiling
    or if ``absolute``), from below if ``at_least``; None for a line that is only shown. ``samples`` are the single
    measurements behind both figures. ``why`` is the reason, in one line, why something is missing; else it is empty.
    """

    name: str
    unit: str
    against: str = ""
    target: float | None = None
    at_least: bool = False
    absolute: bool = False
    measured: float | None = None
    ceiling: float | None = None
    note: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)
    why: str = NOT_YET

    def found(
        self,
        measured: float | None = None,
        ceiling: float | None = None,
        *,
        note: str = "",
        samples: dict[str, list[float]] | None = None,
    ) -> Line:
        """The line with what was found; what is not given stays as it is, and ``why`` until all is there."""
        line = replace(
            self,
            measured=self.measured if measured is None else measured,
            ceiling=self.ceiling if ceiling is None else ceiling,
            note=note or self.note,
            samples=samples or self.samples,
        )
        return replace(line, why="") if line._whole else line

    def lacking(self, why: str) -> Line:
        """The line with one reason more why something is missing; the line itself when nothing is."""
        if not self.why:
            return self
        return replace(self, why=why if self.why == NOT_YET else f"{self.why}; {why}")

    @property
    def _whole(self) -> bool:
        return self.measured is not None and (self.ceiling is not None or not self.against)

    @property
    def ratio(self) -> float | None:
        """Measured over ceiling; None without both, NaN over a ceiling of 0."""
        if self.measured is None or self.ceiling is None:
            return None
        return self.measured / self.ceiling if self.ceiling else math.nan

    @property
    def figure(self) -> float | None:
        """What the target is about; None when it is missing."""
        return self.measured if self.absolute or not self.against else self.ratio

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None without one and without a figure."""
        if self.target is None or self.figure is None:
            return None
        return self.figure >= self.target if self.at_least else self.figure <= self.target

    def as_dict(self) -> dict[str, Any]:
        """The line as JSON values, with its figure and whether the target is met."""
        return {**asdict(self), "ratio": self.ratio, "figure": self.figure, "met": self.met}


def typical(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, dict[str, list[float]]]:
    """Of pairs (measured, ceiling) the one with the median ratio, and all of them as a line's samples."""
    measured, ceiling = sorted(pairs, key=lambda pair: pair[0] / pair[1])[(len(pairs) - 1) // 2]
    return measured, ceiling, {"measured": [pair[0] for pair in pairs], "ceiling": [pair[1] for pair in pairs]}


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
        text += [f"   {remark}" for remark in ((line.note, line.why) if line else ()) if remark]
    return "\n".join(text)


def cells(line: Line) -> tuple[str, ...]:
    """Name, measured, ceiling, ratio, target and whether it is met, for people."""
    sign = "≥" if line.at_least else "≤"
    compared = bool(line.against)
    return (
        line.name,
        _with_unit(line.measured, line.unit),
        _with_unit(line.ceiling, line.unit) if compared else "-",
        "-" if line.ratio is None else shown(line.ratio),
        "shown"
        if line.target is None
        else f"{sign} {shown(line.target)}{'' if compared and not line.absolute else f' {line.unit}'}",
        {True: "met", False: "MISSED", None: ""}[line.met],
    )


def _with_unit(value: float | None, unit: str) -> str:
    return "no figure" if value is None else f"{shown(value)} {unit}"
