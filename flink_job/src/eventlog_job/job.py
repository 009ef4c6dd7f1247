"""The Flink job: Kafka topic -> sink -> dead-letter topic.

Runs inside the JobManager (application mode), which calls `main` when its REST interface is up.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyflink.table import DataTypes, EnvironmentSettings, TableEnvironment
from pyflink.table.udf import udf

from eventlog_job.config import ConfigError, JobConfig
from eventlog_job.kafka_client import java_properties
from eventlog_job.start import StartError, prepare
from eventlog_job.udf import WriteToCassandra


def build(config: JobConfig, savepoint: str | None) -> TableEnvironment:
    """The table environment with source, sink and function, ready for `INSERT`.

    Args:
        config: names, addresses and tuning.
        savepoint: where to resume, None for the committed offsets of the group.
    """
    environment = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for key, value in _settings(config, savepoint).items():
        environment.get_config().set(key, value)
    write = udf(
        WriteToCassandra(config),
        input_types=[DataTypes.BYTES(), DataTypes.INT(), DataTypes.BIGINT()],
        result_type=DataTypes.STRING(),
        func_type="pandas",
    )
    environment.create_temporary_function("write_to_cassandra", write)
    client = java_properties(config.bootstrap_servers, config.kafka_client)
    environment.execute_sql(_source(config, client))
    environment.execute_sql(_dead_letters(config, client))
    return environment


#: The function is the only column of the inner query, so that it is evaluated once per record.
INSERT = """
    INSERT INTO dead_letters
    SELECT letter FROM (SELECT write_to_cassandra(`value`, kafka_partition, kafka_offset) AS letter FROM records)
    WHERE letter IS NOT NULL
"""


def _settings(config: JobConfig, savepoint: str | None) -> dict[str, str]:
    tuning = config.tuning
    settings = {
        "pipeline.name": config.job_name,
        "parallelism.default": str(config.parallelism),
        "python.execution-mode": "process",  # pandas functions know no other
        "python.fn-execution.arrow.batch.size": str(tuning.arrow_batch),
        "python.fn-execution.bundle.size": str(tuning.bundle_records),
        "python.fn-execution.bundle.time": str(tuning.bundle_milliseconds),
        "python.fn-execution.memory.managed": "false",  # the TaskManager has no managed memory to give
    }
    if savepoint is not None:
        settings["execution.state-recovery.path"] = savepoint
        # After an upgrade that changes the plan the source may not find its state: it then reads from the offsets of
        # the group, which are never ahead of the savepoint.
        settings["execution.state-recovery.ignore-unclaimed-state"] = "true"
    return settings


def _source(config: JobConfig, client: dict[str, str]) -> str:
    options = {
        "connector": "kafka",
        "topic": config.topic,
        "properties.group.id": config.group_id,
        "scan.startup.mode": "group-offsets",
        "properties.auto.offset.reset": "earliest",
        "format": "raw",
        **client,
    }
    return f"""
        CREATE TEMPORARY TABLE records (
            `value` BYTES,
            kafka_partition INT METADATA FROM 'partition' VIRTUAL,
            kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL
        ) WITH ({_with(options)})
    """


def _dead_letters(config: JobConfig, client: dict[str, str]) -> str:
    options = {
        "connector": "kafka",
        "topic": config.dead_letter_topic,
        "format": "raw",
        "sink.delivery-guarantee": "at-least-once",
        **client,
    }
    return f"CREATE TEMPORARY TABLE dead_letters (letter STRING) WITH ({_with(options)})"


def _with(options: dict[str, str]) -> str:
    return ", ".join(f"{_quoted(key)} = {_quoted(value)}" for key, value in options.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    """Entry point; the exit status is 0 when the job has been submitted, else 2."""
    parser = argparse.ArgumentParser(description="Submits the event log's Flink job.")
    parser.add_argument("--config", type=Path, required=True, help="etc/pipeline.toml")
    try:
        config = JobConfig.load(parser.parse_args().config)
        build(config, prepare(config)).execute_sql(INSERT)
    except (ConfigError, StartError) as error:
        print(f"eventlog_job: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
