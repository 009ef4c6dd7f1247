"""The monitor: the counts of every hop over HTTP, and the producer's controls. It outlives whatever it watches.

    python -m eventlog.monitor --config etc/pipeline.toml

``refresher`` reads the figures and ``memory`` keeps them, ``drills`` knows which drill runs, ``views`` gives all of it
its shapes; ``app`` serves them to programs, ``pages`` and ``feed`` to people. ``settings`` and ``access`` say who may
come in, ``problems`` guards the door and words the errors.
"""

from __future__ import annotations
