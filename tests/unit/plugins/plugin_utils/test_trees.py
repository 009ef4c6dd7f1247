"""Trees from small local sources: a wheel, a Maven repository on loopback, package folders."""

from __future__ import annotations

import base64
import errno
import fcntl
import functools
import hashlib
import http.server
import importlib
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import trees
from ansible_collections.eventlog.drills.plugins.plugin_utils.trees import TreeError, TreeSpec, ensure_tree, fetch_jar

from testing.waiting import wait_until

ROOT = Path(__file__).resolve().parents[4]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Repository:
    """A Maven repository in a folder, served on loopback; it counts what is asked of it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache, self.asked = folder, cache, list[str]()

    def publish(self, artifact: str, content: bytes) -> dict[str, str]:
        """Put a jar there; returns its entry in a lock file."""
        path = self.folder / "org" / "example" / artifact / "1.0" / f"{artifact}-1.0.jar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {
            "groupId": "org.example", "artifactId": artifact, "version": "1.0", "packaging": "jar",
            "sha256": sha256(content),
        }  # fmt: skip

    def cached(self, artifact: str) -> Path:
        """Where a fetched jar is kept."""
        return self.cache / "maven" / "org" / "example" / artifact / "1.0" / f"{artifact}-1.0.jar"

    def downloads(self) -> int:
        """How many jars were asked for."""
        return sum(path.endswith(".jar") for path in self.asked)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """The one Maven repository that jgo knows."""
    found = Repository(tmp_path / "repository", tmp_path / "cache")
    found.folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            found.asked.append(self.path)

    handler = functools.partial(Handler, directory=str(found.folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remotes = {"local": f"http://127.0.0.1:{server.server_port}"}
    monkeypatch.setattr(importlib.import_module("jgo.maven._core"), "DEFAULT_REMOTE_REPOS", remotes)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield found
    server.shutdown()
    server.server_close()


def lock_file(path: Path, *entries: dict[str, str]) -> Path:
    lines = [["[[dependencies]]", *(f'{key} = "{value}"' for key, value in entry.items())] for entry in entries]
    path.write_text("\n".join(line for entry in lines for line in entry))
    return path


def wheel(folder: Path, name: str, content: str) -> Path:
    """A wheel with one module, and the requirements file that locks it."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digest},{len(files[path])}\n" for path, digest in digests.items())
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(inner, text)
    requirements = folder / f"{name}.txt"
    requirements.write_text(f"{name} @ file://{path} --hash=sha256:{sha256(path.read_bytes())}\n")
    return requirements


def package(folder: Path, name: str, **files: str) -> Path:
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "__init__.py").write_text("")
    for inner, text in files.items():
        (path / inner.replace("__", ".")).write_text(text)
    return path


Ensure = Callable[..., tuple[Path, bool]]


@pytest.fixture
def said() -> list[str]:
    """What the builds said."""
    return []


@pytest.fixture
def ensure(tmp_path: Path, said: list[str]) -> Ensure:
    """A function that ensures a tree in the test's cache."""

    def build(spec: TreeSpec) -> tuple[Path, bool]:
        return ensure_tree(spec, tmp_path / "cache", said.append)

    return build


def leftovers(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "trees").iterdir() if path.name != ".lock")


# -- what is built ---------------------------------------------------------------------------------------------------


def test_a_jar_tree_holds_the_locked_files_and_is_built_once(
    repository: Repository, ensure: Ensure, tmp_path: Path, said: list[str]
) -> None:
    entries = [repository.publish("broker", b"broker"), repository.publish("logging", b"logging")]
    spec = TreeSpec("kafka", "4", PYTHON, jars=lock_file(tmp_path / "jgo.lock.toml", *entries))

    path, built = ensure(spec)

    assert built
    assert path.name.startswith("kafka-4-")
    assert sorted(file.name for file in (path / "lib").iterdir()) == ["broker-1.0.jar", "logging-1.0.jar"]
    [line] = said
    assert re.fullmatch(r"kafka 4 installed in \d+ s", line)
    asked = list(repository.asked)
    assert ensure(spec) == (path, False)
    assert repository.asked == asked


