"""Where the job begins to read: decided once, when the JobManager starts it."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from eventlog_job.config import JobConfig
from eventlog_job.state import State
from eventlog_job.topic import TopicError, Topics

#: Seconds between two questions to Kafka, and between two lines about it.
_ASK_EVERY = 0.5
_SAY_EVERY = 5.0


class StartError(Exception):
    """The job cannot start; the message is for a person."""


def prepare(config: JobConfig) -> str | None:
    """Waits for Kafka and decides.

    Returns:
        The savepoint of the last graceful stop if it is unused and of the topic that exists now; None for the
        committed offsets of the consumer group. If the topic was made anew since the last start, the group's offsets,
        which count the records of the former topic, are deleted first, so that the job reads the new topic from its
        beginning.

    Raises:
        StartError: Kafka or a topic was not there within start_timeout_seconds.
    """
    topics = Topics(config.bootstrap_servers, config.kafka_client)
    topic_id = _wait(config, topics)
    state = State(Path(config.state_dir))
    resume, former = state.resume(), state.topic_id()
    if former is not None and former != topic_id:
        _say(f"topic {config.topic} was made anew ({former} -> {topic_id}): reading it from the beginning")
        _forget(config, topics)
        resume = None
    elif resume is not None and resume.topic_id != topic_id:
        _say(f"the savepoint belongs to another topic ({resume.topic_id}): starting from the offsets of the group")
        resume = None
    state.remember_topic(config.topic, topic_id)
    state.use_up_resume()
    state.prune(config.tuning.keep_savepoints)
    if resume is None:
        _say(f"starting from the committed offsets of group {config.group_id}")
        return None
    _say(f"resuming from savepoint {resume.savepoint}, next offsets {resume.next_offsets}")
    return resume.savepoint


def _wait(config: JobConfig, topics: Topics) -> str:
    begin = time.monotonic()
    limit = config.tuning.start_timeout_seconds
    said = begin - _SAY_EVERY
    pause = threading.Event()
    while True:
        try:
            topics.topic_id(config.dead_letter_topic)
            return topics.topic_id(config.topic)
        except TopicError as error:
            waited = time.monotonic() - begin
            if waited >= limit:
                raise StartError(f"{error}; gave up after {limit:g} s (start_timeout_seconds in [job])") from error
            if time.monotonic() - said >= _SAY_EVERY:
                said = time.monotonic()
                _say(f"waiting, {waited:.0f} s of at most {limit:g} s: {error}")
        pause.wait(_ASK_EVERY)


def _forget(config: JobConfig, topics: Topics) -> None:
    try:
        topics.delete_group(config.group_id)
    except TopicError as error:
        raise StartError(f"{error}; the group still has the offsets of the former topic {config.topic}") from error


def _say(text: str) -> None:
    print(f"eventlog_job: {text}", file=sys.stderr, flush=True)
