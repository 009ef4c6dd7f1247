"""The ledger: what is missing, and which hop lost it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.plugin_utils import ledger
from ansible_collections.eventlog.drills.plugins.plugin_utils.ledger import Conservation
from hypothesis import given
from hypothesis import strategies as st

SOURCE = "app-1"


def books(**changes: Any) -> dict[str, Any]:
    """Complete books of a window of 100 events, with changes to the source's entry."""
    whole = [[1, 120]]
    entry: dict[str, Any] = {
        "window": [11, 110],
        "generated": whole,
        "acked": whole,
        "refused": [],
        "kafka": whole,
        "cassandra": whole,
        "rejected": [],
        "repeated": 0,
        "repeated_ranges": [],
    }
    return {
        "sources": {SOURCE: {**entry, **changes}},
        "positions": {},
        "rewritten": 0,
        "unexpected": {},
        "unclosed": [],
    }


def test_complete_books_lose_nothing() -> None:
    balanced = ledger.balance(books())
    assert (balanced.window, balanced.lost, balanced.losses, balanced.excesses, balanced.unclosed) == (
        100,
        0,
        [],
        [],
        [],
    )
    assert balanced.summary().startswith("window 100 events: acked 100 · in Kafka 100 · rows 100")


def test_a_deleted_row_is_named_with_its_hop_and_place() -> None:
    found = books(cassandra=[[1, 49], [52, 120]])
    found["positions"] = {SOURCE: [[50, 2, 704], [51, 2, 705]]}
    balanced = ledger.balance(found)
    assert balanced.lost == 2
    assert balanced.losses == [
        "app-1 seq 50-51: 2 in Kafka, but not in Cassandra (partition 2 offset 704-705): "
        "lost between Kafka and Cassandra"
    ]


def test_what_is_under_way_is_not_lost() -> None:
    balanced = ledger.balance(books(cassandra=[[1, 60]])).unpassed(10.0, "lag is 50, steady is up to 20")
    assert (balanced.lost, balanced.losses) == (0, [])
    assert balanced.unclosed == [
        "the window had not passed after 10 s: lag is 50, steady is up to 20",
        "app-1 seq 61-110: 50 have not arrived yet",
    ]
    assert balanced.summary().endswith("lost 0 · repeated 0 · rewritten 0 · not arrived yet 50")


def test_what_kafka_lost_is_not_blamed_on_the_job() -> None:
    balanced = ledger.balance(books(kafka=[[1, 39], [41, 120]], cassandra=[[1, 39], [41, 120]]))
    assert balanced.losses == ["app-1 seq 40: 1 acknowledged by Kafka, but not in the topic: lost in Kafka"]


def test_an_event_that_was_never_acknowledged() -> None:
    without = [[1, 39], [41, 120]]
    balanced = ledger.balance(books(acked=without, kafka=without, cassandra=without))
    assert balanced.losses == [
        "app-1 seq 40: 1 generated, but not acknowledged by Kafka: lost between the producer and Kafka"
    ]


def test_an_acknowledgement_that_died_with_the_producer_is_no_loss() -> None:
    assert ledger.balance(books(acked=[[1, 39], [41, 120]])).lost == 0


def test_a_refused_event_is_lost_with_its_reason() -> None:
    without = [[1, 39], [41, 120]]
    reasons = {"too large": [[40, 40], [200, 200]]}
    found = books(acked=without, kafka=without, cassandra=without, refused=[[40, 40]], reasons=reasons)
    balanced = ledger.balance(found)
    assert balanced.lost == 1
    assert balanced.losses == ["app-1 seq 40: 1 refused (too large): lost in the producer"]


def test_a_good_event_that_was_rejected_is_lost_with_its_reason() -> None:
    found = books(cassandra=[[1, 39], [42, 120]], rejected=[[40, 41]])
    found["rejected"] = [
        {"source": SOURCE, "seq": seq, "partition": 0, "offset": seq, "reason": "level: missing", "own": True}
        for seq in (40, 41)
    ]
    found["positions"] = {SOURCE: [[40, 0, 40], [41, 0, 41]]}
    balanced = ledger.balance(found)
    assert balanced.lost == 2
    assert balanced.losses == [
        "app-1 seq 40-41: 2 in Kafka, but rejected by the sink (level: missing) (partition 0 offset 40-41): "
        "lost between Kafka and Cassandra"
    ]


def test_a_rejected_copy_of_an_event_with_a_row_is_no_loss() -> None:
    found = books(rejected=[[40, 40]])
    found["rejected"] = [{"source": SOURCE, "seq": 40, "partition": 0, "offset": 40, "reason": "too large"}]
    balanced = ledger.balance(found)
    assert (balanced.lost, balanced.losses, balanced.excesses) == (0, [], [])


