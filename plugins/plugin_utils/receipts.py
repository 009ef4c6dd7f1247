"""Judge the receipts of faults and undos: did it bite, is it back?

A receipt is what the runtime saw of one unit right before and right after a verb: its processes by pid and start time,
its ports, and whether it answered a request of its own protocol. Of a unit that is a container it also holds what the
engine says: whether it is frozen, and how it is connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Receipt = Mapping[str, Any]

#: Verbs that take a unit away, and the verb of its role that gives it back.
FAULTS = {"stopped": "start", "killed": "start", "paused": "unpause", "cut": "join"}
UNDOS = frozenset({"started", "ready", "unpaused", "joined"})
#: What a role's verb leaves in the receipt, for those that take a unit away.
_VERB_OF = {"stop": "stopped", "kill": "killed", "pause": "paused", "cut": "cut"}


def identity(receipt: Receipt) -> tuple[str, str, float]:
    """What makes a receipt itself, so that none is written into the journal twice."""
    return str(receipt.get("unit")), str(receipt.get("verb")), float(receipt.get("time") or 0.0)


def kind(receipt: Receipt) -> str:
    """``fault``, ``undo``, or empty for a verb that is neither."""
    verb = receipt.get("verb")
    if verb in FAULTS:
        return "fault"
    return "undo" if verb in UNDOS else ""


def failure(receipt: Receipt) -> str:
    """Why the verb did not do what it should have done, empty when it did."""
    verb = receipt.get("verb")
    if verb in ("stopped", "killed"):
        return _not_gone(receipt)
    if verb == "paused":
        return _not_paused(receipt)
    if verb == "cut":
        return _not_cut(receipt)
    if verb == "joined":
        return _not_joined(receipt) or _not_back(receipt)
    if verb in UNDOS:
        return _not_back(receipt)
    return f"has an unknown verb {verb!r}"


#: Units whose probe another process answers: all tasks run as long as the job manager has not missed the task manager.
_ANSWERED_BY_OTHERS = frozenset({"flink-taskmanager"})


def _not_gone(receipt: Receipt) -> str:
    if not receipt.get("before"):
        return "was not running before, so nothing was taken away"
    if not receipt.get("gone") or receipt.get("after"):
        pids = sorted({member["pid"] for member in receipt.get("after", [])} or {m["pid"] for m in receipt["before"]})
        return f"still runs: {_pids(pids)}"
    opened = _ports(receipt, open_after=True)
    if opened:
        return f"still listens on port {opened}"
    return "still answers" if _answers(receipt) is True else ""


def _not_paused(receipt: Receipt) -> str:
    if not receipt.get("before"):
        return "was not running before, so nothing was paused"
    if not receipt.get("after"):
        return "is gone instead of paused"
    # The freezer of a container shows in no letter of its processes' states; the engine tells.
    awake = [member["pid"] for member in receipt["after"] if member.get("state") != "T" and not receipt.get("frozen")]
    if awake:
        return f"is not paused: {_pids(awake)}"
    return "still answers" if _answers(receipt) is True else ""


def _not_cut(receipt: Receipt) -> str:
    if not receipt.get("before"):
        return "was not running before, so nothing was cut off"
    if not receipt.get("after"):
        return "is gone instead of cut off"
    if _container(receipt).get("connected") is not False:
        return "is still on its network"
    opened = _ports(receipt, open_after=True)
    if opened:
        return f"still listens on port {opened}"
    # A unit without ports is asked by other ways than the network.
    return "still answers" if receipt.get("ports") and _answers(receipt) is True else ""


def _not_joined(receipt: Receipt) -> str:
    now = _container(receipt)
    if not now.get("connected"):
        return "is not on its network"
    wanted = now["wanted"]
    if now["address"] != wanted["address"]:
        return f"has the address {now['address']} instead of {wanted['address']}"
    missing = sorted(set(wanted["aliases"]) - set(now["aliases"]))
    return f"is not known as {', '.join(missing)} any more" if missing else ""


def _container(receipt: Receipt) -> Mapping[str, Any]:
    """What the engine says of the unit's container after the verb."""
    found: Mapping[str, Any] = (receipt.get("container") or {}).get("after") or {}
    return found


def _not_back(receipt: Receipt) -> str:
    if not receipt.get("after"):
        return "does not run"
    asleep = [member["pid"] for member in receipt["after"] if member.get("state") == "T" or receipt.get("frozen")]
    if asleep:
        return f"is still paused: {_pids(asleep)}"
    if receipt.get("verb") == "started" and not receipt.get("milestones"):
        # Nobody waited: a service that needs another one first cannot be ready before it.
        return ""
    closed = _ports(receipt, open_after=False)
    if closed:
        return f"does not listen on port {closed}"
    return "does not answer" if _answers(receipt) is False else ""


def _answers(receipt: Receipt) -> bool | None:
    after = (receipt.get("answers") or {}).get("after")
    if receipt.get("verb") in FAULTS and receipt.get("unit") in _ANSWERED_BY_OTHERS:
        return None
    return None if after is None else bool(after)


def _ports(receipt: Receipt, *, open_after: bool) -> str:
    return ", ".join(port for port, state in (receipt.get("ports") or {}).items() if bool(state["after"]) is open_after)


def _pids(pids: Sequence[int]) -> str:
    return f"pid {', '.join(str(pid) for pid in pids)}"


