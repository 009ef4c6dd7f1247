"""A look at a host's files by one short shell command, so that nothing heavier runs where nothing is to be done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ansible_collections.eventlog.drills.plugins.plugin_utils.host import quoted


def look(directories: Iterable[str], files: Mapping[str, object], made: Iterable[str]) -> str:
    """A shell command that succeeds when everything exists and every file has its content.

    One that fails for another reason, for lack of sha256sum or because of what is in a path, costs a run of the module.
    """
    tests = [f"test -d {quoted(path)}" for path in directories]
    tests += [f"test -e {quoted(path)}" for path in made]
    if files:
        sums = (f"{hashlib.sha256(str(text).encode()).hexdigest()}  {path}\n" for path, text in files.items())
        tests.append(f"printf %s {quoted(''.join(sums))} | sha256sum -c >/dev/null 2>&1")
    return " && ".join(tests or ["true"])
