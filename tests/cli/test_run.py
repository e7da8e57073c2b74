"""`rasterloom run` on a provider that answers: real flows, on Prefect's temporary server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
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


@pytest.mark.parametrize("command", ["deploy", "serve"])
def test_schedules_need_a_server(command: str, stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    # Other tests of the session may have a server of theirs in the settings, where `serve` would run until it is stopped.
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert main([command, str(stand.home.spec), "--json"]) == 4
    seen = capsys.readouterr()
    assert json.loads(seen.out)["error"]["kind"] == "Unavailable"
    assert "prefect server start" in seen.err


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
