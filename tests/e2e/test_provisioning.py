"""Provisioning: repeated, in check mode, stopped and started again, and with everything in its way."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testing import ROOT
from testing.pipeline import UNITS, Pipeline
from testing.waiting import wait_until


@pytest.mark.provisioning
def test_everything_runs_and_streams(pipeline: Pipeline) -> None:
    before = pipeline.counts()
    assert all(before[hop]["reachable"] for hop in ("producer", "kafka", "cassandra", "lag", "flink"))

    wait_until(lambda: pipeline.counts()["cassandra"]["count"] >= before["cassandra"]["count"] + 20, 60, "rows flow")

    assert all(pipeline.members(unit) for unit in UNITS)
    assert pipeline.counts()["flink"]["state"] == "RUNNING"


@pytest.mark.provisioning
def test_a_second_run_changes_nothing_and_keeps_every_process(pipeline: Pipeline) -> None:
    before = {unit: pipeline.members(unit)[0] for unit in UNITS}

    assert pipeline.play("site").changed == 0
    assert pipeline.play("site", "--check").changed == 0

    assert {unit: pipeline.members(unit)[0] for unit in UNITS} == before


@pytest.mark.provisioning
def test_check_mode_plans_a_first_installation_and_touches_nothing(cold: Pipeline) -> None:
    assert cold.play("site", "--check").changed > 0

    assert not cold.root.exists()
    assert cold.processes() == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"pipeline_port_offset": "many"}, "pipeline_port_offset"),
    ({"event_bytes": "big"}, "event_bytes"),
    ({"kafka_topic_partitions": [4]}, "kafka_topic_partitions"),
    ({"cassandra_contact_points": {"a": 1}}, "cassandra_contact_points"),
    ({"pipeline_runtime": "magic"}, "pipeline_runtime"),
    ({"pipeline_root": "relative/path"}, "pipeline_root"),
    ({"runtime_disk_bytes": "plenty"}, "runtime_disk_bytes"),
    ({"kafka_port": 99999}, "kafka_port is 99999: give a port, a whole number of at least 1 and at most 65535"),
]
UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"runtime_disk_bytes": 2**60}, "GiB are needed. Free some space, or set pipeline_root to a larger disk"),
    ({"runtime_memory_bytes": 2**60}, "GiB are needed. Stop other programs, or lower kafka_heap"),
    ({"distribution_java_home": "/no/java"}, "/no/java/bin/java cannot be run"),
    ({"monitor_host": "0.0.0.0"}, "Others can reach the monitor at 0.0.0.0"),
    ({"monitor_token": "too short"}, "set monitor_token to at least 16 characters"),
]
TOGETHER = [
    # What the roles refuse by their types, and what the preflight finds: it names all of it at once.
    pytest.param(WRONG[:1], id="type", marks=pytest.mark.provisioning),
    pytest.param(UNFIT[:3], id="host", marks=pytest.mark.provisioning),
    pytest.param(UNFIT[4:], id="token", marks=pytest.mark.provisioning),
    *(pytest.param([case], id=str(case[0]), marks=pytest.mark.more_provisioning) for case in [*WRONG, *UNFIT]),
]


@pytest.mark.parametrize("cases", TOGETHER)
def test_wrong_values_are_clear_errors_before_anything_is_touched(
    cold: Pipeline, cases: list[tuple[dict[str, Any], str]]
) -> None:
    variables = {name: value for case, _ in cases for name, value in case.items()}

    run = cold.play("site", expect=1, **variables)

    output = " ".join(run.output.split())
    for _, said in cases:
        assert said in output
    assert "Traceback" not in output
    assert not cold.root.exists()
    assert cold.processes() == []


@pytest.mark.provisioning
def test_a_wrong_value_of_one_role_is_named_before_anything_is_started(cold: Pipeline) -> None:
    run = cold.play("site", expect=1, flink_processes="some")

    assert "flink_processes" in run.output
    assert "Traceback" not in run.output
    assert cold.processes() == []


@pytest.mark.provisioning
def test_a_port_of_another_program_is_named_before_anything_is_touched(cold: Pipeline) -> None:
    port = cold.port(9092)
    with socket.create_server(("127.0.0.1", port)):
        run = cold.play("site", expect=1)

    text = " ".join(run.output.split())
    assert f"port {port} (kafka_port) is in use by pid {os.getpid()}" in text
    assert "which this pipeline did not start" in text
    assert f"-e kafka_port={port + 10000 if port < 55536 else port - 10000}" in text
    assert not cold.root.exists()


@pytest.mark.provisioning
def test_an_unknown_service_is_one_clear_error(pipeline: Pipeline) -> None:
    run = pipeline.play("restart", expect=1, service="zookeeper")

    assert "kafka (or flink, cassandra, producer); it is 'zookeeper'" in " ".join(run.output.split())
    assert all(pipeline.members(unit) for unit in UNITS)


@pytest.mark.more_provisioning
def test_a_server_that_does_not_come_up_shows_its_last_lines_and_leaves_nothing_half_running(cold: Pipeline) -> None:
    run = cold.play("site", expect=1, kafka_properties={"metric.reporters": "no.such.Reporter"})

    assert "kafka ended while it was starting" in run.output
    assert "no.such.Reporter" in run.output
    assert f"Last lines of {cold.root}/logs/kafka.log" in run.output
    assert cold.members("kafka") == []
    assert cold.members("cassandra") == []


@pytest.mark.more_provisioning
def test_a_wrong_property_is_one_clear_error(cold: Pipeline) -> None:
    run = cold.play("site", expect=1, kafka_properties={"log.cleaner.threads": "lots"})

    assert "Kafka's storage cannot be formatted" in run.output
    assert "Invalid value lots for configuration log.cleaner.threads: Not a number" in run.output
    assert "\tat " not in run.output


@pytest.mark.more_provisioning
def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(cold: Pipeline, tmp_path: Path) -> None:
    # A cache of the test's own with the kept downloads, in which one jar is damaged and no tree is built.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventlog-drills"
    own = tmp_path / "cache" / "eventlog-drills"
    (own / "trees").mkdir(parents=True)
    for tree in (cache / "trees").iterdir():
        if not tree.name.startswith((".", "kafka-")):
            (own / "trees" / tree.name).symlink_to(tree)
    shutil.copytree(cache / "maven", own / "maven", copy_function=os.link)
    jar = next((own / "maven").glob("org/apache/kafka/kafka-raft/*/*.jar"))
    whole = jar.read_bytes()
    jar.unlink()
    jar.write_bytes(whole[: len(whole) // 2])

    cold.play(str(ROOT / "testing" / "trees.yml"), pipeline_cache=str(own), trees_file=str(tmp_path / "trees.json"))

    found = next((own / "trees").glob("kafka-*/lib/kafka-raft-*.jar"))
    assert found.read_bytes() == whole


@pytest.mark.more_provisioning
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_provisioning_is_mended_by_the_next(cold: Pipeline, number: signal.Signals) -> None:
    command = cold.begin("site")
    wait_until(lambda: cold.members("kafka"), 300, "Kafka is on its way")

    os.killpg(command.pid, number)
    command.wait(60)
    cold.play("site", seconds=1200)

    assert all(cold.members(unit) for unit in UNITS)
    assert cold.play("site").changed == 0


@pytest.mark.more_provisioning
def test_a_second_pipeline_lives_beside_the_first(pipeline: Pipeline, cold: Pipeline) -> None:
    first = pipeline.counts()["producer"]["source"]

    cold.play("site", seconds=1200)

    second = cold.counts()["producer"]["source"]
    assert first != second
    wait_until(lambda: cold.counts()["cassandra"]["count"] >= 10, 60, "rows flow in the second")
    assert {key[0] for key in cold.rows()} == {second}
    assert second not in {key[0] for key in pipeline.rows()}

    cold.play("teardown", teardown_purge=True)
    assert cold.processes() == []
    assert not cold.root.exists()
    assert all(pipeline.members(unit) for unit in UNITS)


@pytest.mark.more_provisioning
def test_a_monitor_with_a_token_serves_who_has_it_and_the_playbooks(cold: Pipeline) -> None:
    cold.token = secrets.token_urlsafe(24)
    printed = cold.play("site", "-vvv", seconds=1200).output

    with pytest.raises(urllib.error.HTTPError, match="401"):
        replace(cold, token="").counts()
    for playbook, streaming in (("pause_producer", False), ("resume_producer", True)):
        run = cold.play(playbook, "-vvv")
        assert run.changed == 1
        assert cold.play(playbook).changed == 0
        assert cold.ask("GET", "counts")["producer"]["streaming"] is streaming
        printed += run.output
    drill = cold.play("drill_producer", "-vvv", drill_hold=8)
    wait_until(lambda: (cold.ask("GET", "drill")["drill"]["verdict"] or {}).get("outcome") == "PASS", 30, "it is told")

    written = [path for path in cold.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert (cold.root / "etc" / "monitor.token").stat().st_mode & 0o077 == 0
    holders = {path for path in written if cold.token.encode() in path.read_bytes()}
    assert holders == {cold.root / "etc" / "monitor.token"}
    said = printed + drill.output
    assert cold.token not in said
    # Of a short token even the sum would give it away to who can guess.
    assert hashlib.sha256(f"{cold.token}\n".encode()).hexdigest() not in said

    old, cold.token = cold.token, secrets.token_urlsafe(24)
    cold.play("site")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        replace(cold, token=old).counts()
    assert cold.counts()


@pytest.mark.provisioning
def test_a_purge_refuses_a_directory_with_other_things_in_it(cold: Pipeline) -> None:
    (cold.root / "letters").mkdir(parents=True)
    (cold.root / "data").mkdir()

    run = cold.play("teardown", teardown_purge=True, expect=1)

    assert "also holds letters, which no pipeline made: nothing was removed" in " ".join(run.output.split())
    assert (cold.root / "data").is_dir()
    shutil.rmtree(cold.root)


@pytest.mark.provisioning
@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_every_metric_of_the_alerts_and_the_dashboard_is_there(pipeline: Pipeline, name: str) -> None:
    wanted = set(re.findall(r"eventlog_[a-z_]+", (ROOT / "docs" / "prometheus" / name).read_text()))

    assert len(wanted) > 10
    assert wanted <= pipeline.metrics().keys()


@pytest.mark.provisioning
def test_the_self_test_spoils_no_other_pipeline(pipeline: Pipeline) -> None:
    run = pipeline.play("selftest", expect=1)

    assert "it only takes one named selftest" in " ".join(run.output.split())
