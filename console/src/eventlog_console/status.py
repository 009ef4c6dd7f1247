"""How the pipeline is: what the playbook ``status`` says of its units, and what the monitor says of its counts."""

from __future__ import annotations

import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventlog_console.playing import log, play
from eventlog_console.settings import Settings

MONITOR_TIMEOUT = 2.0  # seconds
PLAYBOOK = "status"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the monitor is near: through no proxy


class Status:
    """The last look at the units, and the address of the monitor that it found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._looking = threading.Lock()
        self._closed = threading.Event()
        self._seen: dict[str, Any] = {"at": None, "hosts": {}, "error": None, "looking": False}

    @property
    def command(self) -> list[str]:
        """The command line of a look."""
        return self._settings.playbook(PLAYBOOK)

    @property
    def seen(self) -> dict[str, Any]:
        """``at`` (epoch seconds), ``hosts`` (their units), ``error`` and ``looking``."""
        return self._seen

    def look(self) -> None:
        """Run the playbook; returns at once when another look is under way."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            self._seen = {**self._seen, "looking": True}
            hosts, error = self._play()
            self._seen = {"at": time.time(), "hosts": hosts, "error": error, "looking": False}
        finally:
            self._looking.release()

    def close(self) -> None:
        """End a look that is under way, so that the console can end."""
        self._closed.set()

    def _play(self) -> tuple[dict[str, Any], str | None]:
        handed: dict[str, Any] = {}

        def keep(event: Mapping[str, Any]) -> None:
            if event.get("event") == "playbook_on_stats":
                handed.update(event["event_data"].get("artifact_data", {}).get("status", {}))

        with tempfile.TemporaryDirectory(prefix="eventlog-console-") as name:
            folder = Path(name)
            _, rc = play(
                self.command,
                root=self._settings.root,
                folder=folder,
                name=PLAYBOOK,
                stop=self._closed.is_set,
                events=keep,
            )
            text = log(folder, PLAYBOOK).read_text(encoding="utf-8", errors="replace")
        hosts = {
            host: {"monitor": found["monitor"], "units": [_unit(unit) for unit in found["units"]]}
            for host, found in handed.items()
        }
        return hosts, None if rc == 0 else (text.strip().splitlines() or ["it printed nothing"])[-1]

    def counts(self) -> dict[str, Any] | None:
        """The monitor's newest counts; None while no monitor is known or it cannot be read."""
        for host in self._seen["hosts"].values():
            try:
                with _DIRECT.open(f"{host['monitor']}/api/v1/counts", timeout=MONITOR_TIMEOUT) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except (OSError, ValueError):
                continue
        return None


def _unit(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a unit's receipt."""
    members = receipt.get("after") or []
    return {
        "unit": receipt["unit"],
        "up": bool(members),
        "answers": (receipt.get("answers") or {}).get("after"),
        "pid": members[0]["pid"] if members else None,
        "processes": len(members),
        "bytes": sum(int(member.get("rss") or 0) for member in members),
    }
