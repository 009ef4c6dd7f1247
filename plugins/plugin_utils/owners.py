"""Which setting owns the seconds of a recovery phase, with the value that the running servers have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Owner(NamedTuple):
    """What the seconds of a recovery phase are spent on."""

    text: str  #: with the live values of the settings, where they are known
    setting: bool  #: whether settings of the running servers own them


#: Service, milestone, faults it holds for (none: all), settings, and what they do. The first that fits names the owner.
_RULES: tuple[tuple[str, str, frozenset[str], tuple[str, ...], str], ...] = (
    (
        "kafka",
        "ready",
        frozenset({"killed"}),
        ("kafka broker.session.timeout.ms",),
        "the dead broker must be fenced before it may return",
    ),
    ("kafka", "port", frozenset(), (), "start of the broker: its JVM, and the recovery of its log"),
    ("cassandra", "port", frozenset(), (), "start of the database: its JVM, and the replay of its commit log"),
    ("flink", "port", frozenset(), (), "start of the JVM and of the Python driver that plans the job"),
    (
        "flink",
        "ready",
        frozenset({"killed", "paused", "cut"}),
        (
            "flink heartbeat.timeout",
            "flink restart-strategy.exponential-delay.initial-backoff",
            "flink restart-strategy.exponential-delay.max-backoff",
        ),
        "the loss is noticed, the job waits and restarts, a Python worker starts",
    ),
    ("flink", "ready", frozenset(), (), "start of the task manager and of its Python worker"),
    (
        "kafka",
        "first record",
        frozenset(),
        ("producer reconnect.backoff.max.ms",),
        "producer and job try to reconnect this often",
    ),
    (
        "cassandra",
        "first record",
        frozenset(),
        ("sink longest_retry_seconds", "sink request_timeout_seconds"),
        "the sink pauses this long between its attempts",
    ),
    (
        "flink",
        "first record",
        frozenset({"killed", "paused", "cut"}),
        ("flink execution.checkpointing.interval",),
        "what was processed since the last checkpoint is processed again",
    ),
    ("", "drained", frozenset(), (), "the backlog is worked off while new events keep coming"),
)


def owners(
    undos: Iterable[Mapping[str, Any]], faults: Iterable[Mapping[str, Any]], live: Mapping[str, Any]
) -> dict[str, Owner]:
    """Owner per milestone of the recovery from these faults.

    :param undos: undo records of this recovery.
    :param faults: fault records of the drill.
    :param live: settings as the running servers have them, by ``server name``.
    """
    verbs = {
        str(receipt["unit"]).split("-")[0]: str(receipt["verb"])
        for record in faults
        for receipt in record.get("receipts", [])
    }
    receipts = [receipt for record in undos for receipt in record.get("receipts", [])]
    services = {str(receipt["unit"]).split("-")[0] for receipt in receipts}
    found: dict[str, Owner] = {}
    for service, milestone, kinds, names, text in _RULES:
        if milestone in found or (service and service not in (_last(receipts, milestone) or services)):
            continue
        if kinds and verbs.get(service) not in kinds:
            continue
        values = ", ".join(f"{name} {live[name]}" for name in names if name in live)
        found[milestone] = Owner(f"{values}: {text}" if values else text, bool(values))
    return found


def _last(receipts: Iterable[Mapping[str, Any]], milestone: str) -> set[str]:
    """The service that reached a milestone of its receipts last; empty when it is in none of them."""
    reached = [
        (float(receipt["time"]) + float(receipt["milestones"][milestone]), str(receipt["unit"]).split("-")[0])
        for receipt in receipts
        if milestone in (receipt.get("milestones") or {})
    ]
    return {max(reached)[1]} if reached else set()
