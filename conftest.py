"""The tests of every folder share these plugins; pytest wants them named here."""

from __future__ import annotations

pytest_plugins = ["testing.stages", "testing.fixtures", "testing.containers"]
