"""The hops of the pipeline, seen from outside: how each is asked for its count.

Every module has a reading (what one answer says) and a hop (the kept connection that asks). A hop is asked by one
thread, :class:`~eventlog.hops.probe.Probe`, so that a server that does not answer stalls only its own figure.
"""

from __future__ import annotations