def test_rejected_poison_under_an_own_name_is_not_unexpected() -> None:
    assert ledger.balance(books(kafka=[[1, 120], [500, 500]], rejected=[[500, 500]])).excesses == []


@pytest.mark.parametrize("what", ["message", "event_time is null, level"])
def test_a_row_with_another_content_is_lost_and_named(what: str) -> None:
    found = books(altered={"kafka": {}, "cassandra": {what: [[5, 5], [40, 40]]}})
    found["positions"] = {SOURCE: [[40, 1, 7]]}
    balanced = ledger.balance(found)
    assert balanced.lost == 1
    assert balanced.losses == [
        f"app-1 seq 40: 1 in Cassandra, but not as generated ({what}) (partition 1 offset 7): falsified in Cassandra"
    ]
    assert "rows 99 · rejected 0 · lost 1" in balanced.summary()


@pytest.mark.parametrize(
    ("hop", "what", "sentence"),
    [
        ("kafka", "bytes", "in Kafka, but not as the producer makes it (bytes): falsified in Kafka"),
        (
            "kafka",
            "event_time, level",
            "in Kafka, but not as the producer makes it (event_time, level): falsified in Kafka",
        ),
        ("kafka", "copies", "in Kafka in copies that differ: falsified in Kafka"),
        (
            "cassandra",
            "position",
            "in Cassandra, but Kafka holds no true copy of it at the row's position: falsified in Cassandra",
        ),
        (
            "cassandra",
            "position is null",
            "in Cassandra, but without the position of a copy in Kafka: falsified in Cassandra",
        ),
        (
            "cassandra",
            "future",
            "in Cassandra, but written in the future, which hides later writes: falsified in Cassandra",
        ),
    ],
)
def test_what_is_falsified_beside_a_true_content(hop: str, what: str, sentence: str) -> None:
    balanced = ledger.balance(books(altered={hop: {what: [[40, 41]]}}))
    assert balanced.lost == 0
    assert balanced.excesses == [f"app-1 seq 40-41: 2 {sentence}"]


def test_records_deleted_ahead_of_the_job_are_lost() -> None:
    found = books(kafka=[[61, 120]], cassandra=[[1, 49], [61, 120]], deleted=[[1, 49]])
    found["deleted"] = {"0": [[100, 159]]}
    balanced = ledger.balance(found)
    assert balanced.lost == 11
    assert balanced.losses == [
        "app-1 seq 50-60: 11 acknowledged by Kafka, but neither in the topic nor in Cassandra: "
        "deleted from Kafka before the job had read them"
    ]


def test_records_deleted_after_the_job_had_read_them_are_no_loss() -> None:
    found = books(kafka=[[61, 120]], deleted=[[1, 60]])
    found["deleted"] = {"0": [[100, 159]], "1": [[0, 9]]}
    balanced = ledger.balance(found)
    assert (balanced.lost, balanced.losses, balanced.excesses, balanced.unclosed) == (0, [], [], [])
    assert balanced.remarks == [
        "the topic no longer held 50 records of the window when the books were closed (70 were deleted from its "
        "stretch): their rows were compared with what the producer makes"
    ]


def test_what_vanished_from_a_topic_without_being_deleted_is_lost_in_kafka() -> None:
    found = books(kafka=[[61, 120]], deleted=[[1, 50]])
    found["deleted"] = {"0": [[100, 159]]}
    assert ledger.balance(found).losses == [
        "app-1 seq 51-60: 10 acknowledged by Kafka, but not in the topic: lost in Kafka"
    ]


def test_a_falsified_row_of_a_deleted_record_is_lost() -> None:
    found = books(kafka=[[61, 120]], deleted=[[1, 60]], altered={"cassandra": {"message": [[40, 40]]}})
    found["deleted"] = {"0": [[100, 159]]}
    assert ledger.balance(found).losses == [
        "app-1 seq 40: 1 in Cassandra, but not as generated (message): falsified in Cassandra"
    ]


def test_a_bucket_that_is_not_full_any_more_is_said() -> None:
    found = books()
    found["reopened"] = {SOURCE: {"3": 998}}
    assert ledger.balance(found).remarks == [
        "app-1 bucket 3 was counted as full, but holds 998 rows: it is counted anew"
    ]


def test_a_gap_in_the_sequence_is_the_producers() -> None:
    without = [[1, 39], [41, 120]]
    balanced = ledger.balance(books(generated=without, acked=without, kafka=without, cassandra=without))
    assert balanced.losses == ["app-1 seq 40: 1 never generated: lost in the producer"]


def test_losses_outside_the_window_are_not_this_drills() -> None:
    assert ledger.balance(books(cassandra=[[5, 120]])).lost == 0


def test_what_nobody_generated_is_unexpected() -> None:
    balanced = ledger.balance(books(kafka=[[1, 120], [500, 501]]))
    assert balanced.excesses == ["app-1 seq 500-501: in kafka, but never generated"]


