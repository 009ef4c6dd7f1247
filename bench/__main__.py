"""Run the benchmark: python -m bench [--reduced | --full] [--folder .pipeline-bench] [--port-offset 23100]

Prints the table, and keeps the results as runs/bench/<time>.json and, with plots and beside the run before, as
runs/bench/<time>.html. The exit status is 0 when everything could be measured, whatever the figures are, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench import page
from bench.course import FULL, REDUCED, USUAL, Course
from bench.figures import table
from bench.rig import PORT_OFFSET, BenchError, Rig

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the pipeline beside its ceilings.")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--reduced", action="store_true", help="prove that it works; the figures mean nothing")
    sizes.add_argument("--full", action="store_true", help="more of everything, about an hour")
    parser.add_argument("--folder", type=Path, default=ROOT / ".pipeline-bench", help="where its pipeline is made")
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "bench", help="where the results are kept")
    parser.add_argument("--port-offset", type=int, default=PORT_OFFSET)
    options = parser.parse_args()
    size = REDUCED if options.reduced else FULL if options.full else USUAL
    began = time.time()
    loads: list[tuple[str, float]] = []

    def say(what: str) -> None:
        # Other work on the machine that comes or goes between a figure and its ceiling spoils the ratio.
        loads.append((what, os.getloadavg()[0]))
        print(f" bench {time.time() - began:5.0f} s  load {loads[-1][1]:4.1f}  {what}", flush=True)

    course = Course(Rig(options.folder, options.port_offset), size, say)
    try:
        found = course.run()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if course.lines:
            print(f"\n{table(course.lines)}\n", flush=True)
    document = {
        "began": began,
        "seconds": time.time() - began,
        "reduced": options.reduced,
        "size": asdict(size),
        "machine": {"processors": os.cpu_count(), "loads": loads},
        **found,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(began))
    path = options.results / f"{stamp}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    report = path.with_suffix(".html")
    report.write_text(page.render(document, course.lines, page.previous(options.results, path)), encoding="utf-8")
    print(f" results {path}\n page    {report}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: interrupted"))
    sys.exit(main())
