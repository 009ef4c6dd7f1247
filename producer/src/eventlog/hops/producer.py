"""The producer: what its spool says, and whether it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventlog.config import Config
from eventlog.control import ControlError, control
from eventlog.hops.probe import Unreadable
from eventlog.spool import SpoolError, SpoolReading, read_spool

# Shorter than a request to a server: the answer comes from memory, and a frozen producer must not make the count, which
# is on disk, late as well.
ANSWER_TIMEOUT = 0.5


@dataclass(frozen=True, slots=True)
class ProducerReading:
    """The spool's figures; ``alive`` when the producer itself answered, ``reason`` why it does not stream. What only
    the producer knows is None when it did not answer."""

    count: int
    alive: bool
    streaming: bool
    reason: str | None
    rate: float
    acked: int
    buffered: int
    rejected: int
    spool_bytes: int
    source: str
    delivery_errors: int | None


class ProducerHop:
    """Reads the spool, which outlives the producer, and asks the producer whether it is there."""

    def __init__(self, config: Config, request_timeout: float) -> None:
        self._spool: Path = config.producer.spool
        self._socket: Path = config.producer.socket
        self._timeout = min(request_timeout, ANSWER_TIMEOUT)

    def read(self) -> ProducerReading:
        """Raises Unreadable when there is no usable spool; a producer that is gone is only not alive."""
        try:
            spool = read_spool(self._spool)
        except (SpoolError, OSError) as error:
            raise Unreadable(str(error)) from error
        try:
            status = control(self._socket, {"do": "status"}, self._timeout)
        except ControlError as error:
            return _reading(spool, str(error) if spool.alive else spool.reason or str(error), {})
        return _reading(spool, None, status)

    def close(self) -> None:
        """Nothing is kept open."""


def _reading(spool: SpoolReading, silent: str | None, status: Mapping[str, Any]) -> ProducerReading:
    """The reading; ``silent`` says why the producer did not answer, None when it did and said ``status``."""
    return ProducerReading(
        count=spool.count,
        alive=silent is None,
        streaming=silent is None and spool.streaming,
        reason=silent or spool.reason,
        rate=spool.rate,
        acked=spool.acked,
        buffered=spool.buffered,
        rejected=spool.rejected,
        spool_bytes=spool.spool_bytes,
        source=spool.source,
        delivery_errors=status.get("delivery_errors"),
    )
