"""A stand-in for the books reader: everything that was asked for is there, but for what the scene says is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Print the books of the window on standard input."""
    scene = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).with_name("scene.json").read_text())
    if "unreadable" in scene:
        sys.exit(scene["unreadable"])
    request = json.load(sys.stdin)
    sources = {}
    for source, (first, last) in request["sources"].items():
        whole = [[1, last]]
        rows = whole
        for offset in scene.get("lost", []):
            seq = first + offset
            rows = [
                part for a, b in rows for part in ([a, min(b, seq - 1)], [max(a, seq + 1), b]) if part[0] <= part[1]
            ]
        sources[source] = {
            "window": [first, last], "generated": whole, "acked": whole, "refused": [], "kafka": whole,
            "cassandra": rows, "rejected": [], "repeated": scene.get("repeated", 0), "repeated_ranges": [],
        }  # fmt: skip
    rewritten = scene.get("rewritten", 0)
    print(json.dumps({"sources": sources, "rewritten": rewritten, "unexpected": {}, "positions": {}, "unclosed": []}))


if __name__ == "__main__":
    main()
