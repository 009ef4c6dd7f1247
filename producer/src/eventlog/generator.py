"""The generator: makes events at an exact rate and counts each one when, and only when, it is in the spool on disk.

One thread owns the spool's writing side, so that everything that must become durable (new events, what was
acknowledged or refused, pause, rate) shares its commits: events that fall due while a commit runs are the next group.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from eventlog.acks import Acks
from eventlog.config import RATE_MAX, RATE_MIN
from eventlog.event import EventFactory
from eventlog.spool import Block, Spool, SpoolFull, State

log = logging.getLogger(__name__)

# Events that fell due while the process was stalled (a slow disk, SIGSTOP) are made up for up to this many seconds of
# the rate; the rest is forgiven, so that a pause is never followed by a flood.
BURST_SECONDS = 1.0
# Shorter groups would cost a disk flush each without making anything visible sooner.
GROUP_SECONDS = 0.02
# One row of the spool: long enough to be cheap, short enough for a reader to hold in memory.
BLOCK_BYTES = 256 << 10
# How long acknowledgements may wait for the next event before they are written down on their own.
ACK_SECONDS = 0.1
IDLE_SECONDS = 0.5
DISK_RETRY_SECONDS = 0.5


class Meter:
    """How many events are due, by a monotonic clock in seconds that the caller passes in.

    Over any span without a stall, exactly ``floor(rate * elapsed)`` events fall due: credits are computed from one
    anchor and never summed up, so nothing drifts.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._anchor = now
        self._taken = 0

    def due(self, now: float) -> int:
        """Events due and not yet taken, at most ``BURST_SECONDS`` of them (and at least one)."""
        count = int((now - self._anchor) * self.rate) - self._taken
        excess = count - max(1, math.ceil(self.rate * BURST_SECONDS))
        if excess > 0:
            self._taken += excess
            count -= excess
        return count

    def take(self, count: int) -> None:
        """``count`` of the due events were made."""
        self._taken += count

    def next_due(self) -> float:
        """When the next event falls due."""
        return self._anchor + (self._taken + 1) / self.rate

    def restart(self, rate: float, now: float) -> None:
        """Begin anew at ``now`` with ``rate``: nothing is owed for the time before."""
        self.rate = rate
        self._anchor = now
        self._taken = 0


