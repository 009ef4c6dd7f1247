"""The lines of a drill on the terminal: one label, then figures that stay in their places."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import COUNTS, Check, Snapshot

LABEL_WIDTH = 12
BAR_WIDTH = 20
#: Set by the callback plugin in the main process: only it can see whether its output goes to a terminal, and how wide.
TERMINAL_VARIABLE = "EVENTLOG_DRILLS_COLUMNS"
SECONDS_BETWEEN_LINES = 5.0


def columns() -> int:
    """Width of the terminal, 0 when the output does not go to one."""
    return int(os.environ.get(TERMINAL_VARIABLE) or 0)


def line(label: str, text: str) -> str:
    """A line with its label in the left column."""
    column = label if len(label) < LABEL_WIDTH else f"{label}  "
    return f" {column:<{LABEL_WIDTH}}{text}".rstrip()


def continued(text: str) -> str:
    """A line below a labelled one."""
    return line("", text)


def rewrite(text: str) -> str:
    """A line that replaces the present one on a terminal, cut to its width."""
    return "\r" + _cut(text, columns() - 1) + "\x1b[K"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def bar(fraction: float) -> str:
    """A progress bar for 0 to 1."""
    full = round(min(1.0, max(0.0, fraction)) * BAR_WIDTH)
    return "█" * full + "░" * (BAR_WIDTH - full)


def clock(seconds: float) -> str:
    """Minutes and seconds: ``00:23``."""
    whole = int(seconds)
    return f"{whole // 60:02d}:{whole % 60:02d}"


def thousands(value: int) -> str:
    """An integer with narrow groups."""
    return f"{value:,}".replace(",", " ")


def figures(sample: Snapshot, before: Snapshot | None, earlier: Snapshot | None) -> str:
    """Counts since ``before`` with the way and the rate at which they move since ``earlier``; the lag as it stands.

    A count that cannot be read shows no figure, but for how long it has not been seen.
    """
    return "  ".join(_figure(subject, sample, before, earlier) for subject in COUNTS)


def _figure(subject: str, sample: Snapshot, before: Snapshot | None, earlier: Snapshot | None) -> str:
    hop = sample.get(subject) or {}
    if not hop.get("reachable") or hop.get("count") is None:
        age = hop.get("age")
        return f"{subject} ✗ unseen {age:.0f} s" if age is not None else f"{subject} ✗ unseen"
    count = int(hop["count"])
    base = _count(before, subject)
    shown = (
        thousands(count)
        if subject == "lag" or base is None
        else f"{'+' if count >= base else '-'}{thousands(abs(count - base))}"
    )
    past = _count(earlier, subject)
    seconds = float(sample["time"]) - float(earlier["time"]) if earlier else 0.0
    return f"{subject} {shown} {_movement(count, past, seconds)}"


def _count(sample: Snapshot | None, subject: str) -> int | None:
    hop: Mapping[str, Any] = (sample or {}).get(subject) or {}
    return int(hop["count"]) if hop.get("count") is not None else None


def _movement(count: int, past: int | None, seconds: float) -> str:
    if past is None or count == past or seconds <= 0:
        return "="
    rate = abs(count - past) / seconds
    arrow = "↑" if count > past else "↓"
    return f"{arrow} {rate:.1f}/s" if rate < 100 else f"{arrow} {thousands(round(rate))}/s"


def progress(label: str, elapsed: float, total: float, counts: str, *, budget: bool = False) -> str:
    """The live line: time, bar, figures, and seconds left of a hold or of a budget."""
    left = max(0.0, total - elapsed)
    end = f"budget {left:.0f} s" if budget else f"{left:.0f} s left"
    return line(label, f"{clock(elapsed)} {bar(elapsed / total if total else 1.0)}  {counts}   {end}")


def checks_line(checks: Sequence[Check]) -> str:
    """What was expected, with a mark each; a failed one says what was seen instead."""
    return "  ".join(_check(check) for check in checks)


def _check(check: Check) -> str:
    name = f"{check.subject} {check.expected}"
    if check.ok:
        return f"{name} ✔"
    mark = "✘" if check.ok is False else "?"
    return f"{name} {mark} {check.seen} ({check.detail})"


def rates_note(checks: Sequence[Check]) -> str:
    """The measured growth beside the offered rate, taken from the last count that grew."""
    rates = [check.detail for check in checks if check.ok and "offered" in check.detail]
    return f"({rates[-1]})" if rates else ""
