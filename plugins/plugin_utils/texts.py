"""The reports without pictures: Markdown for people, JUnit XML for build servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from ansible_collections.eventlog.drills.plugins.plugin_utils import receipts, recovery
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import share
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story, moment
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome

#: Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def markdown(story: Story) -> str:
    """The run as Markdown."""
    parts = [
        f"# {story.title}",
        f"**{story.outcome.label}**: {story.reason}",
        *([f"- also: {text}" for text in story.judged.get("findings", [])] or []),
        f"Run `{story.name}`, {moment(story.began)}, {story.ended - story.began:.0f} s.",
        "```\n" + shlex.join(story.begin.get("command") or []) + "\n```",
        _expectations(story),
        _receipts(story),
        _recovery(story),
        _books(story),
        _disk(story),
        _settings(story),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [_row(head), "|" + "---|" * len(head), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def mark(ok: bool | None) -> str:
    """The word for a check."""
    return {True: "as expected", False: "NOT as expected", None: "could not be judged"}[ok]


def _expectations(story: Story) -> str:
    rows = [
        (
            record["phase"],
            *(check[key] for key in ("subject", "expected", "seen", "detail")),
            share(check),
            mark(check["ok"]),
        )
        for record in story.every("observation")
        for check in record["checks"]
    ]
    if not rows:
        return ""
    return "## Expected and seen\n\n" + _table(("phase", "what", "expected", "seen", "figures", "share seen", ""), rows)


def _receipts(story: Story) -> str:
    rows = [
        (
            moment(receipts.ended(receipt)),
            record["kind"],
            receipts.describe(receipt),
            f"{receipt.get('seconds', 0):.1f} s",
        )
        for record in story.records
        if record["kind"] in ("fault", "undo")
        for receipt in record["receipts"]
    ]
    return "## Receipts\n\n" + _table(("time", "", "what", "took"), rows) if rows else ""


def _recovery(story: Story) -> str:
    texts = []
    for record in story.every("recovery"):
        rows = [(name, f"{record['at'][name]:.1f} s", f"{seconds:.1f} s") for name, seconds in record["segments"]]
        owners = "".join(f"\n\n{name}: {owner}" for name, owner in record.get("owners", {}).items())
        flush = f"\n\n{recovery.flush_text(record['flush'])}" if record.get("flush") else ""
        texts.append(_table(("milestone", "reached after", "took"), rows) + owners + flush)
    if story.order:
        texts.append(f"Restart order: {story.order}.")
    return "## Recovery\n\n" + "\n\n".join(texts) if texts else ""


def _books(story: Story) -> str:
    record = story.last("books")
    if record is None:
        return ""
    if record.get("error"):
        return f"## Books\n\nNot closed: {record['error']}"
    lines = [
        record["summary"],
        *(f"- {text}" for text in [*record["losses"], *record["excesses"], *record["unclosed"]]),
    ]
    law = story.last("conservation")
    if law and law.get("text"):
        lines.append(law["text"])
    return "## Books\n\n" + "\n\n".join(lines)


def _disk(story: Story) -> str:
    record = story.last("disk")
    return f"## Disk\n\n{record['summary']}" if record and record.get("summary") else ""


def _settings(story: Story) -> str:
    live = [record["settings"] for record in story.every("settings")]
    settings: Mapping[str, Any] = {**(story.begin.get("settings") or {}), **(live[-1] if live else {})}
    return "## Settings\n\n" + _table(("setting", "value"), settings.items()) if settings else ""


def junit(story: Story) -> str:
    """The run as JUnit XML: one case per thing that is judged, so that a build server names what failed."""
    cases = [*_check_cases(story), *_receipt_cases(story), _verdict_case(story)]
    suite = ElementTree.Element(
        "testsuite",
        name=f"drill.{story.drill}",
        tests=str(len(cases)),
        failures=str(sum(1 for case in cases if case.find("failure") is not None)),
        errors=str(sum(1 for case in cases if case.find("error") is not None)),
        time=f"{story.ended - story.began:.3f}",
        timestamp=moment(story.began).removesuffix(" UTC").replace(" ", "T"),
    )
    suite.extend(cases)
    ElementTree.indent(suite)
    text: str = ElementTree.tostring(suite, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(story: Story, name: str, seconds: float = 0.0) -> ElementTree.Element:
    return ElementTree.Element(
        "testcase", classname=f"drill.{story.drill}", name=_NOT_XML.sub("?", name), time=f"{seconds:.3f}"
    )


def _add(case: ElementTree.Element, tag: str, text: str) -> None:
    clean = _NOT_XML.sub("?", text)
    ElementTree.SubElement(case, tag, message=clean).text = clean


def _check_cases(story: Story) -> list[ElementTree.Element]:
    cases = []
    for record in story.every("observation"):
        for check in record["checks"]:
            case = _case(
                story, f"{record['phase']}: {check['subject']} {check['expected']}", record["until"] - record["since"]
            )
            if check["ok"] is not True:
                _add(case, "failure" if check["ok"] is False else "error", f"{check['seen']}: {check['detail']}")
            cases.append(case)
    return cases


def _receipt_cases(story: Story) -> list[ElementTree.Element]:
    cases = []
    for record in story.records:
        for receipt in record["receipts"] if record["kind"] in ("fault", "undo") else []:
            case = _case(
                story, f"{record['kind']}: {receipt['unit']} {receipt['verb']}", float(receipt.get("seconds") or 0)
            )
            if not receipt["ok"]:
                _add(case, "failure", receipt["why"])
            cases.append(case)
    return cases


def _verdict_case(story: Story) -> ElementTree.Element:
    case = _case(story, "verdict", story.ended - story.began)
    if story.outcome in (Outcome.UNKNOWN, Outcome.INVALID):
        _add(case, "error", f"{story.outcome.label}: {story.reason}")
    elif story.outcome is not Outcome.PASS:
        _add(case, "failure", f"{story.outcome.label}: {story.reason}")
    return case
