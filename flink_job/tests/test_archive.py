from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from eventlog_job.archive import ArchiveError, class_path, usable

from testing.job import SOURCE, Stack


def test_the_class_path_is_spelled_as_flink_spells_it(tmp_path: Path) -> None:
    for name in ("b.jar", "flink-dist-2.2.1.jar", "z.jar", "a.jar", "readme.txt"):
        (tmp_path / name).touch()
    assert class_path(tmp_path) == ":".join(
        f"{tmp_path}/{name}" for name in ("a.jar", "b.jar", "z.jar", "flink-dist-2.2.1.jar")
    )


def test_a_folder_without_flink_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no flink-dist jar; FLINK_LIB_DIR must name the folder of Flink's jars"):
        class_path(tmp_path)


def test_a_java_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "flink-dist-1.jar").touch()
    argv = [sys.executable, "-m", "eventlog_job.archive", "--java-home", "/nowhere", "--lib", str(tmp_path)]
    argv += ["--out", str(tmp_path / "out.jsa")]
    done = subprocess.run(argv, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("eventlog_job.archive: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["flink-dist-1.jar"]


@pytest.mark.servers
def test_the_archive_is_made_once_and_used(stack: Stack) -> None:
    assert usable(stack.trees.java, stack.folder / "lib", stack.archive)
    assert stack.make_archive()["made"] is False
    argv = [str(stack.trees.java), "-Xshare:on", f"-XX:SharedArchiveFile={stack.archive}"]
    argv += ["-Xlog:class+load", "-cp", class_path(stack.folder / "lib")]
    main = "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint"
    done = subprocess.run([*argv, main], capture_output=True, text=True, check=False)
    assert f"{main} source: shared objects file" in done.stdout
