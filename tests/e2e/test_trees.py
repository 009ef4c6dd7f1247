"""The distribution trees: built, or found in the cache."""

from __future__ import annotations

import pytest

from testing.trees import Trees

pytestmark = pytest.mark.trees


def test_every_tree_is_there_and_complete(trees: Trees) -> None:
    assert trees.java.is_file()
    assert list(trees.kafka.glob("lib/kafka-raft-*.jar"))
    assert list(trees.cassandra.glob("lib/jamm-*.jar"))
    assert list(trees.flink.glob("pyflink/lib/flink-sql-connector-kafka-*.jar"))
    assert (trees.pipeline / "confluent_kafka").is_dir()
