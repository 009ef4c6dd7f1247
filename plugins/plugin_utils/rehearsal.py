"""A drill while it runs: what ties samples, receipts, journal and terminal together.

One :class:`Rehearsal` lives for one task of the playbook and picks up where the task before it stopped: everything it
needs is in the run's folder (``state.json`` and the journal), so that any later task, or a later process, can go on.
All times in the journal are this machine's; what comes from the host is corrected by the difference of the clocks.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.eventlog.drills.plugins.plugin_utils import announcing, journal, live, receipts
from ansible_collections.eventlog.drills.plugins.plugin_utils.host import Host, HostError, detached, ended, quoted
from ansible_collections.eventlog.drills.plugins.plugin_utils.journal import Record, Run
from ansible_collections.eventlog.drills.plugins.plugin_utils.shapes import Snapshot, Steady

Say = Callable[[str], None]

#: Bytes of samples fetched at once: hours of them, so that a long gap is caught up in a few steps.
_FETCH_BYTES = 4 * 1024**2
#: Roles in the order in which their units come back; a unit's name begins with its role's.
SERVICES = ("kafka", "cassandra", "flink", "producer")
#: Seconds without a new sample after which the sampler counts as gone.
SAMPLER_SILENCE_SECONDS = 30.0


class RehearsalError(Exception):
    """The drill cannot go on; one line saying what is wrong, where, and what to do."""


class SilentSamplerError(RehearsalError):
    """Nothing can be seen any more, which says nothing about the pipeline."""


@dataclass(frozen=True)
class State:
    """What a later task must know of the running drill; kept in the run's folder, rewritten as a whole."""

    folder: str  #: the drill's folder on the host
    config: str  #: etc/pipeline.toml on the host
    python: str
    pythonpath: str
    interval: float  #: seconds between samples
    offset: float  #: seconds by which the host's clock is ahead
    patience: float  #: seconds that anything is waited for, after which it is said that it did not happen
    cursor: int = 0  #: bytes of the host's samples that were fetched
    sampler_pid: int = 0
    sampler_start: int = 0
    lock: str = ""  #: id of the holder of the pipeline's lock that this drill is
    settled: float = 0.0  #: when nothing was left to wait for but the books, seconds since the epoch; 0 before

    @property
    def samples(self) -> str:
        """The sampler's file on the host."""
        return f"{self.folder}/samples.jsonl"

    @property
    def lease(self) -> str:
        """The file whose freshness says that somebody still watches."""
        return f"{self.folder}/lease"


