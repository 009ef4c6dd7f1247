"""Compare what a drill said about a planted defect with what it had to say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome

#: What stands in the table for a run in which nothing is planted.
CONTROL = "nothing (control run)"
NO_VERDICT = "no verdict"
#: Characters of a sentence that are shown in the table.
SENTENCE_WIDTH = 110


@dataclass(frozen=True)
class Row:
    """One planted defect, or one control run."""

    scene: str
    defect: str
    verdict: str
    sentence: str  #: that named it; the reason of the verdict when none did
    caught: bool
    seconds: float  #: of the whole run, which several defects may share

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


def compare(scene: str, found: Mapping[str, Any] | None, wanted: str, defects: Mapping[str, str]) -> list[Row]:
    """One row per defect of a run, or one for a control run.

    :param found: the run's verdict with ``outcome``, ``reason``, ``findings``, ``began`` and ``ended``; None without
        one.
    :param wanted: the outcome that it must have. With another one nothing counts as caught, whatever was said.
    :param defects: name of each defect to the regular expression that the reason or a finding must match.
    """
    if found is None:
        return [Row(scene, name, NO_VERDICT, "", False, 0.0) for name in defects or [CONTROL]]
    seconds = float(found["ended"]) - float(found["began"])
    outcome, reason = str(found["outcome"]), str(found["reason"])
    sentences = [reason, *found.get("findings", [])]
    right = outcome == wanted
    if not defects:
        return [Row(scene, CONTROL, outcome, reason, right and outcome == Outcome.PASS.label, seconds)]
    rows = []
    for name, pattern in defects.items():
        named = next((text for text in sentences if re.search(pattern, text)), None)
        caught = right and named is not None
        rows.append(Row(scene, name, outcome, reason if named is None else named, caught, seconds))
    return rows


_COLUMNS = ("planted", "verdict", "", "took", "the sentence that names it")


def table(rows: Iterable[Row]) -> list[str]:
    """Rows as the lines of a table; control runs that passed share one line."""
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_COLUMNS) - 1)]
    lines = []
    for row in cells:
        *words, took, sentence = row
        shown = [word.ljust(width) for word, width in zip(words, widths, strict=False)]
        lines.append(" " + "   ".join([*shown, took.rjust(widths[-1]), sentence]).rstrip())
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    sentence = row.sentence if len(row.sentence) <= SENTENCE_WIDTH else f"{row.sentence[: SENTENCE_WIDTH - 1]}…"
    return (row.defect, row.verdict, "✔" if row.caught else "✘", f"{row.seconds:.0f} s", sentence)


def missed(rows: Sequence[Row]) -> list[str]:
    """Names of the defects that were not caught, and of the control runs that did not pass."""
    return [f"{row.defect} ({row.scene})" for row in rows if not row.caught]