def test_a_python_tree_is_importable_from_its_folder(ensure: Ensure, tmp_path: Path) -> None:
    spec = TreeSpec("pipeline", "1", PYTHON, requirements=wheel(tmp_path, "greeting", "word = 'hello'"))

    path, _ = ensure(spec)

    run = subprocess.run(
        [sys.executable, "-S", "-c", "import greeting; print(greeting.word, greeting.__file__)"],
        env={**os.environ, "PYTHONPATH": str(path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.split() == ["hello", str(path / "greeting.py")]
    assert list(path.glob("__pycache__/greeting.*.pyc"))


def test_a_package_tree_holds_every_file_compiled(ensure: Ensure, tmp_path: Path) -> None:
    source = package(tmp_path / "src", "eventlog", page__html="<p>", event__py="x = 1")

    path, _ = ensure(TreeSpec("code", "1", PYTHON, packages=(source,)))

    assert (path / "eventlog" / "page.html").read_text() == "<p>"
    assert list((path / "eventlog" / "__pycache__").glob("event.*.pyc"))


def test_a_tree_may_have_several_sources_and_files_in_two_places(
    repository: Repository, ensure: Ensure, tmp_path: Path
) -> None:
    spec = TreeSpec(
        "flink", "2", PYTHON,
        jars=lock_file(tmp_path / "lock", repository.publish("gateway", b"gateway")),
        jars_into="opt",
        packages=(package(tmp_path / "src", "job"),),
        links=(("opt/gateway-*.jar", "lib"),),
    )  # fmt: skip

    path, _ = ensure(spec)

    assert (path / "lib" / "gateway-1.0.jar").samefile(path / "opt" / "gateway-1.0.jar")
    assert (path / "job" / "__init__.py").exists()


def test_a_pattern_that_matches_nothing_is_a_mistake(repository: Repository, ensure: Ensure, tmp_path: Path) -> None:
    jars = lock_file(tmp_path / "lock", repository.publish("gateway", b"gateway"))

    with pytest.raises(TreeError, match=r"nothing in it matches opt/\*\.jar, which belongs in lib"):
        ensure(TreeSpec("flink", "2", PYTHON, jars=jars, links=(("opt/*.jar", "lib"),)))

    assert leftovers(tmp_path) == []


# -- names -----------------------------------------------------------------------------------------------------------


def test_the_folder_s_name_changes_with_every_source(tmp_path: Path) -> None:
    lock, requirements = tmp_path / "lock", tmp_path / "requirements"
    lock.write_text("one")
    requirements.write_text("one")
    source = package(tmp_path / "src", "eventlog", page__html="one")
    full = TreeSpec("x", "1", "3.11", requirements, lock, packages=(source,), links=(("a", "b"),))
    names = [full.folder]

    for file in (lock, requirements, source / "page.html"):
        file.write_text("two")
        names.append(full.folder)
    (source / "empty.txt").write_text("")
    names.append(full.folder)
    names.append(TreeSpec("x", "1", "3.12", requirements, lock, packages=(source,), links=(("a", "b"),)).folder)
    names.append(TreeSpec("x", "1", "3.11", requirements, lock, packages=(source,), links=(("a", "c"),)).folder)
    names.append(TreeSpec("x", "1", "3.11", requirements, lock, "opt", packages=(source,), links=(("a", "b"),)).folder)

    assert len(set(names)) == len(names)


def test_compiled_files_of_the_source_do_not_change_the_name(tmp_path: Path) -> None:
    source = package(tmp_path, "eventlog")
    spec = TreeSpec("code", "1", PYTHON, packages=(source,))
    before = spec.folder

    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "a.pyc").write_text("x")

    assert spec.folder == before


# -- accidents -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_what_the_lock_promises_stops_everything(
    repository: Repository, ensure: Ensure, tmp_path: Path
) -> None:
    entry = repository.publish("broker", b"as it was locked")
    repository.publish("broker", b"something else")

    with pytest.raises(TreeError) as refusal:
        ensure(TreeSpec("kafka", "4", PYTHON, jars=lock_file(tmp_path / "lock", entry)))

    text = str(refusal.value)
    assert text.startswith("org.example:broker:1.0 was fetched 2 times and is not what the lock file promises")
    assert f"sha256 {sha256(b'something else')[:16]}… instead of {entry['sha256'][:16]}…" in text
    assert repository.downloads() == 2
    assert leftovers(tmp_path) == []
    assert not repository.cached("broker").exists()


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(
    repository: Repository, ensure: Ensure, tmp_path: Path
) -> None:
    entry = repository.publish("broker", b"broker")
    damaged = repository.cached("broker")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"brok")  # as an interrupted download leaves it

    path, _ = ensure(TreeSpec("kafka", "4", PYTHON, jars=lock_file(tmp_path / "lock", entry)))

    assert (path / "lib" / "broker-1.0.jar").read_bytes() == b"broker"
    assert repository.downloads() == 1


def test_a_file_that_cannot_be_had_is_named(repository: Repository, ensure: Ensure, tmp_path: Path) -> None:
    entry = repository.publish("broker", b"broker")
    (repository.folder / "org").rename(repository.folder / "com")

    with pytest.raises(TreeError, match=r"cannot fetch org\.example:broker:1\.0: .*Run the command again"):
        ensure(TreeSpec("kafka", "4", PYTHON, jars=lock_file(tmp_path / "lock", entry)))

    assert leftovers(tmp_path) == []


