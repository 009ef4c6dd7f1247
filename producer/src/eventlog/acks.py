"""What Kafka has settled: the cursor below which every event was acknowledged or refused for good."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from eventlog.spool import Reject


@dataclass(frozen=True, slots=True)
class Settlement:
    """``settled``: every event up to it is settled; ``rejects``: those among them, not yet saved, that were refused."""

    settled: int
    rejects: tuple[Reject, ...]


class Acks:
    """The publisher settles events in any order, the generator saves the cursor and the rejects.

    Memory is bounded by what is in flight: only events beyond the first unsettled one are remembered singly.
    """

    def __init__(self, settled: int) -> None:
        self._lock = threading.Lock()
        self._settled = settled
        self._saved = settled
        self._beyond: set[int] = set()
        self._rejects: dict[int, Reject] = {}

    @property
    def settled(self) -> int:
        """Every event up to this one is settled."""
        return self._settled

    @property
    def waiting_rejects(self) -> int:
        """Rejects held in memory until they are saved."""
        return len(self._rejects)

    def acknowledge(self, seq: int) -> None:
        """``seq`` is in Kafka. A second acknowledgement of the same event changes nothing."""
        with self._lock:
            self._settle(seq)

    def reject(self, reject: Reject) -> None:
        """Kafka refused an event for good."""
        with self._lock:
            if not self._is_settled(reject.seq):
                self._rejects[reject.seq] = reject
                self._settle(reject.seq)

    def is_settled(self, seq: int) -> bool:
        """Whether ``seq`` needs no sending."""
        with self._lock:
            return self._is_settled(seq)

    def settlement(self) -> Settlement:
        """What is to be saved now."""
        with self._lock:
            rejects = tuple(reject for seq, reject in sorted(self._rejects.items()) if seq <= self._settled)
            return Settlement(self._settled, rejects)

    def saved(self, settlement: Settlement) -> None:
        """``settlement`` is on disk."""
        with self._lock:
            self._saved = settlement.settled
            for reject in settlement.rejects:
                del self._rejects[reject.seq]

    def unsaved(self) -> bool:
        """Whether something was settled that is not yet on disk."""
        return self._saved != self._settled

    def _is_settled(self, seq: int) -> bool:
        return seq <= self._settled or seq in self._beyond

    def _settle(self, seq: int) -> None:
        if seq != self._settled + 1:
            if seq > self._settled:
                self._beyond.add(seq)
            return
        while True:
            self._settled = seq
            seq += 1
            if seq not in self._beyond:
                return
            self._beyond.remove(seq)
