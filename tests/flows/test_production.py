"""docs/how-to/deploy.md as it is written, on a server that its script starts from nothing; and what that page promises."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from rasterloom.access.collection import load
from rasterloom.specs.writer import to_yaml
from tests.flows.archive import Archive, opened
from tests.flows.browser import Browser, fill_in, logged_in, opened_browser
from tests.flows.stack import ROOT, Stack, deployed, started
from tests.servers import Status
from tests.waiting import until

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/how-to/deploy.md"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with started() as running:
        yield running


@pytest.fixture
def archive() -> Iterator[Archive]:
    with opened(44) as made:
        yield made


SERVE = "rasterloom serve specs/*.yaml"


def of_page() -> list[str]:
    """The commands of the page, but for what .ci/run installs and the server that is already there."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(("apt-get install", "deployments/server"))]


def test_every_command_of_the_page_runs_and_a_schedule_fires(stack: Stack, archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "sf-bay.yaml").write_text(to_yaml(archive.spec(name="sf-bay")))
    (folder / "madrid.yaml").write_text(to_yaml(archive.spec(name="madrid", dates="2024-06")))
    lines = of_page()
    assert SERVE in lines
    script = "\n".join(line for line in lines if line != SERVE).replace("/var/lib/rasterloom", str(stack.home))
    told = stack.shell(script, cwd=tmp_path)
    assert re.search("build-collection/sf-bay +created +no", told)

    (folder / "sf-bay.yaml").write_text(to_yaml(archive.spec(name="sf-bay", schedule={"interval": "PT10S"})))
    (folder / "madrid.yaml").unlink()
    again = json.loads(stack.shell("rasterloom deploy specs/*.yaml --prune --json", cwd=tmp_path))["deployments"]
    builds = {each["name"]: (each["change"], each["fields"]) for each in again if each["name"].startswith("build-collection/")}
    assert builds["build-collection/sf-bay"][0] == "changed"
    assert "schedule" in builds["build-collection/sf-bay"][1]
    assert builds["build-collection/madrid"] == ("removed", [])
    runs = {
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}, "tags": {"all_": ["auto-scheduled"]}},
        "deployments": {"name": {"any_": ["sf-bay"]}},
    }
    until(lambda: stack.found("/flow_runs/filter", runs))
    (folder / "sf-bay.yaml").write_text(to_yaml(archive.spec(name="sf-bay")))
    stack.shell("rasterloom deploy specs/*.yaml", cwd=tmp_path)
    assert len(load("sf-bay", workspace=stack.workspace)) == 44


def test_serve_registers_and_runs_without_a_worker(stack: Stack, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/served.yaml").write_text(to_yaml(archive.spec(name="served", dates="2024-06")))
    env = dict(stack.env) | {"RASTERLOOM_WORKSPACE": str(tmp_path / "workspace"), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    served = subprocess.Popen(["bash", "-c", f"exec {SERVE}"], cwd=tmp_path, env=env, start_new_session=True)
    try:
        named = {"deployments": {"name": {"any_": ["served"]}}}
        (found,) = until(lambda: stack.found("/deployments/filter", named))
        assert found["work_pool_name"] is None
        assert stack.ended(stack.start("served"))["state"]["type"] == "COMPLETED"
        assert len(load("served", workspace=str(tmp_path / "workspace"))) == 30
    finally:
        served.send_signal(signal.SIGINT)
        ended(served)


def ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_strangers_and_foreign_pages_are_refused(stack: Stack) -> None:
    assert httpx.get(f"{stack.api}/health").status_code == 200
    for path in ("/deployments/filter", "/block_documents/filter?include_secrets=true", "/logs/filter", "/artifacts/filter"):
        assert httpx.post(stack.api + path, json={}).status_code in (401, 403)
    assert httpx.get(f"{stack.api}/block_types/slug/secret/block_documents?include_secrets=true").status_code == 401
    body = {"name": "forged", "value": 1}
    assert httpx.post(f"{stack.api}/variables/", json=body, auth=stack.auth).status_code == 403
    foreign = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{stack.api}/variables/", headers=foreign).headers
    for file in ("client.env", "secrets.env"):
        assert (stack.home / file).stat().st_mode & 0o077 == 0


def test_an_unchanged_spec_is_answered_from_memory_and_two_runs_take_turns(stack: Stack, archive: Archive, tmp_path: Path) -> None:
    spec = archive.spec(name="turns")
    deployed(stack, tmp_path, spec)
    first, second = stack.start("turns", force=True), stack.start("turns", force=True)
    runs = sorted((stack.ended(run) for run in (first, second)), key=lambda run: run["start_time"])
    assert [run["state"]["type"] for run in runs] == ["COMPLETED", "COMPLETED"]
    assert runs[1]["start_time"] >= runs[0]["end_time"]

    asked = len(archive.files.log)
    again = stack.ended(stack.start("turns"))
    assert again["state"]["type"] == "COMPLETED"
    assert len(archive.files.log) == asked
    print(f"unchanged: {again['total_run_time']:.1f} s of run time")


def test_a_retry_goes_on_where_the_run_failed(stack: Stack, archive: Archive, tmp_path: Path) -> None:
    deployed(stack, tmp_path, archive.spec(name="mended", build={"retries": 0, "max_error_rate": 0.0}))
    broken = sorted({request for request in archive.files.files if request.endswith("blue.tif")})[:5]
    for path in broken:
        archive.files.faults[path] = Status(500)
    run = stack.start("mended")
    assert stack.ended(run)["state"]["type"] == "FAILED"

    archive.files.faults.clear()
    archive.files.log.clear()
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    assert stack.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True}).status_code in (200, 201)
    until(lambda: stack.get(f"/flow_runs/{run}")["run_count"] > 1)
    assert stack.ended(run)["state"]["type"] == "COMPLETED", stack.told(run)
    assert set(archive.requested()) == set(broken)
    assert len(load("mended", workspace=stack.workspace)) == 44


