"""The judgement of a drill: one word, one reason, one exit status.

Runs without any package, so that a Makefile can ask for the exit status: ``python verdict.py RUN_FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Outcome(Enum):
    """What a drill can end in, with the exit status of ``make drill``.

    The statuses start at 20 to keep clear of ansible-playbook's own (1-8, 99, 250) and of the shell's (126 and up).
    """

    PASS = ("PASS", 0, "nothing lost, everything as expected")
    FAIL = ("FAIL", 20, "a record was lost or an expectation was not met")
    DEGRADED = ("DEGRADED", 21, "nothing lost, but recovery took longer than its budget")
    INVALID = ("INVALID", 22, "the drill proved nothing: refused before it began, or the fault did not bite")
    ABORTED_HEALED = ("ABORTED (healed)", 23, "interrupted; the pipeline is as it was before")
    ABORTED_NOT_HEALED = ("ABORTED (not healed)", 24, "interrupted; the pipeline still needs mending")
    UNKNOWN = ("UNKNOWN", 25, "something needed for the judgement could not be read")

    @property
    def label(self) -> str:
        """The word that is shown."""
        return str(self.value[0])

    @property
    def status(self) -> int:
        """Exit status."""
        return int(self.value[1])

    @property
    def meaning(self) -> str:
        """One line for the documentation and the report."""
        return str(self.value[2])

    @classmethod
    def from_label(cls, label: str) -> Outcome:
        """The outcome of that label.

        :raises ValueError: there is none.
        """
        for outcome in cls:
            if outcome.label == label:
                return outcome
        raise ValueError(f"no such verdict: {label!r}")


@dataclass(frozen=True)
class Verdict:
    """The outcome with its reason; further findings that did not decide are listed beside it."""

    outcome: Outcome
    reason: str
    findings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        word, _, more = self.outcome.label.partition(" ")
        return {
            **asdict(self),
            "verdict": word,
            "healed": more == "(healed)" if more else None,
            "outcome": self.outcome.label,
            "status": self.outcome.status,
        }


def judge(records: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge a journal.

    Precedence: an interruption, then a loss (which stands whatever else happened), then a fault that did not bite, then
    expectations, then what could not be judged, then the budget. The first finding of the decisive kind is the reason.
    Remarks decide nothing.
    """
    findings = _findings(records)
    for outcome in (
        Outcome.ABORTED_NOT_HEALED,
        Outcome.ABORTED_HEALED,
        _LOSS,
        Outcome.INVALID,
        Outcome.FAIL,
        Outcome.UNKNOWN,
        Outcome.DEGRADED,
    ):
        texts = [text for kind, text in findings if kind == outcome]
        if texts:
            final = outcome if isinstance(outcome, Outcome) else Outcome.FAIL
            others = [text for _, text in findings if text != texts[0]]
            reason = f"nothing lost, but {texts[0]}" if final is Outcome.DEGRADED else texts[0]
            return Verdict(final, reason, others)
    return Verdict(Outcome.PASS, _pass_reason(records), [text for _, text in findings])


#: Without a sample for so long it is not known whether a pipeline has recovered.
UNSEEN_SECONDS = 5.0
#: Marks findings that are losses: they make a FAIL and rank above a fault that did not bite.
_LOSS = "loss"
#: Marks what should be known and decides nothing; a PASS stays one.
_REMARK = "remark"
_Finding = tuple[Outcome | str, str]
_OUTSIDE = "the fault was undone from outside"


def _findings(records: Sequence[Mapping[str, Any]]) -> list[_Finding]:
    findings: list[_Finding] = []
    for record in records:
        reader = _READERS.get(str(record.get("kind")))
        if reader is not None:
            findings += [(kind, _one_line(text)) for kind, text in reader(record)]
    if any(record.get("kind") == "lease" and record.get("state") == "expired" for record in records):
        findings = [found for found in findings if not found[1].startswith(_OUTSIDE)]  # it was the guard
    kinds = {str(record.get("kind")) for record in records}
    refused = any(outcome is Outcome.INVALID for outcome, _ in findings) and "window" not in kinds
    if not refused:
        findings += [
            (Outcome.UNKNOWN, text)
            for kind, text in (
                ("window", "the drill ended before the books were opened"),
                ("books", "the books were not closed"),
                ("conservation", "the counts were not compared at the close"),
            )
            if kind not in kinds
        ]
    return findings


def _one_line(text: str) -> str:
    """The text without line breaks and other control characters: parts of it are what programs call themselves."""
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _from_preflight(record: Mapping[str, Any]) -> list[_Finding]:
    return [(Outcome.INVALID, f"refused: {check['text']}") for check in record.get("checks", []) if not check["ok"]]


def _from_steady(record: Mapping[str, Any]) -> list[_Finding]:
    return (
        [] if record.get("ok") else [(Outcome.INVALID, f"refused: the pipeline is not steady: {record.get('reason')}")]
    )


def _from_fault(record: Mapping[str, Any]) -> list[_Finding]:
    return [
        (Outcome.INVALID, f"the fault did not bite: {receipt['unit']} {receipt['why']}")
        for receipt in record.get("receipts", [])
        if not receipt.get("ok")
    ]


def _from_undo(record: Mapping[str, Any]) -> list[_Finding]:
    findings: list[_Finding] = [
        (Outcome.INVALID, f"{_OUTSIDE}: {receipt['outside']}")
        for receipt in record.get("receipts", [])
        if receipt.get("outside")
    ]
    findings += [
        (Outcome.FAIL, f"{receipt['unit']} did not come back: {receipt['why']}")
        for receipt in record.get("receipts", [])
        if not receipt.get("ok")
    ]
    return findings


