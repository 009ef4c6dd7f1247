"""What a person may set: one plain sentence for what is wrong, and none for what is right."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.eventlog.drills.plugins.plugin_utils import options

ROLES = Path(__file__).resolve().parents[4] / "roles"


def wrong(name: str, value: object) -> str:
    return options.wrong(options.options(ROLES)[name], value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("drill_hold", -1, "drill_hold is -1: give seconds, a number of at least 0"),
        ("drill_hold", "abc", "drill_hold is 'abc': give seconds, a number of at least 0"),
        ("drill_hold", "nan", "drill_hold is 'nan': give seconds, a number of at least 0"),
        ("drill_hold", True, "drill_hold is True: give seconds, a number of at least 0"),
        ("drill_recovery_budget", "0", "drill_recovery_budget is '0': give seconds, a number above 0"),
        ("drill_sample_interval", 0, "drill_sample_interval is 0: give seconds, a number above 0"),
        ("drill_lease", 1, "drill_lease is 1: give seconds, a number of at least 3"),
        ("drill_gap", -0.5, "drill_gap is -0.5: give seconds, a number of at least 0"),
        ("drill_gate", "maybe", "drill_gate is 'maybe': give true or false"),
        ("drill_fault", "stopp", "drill_fault is 'stopp': give stop, kill, pause or cut. Did you mean stop?"),
        ("drill_fault", "xyz", "drill_fault is 'xyz': give stop, kill, pause or cut"),
        ("drill_order", "kafka", "drill_order is 'kafka': give kafka,flink or flink,kafka"),
        ("drill_limits", {"lost": 1}, "drill_limits is {'lost': 1}: give for repeated, rewritten or rejected"),
        (
            "drill_away",
            {"kafka": -1},
            "drill_away is {'kafka': -1}: give for kafka, flink, cassandra or producer seconds",
        ),
        ("drill_settings", "5", "drill_settings is '5': give a mapping, as JSON"),
        ("drill_title", ["a"], "drill_title is ['a']: give one word or text"),
        ("kafka_port", "70000", "kafka_port is '70000': give a port, a whole number of at least 1 and at most 65535"),
        ("kafka_topic_partitions", "1.5", "kafka_topic_partitions is '1.5': give a whole number of at least 1"),
        ("monitor_token", {"a": "hush"}, "monitor_token is a secret of the wrong type: give one word or text"),
    ],
)
def test_what_is_wrong_is_one_sentence(name: str, value: object, sentence: str) -> None:
    found = wrong(name, value)

    assert found.startswith(sentence)
    assert "\n" not in found
    assert "hush" not in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("drill_hold", value) for value in (0, 8, 0.5, "8", "0.5", "1e1", None)),
        *(("drill_gate", value) for value in (True, False, "yes", "False", 0, "1")),
        *(("kafka_port", value) for value in (9092, "9092")),
        *(("drill_limits", value) for value in ({}, {"repeated": 0}, '{"repeated": 0}', "repeated=0")),
        ("drill_away", {"kafka": "30"}),
        ("drill_fault", "cut"),
        ("drill_title", 5),
        ("cassandra_contact_points", "one,two"),
        ("pipeline_root", ""),
    ],
)
def test_what_is_right(name: str, value: object) -> None:
    assert wrong(name, value) == ""


def test_a_name_that_means_this_collection_and_is_none_of_its_variables() -> None:
    given = [
        "drill_hlod",
        "kafka_prot",
        "teardown_prge",
        "drill_xylophone_size",
        "my_kafka_port",
        "service",
        "drill_hold",
    ]

    assert options.unknown(given, options.names(ROLES)) == [
        "drill_hlod is no variable of this collection. Did you mean drill_hold?",
        "drill_xylophone_size is no variable of this collection.",
        "kafka_prot is no variable of this collection. Did you mean kafka_port?",
        "teardown_prge is no variable of this collection. Did you mean teardown_purge?",
    ]


@pytest.mark.parametrize("role", sorted(path.parent.parent.name for path in ROLES.glob("*/defaults/main.yml")))
def test_every_default_is_within_its_limits(role: str) -> None:
    for name, value in (yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text()) or {}).items():
        if name in options.options(ROLES) and "{{" not in str(value) and value != "":
            assert wrong(name, value) == ""


def test_every_limit_is_of_a_number_that_may_be_set() -> None:
    known = options.options(ROLES)

    assert all(known[name].type in ("int", "float") for name in options.LIMITS)


def test_every_variable_that_playbooks_set_is_known() -> None:
    known = options.names(ROLES)
    for path in (ROLES.parent / "playbooks").glob("*.yml"):
        for play in yaml.safe_load(path.read_text()):
            assert options.unknown(play.get("vars", {}), known) == [], path
