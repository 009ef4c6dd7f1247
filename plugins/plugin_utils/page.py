"""The reports with pictures: one self-contained HTML file per run, and an index of all runs.

Nothing is loaded from anywhere: style and drawings are in the file, there is no script. Everything that comes from the
journal is escaped by the template engine.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import chart, ledger, receipts, recovery
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.parity import Comparison
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import good, readings, share
from ansible_collections.eventlog.drills.plugins.plugin_utils.story import Story, moment
from ansible_collections.eventlog.drills.plugins.plugin_utils.verdict import Outcome
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"
#: Signs beside the words, so that neither colour nor language is needed.
_SIGNS = {Outcome.PASS: "✔", Outcome.FAIL: "✘"}
_HOPS = (
    ("generated", "generated", "by the producer"),
    ("acked", "acknowledged", "by Kafka"),
    ("kafka", "in Kafka", "read back from the topic"),
    ("cassandra", "in Cassandra", "read back from the table"),
)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _render(template: str, **values: Any) -> str:
    style = Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return _environment().get_template(template).render(style=style, **values)


def run_page(story: Story) -> str:
    """The page of one run."""
    begin = story.begin
    return _render(
        "run.html.j2",
        name=story.name,
        title=story.title,
        outcome=story.outcome.label,
        tone=story.outcome.label.split()[0].lower(),
        sign=_SIGNS.get(story.outcome, "!"),
        reason=story.reason,
        findings=story.judged.get("findings", []),
        began=moment(story.began),
        host=begin.get("host", ""),
        facts=_facts(story),
        timeline=_timeline(story),
        phases=_phases(story),
        recoveries=[_recovery(record) for record in story.every("recovery")],
        earlier=bool(story.earlier),
        order=story.order,
        bars=_bars(story),
        books=_books(story),
        receipts=[_receipt(r) for kind in ("fault", "undo") for rec in story.every(kind) for r in rec["receipts"]],
        disk=_disk(story),
        checks=[
            {**check, "style": _style(check["ok"]), "mark": _mark(check["ok"])}
            for record in story.every("preflight")
            for check in record["checks"]
        ],
        troubles=[
            {"task": record.get("task"), "text": "\n".join(record.get("evidence") or [str(record.get("message"))])}
            for record in story.every("trouble")
        ],
        command=shlex.join(begin.get("command") or []),
        settings=[
            *(begin.get("settings") or {}).items(),
            *(item for record in story.every("settings") for item in record["settings"].items()),
        ],
        samples=len(story.samples),
        offset=f"{float(begin.get('clock_offset') or 0.0):+.3f} s",
    )


def _style(ok: bool | None) -> str:
    return {True: "ok", False: "not", None: "maybe"}[ok]


def _mark(ok: bool | None) -> str:
    return {True: "✔ yes", False: "✘ no", None: "? unknown"}[ok]


def _facts(story: Story) -> list[tuple[str, str, str]]:
    """The figures that answer the first questions: was anything lost, how long, how deep."""
    books, recovered = story.last("books") or {}, story.last("recovery") or {}
    facts = []
    if books.get("window") is not None:
        facts.append(("Lost", number(books["lost"]), f"of {number(books['window'])} events"))
    if recovered.get("total") is not None:
        facts.append(("Recovered in", f"{recovered['total']:.1f} s", f"budget {recovered['budget']:.0f} s"))
    peak = max((r.count or 0 for r in good(readings(story.samples, "lag"))), default=None)
    if peak is not None:
        facts.append(("Deepest lag", number(peak), "records"))
    if recovered.get("catch_up_rate"):
        facts.append(("Catch-up", number(round(recovered["catch_up_rate"])), "rows/s"))
    if books.get("window") is not None:
        facts.append(("Repeated", number(books["repeated"]), f"rewritten {number(books['rewritten'])}"))
    took = f"{story.ended - story.began:.0f} s"
    overhead = f"overhead {story.overhead:.0f} s" if story.overhead is not None else ""
    return [*facts, ("Took", took, overhead)] if facts else []


def _timeline(story: Story) -> Markup:
    if len(story.samples) < 2:
        return Markup("")
    start, end = float(story.samples[0]["time"]), float(story.samples[-1]["time"])
    firsts = [r.count for hop in ("producer", "kafka", "cassandra") for r in good(readings(story.samples, hop))[:1]]
    base = min((count for count in firsts if count is not None), default=0)
    lines = [chart.count_line(story.samples, hop, start, base) for hop in ("producer", "kafka", "cassandra")]
    lag = chart.count_line(story.samples, "lag", start)
    label = f"{story.title}: producer, Kafka and Cassandra counts and the lag over {end - start:.0f} seconds"
    return Markup(chart.timeline(lines, lag, story.bands, start=start, end=end, label=label))


def _phases(story: Story) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{record['phase']}, {record['until'] - record['since']:.0f} s",
            "checks": [
                {**c, "style": _style(c["ok"]), "mark": _mark(c["ok"]), "share": share(c)} for c in record["checks"]
            ],
        }
        for record in story.every("observation")
        if record["checks"]
    ]


def _recovery(record: Mapping[str, Any]) -> dict[str, Any]:
    owners = record.get("owners") or {}
    rows = [
        {
            "name": name,
            "at": f"{record['at'][name]:.1f} s",
            "took": f"{seconds:.1f} s",
            "owner": owners.get(name, ""),
        }
        for name, seconds in record["segments"]
    ]
    notes = [] if record.get("total") is not None else [f"Never drained: {record.get('reason')}."]
    if record.get("ordered"):
        notes.append(f"Left out are {record['ordered']:.1f} s between the undos, which the drill itself ordered.")
    if record.get("flush"):
        notes.append(f"{recovery.flush_text(record['flush']).capitalize()}.")
    return {"rows": rows, "notes": notes}


def _bars(story: Story) -> Markup:
    done = [record for record in story.every("recovery") if record.get("total") is not None]
    rows = [(_short(str(record["run"])), record["segments"]) for record in story.earlier]
    rows += [("this run", record["segments"]) for record in done]
    if not done:
        return Markup("")
    return Markup(chart.recovery_bars(rows, float(done[-1]["budget"])))


def _short(name: str) -> str:
    """``2026-11-23T20-11-58Z-flink`` as ``11-23 20:11:58``."""
    return f"{name[5:10]} {name[11:19].replace('-', ':')}"


def _books(story: Story) -> dict[str, Any] | None:
    record = story.last("books")
    if record is None:
        return None
    if record.get("error"):
        return {"error": record["error"]}
    lost: dict[str, int] = {}
    for entry in record["entries"]:
        for hop, ranges in entry["missing"].items():
            lost[hop] = lost.get(hop, 0) + ledger.size(ranges)
    lost["generated"] = lost.get("producer", 0)
    hops = [
        {"name": name, "count": number(record["totals"][hop]), "lost": lost.get(hop, 0), "note": note}
        for hop, name, note in _HOPS
    ]
    extras = (("rejected", record["totals"]["rejected"], "in the dead-letter topic, with the reason"),)
    hops += [{"name": name, "count": number(count), "lost": 0, "note": note} for name, count, note in extras if count]
    hops.append({"name": "repeated", "count": number(record["repeated"]), "lost": 0, "note": "further copies in Kafka"})
    hops.append({"name": "rewritten", "count": number(record["rewritten"]), "lost": 0, "note": "rows written again"})
    texts = [*record["losses"], *record["excesses"], *record["unclosed"]]
    law = (story.last("conservation") or {}).get("text", "")
    return {"error": "", "hops": hops, "texts": texts, "law": law}


def _receipt(receipt: Mapping[str, Any]) -> dict[str, Any]:
    members = [
        f"{when}: pid {m['pid']}, state {m.get('state')}, start {m.get('start_time')}: {m.get('cmdline', '')[:120]}"
        for when in ("before", "after")
        for m in receipt.get(when, [])
    ]
    return {
        "when": datetime.fromtimestamp(receipts.ended(receipt), UTC).strftime("%H:%M:%S"),
        "verb": receipt.get("verb"),
        "text": receipts.describe(receipt),
        "members": members or ["no process"],
        "seconds": f"{float(receipt.get('seconds') or 0.0):.1f} s",
        "style": _style(bool(receipt.get("ok"))),
        "mark": "✔ proven" if receipt.get("ok") else "✘ refuted",
    }


def _disk(story: Story) -> dict[str, Any] | None:
    record = story.last("disk")
    if record is None or not record.get("summary"):
        return None
    return {"text": record.get("summary", ""), "head": record.get("head", []), "rows": record.get("rows", [])}


def index_page(stories: Sequence[Story]) -> str:
    """The page of all runs, newest first."""
    return _render("index.html.j2", rows=[_index_row(s) for s in stories], passed=_passed(stories))


def parity_page(found: Comparison, drill: str) -> str:
    """The page of one drill on several backends."""
    names = [backend.name for backend in found.drilled]
    return _render(
        "parity.html.j2",
        drill=drill,
        found=found,
        names=names,
        rows=[
            {"row": row, "cells": [row.cells.get(name) for name in names], "same": row.agrees(names)}
            for row in found.rows
        ],
    )


def _passed(stories: Sequence[Story]) -> int:
    return sum(1 for story in stories if story.outcome is Outcome.PASS)


def _index_row(story: Story) -> dict[str, Any]:
    found = story.summary()

    def shown(key: str) -> str:
        return "" if found[key] is None else number(int(found[key]))

    def seconds(key: str) -> str:
        return "" if found[key] is None else f"{found[key]:.1f} s"

    return {
        "run": story.name,
        "title": story.title,
        "outcome": story.outcome.label,
        "sign": _SIGNS.get(story.outcome, "!"),
        "style": "ok" if story.outcome is Outcome.PASS else "not" if story.outcome is Outcome.FAIL else "maybe",
        "reason": "" if story.outcome is Outcome.PASS else story.reason,
        "began": moment(story.began).removesuffix(" UTC"),
        "window": shown("window"),
        "lost": shown("lost"),
        "repeated": shown("repeated"),
        "rewritten": shown("rewritten"),
        "recovery": seconds("recovery"),
        "overhead": seconds("overhead"),
        "seconds": f"{found['seconds']:.0f} s",
        "spark": Markup(chart.sparkline(chart.lag_values(story.samples), "lag", "lag over the run")),
    }