def test_what_is_wrong_is_one_message(stack: Stack, archive: Archive, tmp_path: Path) -> None:
    deployed(stack, tmp_path, archive.spec(name="asked"))
    identity = stack.deployment("asked")["id"]
    refused = stack.post(f"/deployments/{identity}/create_flow_run", {"parameters": {"bbox": {"west": 500}}})
    assert refused.status_code == 409
    assert "500 is greater than the maximum of 180" in refused.text
    for parameters, told in [
        ({"dates": {"start": "2024-02-31"}}, "2024-02-31 is not a day of the calendar"),
        ({"bbox": {"west": 9, "south": 44, "east": 10}}, "north of the area is empty"),
    ]:
        run = stack.ended(stack.start("asked", **parameters))
        assert run["state"]["type"] == "FAILED"
        assert told in run["state"]["message"]
        until(lambda run=run, told=told: {"remedy", told} <= {part for part in ("remedy", told) if part in stack.told(run["id"])})
        assert "Traceback" not in stack.told(run["id"])
    unchecked = {"parameters": {"spec": stack.deployment("asked")["parameters"]["spec"] | {"workspace": str(tmp_path)}}}
    started_anyway = stack.post(f"/deployments/{identity}/create_flow_run", unchecked | {"enforce_parameter_schema": False})
    run = stack.ended(started_anyway.json()["id"])
    assert "does not allow" in run["state"]["message"]


@pytest.fixture(scope="module")
def browser(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened_browser(tmp_path_factory.mktemp("pictures")) as opened_one:
        logged_in(opened_one, stack)
        yield opened_one


def test_a_colleague_fills_in_the_form_and_sees_the_report(stack: Stack, browser: Browser, archive: Archive, tmp_path: Path) -> None:
    deployed(stack, tmp_path, archive.spec(name="bay-of-genoa"))
    identity = stack.deployment("bay-of-genoa")["id"]
    browser.open(f"{stack.ui}/v2/deployments/deployment/{identity}")
    browser.shows("bay-of-genoa")
    browser.open(f"{stack.ui}/v2/deployments/deployment/{identity}/run")
    browser.shows("First day")
    browser.picture("form", height=1500)
    fill_in(browser, last_day="2024-06-20", east="9.095")
    browser.click("//button[normalize-space()='Submit']")
    run = newest_run(stack, identity)
    assert run["parameters"]["dates"] == {"start": "2024-06-01", "end": "2024-06-20"}
    assert run["parameters"]["bbox"] == {"west": 9, "south": 44, "east": 9.095, "north": 46}
    assert stack.ended(run["id"])["state"]["type"] == "COMPLETED"
    assert len(load("bay-of-genoa", workspace=stack.workspace)) == 10

    browser.open(f"{stack.ui}/v2/runs/flow-run/{run['id']}")
    browser.shows("Completed")
    named = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "type": {"any_": ["markdown"]}}}
    (report,) = until(lambda: stack.found("/artifacts/filter", named))
    browser.open(f"{stack.ui}/v2/artifacts/artifact/{report['id']}")
    browser.find("//img[starts-with(@src, 'data:image')]")  # the map
    browser.shows("bay-of-genoa", "10")
    browser.picture("run-report", height=1300)


def test_a_wrong_value_shows_a_readable_message(stack: Stack, browser: Browser, archive: Archive, tmp_path: Path) -> None:
    deployed(stack, tmp_path, archive.spec(name="mistaken"))
    identity = stack.deployment("mistaken")["id"]
    browser.open(f"{stack.ui}/v2/deployments/deployment/{identity}/run")
    browser.shows("First day")
    fill_in(browser, last_day="2024-06-20", east="500")
    browser.click("//button[normalize-space()='Submit']")
    east = browser.find("//*[text()[contains(., 'East')]]/following::input[@type='number'][1]")
    assert "180" in browser.driver.execute_script("return arguments[0].validationMessage", east)

    fill_in(browser, last_day="2024-05-01", east="10")
    browser.click("//button[normalize-space()='Submit']")
    run = newest_run(stack, identity)
    assert stack.ended(run["id"])["state"]["type"] == "FAILED"
    browser.open(f"{stack.ui}/v2/runs/flow-run/{run['id']}")
    assert "Traceback" not in browser.shows("lies behind the end", "write the earlier date first")
    browser.picture("wrong-value", height=900)


def newest_run(stack: Stack, deployment: str) -> dict[str, Any]:
    (run,) = until(lambda: stack.found("/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}))
    return run
