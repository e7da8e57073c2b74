"""`rasterloom run` on a provider that answers: real flows, on Prefect's temporary server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from rasterloom.access.collection import load
from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
from rasterloom.demo.server import Count
from tests.cli.conftest import Stand


def test_run_builds_what_it_can_and_ends_with_the_first_error(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = stand.home.spec.read_text()
    path = tmp_path / "specs.yaml"
    path.write_text(
        text.replace(f"name: {NAME}", "name: empty").replace("2024-06-01, 2024-07-15", "2020-06-01, 2020-07-15") + f"---\n{text}"
    )
    words = ["run", str(path), "--workspace", str(tmp_path / "workspace"), "--json"]

    assert main(words) == 5
    seen = capsys.readouterr()
    empty, built = json.loads(seen.out)["collections"]
    assert (empty["name"], empty["error"]["kind"], empty["error"]["exit_code"]) == ("empty", "Refused", 5)
    assert (built["name"], built["action"], built["records"], built["header_requests"]) == (NAME, "build", 6, 24)
    assert "rasterloom: empty: no scene answers the question" in seen.err

    asked = stand.provider.count
    assert main([*words, "--set", "name=again"]) == 2
    assert main([word for word in words if word != "--json"]) == 5
    assert f"{NAME}: unchanged, 6 scenes" in capsys.readouterr().out
    assert stand.provider.count.ranges == asked.ranges


def test_retry_asks_for_the_failed_files_alone(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was missing for good stands there now: it is asked for, and nothing else."""
    place = ["--workspace", str(tmp_path / "workspace"), "--json"]
    assert main(["run", str(stand.home.spec), *place]) == 0
    capsys.readouterr()

    def retried() -> tuple[list[dict[str, Any]], Count]:
        before = stand.provider.count
        assert main(["failures", NAME, "--retry", *place]) == 0
        return json.loads(capsys.readouterr().out)["failures"], stand.provider.count - before

    (first,), asked = retried()
    assert (first["reason"], first["attempts"], first["band"], asked.ranges) == ("missing", 2, "B08", 1)
    assert first["first_seen"] < first["last_seen"]

    missing = stand.home.archive / first["item_id"] / "B08.tif"
    shutil.copy(missing.with_name("B04.tif"), missing)
    try:
        left, asked = retried()
    finally:
        missing.unlink()
    # One request for the first bytes of the file and one for the rest of its header, at the most.
    assert (left, asked.searches) == ([], 0)
    assert 1 <= asked.ranges <= 2
    found = load(NAME, str(tmp_path / "workspace")).where(pc.field("id") == first["item_id"]).to_table(["B08_metadata"])
    assert found["B08_metadata"].null_count == 0
    assert main(["snapshots", NAME, *place]) == 0
    assert [each["failed"] for each in json.loads(capsys.readouterr().out)["snapshots"]] == [0, 1, 1]
    assert retried() == ([], Count())


@pytest.mark.parametrize("command", ["deploy", "serve"])
def test_schedules_need_a_server(command: str, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    # Other tests of the session may have a server of theirs in the settings, where `serve` would run until it is stopped.
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert main([command, str(stand.home.spec), "--json"]) == 4
    seen = capsys.readouterr()
    assert json.loads(seen.out)["error"]["kind"] == "Unavailable"
    assert "prefect server start" in seen.err


@pytest.mark.slow
def test_deploy_registers_every_spec(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.yaml"
    text = stand.home.spec.read_text()
    path.write_text(f"{text}---\n{text.replace(NAME, 'nightly')}schedule: {{cron: '0 3 * * *'}}\n")
    with prefect_test_harness(server_startup_timeout=120):
        with get_client(sync_client=True) as client:
            client.request("POST", "/work_pools/", json={"name": "fields", "type": "process"})
        assert main(["deploy", str(path), "--work-pool", "fields", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["deployments"]
    assert [first["name"], second["name"]] == [f"build-collection/{NAME}", "build-collection/nightly"]
    assert [first["scheduled"], second["scheduled"]] == [False, True]
