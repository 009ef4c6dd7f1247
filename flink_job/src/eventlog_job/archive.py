"""Makes Flink's class-data archive, with which both Flink processes start in about half the processor time.

    python -m eventlog_job.archive --java-home JAVA --lib FLINK_LIB_DIR --out flink.jsa

The archive holds the parsed classes of a list that came from a recorded run (`classes.txt.gz`; README.md says how),
those of the Java runtime included, so nothing has to be rehearsed. It is tied to this JVM, to the class path as it is
spelled and to the jars' times: a JVM that finds something else starts without it, a little slower. Prints one JSON
object: `{"archive": path, "bytes": n, "seconds": s, "made": true}`, `made` false when a usable one was there already.
Exit status: 0, or 1 with the reason on stderr.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.resources
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Seconds; 47 to 189 s were seen on two busy cores.
_LIMIT = 600.0


class ArchiveError(Exception):
    """The archive could not be made; the message is for a person."""


def class_path(lib: Path) -> str:
    """The class path as Flink's own scripts spell it: every jar by name, flink-dist last. Raises ArchiveError."""
    jars = sorted(str(jar) for jar in lib.glob("*.jar"))
    last = [jar for jar in jars if Path(jar).name.startswith("flink-dist")]
    if not last:
        raise ArchiveError(f"{lib}: no flink-dist jar; FLINK_LIB_DIR must name the folder of Flink's jars")
    return ":".join([*(jar for jar in jars if jar not in last), *last])


def usable(java: Path, lib: Path, archive: Path) -> bool:
    """Whether a JVM accepts the archive for these jars."""
    argv = [str(java), "-Xshare:on", f"-XX:SharedArchiveFile={archive}", "-cp", class_path(lib), "-version"]
    return archive.exists() and subprocess.run(argv, capture_output=True, timeout=_LIMIT, check=False).returncode == 0


def make(java: Path, lib: Path, archive: Path) -> None:
    """Makes the archive, as a whole or not at all. Raises ArchiveError."""
    path = class_path(lib)
    packed = importlib.resources.files("eventlog_job").joinpath("classes.txt.gz").read_bytes()
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".archive-") as folder:
        names, new = Path(folder) / "classes.txt", Path(folder) / "new.jsa"
        names.write_bytes(gzip.decompress(packed))
        argv = [str(java), "-Xshare:dump", "-Xmx1g", f"-XX:SharedClassListFile={names}", f"-XX:SharedArchiveFile={new}"]
        try:
            done = subprocess.run([*argv, "-cp", path], capture_output=True, text=True, timeout=_LIMIT, check=False)
        except subprocess.TimeoutExpired:
            raise ArchiveError(f"{archive}: the JVM took more than {_LIMIT:g} s") from None
        if done.returncode != 0 or not new.exists():
            said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise ArchiveError(f"{archive}: the JVM made no archive (status {done.returncode}): {said}")
        new.chmod(0o644)
        new.replace(archive)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Makes Flink's class-data archive.")
    parser.add_argument("--java-home", type=Path, required=True, help="the Java runtime that runs Flink")
    parser.add_argument("--lib", type=Path, required=True, help="FLINK_LIB_DIR, spelled as the units spell it")
    parser.add_argument("--out", type=Path, required=True, help="the archive")
    arguments = parser.parse_args()
    java, begin = arguments.java_home / "bin" / "java", time.monotonic()
    try:
        made = not usable(java, arguments.lib, arguments.out)
        if made:
            make(java, arguments.lib, arguments.out)
        size = os.path.getsize(arguments.out)
    except (ArchiveError, OSError) as error:
        print(f"eventlog_job.archive: {error}", file=sys.stderr)
        return 1
    seconds = round(time.monotonic() - begin, 1)
    print(json.dumps({"archive": str(arguments.out), "bytes": size, "seconds": seconds, "made": made}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
