"""The files in state_dir that outlive a run of the job.

- `topic.json`: the id of the topic that the running job was started on. The offsets of the consumer group and of every
  savepoint made since belong to that topic, and to no other of the same name.
- `resume.json`: written by a graceful stop, used by one start: renamed to `resume.used.json` before the job is
submitted.
- `savepoints/`, `checkpoints/`: Flink's own.

Every file is replaced as a whole and synced, with its folder, before the next step relies on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

_NO_END = -(2**63)
#: Flink gives this id to the job of a highly available application; its checkpoints are found again through ZooKeeper.
_HIGHLY_AVAILABLE_JOB = "0" * 32


@dataclasses.dataclass(frozen=True, slots=True)
class Resume:
    """Where a graceful stop left off.

    Attributes:
        savepoint: folder of the savepoint.
        topic_id: the topic its offsets belong to.
        next_offsets: Kafka partition -> next offset to read; for people and reports, the job reads the savepoint.
    """

    savepoint: str
    topic_id: str
    next_offsets: dict[int, int]


class State:
    """Access to state_dir.

    Args:
        folder: it; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.savepoints = folder / "savepoints"
        self._checkpoints = folder / "checkpoints"
        self._resume = folder / "resume.json"
        self._topic = folder / "topic.json"

    def topic_id(self) -> str | None:
        """The id of the topic of the last start, None if unknown."""
        value = _read(self._topic).get("topic_id")
        return value if isinstance(value, str) else None

    def remember_topic(self, topic: str, topic_id: str) -> None:
        """For `topic_id` of a later run. Raises OSError."""
        _write(self._topic, {"topic": topic, "topic_id": topic_id})

    def write_resume(self, resume: Resume) -> None:
        """Leaves a note for the next start. Raises OSError."""
        _write(self._resume, dataclasses.asdict(resume))

    def resume(self) -> Resume | None:
        """The note of the last graceful stop; None if there is none, it is unreadable or its savepoint is gone."""
        document = _read(self._resume)
        try:
            resume = Resume(
                savepoint=str(document["savepoint"]),
                topic_id=str(document["topic_id"]),
                next_offsets={int(key): int(value) for key, value in document["next_offsets"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return resume if (Path(resume.savepoint) / "_metadata").is_file() else None

    def use_up_resume(self) -> None:
        """The note is not found again after this, not even after a power cut. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._resume.replace(self._resume.with_name("resume.used.json"))
            _sync(self.folder)

    def prune(self, keep_savepoints: int) -> None:
        """Deletes what no start will use: all savepoints but the newest and the checkpoints of former jobs.

        Without high availability a JobManager that starts does not look for the checkpoints of its predecessor, and
        Flink leaves them behind when it is killed.
        """
        for old in _by_age(self.savepoints)[keep_savepoints:]:
            shutil.rmtree(old, ignore_errors=True)
        for former in _by_age(self._checkpoints):
            if former.name != _HIGHLY_AVAILABLE_JOB:
                shutil.rmtree(former, ignore_errors=True)


def positions(savepoint: Path, topic: str) -> dict[int, int]:
    """The next offset of each Kafka partition in a savepoint.

    Flink keeps so little state inside the savepoint's `_metadata`. A partition's is, in the Kafka connector's
    serialisation (KafkaPartitionSplitSerializer, version 0): the topic as Java's writeUTF, int partition, long next
    offset, long stopping offset, which is the smallest long in a job without end. The pattern is searched for instead
    of decoding what is around it.

    Returns:
        Partition -> offset. Negative offsets stand for "not yet read": -3 by the committed offset of the group. Empty
        if the file does not show the pattern.
    """
    content = (savepoint / "_metadata").read_bytes()
    name = topic.encode("utf-8")
    mark = struct.pack(">H", len(name)) + name
    found: dict[int, int] = {}
    at = content.find(mark)
    while at >= 0:
        start = at + len(mark)
        if start + 20 <= len(content):
            partition, offset, end = struct.unpack_from(">iqq", content, start)
            if end == _NO_END and partition >= 0:
                found[partition] = offset
        at = content.find(mark, at + 1)
    return dict(sorted(found.items()))


def _by_age(folder: Path) -> list[Path]:
    """Sub-folders, newest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (item for item in folder.iterdir() if item.is_dir()), key=lambda item: item.stat().st_mtime, reverse=True
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
