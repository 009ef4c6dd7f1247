"""One drill on several backends, side by side: what must be the same on all of them, and what may differ.

A backend is an inventory. Verdict, losses, receipts, expectations and the milestones of the recovery must be the same;
how many seconds something took, and how many events went by meanwhile, is shown and not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import live
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.recovery import MILESTONES
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome

#: Backends from which on there is something to compare.
LEAST = 2
#: Groups of the table that are no phase, fault, undo or recovery.
_OF_ALL = ("", "books", "time")
_MARKS = {True: "✔", False: "✘", None: "?"}


@dataclass(frozen=True)
class Backend:
    """An inventory and what the drill did on it; without a story it was not at hand, or did not get to the drill."""

    name: str  #: the last part of the inventory's path
    inventory: str
    away: str = ""  #: why it is not at hand; empty when it is
    trouble: str = ""  #: the last failure of a playbook, empty when all succeeded
    story: Story | None = None

    @property
    def runtime(self) -> str:
        """Kind of the backend, empty when no drill was begun on it."""
        settings: Mapping[str, Any] = (self.story.begin.get("settings") or {}) if self.story else {}
        return str(settings.get("runtime") or "")

    @property
    def outcome(self) -> Outcome | None:
        """The verdict; None without a drill."""
        return self.story.outcome if self.story else None


@dataclass(frozen=True)
class Cell:
    """What is shown of one backend in one row, and what is compared of it; the seconds are not."""

    text: str
    same: str = ""


@dataclass
class Row:
    """A line of the table: a group, what is shown, and a cell for each backend that has one."""

    group: str
    what: str
    cells: dict[str, Cell] = field(default_factory=dict)

    def agrees(self, names: Sequence[str]) -> bool:
        """Whether all these backends have the same."""
        return len({self.cells[name].same if name in self.cells else None for name in names}) == 1


@dataclass(frozen=True)
class Comparison:
    """The backends with the rows of their table."""

    backends: list[Backend]
    rows: list[Row]

    @property
    def drilled(self) -> list[Backend]:
        """Those with a story."""
        return [backend for backend in self.backends if backend.story]

    @property
    def differences(self) -> list[str]:
        """What must be the same and is not, a line each."""
        names = [backend.name for backend in self.drilled]
        return [
            f"{row.group} {row.what}".strip() + ": " + ", ".join(f"{name} {_shown(row, name)}" for name in names)
            for row in self.rows
            if not row.agrees(names)
        ]

    @property
    def problems(self) -> list[str]:
        """Why this is no parity; empty when it is."""
        found = [
            f"{backend.name}: {backend.trouble or 'the drill did not begin'}"
            for backend in self.backends
            if not backend.away and not backend.story
        ]
        found += [
            f"{backend.name}: {story.outcome.label}, {story.reason}"
            for backend in self.drilled
            if (story := backend.story) and story.outcome is not Outcome.PASS
        ]
        found += [
            f"{backend.name}: {backend.trouble}"
            for backend in self.drilled
            if backend.trouble and backend.outcome is Outcome.PASS
        ]
        return [*found, *self.differences]

    @property
    def sentence(self) -> str:
        """The whole in one line."""
        if self.problems:
            return "; ".join(self.problems)
        counts = {group: sum(row.group == group for row in self.rows) for group in ("fault", "undo", "recovery")}
        expected = sum(row.group not in (*_OF_ALL, *counts) for row in self.rows)
        names = " and ".join(backend.name for backend in self.drilled)
        return (
            f"the same on {names}: PASS, nothing lost, {counts['fault']} faults, {counts['undo']} undos, "
            f"{expected} expectations, {counts['recovery']} milestones"
        )


def compare(backends: Sequence[Backend]) -> Comparison:
    """Put the drills of the backends side by side."""
    rows: dict[tuple[str, str], Row] = {}
    for backend in backends:
        for group, what, cell in _cells(backend.story) if backend.story else ():
            row = rows.setdefault((group, what), Row(group, what))
            earlier = row.cells.get(backend.name)
            # A unit that goes away twice in a drill is one row.
            row.cells[backend.name] = (
                Cell(f"{earlier.text}, {cell.text}", earlier.same + cell.same) if earlier else cell
            )
    return Comparison(list(backends), list(rows.values()))


def _cells(story: Story) -> Iterator[tuple[str, str, Cell]]:
    summary = story.summary()
    yield "", "verdict", Cell(story.outcome.label, story.outcome.label)
    yield "books", "events", Cell(_number(summary["window"]))
    yield "books", "lost", Cell(_number(summary["lost"]), _number(summary["lost"]))
    yield "books", "repeated", Cell(_number(summary["repeated"]))
    yield "books", "rewritten", Cell(_number(summary["rewritten"]))
    for record in story.records:
        if record["kind"] in ("fault", "undo"):
            for receipt in record["receipts"]:
                yield record["kind"], f"{receipt['unit']} {receipt['verb']}", _receipt(receipt)
        elif record["kind"] == "observation":
            for check in record["checks"]:
                mark = _MARKS[check["ok"]]
                text = mark if check["ok"] else f"{mark} {check['seen']}"
                yield record["phase"], f"{check['subject']} {check['expected']}", Cell(text, mark)
        elif record["kind"] == "recovery":
            for name in MILESTONES:
                moment = record["at"].get(name)
                yield "recovery", name, Cell(_seconds(moment), "reached" if moment is not None else "never")
    yield "time", "overhead", Cell(_seconds(summary["overhead"]))
    yield "time", "took", Cell(_seconds(summary["seconds"]))


def _receipt(receipt: Mapping[str, Any]) -> Cell:
    mark = _MARKS[bool(receipt["ok"])]
    seconds = (receipt.get("milestones") or {}).get("ready", receipt.get("seconds"))
    return Cell(f"{mark} {_seconds(seconds)}" if receipt["ok"] else f"{mark} {receipt['why']}", mark)


def _number(value: int | None) -> str:
    return "unknown" if value is None else number(value)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _shown(row: Row, name: str) -> str:
    return row.cells[name].text if name in row.cells else "none"


def table(found: Comparison) -> list[str]:
    """The comparison as the lines of a table, a column for each backend that was drilled."""
    columns = found.drilled
    names = [backend.name for backend in columns]
    lines = [["", "", *names], ["", "", *(backend.runtime for backend in columns)]]
    group = ""
    for row in found.rows:
        lines.append([row.group if row.group != group else "", row.what, *(_shown(row, name) for name in names)])
        lines[-1].append("" if row.agrees(names) else "◀ differs")
        group = row.group
    widths = [max(len(line[at]) for line in lines) for at in range(len(names) + 2)]
    widths[0] = max(widths[0], live.LABEL_WIDTH - 1)
    shown = ["   ".join(word.ljust(width) for word, width in zip(line, [*widths, 0], strict=False)) for line in lines]
    return [
        *(f" {backend.story.title}" for backend in columns[:1] if backend.story),
        *(f" {line}".rstrip() for line in shown if columns),
        *(live.line("not at hand", f"{backend.name}: {backend.away}") for backend in found.backends if backend.away),
        live.line("parity", f"{'✘' if found.problems else '✔'} {found.sentence}"),
    ]


def document(found: Comparison, drill: str) -> str:
    """The comparison as JSON."""
    names = [backend.name for backend in found.drilled]
    content = {
        "drill": drill,
        "parity": not found.problems,
        "sentence": found.sentence,
        "problems": found.problems,
        "backends": [
            {
                "name": backend.name,
                "inventory": backend.inventory,
                "runtime": backend.runtime,
                "at_hand": not backend.away,
                "reason": backend.away or backend.trouble,
                "run": backend.story.name if backend.story else None,
                "summary": backend.story.summary() if backend.story else None,
            }
            for backend in found.backends
        ],
        "rows": [
            {
                "group": row.group,
                "what": row.what,
                "agrees": row.agrees(names),
                "cells": {name: _shown(row, name) for name in names},
            }
            for row in found.rows
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
