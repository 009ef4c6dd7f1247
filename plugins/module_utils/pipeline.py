"""What the modules that read a pipeline have in common."""

from __future__ import annotations

from ansible.module_utils.basic import missing_required_lib


def missing_library(error: str) -> str:
    """The message of a module that could not import the package ``eventlog`` or its clients.

    :param error: the last line of the import's traceback, which names what is missing.
    """
    reason = (
        "to read the pipeline. Set PYTHONPATH in the environment of the task to the trees of the pipeline (the role "
        "distribution says where they are in pipeline_pythonpath), or install the folder producer of this collection "
        f"for that Python. What was missing: {error.strip().splitlines()[-1]}"
    )
    return str(missing_required_lib("eventlog", reason=reason))
