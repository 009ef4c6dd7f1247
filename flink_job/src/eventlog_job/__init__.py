"""The Flink job of the event log: Kafka topic to Cassandra table, and what starts and stops it.

Modules, from the pure to the wired:

- `config`: etc/pipeline.toml, as far as the job needs it.
- `events`: one Kafka record to one table row, or the reason why not; dead letters.
- `store`: writes rows to Cassandra and survives its absence.
- `topic`: asks Kafka for the identity of the topic.
- `sink`: the above put together for a batch of records; knows nothing of Flink.
- `job`: the Table API job, `launch` and `stop`: its life cycle, `state`: the files in between.
"""

from __future__ import annotations

__all__: list[str] = []
