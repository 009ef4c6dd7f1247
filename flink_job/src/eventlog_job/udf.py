"""The sink as a vectorised Python function of Flink's Table API."""
from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable

import pandas as pd
from pyflink.table import FunctionContext, ScalarFunction

from eventlog_job.config import JobConfig
from eventlog_job.sink import Counters, Sink, new_attempt
from eventlog_job.store import Patience, Store
from eventlog_job.topic import TopicError, Topics

_LOG = logging.getLogger(__name__)
#: Seconds between two looks at the processes above; an orphan lives at most this long.
_LOOK_EVERY = 1.0


class WriteToCassandra(ScalarFunction):  # type: ignore[misc]  # pyflink has no type hints
    """(value, partition, offset) of Kafka records -> null for a stored row, else the dead letter.

    Args:
        config: travels to the workers by pickle.
    """

    def __init__(self, config: JobConfig) -> None:
        self._config = config

    def is_deterministic(self) -> bool:
        """It writes: Flink must neither evaluate it twice nor move it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Starts a worker. Waits for nothing: Cassandra and Kafka may be away, that is dealt with batch by batch."""
        group = function_context.get_metric_group().add_group("eventlog")
        counters = Counters(*(group.counter(name) for name in ("written", "retried", "rewritten", "rejected")))
        attempt = new_attempt()
        self._stop = threading.Event()
        follow_ancestors(self._stop)
        self._store = Store(self._config, self._stop, counters.retried.inc)
        topics = Topics(self._config.bootstrap_servers, self._config.kafka_client)
        ask = functools.partial(_ask_topic_id, self._config, topics, self._stop)
        self._sink = Sink(self._config, self._store, ask, counters, attempt)
        _LOG.info("worker started, attempt %s", attempt)

    def close(self) -> None:
        """Ends the worker."""
        self._stop.set()
        self._store.close()

    def eval(self, values: pd.Series, partitions: pd.Series, offsets: pd.Series) -> pd.Series:
        """One batch."""
        return pd.Series(self._sink.process(values.tolist(), partitions.tolist(), offsets.tolist()), dtype=object)


def _ask_topic_id(config: JobConfig, topics: Topics, stop: threading.Event) -> str:
    patience = Patience(config.tuning, stop, f"Kafka at {config.bootstrap_servers}")
    while True:
        try:
            return topics.topic_id(config.topic)
        except TopicError as error:
            patience.failure(error)


def follow_ancestors(stop: threading.Event, die: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Ends this process when one of those that started it is gone.

    A killed TaskManager leaves its Python workers behind: they would wait for Cassandra for ever and write to it long after
    their successors have started.
    """
    chain = _ancestors()

    def look() -> None:
        while not stop.wait(_LOOK_EVERY):
            if _ancestors() != chain:
                _LOG.error("the TaskManager is gone; worker %d ends", os.getpid())
                die()

    threading.Thread(target=look, name="follow-ancestors", daemon=True).start()


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
