"""What the tests and the benchmark run: the pipeline and its parts as real processes, and how they are waited for."""

from __future__ import annotations

import sys
from pathlib import Path

#: The checkout, and the programs of the environment that runs this.
ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
