"""The console: a local web application that runs the collection's playbooks and shows what they do.

    python -m eventlog_console --inventory inventory/local

It holds no logic of its own. ``catalogue`` reads from the collection what can be run, ``jobs`` starts it and ``keeper``
looks after it in a process of its own, so that neither a closed browser nor a killed console ends it. ``rehearsal`` and
``history`` read the drills' own journals, ``status`` asks the pipeline how it is, ``feed`` tells browsers what is new,
``app`` serves all of it and ``guard`` stands at the door.
"""

from __future__ import annotations