class Generator:
    """Runs in a thread of its own (:meth:`run`); the other methods may be called from any thread.

    ``acks`` says what was settled; ``committed`` is called after each commit that stored events; ``clock`` is
    monotonic, ``wall`` counts from the epoch, both in seconds.
    """

    def __init__(
        self,
        spool: Spool,
        factory: EventFactory,
        event_bytes: int,
        acks: Acks,
        committed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._factory = factory
        self._event_bytes = event_bytes
        self._acks = acks
        self._committed = committed
        self._clock = clock
        self._wall = wall
        self._block_events = max(1, BLOCK_BYTES // (event_bytes + 1))
        self._group_events = max(1, spool.group_bytes // (event_bytes + 1))
        state = spool.state
        # Guards the wishes below and announces that they changed or were saved.
        self._changed = threading.Condition()
        self._streaming = state.streaming
        self._rate = state.rate
        self._stopping = False
        self._meter = Meter(state.rate, clock())
        self._trouble: str | None = None
        self._disk_failed = False
        self._not_before = 0.0
        self._last_group = -math.inf
        self._untidy = False
        self._gone = False
        self._removed_checked = -math.inf
        self._used = spool.used_bytes()

    @property
    def made(self) -> int:
        """The last event that is on disk."""
        return self._spool.state.made

    def change(self, streaming: bool | None = None, rate: float | None = None, timeout: float = 2.0) -> bool:
        """Pause, resume or set the rate (events per second); takes effect at once.

        True when the change is on disk within ``timeout`` seconds, so that it survives a kill; False while the disk
        is full. Raises ValueError for a rate outside RATE_MIN to RATE_MAX.
        """
        if rate is not None and not (math.isfinite(rate) and RATE_MIN <= rate <= RATE_MAX):
            raise ValueError(f"a rate of {rate:g} events per second is outside {RATE_MIN:g} to {RATE_MAX:g}")
        with self._changed:
            if streaming is not None:
                self._streaming = streaming
            if rate is not None:
                self._rate = rate
            self._changed.notify_all()
            return self._changed.wait_for(self._saved, timeout)

    def stop(self) -> None:
        """Make no further events; :meth:`run` returns after a last commit."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def status(self) -> Mapping[str, object]:
        """The producer's part of a snapshot; answered from memory, whatever the disk does."""
        state = self._spool.state
        reason = self._reason()
        return {
            "count": state.made,
            "acked": state.acked,
            "buffered": state.buffered,
            "rejected": state.rejected,
            "spool_bytes": self._used,
            "source": state.source,
            "streaming": reason is None,
            "reason": reason,
            "rate": self._rate,
            "saved": self._saved(),
        }

    def run(self) -> None:
        """Generate until :meth:`stop`. Raises SpoolError when the spool is found damaged."""
        if not self._spool.hold_reserve():
            log.warning("no room on disk for the spool's reserve")
        with self._changed:
            self._meter.restart(self._rate, self._clock())
        while True:
            with self._changed:
                self._changed.wait(self._pause())
                stopping = self._stopping
            self.step()
            if stopping:
                return

    def step(self) -> None:
        """One turn: make what is due, and write down what changed."""
        now = self._clock()
        self._follow_wishes(now)
        if now < self._not_before:
            return
        if not self._disk_failed:
            self._save(self._due(now), now)
        # On a full disk, forgetting what was settled comes first: it is what makes room.
        elif self._save(0, now):
            self._not_before = now + DISK_RETRY_SECONDS
            # One event tries whether there is room again; the reserve must fit too, for the next time.
            if self._wanted() and self._spool.hold_reserve():
                self._save(1, now)
        self._untidy = self._spool.tidy()

    def _save(self, count: int, now: float) -> bool:
        """Commit ``count`` new events and whatever else changed; False when the disk had no room for it."""
        settlement = self._acks.settlement()
        current = self._spool.state
        state = replace(
            current,
            made=current.made + count,
            settled=settlement.settled,
            rejected=current.rejected + len(settlement.rejects),
            streaming=self._streaming,
            rate=self._rate,
            reason=None if count else self._trouble,
        )
        if state == current:
            return True
        events = self._factory.make(current.made + 1, count, self._wall())
        try:
            self._spool.commit(state, self._blocks(current.made + 1, events), settlement.rejects)
        except SpoolFull as error:
            self._block(str(error))
            self._disk_failed = True
            self._not_before = now + DISK_RETRY_SECONDS
            # Without room nothing could be dropped either, and a drained spool would stay full for ever.
            self._spool.release_reserve()
            return False
        self._acks.saved(settlement)
        self._kept(state, count, now)
        return True

    def _kept(self, state: State, count: int, now: float) -> None:
        """After a commit: account for what it stored and tell those who wait for it."""
        self._used = self._spool.used_bytes()
        if count:
            self._meter.take(count)
            self._last_group = now
            if self._trouble is not None:
                log.info("streaming again at seq %d", state.made)
                self._trouble, self._disk_failed = None, False
                self._meter.restart(self._rate, now)
            self._committed()
        with self._changed:
            self._changed.notify_all()

    def _wanted(self) -> bool:
        return self._streaming and not self._stopping and not self._gone

    def _due(self, now: float) -> int:
        if self._streaming and self._removed(now):
            self._block("the spool file was removed: start the producer again")
        if not self._wanted():
            return 0
        count = min(self._meter.due(now), self._group_events)
        if (count or self._trouble) and self._spool.limit_reached(max(1, count) * (self._event_bytes + 1)):
            self._block(f"the spool has reached its limit of {self._spool.limit_bytes} bytes")
            return 0
        # After a block the first event stands alone; those due meanwhile are not made up for.
        return 1 if self._trouble else count

    def _follow_wishes(self, now: float) -> None:
        """A resumed or re-rated stream begins anew; nothing is made up for a pause."""
        state = self._spool.state
        if self._rate != self._meter.rate or (self._streaming and not state.streaming):
            self._meter.restart(self._rate, now)

    def _block(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning("not streaming: %s", reason)
        self._trouble = reason

    def _removed(self, now: float) -> bool:
        """Whether the file is gone, looked at once a second; it does not come back."""
        if not self._gone and now - self._removed_checked >= 1:
            self._removed_checked = now
            self._gone = self._spool.removed()
        return self._gone

    def _blocks(self, first: int, events: list[bytes]) -> list[Block]:
        size = self._block_events
        return [Block(first + at, events[at : at + size]) for at in range(0, len(events), size)]

    def _saved(self) -> bool:
        state = self._spool.state
        return state.streaming == self._streaming and state.rate == self._rate

    def _reason(self) -> str | None:
        if self._stopping:
            return "stopping"
        if not self._streaming:
            return "paused"
        return self._trouble

    def _pause(self) -> float:
        """Seconds until there is something to do."""
        now = self._clock()
        if self._stopping:
            return 0.0
        if not self._saved() and now >= self._not_before:
            return 0.0
        if self._untidy:
            return GROUP_SECONDS
        latest = ACK_SECONDS if self._acks.unsaved() and not self._disk_failed else IDLE_SECONDS
        if not self._streaming:
            return latest
        if self._trouble is not None:
            return min(latest, ACK_SECONDS)
        due = max(self._meter.next_due(), self._last_group + GROUP_SECONDS)
        return min(latest, max(0.0, due - now))