class Rehearsal:
    """A running drill."""

    def __init__(self, run: Run, host: Host, state: State, say: Say) -> None:
        self.run = run
        self.host = host
        self.state = state
        self.say = say
        #: Faults and undos that this task was the first to journal.
        self.fresh: list[Record] = []
        self._samples: list[Record] | None = None
        self._parent = os.getppid()

    @classmethod
    def resume(cls, path: str | Path, host: Host, say: Say) -> Rehearsal:
        """Go on with the drill whose run folder this is.

        :raises RehearsalError: the folder holds no running drill.
        """
        run = Run(Path(path))
        try:
            state = State(**json.loads((run.path / "state.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RehearsalError(f"{run.path} holds no running drill ({error}); begin one first") from error
        return cls(run, host, state, say)

    # -- the run's folder ----------------------------------------------------------------------------------------

    def save(self, **changes: Any) -> None:
        """Keep changed state for the tasks to come."""
        self.state = replace(self.state, **changes)
        journal.write_private(self.run.path / "state.json", json.dumps(asdict(self.state)))

    def note(self, kind: str, /, **fields: Any) -> Record:
        """Append a record to the journal; the monitor is told when it changes how the drill stands."""
        record = journal.append(self.run, kind, **fields)
        if announcing.matters(record):
            self._announce()
        return record

    def _announce(self) -> None:
        state = self.state
        with contextlib.suppress(HostError, journal.JournalError):  # what the monitor hears is no matter of the drill
            found = announcing.announcement(self.records, state.offset)
            self.host.run(announcing.script(found, state.folder, state.config, state.python, state.pythonpath))

    @property
    def records(self) -> list[Record]:
        """The journal so far."""
        return journal.read_records(self.run.journal)

    @property
    def samples(self) -> list[Record]:
        """All samples fetched so far."""
        if self._samples is None:
            self._samples = journal.read_records(self.run.samples)
        return self._samples

    @property
    def steady(self) -> Steady | None:
        """The steady state that the drill started from."""
        record = journal.last(self.records, "steady")
        if record is None or not record.get("ok"):
            return None
        return Steady(rate=float(record["rate"]), lag=int(record["lag"]), streaming=bool(record.get("streaming", True)))

    # -- the sampler ---------------------------------------------------------------------------------------------

    def start_sampler(self, lease_seconds: float) -> None:
        """Start the sampler as a process of its own on the host.

        :raises RehearsalError: it could not be started.
        """
        words = [
            *(self.state.python, "-m", "eventlog.sampler", "--config", self.state.config, "--out", self.state.samples),
            *(
                "--interval",
                f"{self.state.interval:g}",
                "--lease",
                self.state.lease,
                "--lease-seconds",
                f"{lease_seconds:g}",
            ),
        ]
        script = detached(words, environment={"PYTHONPATH": self.state.pythonpath}, log=self._sampler_log)
        try:
            pid, start = self.host.run(f"{quoted('touch', self.state.lease)} && {script}").split()
        except (HostError, ValueError) as error:
            raise RehearsalError(f"the sampler does not start: {error}") from error
        self.save(sampler_pid=int(pid), sampler_start=int(start))

    @property
    def _sampler_log(self) -> str:
        return f"{self.state.folder}/sampler.log"

    def ask_settings(self, script: str) -> None:
        """Have the settings of the running servers read in the background; :meth:`live_settings` picks them up.

        :param script: the text of the reading program.
        """
        folder = self.state.folder
        words = quoted(self.state.python, "-c", script, self.state.config)
        command = (
            f"{words} >{quoted(f'{folder}/settings.new')} && mv {quoted(f'{folder}/settings.new', self._settings)}"
        )
        environment = {"PYTHONPATH": self.state.pythonpath}
        self.host.run(
            f"rm -f {quoted(self._settings)}\n"
            + detached(["sh", "-c", command], environment=environment, log=f"{folder}/settings.log")
        )

    @property
    def _settings(self) -> str:
        return f"{self.state.folder}/settings.json"

    def live_settings(self) -> dict[str, Any]:
        """Settings of the running servers, journalled when they are seen first; empty while they are not known."""
        known = next((record["settings"] for record in self.records if record["kind"] == "settings"), None)
        if known is not None:
            return dict(known)
        try:
            found = json.loads(self.host.run(f"cat {quoted(self._settings)} 2>/dev/null || true"))
        except (HostError, ValueError):
            return {}
        self.note("settings", settings=found)
        return dict(found)

    def stop_sampler(self) -> None:
        """End the sampler; when the host cannot be reached its lease ends it."""
        if self.state.sampler_pid:
            self.host.run(ended(self.state.sampler_pid, self.state.sampler_start))

    def fetch(self) -> list[Record]:
        """Fetch the samples written since the last time, renewing the lease; an unreachable host has none.

        Times are corrected to this machine's clock, and the samples kept in the run's folder.
        """
        script = (
            f"{quoted('touch', self.state.lease)}; "
            f"tail -c +{self.state.cursor + 1} {quoted(self.state.samples)} 2>/dev/null | head -c {_FETCH_BYTES}"
        )
        try:
            data = self.host.run(script).encode("utf-8")
        except HostError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        if not complete:
            return []
        fresh = [_corrected(sample, self.state.offset) for sample in journal.parse_lines(complete, where="the sampler")]
        journal.append_samples(self.run, fresh)
        if self._samples is not None:
            self._samples.extend(fresh)
        self.save(cursor=self.state.cursor + len(complete))
        return fresh

    def follow(self, done: Callable[[], bool], *, until: float, each: Callable[[], None] | None = None) -> bool:
        """Fetch samples until ``done`` says so, or until a moment (seconds since the epoch) has passed.

        :param each: called after every fetch, to show how far things are.
        :returns: what ``done`` said last.
        :raises SilentSamplerError: the sampler has gone silent.
        """
        heard = due = time.time()
        while True:
            if os.getppid() != self._parent:
                # Ansible's workers have sessions of their own and outlive a killed ansible-playbook. One that went on
                # looking would keep the lease young and the service away.
                raise RehearsalError("the controller has gone")
            fresh = self.fetch()
            if fresh:
                heard, due = time.time(), float(fresh[-1]["time"]) + self.state.interval
            elif time.time() - heard > SAMPLER_SILENCE_SECONDS:
                raise SilentSamplerError(self._silence())
            finished = done()
            if finished or time.time() >= until:
                return finished
            if each is not None:
                each()
            # Before the next sample is due there is nothing to see; then it may come at any moment.
            pause = max(due - time.time(), self.state.interval / 5)
            time.sleep(max(0.05, min(pause, until - time.time())))

    def _silence(self) -> str:
        try:
            tail = self.host.run(f"tail -n 3 {quoted(self._sampler_log)} 2>/dev/null").strip().splitlines()
        except HostError as error:
            return f"no samples for {SAMPLER_SILENCE_SECONDS:.0f} s: {error}"
        last = tail[-1] if tail else "it says nothing"
        return f"the sampler is silent for {SAMPLER_SILENCE_SECONDS:.0f} s: {last} (log: {self._sampler_log})"

    # -- receipts ------------------------------------------------------------------------------------------------

    def absorb(self, found: Iterable[Mapping[str, Any]] | None) -> list[Record]:
        """Journal receipts that are not there yet, judged; returns the new records (one per kind, faults first)."""
        noted = [receipt for record in self.records for receipt in record.get("receipts", [])]
        known = {receipts.identity(receipt) for receipt in noted}
        seen = {str(receipt["unit"]): receipt for receipt in noted if receipt.get("verb") == "observed"}
        local = [_local_receipt(receipt, self.state.offset) for receipt in found or []]
        # One playbook may run several drills: what the one before did to a unit is none of this one's.
        began = float(self.records[0]["time"])
        new = [receipt for receipt in local if receipts.identity(receipt) not in known and receipt["time"] >= began]
        looked = [receipt for receipt in new if receipt.get("verb") == "observed"]
        if looked:
            self.note("note", text="seen before the fault", receipts=looked)
        return self._judge_receipts(receipts.completed(receipt, seen) for receipt in new if receipts.kind(receipt))

    def absorb_savepoint(self, found: Mapping[str, Any]) -> None:
        """Journal, once, with which savepoint the job ended and at which offsets."""
        path, began = found.get("savepoint"), float(found.get("began") or 0.0) - self.state.offset
        if not path or began < float(self.records[0]["time"]):
            return
        if all(record.get("savepoint") != path for record in self.records):
            text = f"the job ended with the savepoint {path}"
            self.note("note", text=text, savepoint=path, next_offsets=found.get("next_offsets") or {})

    def note_untouched(self, intent: str) -> None:
        """Journal what a verb that should have taken units away has left alone: a fault that did not bite."""
        self._judge_receipts(receipts.untouched(self.records, intent, time.time()))

    def _judge_receipts(self, found: Iterable[Mapping[str, Any]]) -> list[Record]:
        known = self.records
        fresh = [{**receipts.judged(receipt), "outside": receipts.outside(receipt, known)} for receipt in found]
        records = []
        for kind in ("fault", "undo"):
            chosen = [receipt for receipt in fresh if receipts.kind(receipt) == kind]
            if chosen:
                records.append(self.note(kind, receipts=chosen))
                self.say(live.line(kind, " · ".join(receipts.describe(receipt) for receipt in chosen)))
        self.fresh += records
        return records

    def last_change(self) -> float:
        """When the last fault, undo or change of the stream was done, seconds since the epoch; now without any."""
        done = [
            receipts.ended(receipt)
            for record in self.records
            if record["kind"] in ("fault", "undo")
            for receipt in record.get("receipts", [])
        ]
        done += [float(record["time"]) for record in self.records if "streaming" in record and record["kind"] == "note"]
        return max(done, default=time.time())

    def last_end(self) -> float:
        """When the last phase ended; minus infinity before the first."""
        ends = [float(r["at"]) for r in self.records if r["kind"] == "phase" and r["state"] == "ended"]
        return max(ends, default=float("-inf"))

    def note_expired_lease(self) -> bool:
        """Journal, once, that the guard has undone the fault because nobody renewed the lease; returns whether."""
        if any(r["kind"] == "lease" and r.get("state") == "expired" for r in self.records):
            return True
        text = self.host.run(f"cat {quoted(self.state.folder)}/guard.json 2>/dev/null || true")
        try:
            guard = json.loads(text)
        except ValueError:
            return False
        if guard.get("state") != "expired":
            return False
        done = ", ".join([*guard.get("done", []), *(f"not {failed}" for failed in guard.get("failed", []))])
        self.note("lease", state="expired", at=float(guard["time"]) - self.state.offset, text=done or "nothing to do")
        return True

    def away(self) -> list[dict[str, str]]:
        """What must be brought back, in the order in which it should: the role and its verb."""
        units = receipts.outstanding(self.records)
        found = [
            {"role": role, "verb": next(verb for unit, verb in units.items() if unit.split("-")[0] == role)}
            for role in SERVICES
            if any(unit.split("-")[0] == role for unit in units)
        ]
        streams = [record["streaming"] for record in self.records if record["kind"] == "note" and "streaming" in record]
        if streams and not streams[-1]:
            found.append({"role": "producer", "verb": "resume_stream"})
        return found

    def undos(self) -> list[Record]:
        """The undo records since the last recovery was observed."""
        found: list[Record] = []
        for record in self.records:
            if record["kind"] == "recovery" and record.get("drained") is not None:
                found = []
            elif record["kind"] == "undo":
                found.append(record)
        return found


def _corrected(sample: Record, offset: float) -> Record:
    return {**sample, "time": round(float(sample["time"]) - offset, 3)}


def _local_receipt(receipt: Mapping[str, Any], offset: float) -> dict[str, Any]:
    return {**receipt, "time": round(float(receipt.get("time") or 0.0) - offset, 3)}


def command_line() -> list[str]:
    """The command that runs this drill, as typed, with anything that looks like a secret taken out."""
    words = _words_of_parent()
    if words and os.path.basename(words[0]).startswith("python") and len(words) > 1:
        words = words[1:]
    if words:
        words[0] = os.path.basename(words[0])
    return [redacted(word) for word in words]


def _words_of_parent() -> list[str]:
    # Tasks run in a worker process; the playbook's own command line is its parent's.
    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as stream:
            return stream.read().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []


_SECRET_WORDS = ("pass", "secret", "token", "key", "credential")


def redacted(word: str) -> str:
    """``name=value`` with the value hidden when the name looks like a secret's; anything else as it is."""
    parts = []
    for part in word.split(" "):
        name, equals, _ = part.partition("=")
        hidden = equals and any(secret in name.lower() for secret in _SECRET_WORDS)
        parts.append(f"{name}=…" if hidden else part)
    if word.lstrip().startswith("{") and any(secret in word.lower() for secret in _SECRET_WORDS):
        return "{…}"
    return " ".join(parts)


def base_sample(samples: Sequence[Snapshot], moment: float) -> Snapshot | None:
    """The last sample before a moment, else the first one after it."""
    before = next((sample for sample in reversed(samples) if float(sample["time"]) <= moment), None)
    return before or (samples[0] if samples else None)
