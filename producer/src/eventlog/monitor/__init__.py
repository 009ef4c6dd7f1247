"""The monitor: the counts of every hop over HTTP, and the producer's controls. It outlives whatever it watches.

    python -m eventlog.monitor --config etc/pipeline.toml

``settings`` says who may talk to it, ``refresher`` keeps the figures, ``views`` gives them their shapes, ``app`` serves
them and ``problems`` guards the door and words the errors.
"""

from __future__ import annotations
