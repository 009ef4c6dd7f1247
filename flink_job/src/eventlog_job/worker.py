"""One Python worker of the job: makes the sink's parts and ends with the TaskManager."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from typing import Any, Protocol

import pandas as pd

from eventlog_job.config import JobConfig
from eventlog_job.sink import Counter, Counters, Sink, new_attempt
from eventlog_job.store import Patience, Store
from eventlog_job.topic import TopicError, Topics

_LOG = logging.getLogger(__name__)
#: Seconds between two looks at the processes above; an orphan lives at most this long.
_LOOK_EVERY = 1.0


class MetricGroup(Protocol):
    """What is used of Flink's metric group."""

    def add_group(self, name: str) -> MetricGroup:
        """A group inside this one."""

    def counter(self, name: str) -> Counter:
        """A metric that only grows."""


class Worker:
    """The sink and what it needs. Waits for nothing: Cassandra and Kafka may be away when it starts.

    Args:
        config: addresses and tuning.
        metrics: where the counters `eventlog.written` and so on are made.
    """

    def __init__(self, config: JobConfig, metrics: MetricGroup) -> None:
        # The driver reports each attempt of an outage with a stack trace; the store says the same, once in ten seconds.
        logging.getLogger("cassandra").setLevel(logging.CRITICAL)
        group = metrics.add_group("eventlog")
        counters = Counters(*(group.counter(name) for name in ("written", "retried", "rewritten", "rejected")))
        attempt = new_attempt()
        self._stop = threading.Event()
        follow_ancestors()
        self._store = Store(config, self._stop, counters.retried.inc)
        topics = Topics(config.bootstrap_servers, config.kafka_client)
        ask = functools.partial(_ask_topic_id, config, topics, self._stop)
        self._sink = Sink(config, self._store, ask, counters, attempt)
        _LOG.info("worker started, attempt %s", attempt)

    def process(self, values: Any, partitions: Any, offsets: Any) -> Any:
        """One batch of records as pandas Series; the answer is a Series of dead letters and nulls."""
        letters = self._sink.process(values.tolist(), partitions.tolist(), offsets.tolist())
        return pd.Series(letters, dtype=object)

    def close(self) -> None:
        """Ends the connection and the wait for it."""
        self._stop.set()
        self._store.close()


@functools.cache  # a process that makes another worker, for a restarted task, is watched already
def follow_ancestors() -> None:
    """Ends this process, with status 1, when one of those that started it is gone.

    A killed TaskManager leaves its Python workers behind: they would wait for Cassandra for ever and write to it long
    after their successors have started. An orphan may have closed its worker by itself and still linger in a thread of
    its libraries, so nothing ends the watch but the process. It says nothing: whoever would hear it is gone.
    """
    chain = _ancestors()

    def look() -> None:
        while _ancestors() == chain:
            time.sleep(_LOOK_EVERY)
        os._exit(1)

    threading.Thread(target=look, name="follow-ancestors", daemon=True).start()


def _ask_topic_id(config: JobConfig, topics: Topics, stop: threading.Event) -> str:
    patience = Patience(config.tuning, stop, f"Kafka at {config.bootstrap_servers}")
    while True:
        try:
            return topics.topic_id(config.topic)
        except TopicError as error:
            patience.failure(error)


def _ancestors() -> list[int]:
    """The pids above this process up to the first Java virtual machine; all of them if there is none."""
    chain: list[int] = []
    pid = os.getppid()
    while pid > 1:
        chain.append(pid)
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
        except OSError:
            break
        if name == "java":
            break
        pid = int(rest.split()[1])
    return chain
