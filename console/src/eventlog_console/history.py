"""Every run of the folder in one line, and the files of a run that may be served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import journal
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import JournalError, Run
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story

#: What may be served of a run, with its media type. Everything else in its folder is nobody's business.
SERVED = {
    "report.html": "text/html",
    "report.md": "text/plain",
    "report.json": "application/json",
    "junit.xml": "application/xml",
    "journal.jsonl": "text/plain",
}


class History:
    """The runs of a folder. A journal is read again only when it has grown."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._known: dict[str, tuple[int, dict[str, Any]]] = {}

    def newest(self) -> Run | None:
        """The run that began last."""
        runs = journal.all_runs(self._runs)
        return runs[-1] if runs else None

    def summaries(self) -> list[dict[str, Any]]:
        """Outcome, reason, recovery and losses of every run, oldest first."""
        return [self._summary(run) for run in journal.all_runs(self._runs)]

    def file(self, name: str, document: str) -> Path | None:
        """A file of a run; None when there is no such run, or no such file that may be served."""
        if document not in SERVED or name not in {run.name for run in journal.all_runs(self._runs)}:
            return None
        path = self._runs / name / document
        return path if path.is_file() and not path.is_symlink() else None

    def _summary(self, run: Run) -> dict[str, Any]:
        size = run.journal.stat().st_size
        known = self._known.get(run.name)
        if known is None or known[0] != size:
            known = self._known[run.name] = (size, self._read(run))
        return {**known[1], "report": (run.path / "report.html").exists()}

    def _read(self, run: Run) -> dict[str, Any]:
        try:
            story = Story(run.name, journal.read_records(run.journal), [], [])
            return {**story.summary(), "ended": bool(story.judged)}
        except JournalError as error:
            return {"run": run.name, "drill": run.name[21:], "outcome": "UNKNOWN", "reason": str(error), "ended": True}