def test_a_network_that_is_away_is_not_taken_for_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    remotes = {"local": f"http://127.0.0.1:{free_port()}"}
    monkeypatch.setattr(importlib.import_module("jgo.maven._core"), "DEFAULT_REMOTE_REPOS", remotes)
    entry = {"groupId": "org.example", "artifactId": "a", "version": "1.0", "packaging": "jar", "sha256": "0" * 64}

    with pytest.raises(TreeError, match=r"cannot fetch org\.example:a:1\.0: .*Is the network there"):
        fetch_jar(entry, tmp_path)


def test_a_wheel_that_is_not_what_the_lock_promises_is_refused(ensure: Ensure, tmp_path: Path) -> None:
    requirements = wheel(tmp_path, "greeting", "word = 'hello'")
    text = requirements.read_text()
    requirements.write_text(text[:-9] + "00000000\n")

    with pytest.raises(TreeError, match=r"pipeline 1: installing from .*greeting\.txt failed") as refusal:
        ensure(TreeSpec("pipeline", "1", PYTHON, requirements=requirements))

    assert "ash mismatch" in str(refusal.value)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("module", ["uv", "jgo.maven"])
def test_a_library_that_builds_trees_and_is_missing_is_named_with_the_remedy(
    ensure: Ensure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    specs = {
        "uv": TreeSpec("kafka", "4", PYTHON, requirements=wheel(tmp_path, "greeting", "word = 'hello'")),
        "jgo.maven": TreeSpec("kafka", "4", PYTHON, jars=lock_file(tmp_path / "lock")),
    }
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(TreeError) as refusal:
        ensure(specs[module])

    text = str(refusal.value)
    assert f"the Python package {module.partition('.')[0]} " in text
    assert text.endswith(f"{sys.executable} -m pip install -r {ROOT / 'requirements.txt'}")
    assert (ROOT / "requirements.txt").is_file()
    assert leftovers(tmp_path) == []


def test_a_package_that_does_not_compile_is_shown(ensure: Ensure, tmp_path: Path) -> None:
    source = package(tmp_path / "src", "eventlog", event__py="def f(:")

    with pytest.raises(TreeError, match=r"code 1: .*compileall.* failed"):
        ensure(TreeSpec("code", "1", PYTHON, packages=(source,)))

    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_named_with_the_remedy(
    repository: Repository, ensure: Ensure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    jars = lock_file(tmp_path / "lock", repository.publish("broker", b"broker"))

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("shutil.copy2", full)
    with pytest.raises(TreeError) as refusal:
        ensure(TreeSpec("kafka", "4", PYTHON, jars=jars))

    assert f"kafka 4: cannot write to the cache {tmp_path}/cache: {os.strerror(number)}" in str(refusal.value)
    assert "set XDG_CACHE_HOME" in str(refusal.value)
    assert leftovers(tmp_path) == []


def test_a_cache_that_cannot_be_made_is_named(ensure: Ensure, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")

    with pytest.raises(TreeError, match="cannot write to the cache"):
        ensure(TreeSpec("code", "1", PYTHON, packages=(package(tmp_path / "src", "eventlog"),)))


def test_an_interrupted_build_leaves_nothing(ensure: Ensure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TreeSpec("code", "1", PYTHON, packages=(package(tmp_path / "src", "eventlog"),))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trees, "_run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure(spec)

    assert leftovers(tmp_path) == []
    assert ensure(spec)[1]


def test_what_a_killed_build_left_goes_at_the_next(ensure: Ensure, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "trees" / ".kafka-3-0123456789ab.partial"
    (left / "lib").mkdir(parents=True)

    path, _ = ensure(TreeSpec("code", "1", PYTHON, packages=(package(tmp_path / "src", "eventlog"),)))

    assert leftovers(tmp_path) == [path.name]


def test_two_runs_build_a_tree_once_and_the_second_says_that_it_waits(
    ensure: Ensure, tmp_path: Path, said: list[str]
) -> None:
    spec = TreeSpec("code", "1", PYTHON, packages=(package(tmp_path / "src", "eventlog"),))
    results: list[tuple[Path, bool]] = []
    folder = tmp_path / "cache" / "trees"
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: results.append(ensure(spec)))
        second.start()
        wait_until(lambda: said == ["code 1: waiting for another run"], 10, "it says so")
        (folder / spec.folder).mkdir()  # the other run finishes
    second.join(10)

    assert results == [(folder / spec.folder, False)]
