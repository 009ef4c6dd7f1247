"""Render the documentation of every module, plugin and role as ansible-doc does: no mistake in it is committed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = "eventlog.drills"


def ansible_doc(*arguments: str) -> dict[str, Any]:
    """What ansible-doc says, as data; ends with its message when it fails or warns."""
    run = subprocess.run(["ansible-doc", "--json", *arguments], capture_output=True, text=True, check=False)
    # Core 2.21 warns of a collection of its own, which lies in its package and has no manifest.
    said = [line for line in run.stderr.splitlines() if "ansible/_internal/" not in line]
    if run.returncode or any("WARNING" in line or "ERROR" in line for line in said):
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
    # An action plugin is documented by the module of its name.
    actions = {f"{COLLECTION}.{path.stem}" for path in (ROOT / "plugins" / "action").glob("*.py")}
    if actions - modules:
        sys.exit(f"action plugins without a module that documents them: {', '.join(sorted(actions - modules))}")
    callbacks = {f"{COLLECTION}.{path.stem}" for path in (ROOT / "plugins" / "callback").glob("*.py")}
    if undocumented := callbacks - set(ansible_doc("--type", "callback", *sorted(callbacks))):
        sys.exit(f"no documentation of: {', '.join(sorted(undocumented))}")
    entries = {
        f"{COLLECTION}.{role.name}, {entry}"
        for role in (ROOT / "roles").iterdir()
        for entry in yaml.safe_load((role / "meta" / "argument_specs.yml").read_text("utf-8"))["argument_specs"]
    }
    shown = {
        f"{role}, {entry}"
        for role, found in ansible_doc("--type", "role", *sorted({name.partition(",")[0] for name in entries})).items()
        for entry, spec in found["entry_points"].items()
        if spec.get("short_description")
    }
    if entries - shown:
        sys.exit(f"not shown, or without a description: {'; '.join(sorted(entries - shown))}")


if __name__ == "__main__":
    main()
