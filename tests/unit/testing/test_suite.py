"""The runner of the stages, on checkouts of a few tests without any server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testing import ROOT
from testing.processes import lives
from testing.stages import STAGES
from testing.suite import Suite, chosen

Checkout = Callable[[str], Suite]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A function that makes a checkout of these tests, and a run of their stages in it."""

    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer than these tests

    def make(tests: str) -> Suite:
        root = tmp_path / "checkout"
        root.mkdir()
        (root / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT} {ROOT}/collections {ROOT}/producer/src\n")
        (root / "conftest.py").write_text('pytest_plugins = ["testing.stages"]\n')
        (root / "test_it.py").write_text(f"import pathlib, pytest, subprocess\nHERE = pathlib.Path(__file__)\n{tests}")
        wanted = [stage for stage in STAGES if f"pytest.mark.{stage.name}\n" in tests]
        return Suite(wanted, tmp_path / "run", root)

    return make


def words(suite: Suite) -> list[list[str]]:
    """The lines that close a run, word by word, without seconds."""
    return [[word for word in line.split() if not word.isdigit()] for line in suite.lines()]


def test_each_stage_is_said_with_what_became_of_it(checkout: Checkout) -> None:
    suite = checkout(
        "@pytest.mark.job\ndef test_b(): pass\n@pytest.mark.job\ndef test_c(): pass\n"
        "@pytest.mark.drills\ndef test_a(): pass\n"
    )

    assert suite.run()
    assert words(suite) == [["drills", "ok", "s", "tests", "processes"], ["job", "ok", "s", "tests", "servers"]]


def test_a_failure_that_passes_at_the_second_try_is_flaky(
    checkout: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    suite = checkout(
        "@pytest.mark.job\ndef test_a():\n    seen = HERE.with_name('seen')\n    first = not seen.exists()\n"
        "    seen.touch()\n    assert not first, 'the evidence'\n"
    )

    assert suite.run()
    assert suite.flaky == ["test_it.py::test_a"]
    assert words(suite)[0][:2] == ["job", "flaky"]
    assert " ".join(words(suite)[1]) == "flaky test_it.py::test_a (passed at the second try)"
    assert "the evidence" in capfd.readouterr().out


def test_a_failure_that_stays_is_a_failure(checkout: Checkout) -> None:
    suite = checkout("@pytest.mark.job\ndef test_a(): assert False\n")

    assert not suite.run()
    assert suite.flaky == []
    assert words(suite)[0][:2] == ["job", "FAILED"]


def test_three_failures_are_no_accident(checkout: Checkout) -> None:
    suite = checkout(
        "@pytest.mark.job\n@pytest.mark.parametrize('number', range(3))\ndef test_a(number):\n"
        "    seen = HERE.with_name(f'seen-{number}')\n    first = not seen.exists()\n    seen.touch()\n"
        "    assert not first\n"
    )

    assert not suite.run()
    assert words(suite)[0][:2] == ["job", "FAILED"]


def test_a_stage_whose_tests_did_not_run_is_missing(checkout: Checkout) -> None:
    suite = checkout("@pytest.mark.job\ndef test_a(): pass\nraise OSError('in the middle')\n")

    assert not suite.run()
    assert words(suite)[0][:2] == ["job", "MISSING"]


def test_what_is_left_running_is_ended_and_fails_the_run(checkout: Checkout) -> None:
    suite = checkout(
        "@pytest.mark.job\ndef test_a():\n    process = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    HERE.with_name('pid').write_text(str(process.pid))\n    process.returncode = 0\n"
    )

    assert not suite.run()
    assert " ".join(words(suite)[1]) == "left running by servers, and ended: sleep"
    assert not lives(int(next(Path(suite._root).glob("pid")).read_text()))


def test_a_test_of_two_stages_is_refused(checkout: Checkout, capfd: pytest.CaptureFixture[str]) -> None:
    suite = checkout("@pytest.mark.job\n@pytest.mark.drills\ndef test_a(): pass\n")

    assert not suite.run()
    assert "test_a is in the stages drills, job: a test is in one" in capfd.readouterr().out


def test_an_unknown_stage_is_named_with_all_that_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testing.suite", "drill"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith("unknown stage drill; there are: check, trees, processes, ")


def test_every_stage_is_in_one_of_the_two_commands() -> None:
    assert {*chosen([], full=False), *chosen([], full=True)} == set(STAGES)
    assert not {*chosen([], full=False)} & {*chosen([], full=True)}
