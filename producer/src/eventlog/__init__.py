"""The event log's producer side: events, spool, generator, publisher, control socket, counts, sampler and monitor."""

from __future__ import annotations

__version__ = "0.1.0"
