"""Render the documentation of every module and role as ansible-doc does, so that no mistake in it is committed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = "eventlog.drills"


def ansible_doc(*arguments: str) -> dict[str, Any]:
    """What ansible-doc says, as data; ends with its message when it fails or warns."""
    run = subprocess.run(["ansible-doc", "--json", *arguments], capture_output=True, text=True, check=False)
    if run.returncode or "WARNING" in run.stderr or "ERROR" in run.stderr:
        sys.exit(f"ansible-doc {' '.join(arguments)}:\n{run.stderr.strip()}\n{run.stdout.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def main() -> None:
    """Render all; a module or a role with argument specs that is missing from the result is a mistake too."""
    modules = {f"{COLLECTION}.{path.stem}" for path in (ROOT / "plugins" / "modules").glob("*.py")}
    rendered = ansible_doc("--type", "module", *sorted(modules))
    without = sorted(
        name for name in modules if not all(rendered.get(name, {}).get(part) for part in ("doc", "examples", "return"))
    )
    if without:
        sys.exit(f"no documentation, examples or return values: {', '.join(without)}")
    roles = {f"{COLLECTION}.{path.parent.parent.name}" for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")}
    if roles:
        missing = sorted(roles - set(ansible_doc("--type", "role", *sorted(roles))))
        if missing:
            sys.exit(f"no argument specs are shown for: {', '.join(missing)}")


if __name__ == "__main__":
    main()
