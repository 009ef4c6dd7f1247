"""The targets of the Makefile, as they are typed: what they do, what they say, and their exit statuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from testing import BIN, ROOT
from testing.pipeline import UNITS, Pipeline, run
from testing.trees import environment
from testing.waiting import wait_until

HOLD = 5
#: A network of its own, with loopback and nothing else; whoever is not root needs a user namespace for it.
OFFLINE = [
    "unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--",
    "sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; ip link set lo up && exec "$@"', "offline",
]  # fmt: skip
#: GNU make ends with 2 whenever a recipe failed; the status of the recipe is in what it says.
MAKE_FAILED = 2


def make(*words: str, folder: Path, **environment: str) -> tuple[int, str]:
    """A target of the Makefile without any pipeline: exit status and output."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), *words], cwd=folder, env={**os.environ, **environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.commands
def test_up_and_status_of_a_pipeline_that_runs(pipeline: Pipeline) -> None:
    assert pipeline.make("up").changed == 0

    status = pipeline.make("status").output
    assert all(unit in status for unit in UNITS)


@pytest.mark.commands
def test_a_drill_that_passes_ends_with_0(pipeline: Pipeline) -> None:
    drilled = pipeline.make("drill", "DRILL=producer", drill_hold=HOLD)

    assert pipeline.verdict()["verdict"] == "PASS"
    assert "verdict     PASS" in drilled.output


