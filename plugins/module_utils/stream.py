"""The producer's stream of events, paused and resumed on its control socket, for which no library is needed."""

from __future__ import annotations

import json
import socket
from typing import Any

from ansible_collections.eventlog.drills.plugins.module_utils.units import UnitError

ANSWER_SECONDS = 5.0


def wanted(control: str) -> bool:
    """Whether the producer is to stream. It may not for other reasons, such as a full spool; only a pause is somebody's
    will.

    :param control: path of the control socket.
    :raises UnitError: it does not answer.
    """
    return bool(_ask(control, "status")["reason"] != "paused")


def set_wanted(control: str, streaming: bool, check: bool = False) -> bool:
    """Pause or resume the producer; returns whether that was, or with ``check`` would be, a change.

    :raises UnitError: it does not answer, or refuses.
    """
    if wanted(control) == streaming:
        return False
    if not check:
        _ask(control, "resume" if streaming else "pause")
    return True


def _ask(control: str, request: str) -> dict[str, Any]:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(control)
            connection.sendall(json.dumps({"do": request}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline())
        if not answer["ok"]:
            raise UnitError(f"the producer refused to {request}: {answer['error']}")
        return dict(answer["status"])
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise UnitError(f"the producer is not running: nobody listens on {control}") from error
    except TimeoutError as error:
        raise UnitError(f"the producer did not answer on {control} within {ANSWER_SECONDS:g} s") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnitError(f"the producer gave no answer on {control}: {error}") from error
