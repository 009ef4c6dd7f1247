"""Descriptions of units: what is accepted, what a running process depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.eventlog.drills.plugins.module_utils.units import ARGUMENT_SPEC, Unit, UnitError

SPEC: dict[str, Any] = {"name": "kafka", "argv": ["java", "Kafka"], "cwd": "/"}


def test_a_role_s_mapping_becomes_a_unit_with_defaults() -> None:
    unit = Unit.from_dict({**SPEC, "ports": ["9092", 9093], "probe": {"type": "tcp"}})

    assert unit.ports == [9092, 9093]
    assert (unit.host, unit.stop_signal, unit.stop_timeout) == ("127.0.0.1", "TERM", 30.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prots": [1]}, "unit kafka: .*prots"),
        ({"ports": ["kafka_port"]}, "unit kafka: .*kafka_port"),
        ({"stop_signal": "SIGTERM"}, "stop_signal 'SIGTERM' is no signal; write it like TERM"),
        ({"probe": {"type": "gopher"}}, "'gopher' and not one of tcp, kafka, cql"),
        ({"probe": {"path": "/"}}, "type is None"),
        ({"name": "../kafka"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
    ],
)
def test_a_wrong_description_is_refused_with_the_unit_s_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnitError, match=said):
        Unit.from_dict({**SPEC, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UnitError, match=r"unit kafka: .*cwd"):
        Unit.from_dict({"name": "kafka", "argv": []})


def test_the_module_s_options_are_the_fields_of_a_unit() -> None:
    assert set(ARGUMENT_SPEC) == set(Unit.__dataclass_fields__)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"argv": ["java", "-Xmx1g", "Kafka"]}, False),
        ({"cwd": "/tmp"}, False),
        ({"env": {"LANG": "C"}}, False),
        ({"stop_timeout": 5.0, "ready_timeout": 5.0, "ports": [1]}, True),
    ],
)
def test_only_what_the_process_depends_on_changes_the_digest(change: dict[str, Any], same: bool) -> None:
    assert (Unit.from_dict(SPEC).digest() == Unit.from_dict({**SPEC, **change}).digest()) is same


def test_the_content_of_configuration_files_counts_and_their_absence_too(tmp_path: Path) -> None:
    config = tmp_path / "server.properties"
    unit = Unit.from_dict({**SPEC, "config_files": [str(config)]})
    absent = unit.digest()
    config.write_text("a=1")
    first = unit.digest()
    config.write_text("a=2")

    assert len({absent, first, unit.digest()}) == 3
    config.write_text("a=1")
    assert unit.digest() == first