def _from_note(record: Mapping[str, Any]) -> list[_Finding]:
    return [(Outcome.INVALID, f"{_OUTSIDE}: {record['outside']}")] if record.get("outside") else []


def _from_observation(record: Mapping[str, Any]) -> list[_Finding]:
    findings: list[_Finding] = []
    phase = record.get("phase")
    for check in record.get("checks", []):
        if check["ok"] is False:
            text = f"{phase}: {check['subject']} should be {check['expected']}, but {check['seen']} ({check['detail']})"
            findings.append((Outcome.FAIL, text))
        elif check["ok"] is None:
            text = f"{phase}: {check['subject']} could not be judged {check['expected']}: {check['detail']}"
            findings.append((Outcome.UNKNOWN, text))
    return findings


def _from_trouble(record: Mapping[str, Any]) -> list[_Finding]:
    # Without its eyes the drill knows nothing, neither good nor bad.
    outcome = Outcome.UNKNOWN if record.get("blind") else Outcome.FAIL
    return [(outcome, f"task '{record.get('task')}' failed: {record.get('message')}")]


def _from_recovery(record: Mapping[str, Any]) -> list[_Finding]:
    budget = record.get("budget")
    if record.get("drained") is None and float(record.get("unseen") or 0.0) > UNSEEN_SECONDS:
        return [(Outcome.UNKNOWN, f"the recovery was not seen: no sample for {record['unseen']:.0f} s")]
    if record.get("drained") is None:
        return [(Outcome.FAIL, f"not recovered within {record.get('waited', 0):.0f} s: {record.get('reason')}")]
    total = float(record.get("total") or 0.0)
    if budget is not None and total > float(budget):
        longest = record.get("longest")
        owner = f"; longest: {longest}" if longest else ""
        return [(Outcome.DEGRADED, f"recovery took {total:.1f} s of {float(budget):.0f} s{owner}")]
    return []


def _from_books(record: Mapping[str, Any]) -> list[_Finding]:
    if record.get("error"):
        return [(Outcome.UNKNOWN, f"the books could not be read: {record['error']}")]
    findings: list[_Finding] = [(_LOSS, text) for text in record.get("losses", [])]
    findings += [(Outcome.FAIL, text) for text in record.get("excesses", [])]
    findings += [(Outcome.UNKNOWN, text) for text in record.get("unclosed", [])]
    findings += [(_REMARK, text) for text in record.get("remarks", [])]
    return findings


def _from_conservation(record: Mapping[str, Any]) -> list[_Finding]:
    residual = record.get("residual")
    remarks: list[_Finding] = [(_REMARK, str(record["remark"]))] if record.get("remark") else []
    if residual is None:
        return [(Outcome.UNKNOWN, f"the law of counts could not be checked: {record.get('reason')}"), *remarks]
    if residual != 0:
        return [(Outcome.FAIL, f"the counts do not add up: {record.get('text')}"), *remarks]
    return remarks


def _from_lease(record: Mapping[str, Any]) -> list[_Finding]:
    if record.get("state") == "healed":
        return [(Outcome.ABORTED_HEALED, f"interrupted {record.get('when')}; healed: {record.get('text')}")]
    if record.get("state") == "not healed":
        return [(Outcome.ABORTED_NOT_HEALED, f"interrupted {record.get('when')}; not healed: {record.get('text')}")]
    if record.get("state") == "expired":
        return [(Outcome.INVALID, f"the lease ran out and undid the fault: {record.get('text')}")]
    if record.get("state") == "lost":
        return [(Outcome.INVALID, f"the lock of the drill was lost while it ran: {record.get('text')}")]
    return []


_READERS = {
    "preflight": _from_preflight,
    "steady": _from_steady,
    "fault": _from_fault,
    "undo": _from_undo,
    "note": _from_note,
    "observation": _from_observation,
    "trouble": _from_trouble,
    "recovery": _from_recovery,
    "books": _from_books,
    "conservation": _from_conservation,
    "lease": _from_lease,
}


def _pass_reason(records: Sequence[Mapping[str, Any]]) -> str:
    drained = [float(record["total"]) for record in records if record.get("kind") == "recovery" and record.get("total")]
    if not drained:
        return "nothing lost"
    return f"nothing lost, recovered in {max(drained):.1f} s"


def read(path: Path) -> dict[str, Any]:
    """The verdict of a run folder.

    :raises ValueError: there is no readable verdict in it.
    """
    try:
        found = json.loads((path / "verdict.json").read_text(encoding="utf-8"))
        Outcome.from_label(found["outcome"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"no verdict in {path}: {error}") from error
    return dict(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit with the status of a run's verdict: 0 only for a PASS of a playbook that came to its end, too."""
    parser = argparse.ArgumentParser(description="Exit with the status of a drill's verdict.")
    parser.add_argument("run", type=Path, help="run folder, for example runs/latest")
    parser.add_argument("--played", type=int, default=0, help="exit status of the playbook: never 0 after another one")
    options = parser.parse_args(arguments)
    played = int(options.played)
    try:
        status = int(read(options.run)["status"])
    except ValueError as error:
        print(error, file=sys.stderr)
        return played or 1
    return status or played


if __name__ == "__main__":
    sys.exit(main())