def completed(receipt: Receipt, seen: Mapping[str, Receipt]) -> dict[str, Any]:
    """The receipt, with the state right before taken from an earlier look when the verb itself saw nothing.

    A graceful stop of Flink ends the job first, and with it the job manager, before its unit is stopped.
    """
    earlier = seen.get(str(receipt.get("unit")))
    if receipt.get("before") or earlier is None or kind(receipt) != "fault" or not earlier.get("after"):
        return dict(receipt)
    members = {(member["pid"], member["start_time"]) for member in receipt.get("after", [])}
    gone = all((member["pid"], member["start_time"]) not in members for member in earlier["after"])
    return {**receipt, "before": earlier["after"], "gone": gone, "seen_before": earlier.get("time")}


def untouched(records: Sequence[Mapping[str, Any]], intent: str, now: float) -> list[dict[str, Any]]:
    """Receipts for the units that were looked at and then left alone by the verb that should have taken them away.

    :param intent: the verb of the role; one that takes nothing away has none.
    :param now: epoch seconds.
    """
    verb = _VERB_OF.get(intent)
    looks = [number for number, record in enumerate(records) if record["kind"] == "note" and record.get("receipts")]
    if verb is None or not looks:
        return []
    touched = {
        receipt["unit"]
        for record in records[looks[-1] :]
        if record["kind"] == "fault"
        for receipt in record["receipts"]
    }
    return [
        {**seen, "verb": verb, "before": seen["after"], "gone": False, "time": now, "seconds": 0.0}
        for seen in records[looks[-1]]["receipts"]
        if seen["unit"] not in touched
    ]


#: Which faults an undo gives back, so that what it saw right before it says whether the fault still held.
_GIVES_BACK = {"started": ("stopped", "killed"), "unpaused": ("paused",), "joined": ("cut",)}


def outside(receipt: Receipt, records: Iterable[Mapping[str, Any]]) -> str:
    """How the fault was undone before this undo of the drill's own, empty when it was not.

    Units start when they are told to and not by themselves, so somebody has told them. A failed task leaves open what
    it did before it failed, so of what follows it nothing is said.

    :param records: the journal up to this receipt.
    """
    unit, before = receipt.get("unit"), receipt.get("before") or []
    fault = ""
    for record in records:
        if record["kind"] == "trouble":
            fault = ""
        for other in record.get("receipts", []) if record["kind"] in ("fault", "undo") else []:
            if other.get("unit") == unit:
                fault = str(other["verb"]) if record["kind"] == "fault" and other.get("ok") else ""
    if not before or fault not in _GIVES_BACK.get(str(receipt.get("verb")), ()):
        return ""
    pids = _pids(_leaders(receipt, "before"))
    if fault == "paused":
        frozen = (receipt.get("container") or {}).get("before", {}).get("status") == "paused"
        asleep = frozen or any(member.get("state") == "T" for member in before)
        return "" if asleep else f"{unit} {pids} ran on although it was paused"
    if fault == "cut":
        connected = (receipt.get("container") or {}).get("before", {}).get("connected")
        return f"{unit} {pids} was on its network again" if connected else ""
    return f"{unit} {pids} ran again although it was {fault}"


def judged(receipt: Receipt) -> dict[str, Any]:
    """The receipt with ``ok`` and, when it is not, ``why``."""
    why = failure(receipt)
    return {**receipt, "ok": not why, "why": why}


def describe(receipt: Receipt) -> str:
    """One phrase for the terminal: ``kafka pid 4711 gone, port 9092 closed``."""
    unit = receipt.get("unit")
    why = failure(receipt)
    if why:
        return f"{unit} {why}"
    if receipt.get("verb") in UNDOS:
        milestones = receipt.get("milestones") or {}
        if not milestones and receipt.get("verb") == "started":
            return f"{unit} {_pids(_leaders(receipt, 'after'))} started, not waited for"
        seconds = milestones.get("ready", receipt.get("seconds"))
        where = f" at {_container(receipt)['address']} again," if receipt.get("verb") == "joined" else ""
        slept = set(_leaders(receipt, "before")) if receipt.get("verb") == "unpaused" else set()
        if slept and not slept & set(_leaders(receipt, "after")):
            where = " started, since it ended when it woke up,"
        return f"{unit} {_pids(_leaders(receipt, 'after'))}{where} ready {float(seconds or 0.0):.1f} s"
    ports = ", ".join((receipt.get("ports") or {}).keys())
    if receipt.get("verb") == "paused":
        return f"{unit} {_pids(_leaders(receipt, 'before'))} paused, no answer"
    closed = f", port {ports} closed" if ports else ""
    if receipt.get("verb") == "cut":
        return f"{unit} {_pids(_leaders(receipt, 'before'))} off its network{closed}"
    return f"{unit} {_pids(_leaders(receipt, 'before'))} gone{closed}"


def _leaders(receipt: Receipt, when: str) -> list[int]:
    """The leader of each process group; the members that it forked would only make the line long."""
    members = receipt.get(when, [])
    return [m["pid"] for m in members if m.get("pgid", m["pid"]) == m["pid"]] or [m["pid"] for m in members]


def ended(receipt: Receipt) -> float:
    """When the verb was done: epoch seconds, on the clock of the receipt."""
    return float(receipt.get("time") or 0.0) + float(receipt.get("seconds") or 0.0)


def outstanding(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Units that a fault took away and no undo has given back: unit to the verb that does."""
    away: dict[str, str] = {}
    for record in records:
        for receipt in record.get("receipts", []):
            unit = str(receipt.get("unit"))
            if kind(receipt) == "fault":
                away[unit] = FAULTS[str(receipt.get("verb"))]
            elif kind(receipt) == "undo" and receipt.get("ok"):
                away.pop(unit, None)
    return away
