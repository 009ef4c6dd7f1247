"""The benchmark works; its figures decide nothing here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from testing import ROOT

pytestmark = pytest.mark.bench


def test_a_reduced_benchmark_has_a_figure_for_every_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--reduced", f"--folder={tmp_path}/pipeline", f"--results={tmp_path}/results"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/producer/src:{ROOT}/flink_job/src"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    (document,) = (tmp_path / "results").glob("*.json")
    lines = json.loads(document.read_text())["lines"]
    assert len(lines) >= 15
    assert document.with_suffix(".html").stat().st_size > 10_000
    assert not (tmp_path / "pipeline" / "pipeline").exists()
