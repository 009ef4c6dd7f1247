"""Callback plugin `drill`: what a person wants to see of a playbook, and nothing of Ansible's own bookkeeping."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from typing import Any

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible_collections.eventlog.drills.plugins.plugin_utils.live import LABEL_WIDTH, TERMINAL_VARIABLE

DOCUMENTATION = r"""
name: drill
type: stdout
short_description: One line per thing that matters
version_added: "0.1.0"
description:
  - Shows the names of plays, the lines that the drills and the runtime print themselves, and failures as the message
    they carry, without dictionaries around them.
  - A result with C(progress) (a line, or a list of lines) has them shown, and so have the message of a debug task, and
    warnings.
  - On a terminal the task at work is shown in a line of its own that vanishes when it is done.
  - With C(-v), or in check mode with C(--diff), everything is shown as P(ansible.builtin.default#callback) shows it.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
author: [Event Log Drills authors]
"""

#: Lines of a failed task's evidence that are shown.
_EVIDENCE_LINES = 40


class CallbackModule(DefaultCallback):
    """Terse output; the default one when more verbosity is asked for."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "eventlog.drills.drill"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A dumb terminal, which is what programs that keep a log of this offer, cannot go back on its line.
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._began = time.monotonic()
        self._transient = False
        if self._terminal:
            # Workers have no terminal of their own; this tells their live lines how wide ours is.
            os.environ[TERMINAL_VARIABLE] = str(shutil.get_terminal_size().columns)
        else:
            os.environ.pop(TERMINAL_VARIABLE, None)
            # Ansible leaves its output to the buffer: a file or a pipe would get it in blocks of 8 KiB, minutes late.
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)

    # -- showing -------------------------------------------------------------------------------------------------

    @property
    def _loud(self) -> bool:
        return bool(self._display.verbosity > 0)

    def _show(self, text: str, color: str | None = None) -> None:
        self._clear()
        self._display.display(text, color=color)

    def _clear(self) -> None:
        if self._transient:
            self._transient = False
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()

    def _working(self, name: str) -> None:
        """Show the task at work, on a terminal only; whoever prints next overwrites it."""
        if not self._terminal or not name:
            return
        width = shutil.get_terminal_size().columns
        sys.stdout.write(f"\r\x1b[2m {'…':<{LABEL_WIDTH}}{name}"[: width + 3] + "\x1b[0m\x1b[K\r")
        sys.stdout.flush()
        self._transient = True

    # -- plays and tasks -----------------------------------------------------------------------------------------

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Show the play's name."""
        if self._loud:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        name = play.get_name().strip()
        if name and not name.startswith("Drill "):
            # A drill shows its own title, with the name of its run.
            self._show(name, color=C.COLOR_HIGHLIGHT)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Show on a terminal what is being done."""
        if self._loud:
            super().v2_playbook_on_task_start(task, is_conditional)
            return
        self._working(task.get_name().rpartition(" : ")[2])

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Show on a terminal what is being done."""
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_cleanup_task_start(self, task: Any) -> None:
        """Show on a terminal what is being done."""
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Files that are included are no news."""
        if self._loud:
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """An empty group would otherwise look like success."""
        self._show(" nothing to do: no host of the inventory is in this play's group", color=C.COLOR_WARN)

    # -- results -------------------------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result: Any) -> None:
        """Show the lines that the task asks for."""
        if self._loud:
            super().v2_runner_on_ok(result)
            return
        found = _result_of(result)
        if _action_of(result) in C._ACTION_DEBUG:  # what a playbook itself wants to say
            found = {"progress": found.get("msg")}
        self._progress(found)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Show the lines that the item asks for."""
        if self._loud:
            super().v2_runner_item_on_ok(result)
            return
        self._progress(_result_of(result))

    def _progress(self, result: dict[str, Any]) -> None:
        lines = result.get("progress")
        for line in [lines] if isinstance(lines, str) else lines or []:
            self._show(str(line))
        for warning in result.get("warnings") or []:
            self._show(f" {'warning':<{LABEL_WIDTH}}{warning}", color=C.COLOR_WARN)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Nothing happened, nothing is shown."""
        if self._loud:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        """Nothing happened, nothing is shown."""
        if self._loud:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Starts are shown with the task."""
        if self._loud:
            super().v2_runner_on_start(host, task)

    def v2_runner_retry(self, result: Any) -> None:
        """A retry is patience, not news."""
        if self._loud:
            super().v2_runner_retry(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Show the failure's own message and evidence; a verdict has been shown already."""
        if self._loud:
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
            return
        found = _result_of(result)
        if ignore_errors or "said" in found or "results" in found:
            self._clear()
            return
        self._failure(_task_of(result), found)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Show the failed item's message."""
        if self._loud:
            super().v2_runner_item_on_failed(result)
            return
        self._failure(_task_of(result), _result_of(result))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Show which host cannot be reached, and why."""
        if self._loud:
            super().v2_runner_on_unreachable(result)
            return
        host = _host_of(result)
        self._show(f" {'unreachable':<{LABEL_WIDTH}}{host}: {_message(_result_of(result))}", color=C.COLOR_UNREACHABLE)

    def _failure(self, task: str, result: dict[str, Any]) -> None:
        first, *rest = _message(result).splitlines() or ["no message"]
        self._show(f" {'failed':<{LABEL_WIDTH}}{first}", color=C.COLOR_ERROR)
        for line in rest[:_EVIDENCE_LINES]:
            self._show(f" {'':<{LABEL_WIDTH}}{line}")
        if task:
            self._show(f" {'':<{LABEL_WIDTH}}(in the task '{task}'; -v shows everything)")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Show one line per host: what changed, what failed, how long it took."""
        if self._loud:
            super().v2_playbook_on_stats(stats)
            return
        self._clear()
        seconds = time.monotonic() - self._began
        for host in sorted(stats.processed):
            total = stats.summarize(host)
            troubled = total["failures"] or total["unreachable"]
            text = f"{host}: ok={total['ok']} changed={total['changed']} failed={total['failures']}"
            if total["unreachable"]:
                text += f" unreachable={total['unreachable']}"
            self._show(f" {'done':<{LABEL_WIDTH}}{text}   {seconds:.0f} s", color=C.COLOR_ERROR if troubled else None)


def _result_of(result: Any) -> dict[str, Any]:
    found = result.result if hasattr(result, "result") else result._result
    return dict(found)


def _action_of(result: Any) -> str:
    task = result.task if hasattr(result, "task") else result._task
    return str(task.action)


def _task_of(result: Any) -> str:
    task = result.task if hasattr(result, "task") else result._task
    return str(task.get_name()).rpartition(" : ")[2]


def _host_of(result: Any) -> str:
    host = result.host if hasattr(result, "host") else result._host
    return str(host.get_name())


def _message(result: dict[str, Any]) -> str:
    """What went wrong, in the words of whoever knew best."""
    message = str(result.get("msg") or "").strip()
    message = message.removeprefix("Task failed: ").removeprefix("Module failed: ").removeprefix("Action failed: ")
    evidence = [str(result.get(key) or "").strip() for key in ("stderr", "module_stderr", "stdout") if result.get(key)]
    if not message or message in ("MODULE FAILURE", "non-zero return code"):
        command = result.get("cmd")
        shown = " ".join(command) if isinstance(command, list) else str(command or "")
        message = (
            f"{shown or 'the task'} failed with status {result.get('rc')}" if "rc" in result else message or "failed"
        )
    return "\n".join([message, *[text for text in evidence if text and text not in message]])
