"""What a drill would do, for check mode: the plan with its figures, and nothing touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import live, opening, plan, shapes
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import number
from ansible_collections.eventlog.drills.plugins.plugin_utils.observing import Phase

_VERBS = {
    "stop": "stop",
    "kill": "kill (SIGKILL)",
    "pause": "pause (SIGSTOP)",
    "cut": "cut off the network",
    "start": "start",
    "unpause": "continue",
    "join": "connect again",
}


def plan_lines(options: opening.Opening, host: Host, counts: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The plan of a drill in lines for the terminal, and why it would be refused, which is empty when it would not.

    :param counts: a snapshot of the pipeline as it is; without a producer that answers the configured rate is taken.
    """
    site = opening.survey(options, host)
    producer = counts.get("producer") or {}
    rate = float(producer.get("rate") or site.config["producer"]["rate"])
    spooled = int(producer.get("spool_bytes") or 0)
    planned = opening.plan_of(opening.planned(options, site), rate, spooled, opening.settings(options, host))
    # What is away is away at the same time.
    seconds = max(options.away.values(), default=0.0)
    lines = [
        f"{options.title}   plan, nothing is touched",
        live.line("away", ", ".join(f"{service} {away:.0f} s" for service, away in options.away.items()) or "nothing"),
        live.line(
            "expected",
            f"up to {number(planned.peak_lag)} events pile up, {planned.peak_lag * planned.event_bytes / 1e6:.1f} MB"
            f" at {planned.rate:g}/s; about {(seconds + options.budget / 2) / 60:.1f} min, at most"
            f" {(seconds + 2 * options.patience) / 60:.1f} min",
        ),
    ]
    checks = plan.check(planned)
    lines += [live.line(check.name, f"{'ok' if check.ok else 'REFUSED'}: {check.text}") for check in checks]
    refused = [check.text for check in checks if not check.ok]
    reason = shapes.why_not_healthy(counts)
    if not reason and not producer.get("streaming"):
        reason = f"the producer is not streaming: {producer.get('reason') or 'paused'}"
    return lines, [*refused, *([f"the pipeline is not steady: {reason}"] if reason else [])]


def intent_line(intent: str, receipts: Iterable[Mapping[str, Any]]) -> str:
    """What would be done to which processes."""
    texts = []
    for receipt in receipts:
        pids = [str(member["pid"]) for member in receipt.get("before", [])]
        texts.append(f"{receipt['unit']} ({'pid ' + ', '.join(pids) if pids else 'not running'})")
    return live.line("would", f"{_VERBS.get(intent, intent)} {' · '.join(texts) or 'nothing'}")


def phase_line(phase: Phase) -> str:
    """What would be watched, and what would be expected."""
    length = f"until {phase.until} within {phase.within:.0f} s" if phase.until else f"for {phase.duration or 0:.0f} s"
    shapes = [
        f"{subject} {shape if isinstance(shape, str) else ' or '.join(shape)}"
        for subject, shape in phase.expect.items()
    ]
    return live.line("would", f"watch {phase.name} {length}{': ' if shapes else ''}{', '.join(shapes)}")
