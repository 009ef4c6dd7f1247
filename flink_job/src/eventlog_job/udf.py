"""The sink as a vectorised Python function of Flink's Table API."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyflink.table import FunctionContext, ScalarFunction

from eventlog_job.config import JobConfig

if TYPE_CHECKING:
    from eventlog_job.worker import Worker


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
        """Starts a worker; see `eventlog_job.worker`."""
        # Imported here: the client in the JobManager only names this class, and would load pandas and the Cassandra
        # driver for nothing.
        module = importlib.import_module("eventlog_job.worker")
        self._worker: Worker = module.Worker(self._config, function_context.get_metric_group())

    def close(self) -> None:
        """Ends the worker."""
        self._worker.close()

    def eval(self, values: Any, partitions: Any, offsets: Any) -> Any:
        """One batch; takes and returns pandas Series."""
        return self._worker.process(values, partitions, offsets)