def test_a_stranger_in_the_topic_is_unexpected() -> None:
    found = books()
    found["unexpected"] = {"sources": {"other-1": [[1, 3]]}}
    assert ledger.balance(found).excesses == [
        "other-1 seq 1-3: in Kafka, but of a source that is no producer of this pipeline"
    ]
    found["rejected"] = [{"source": "other-1", "seq": seq} for seq in (1, 2, 3)] + [{"source": None, "seq": None}]
    assert ledger.balance(found).excesses == []


def test_what_could_not_be_read_is_not_lost() -> None:
    found = books(kafka=[], cassandra=[])
    found["unclosed"] = ["kafka: no answer within 10 s", "cassandra: no host available"]
    balanced = ledger.balance(found)
    assert balanced.losses == []
    assert len(balanced.unclosed) == 2


def test_without_the_topic_what_was_acknowledged_must_be_in_the_table() -> None:
    found = books(kafka=[], cassandra=[[1, 39], [41, 120]])
    found["unclosed"] = ["kafka: no answer within 10 s"]
    assert ledger.balance(found).losses == [
        "app-1 seq 40: 1 acknowledged by Kafka, but not in Cassandra: lost in Kafka or behind it"
    ]


def test_books_without_a_source_are_not_closed() -> None:
    assert ledger.balance({"sources": {}}).unclosed


def test_limits_name_what_is_beyond_them() -> None:
    found = books(repeated=3, repeated_ranges=[[20, 22]])
    found["rewritten"] = 5
    balanced = ledger.balance(found)
    assert ledger.beyond(balanced, {}) == []
    assert ledger.beyond(balanced, {"repeated": 3, "rewritten": 0}) == ["5 records rewritten, but at most 0 may be"]


def test_long_lists_are_shown_short() -> None:
    assert ledger.show([(n, n) for n in range(1, 20, 2)]) == "1, 3, 5, 7, 9, and 5 more in 5 ranges"
    assert ledger.show([(88017, 88019)]) == "88 017-88 019"


def test_the_law_of_counts() -> None:
    assert Conservation(kafka=100, cassandra=90, rejected=2, repeated=3, lag=5).residual == 0
    law = Conservation(kafka=100, cassandra=90, rejected=2, repeated=3, lag=4)
    assert law.residual == 1
    assert law.text().endswith("residual +1")


@pytest.mark.parametrize(
    ("before", "term", "remark"),
    [
        (0, "lag 5; residual +0", ""),
        (
            3688,
            "lag 5 + unaccounted for before this drill 3 688; residual +0",
            "before this drill began 3 688 records were unaccounted for: further copies in the topic, or events lost"
            " earlier",
        ),
        (
            -2,
            "lag 5 + unaccounted for before this drill -2; residual +0",
            "before this drill began there were 2 rows more than records that explain them",
        ),
    ],
)
def test_what_was_unaccounted_for_before_the_drill_is_a_term_of_its_own(before: int, term: str, remark: str) -> None:
    law = Conservation(kafka=100 + before, cassandra=90, rejected=2, repeated=3, lag=5, before=before)
    assert law.residual == 0
    assert "repeated 3 + " in law.text()
    assert law.text().endswith(term)
    assert law.remark() == remark


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=8)


def numbers(pairs: Any) -> set[int]:
    return {n for first, last in pairs for n in range(first, last + 1)}


@given(ranges, ranges)
def test_ranges_behave_like_sets(left: Any, right: Any) -> None:
    a, b = numbers(left), numbers(right)
    assert numbers(ledger.normalise(left)) == a
    assert numbers(ledger.subtract(left, right)) == a - b
    assert numbers(ledger.unite(left, right)) == a | b
    assert numbers(ledger.intersect(left, right)) == a & b
    assert ledger.size(left) == len(a)


@given(ranges, ranges)
def test_ranges_come_out_sorted_and_apart(left: Any, right: Any) -> None:
    for found in (ledger.subtract(left, right), ledger.unite(left, right)):
        assert all(first <= last for first, last in found)
        assert all(a[1] + 1 < b[0] for a, b in pairwise(found))


@given(st.sets(st.integers(11, 110)), st.sets(st.integers(11, 110)))
def test_every_missing_event_is_found_at_its_hop(in_kafka: set[int], in_table: set[int]) -> None:
    kafka = [[n, n] for n in in_kafka]
    table = [[n, n] for n in in_kafka & in_table]
    (entry,) = ledger.balance(books(kafka=kafka, cassandra=table)).entries
    window = set(range(11, 111))
    assert numbers(entry.missing.get("kafka", [])) == window - in_kafka
    assert numbers(entry.missing.get("cassandra", [])) == in_kafka - in_table
