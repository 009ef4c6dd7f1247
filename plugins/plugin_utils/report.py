"""Render every report of a run from its journal and samples alone, as often as wanted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal, verdict
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError, Run
from ansible_collections.eventlog.drills.plugins.plugin_utils.page import index_page, run_page
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story
from ansible_collections.eventlog.drills.plugins.plugin_utils.texts import junit, markdown


def render_run(run: Run, runs: Path) -> Path:
    """Write ``verdict.json`` and all reports of a run.

    :param runs: folder of all runs: earlier ones of the same drill are shown beside this one.
    :returns: the HTML report's path.
    :raises JournalError: the journal cannot be read, or a report cannot be written.
    """
    write_verdict(run)
    story = Story.read(run, runs)
    renderers: dict[str, Callable[[Story], str]] = {
        "report.json": _document,
        "report.md": markdown,
        "junit.xml": junit,
        "report.html": run_page,
    }
    failed = []
    for name, render in renderers.items():
        try:
            journal.write_private(run.path / name, render(story))
        except Exception as error:
            failed.append(f"{name}: {error or type(error).__name__}")
    if failed:
        raise JournalError("; ".join(failed))
    return run.path / "report.html"


def write_verdict(run: Run, found: verdict.Verdict | None = None) -> None:
    """Write ``verdict.json``, which needs the journal alone, or with a verdict that was ``found`` not even that.

    :raises JournalError: the journal cannot be read, or the file not be written.
    """
    records = [] if found else journal.read_records(run.journal)
    document = _verdict(Story(run.name, records, [], []))
    journal.write_private(run.verdict, json.dumps({**document, **(found.as_dict() if found else {})}, indent=2) + "\n")


def render_index(runs: Path) -> Path:
    """Write ``index.html``, the page of all runs, and return its path."""
    stories = [Story.read(run, runs) for run in reversed(journal.all_runs(runs))]
    path = runs / "index.html"
    journal.write_private(path, index_page(stories))
    return path


def stories_since(runs: Path, since: float) -> list[Story]:
    """The runs that began at or after a moment, oldest first."""
    stories = [Story.read(run, runs) for run in journal.all_runs(runs)]
    return [story for story in stories if story.began >= since]


_COLUMNS = ("drill", "verdict", "events", "lost", "repeated", "rewritten", "recovered in", "overhead", "took")


def table(stories: list[Story]) -> list[str]:
    """Several runs as the lines of a table."""
    rows = [_COLUMNS, *(_row(story) for story in stories)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = []
    for row in rows:
        # Words stand left, figures right.
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(" " + "   ".join(cells).rstrip())
    lines += [f" {story.drill}: {story.reason}" for story in stories if story.outcome is not verdict.Outcome.PASS]
    return lines


def _row(story: Story) -> tuple[str, ...]:
    found = story.summary()

    def shown(key: str, form: str) -> str:
        return "" if found[key] is None else format(found[key], form)

    counts = [shown(key, ",d").replace(",", " ") for key in ("window", "lost", "repeated", "rewritten")]
    seconds = [
        f"{shown(key, '.1f')} s" if found[key] is not None else "" for key in ("recovery", "overhead", "seconds")
    ]
    return (story.drill, story.outcome.label, *counts, *seconds)


def _verdict(story: Story) -> dict[str, object]:
    return {
        **(story.judged or verdict.judge(story.records).as_dict()),
        "drill": story.drill,
        "run": story.name,
        "began": story.began,
        "ended": story.ended,
    }


def _document(story: Story) -> str:
    document = {**_verdict(story), "summary": story.summary(), "records": story.records, "samples": story.samples}
    return json.dumps(document, indent=1) + "\n"
