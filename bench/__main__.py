"""Run the benchmark: python -m bench [--reduced | --full] [--folder .pipeline-bench] [--port-offset 23100]

Prints the table, and keeps the results as runs/bench/<time>.json and, with plots and beside the run before, as
runs/bench/<time>.html. Both are written, and the pipeline is removed, in every case: a line that could not be measured
says why, and so do those that were not reached when SIGINT, SIGTERM or the end of its minutes ended the benchmark. The
exit status is 0 when every line has its figure, whatever it is, and 1 when one has none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import page
from bench.course import FULL, REDUCED, USUAL, Course
from bench.figures import table
from bench.rig import PORT_OFFSET, Rig, reason
from bench.stopping import stops

ROOT = Path(__file__).resolve().parent.parent
#: Seconds of the benchmark's minutes that are left for ending what is under way, and for removing the pipeline.
END_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, keep, remove."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the pipeline beside its ceilings, in 15 minutes at most.",
        epilog="The exit status is 0 when every line has its figure, whatever it is, and 1 when one has none; the "
        "table then says why. Results and page are written in both cases, when it is interrupted, too.",
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--reduced", action="store_true", help="prove that it works; the figures mean nothing")
    sizes.add_argument("--full", action="store_true", help="more of everything, about an hour")
    parser.add_argument("--folder", type=Path, default=ROOT / ".pipeline-bench", help="where its pipeline is made")
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "bench", help="where the results are kept")
    parser.add_argument("--port-offset", type=int, default=PORT_OFFSET)
    options = parser.parse_args(arguments)
    size = REDUCED if options.reduced else FULL if options.full else USUAL
    began = time.time()
    loads: list[tuple[str, float]] = []
    over = f"the benchmark's {size.minutes:g} minutes were over"
    with stops(60 * size.minutes - END_SECONDS, over) as asked:

        def say(what: str) -> None:
            asked.check()
            # Other work on the machine that comes or goes between a figure and its ceiling spoils the ratio.
            loads.append((what, os.getloadavg()[0]))
            print(f" bench {time.time() - began:5.0f} s  load {loads[-1][1]:4.1f}  {what}", flush=True)

        course = Course(Rig(options.folder, options.port_offset), size, say)
        removed = False
        try:
            course.run()
        finally:
            asked.enough()
            try:
                machine = {"processors": os.cpu_count(), "loads": loads}
                kept = {"began": began, "reduced": options.reduced, "size": asdict(size), "machine": machine}
                keep(course, options.results, {**kept, "seconds": time.time() - began})
            finally:
                removed = remove(course.rig)
    return 0 if removed and not any(line.why for line in course.lines.values()) else 1


def keep(course: Course, results: Path, document: dict[str, Any]) -> None:
    """Print the table and write the results, which ``document`` describes, and the page."""
    lines = list(course.lines.values())
    print(f"\n{table(lines)}\n", flush=True)
    document |= course.document()
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime(document['began']))}.json"
    # Renamed when it is whole: later runs read all that is there.
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    report = path.with_suffix(".html")
    report.write_text(page.render(document, lines, page.previous(results, path)), encoding="utf-8")
    print(f" results {path}\n page    {report}", flush=True)


def remove(rig: Rig) -> bool:
    """Remove the pipeline and all that it wrote; whether that succeeded."""
    try:
        rig.remove()
    except Exception as error:
        print(f"bench: the pipeline in {rig.pipeline.root} could not be removed: {reason(error)}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