@pytest.mark.commands
def test_a_drill_that_loses_a_row_ends_with_its_status(pipeline: Pipeline, tmp_path: Path) -> None:
    # A row of the outage: it belongs to the window of the drill, whichever row is the last of it.
    script = tmp_path / "delete_a_row.py"
    script.write_text(
        "import sys\n"
        "from cassandra.cluster import Cluster\n"
        "with Cluster(['127.0.0.1'], port=int(sys.argv[1])) as cluster:\n"
        "    session = cluster.connect('eventlog')\n"
        "    rows = sorted(session.execute('SELECT source, bucket, seq FROM events'), key=lambda row: row.seq)\n"
        "    session.execute('DELETE FROM events WHERE source = %s AND bucket = %s AND seq = %s', rows[-40])\n"
        "    print(rows[-40].source, rows[-40].seq)\n"
    )
    hook, deleted = tmp_path / "hook.yml", tmp_path / "deleted"
    command = f"{sys.executable} {script} {pipeline.port(9042)} > {deleted}"
    hook.write_text(yaml.safe_dump([{"name": "Delete a row", "ansible.builtin.shell": command}]))

    drilled = pipeline.make("drill", "DRILL=kafka", expect=1, drill_hold=HOLD, drill_before_books=str(hook))

    source, seq = deleted.read_text().split()
    assert pipeline.verdict()["verdict"] == "FAIL", drilled.output
    assert drilled.status == MAKE_FAILED
    assert "Error 20" in drilled.output
    named = f"{source} seq {int(seq):,}:".replace(",", " ")
    assert named in " ".join(pipeline.verdict()["reason"].split())
    assert "lost between Kafka and Cassandra" in pipeline.verdict()["reason"]
    with pipeline.cassandra() as session:  # mend the table for the tests that follow
        record = next(r for r in pipeline.topic() if (r["source"], r["seq"]) == (source, int(seq)))
        insert = session.prepare("INSERT INTO events (source, bucket, seq, position) VALUES (?, ?, ?, ?)")
        session.execute(insert, (source, (int(seq) - 1) // 1000, int(seq), record["at"]))


@pytest.mark.commands
def test_a_drill_that_is_refused_ends_with_its_status(pipeline: Pipeline) -> None:
    pipeline.post("pause")
    try:
        # Not by `make drill`, which provisions and so resumes the stream.
        drilled = pipeline.play("drill_flink", expect=1, drill_hold=HOLD, drill_steady_within=3)
    finally:
        pipeline.post("resume")

    assert pipeline.verdict()["verdict"] == "INVALID", drilled.output
    verdict = ["plugins/plugin_utils/verdict.py", str(pipeline.runs / "latest")]
    assert run([sys.executable, *verdict], ROOT, 1, 60).status == pipeline.verdict()["status"] == 22
    assert all(pipeline.members(unit) for unit in UNITS)


@pytest.mark.commands
def test_an_unknown_drill_is_one_line_before_anything_is_done(tmp_path: Path) -> None:
    status, said = make("drill", "DRILL=zookeeper", folder=tmp_path)

    assert status == MAKE_FAILED
    assert said.startswith("eventlog-drills: there is no drill 'zookeeper'. There are: ")
    assert "flink" in said


@pytest.mark.commands
def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    status, said = make("up", "PYTHON=", folder=tmp_path)

    assert status == MAKE_FAILED
    assert said.startswith("eventlog-drills: no Python found. Install Python 3.11 or 3.12 with venv")


@pytest.mark.commands
def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path) -> None:
    # Debian's python3 without its package python3-venv.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['ensurepip'] = None\n")

    status, said = make("up", f"PYTHON={sys.executable}", folder=tmp_path, PYTHONPATH=str(tmp_path))

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert status == MAKE_FAILED
    assert said.startswith(f"eventlog-drills: this Python {version} lacks venv. apt-get install python{version}-venv")


def elsewhere(folder: Path, playbook: str | Path, *flags: str) -> tuple[int, str]:
    """A playbook that is started in another folder than the checkout's, where there is no pipeline."""
    variables = {
        "pipeline_root": str(folder / "none"),
        "pipeline_run_dir": str(folder / "run"),
        "drill_runs_dir": str(folder),
    }
    done = subprocess.run(
        [str(BIN / "ansible-playbook"), str(playbook), *flags, "-e", json.dumps(variables)], cwd=folder,
        env={key: value for key, value in environment().items() if not key.startswith("ANSIBLE_")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.commands
@pytest.mark.parametrize("playbook", ["eventlog.drills.drill_flink", str(ROOT / "playbooks" / "drill_flink.yml")])
def test_a_playbook_started_elsewhere_finds_configuration_and_inventory(tmp_path: Path, playbook: str) -> None:
    status, said = elsewhere(tmp_path, playbook)

    assert status == 2, said
    assert f" failed      there is no pipeline: {tmp_path}/none/etc/pipeline.toml does not exist" in said


@pytest.mark.commands
def test_a_checkout_that_everybody_may_write_is_no_reason_for_no_drill(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("playbooks", "inventory"):
        shutil.copytree(ROOT / name, checkout / name)
    shutil.copy(ROOT / "ansible.cfg", checkout)
    checkout.chmod(0o777)

    status, said = elsewhere(checkout, "playbooks/drill_flink.yml")

    assert status == 2, said
    assert "there is no pipeline" in said


@pytest.mark.commands
@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--tags", "x"], "--tags x leaves nothing to do"),
        (["-i", "misspelt.yml"], "no host is in the group 'pipeline' of"),
        (["-i", "localhost,"], "no host is in the group 'pipeline' of localhost,"),
        (["--limit", "nohost"], "leaves us with no hosts to target"),
    ],
)
def test_a_playbook_that_does_nothing_is_no_success(tmp_path: Path, flags: list[str], why: str) -> None:
    for playbook in ("drill_flink", "drills", "site", "status", "teardown"):
        status, said = elsewhere(tmp_path, ROOT / "playbooks" / f"{playbook}.yml", *flags)

        assert status != 0, said
        assert why in said


@pytest.mark.commands
def test_drills_that_never_began_are_named_and_no_success(tmp_path: Path) -> None:
    status, said = elsewhere(tmp_path, ROOT / "playbooks" / "drills.yml")

    assert status == 2, said
    for drill in ("kafka", "flink", "cassandra", "stop-resume", "cascade", "producer", "poison"):
        assert f" {drill}: never began" in said


@pytest.mark.commands
@pytest.mark.parametrize(
    ("playbook", "given", "why"),
    [
        ("drill_flink", "drill_hold=-1", "drill_hold is '-1': give seconds, a number of at least 0"),
        ("drill_flink", "drill_hold=abc", "drill_hold is 'abc': give seconds, a number of at least 0"),
        ("drill_flink", "drill_hlod=5", "drill_hlod is no variable of this collection. Did you mean drill_hold?"),
        ("drills", "drill_fault=stopp", "drill_fault is 'stopp': give stop, kill, pause or cut. Did you mean stop?"),
        ("site", "kafka_prot=9092", "kafka_prot is no variable of this collection. Did you mean kafka_port?"),
        ("teardown", "teardown_prge=true", "teardown_prge is no variable of this collection. Did you mean"),
    ],
)
def test_what_cannot_be_set_is_one_line_before_anything_is_done(
    tmp_path: Path, playbook: str, given: str, why: str
) -> None:
    status, said = elsewhere(tmp_path, ROOT / "playbooks" / f"{playbook}.yml", "-e", given)

    assert status == 2, said
    assert f" failed      {why}" in said
    assert "ok=0 " in said or "ok=1 " in said


@pytest.mark.commands
def test_nothing_is_touched_while_a_drill_holds_the_pipeline_and_what_is_all_the_same_makes_it_invalid(
    pipeline: Pipeline,
) -> None:
    since = time.time()
    drill = pipeline.begin("drill_kafka", drill_hold=40)
    path = pipeline.runs / "latest" / "journal.jsonl"

    def away() -> bool:
        assert drill.poll() is None, "the drill ended before its hold"
        text = path.read_text() if path.exists() else ""
        return any(r["kind"] == "fault" and r["time"] >= since for r in map(json.loads, text.split("\n")[:-1]))

    try:
        wait_until(away, 120, "Kafka is away")
        for playbook in ("start", "stop", "kill", "restart", "pause_producer", "resume_producer", "site", "teardown"):
            refused = pipeline.play(playbook, expect=1, service="kafka")
            assert "drill kafka (pid " in refused.output
            assert "holds this pipeline" in refused.output
        pipeline.play("start", service="kafka", drill_force=True)
        assert drill.wait(240) != 0
    finally:
        drill.kill()
    assert pipeline.verdict()["verdict"] == "INVALID"
    assert pipeline.verdict()["reason"].startswith("the fault was undone from outside: kafka pid ")
    assert all(pipeline.members(unit) for unit in UNITS)


@pytest.mark.teardown
def test_down_a_drill_without_a_network_and_purge(pipeline: Pipeline) -> None:
    pipeline.make("down")
    assert pipeline.processes() == []
    assert (pipeline.root / "data" / "producer" / "spool.db").exists()

    drilled = pipeline.make("drill", "DRILL=producer", prefix=OFFLINE, drill_hold=HOLD)
    assert pipeline.verdict()["verdict"] == "PASS", drilled.output
    assert "installing" not in drilled.output

    pipeline.make("purge")
    assert pipeline.processes() == []
    assert not pipeline.root.exists()
    assert pipeline.left() == []
