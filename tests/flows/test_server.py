"""A real Prefect server and worker: deploy specs, run one with other dates as the UI's form does it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from rasterloom.access.collection import load
from rasterloom.errors import SpecError
from rasterloom.flows.deploy import deploy
from tests.flows.archive import opened
from tests.servers import free_port

pytestmark = pytest.mark.slow

POOL = "local"


@dataclass(frozen=True, slots=True)
class Prefect:
    url: str
    workspace: Path

    def get(self, path: str) -> Any:
        return self._asked("GET", path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._asked("POST", path, json=body)

    def _asked(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Again while SQLite is locked by the server's own services."""
        for _ in range(120):
            if (answer := httpx.request(method, self.url + path, timeout=60, **more)).status_code != 503:
                return answer
            time.sleep(1)
        raise TimeoutError(f"{path} answers 503 for two minutes")


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"{process.args} ended"
        assert time.monotonic() < end, f"waited {seconds} s for {condition}"
        time.sleep(0.25)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    home, port = tmp_path_factory.mktemp("server"), free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = os.environ | {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "RASTERLOOM_WORKSPACE": str(home / "workspace"),
    }
    command = [sys.executable, "-m", "prefect"]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "server", "start", "--host", "127.0.0.1", "--port", str(port)], env=env, stdout=log, stderr=log
        )
        try:
            until(lambda: answers(f"{url}/health"), server)
            worker = subprocess.Popen(
                [*command, "worker", "start", "--pool", POOL, "--type", "process"], env=env, cwd=home, stdout=log, stderr=log
            )
            try:
                until(lambda: answers(f"{url}/work_pools/{POOL}"), worker)
                yield Prefect(url, home / "workspace")
            finally:
                stop(worker)
        finally:
            stop(server)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_a_deployed_spec_stands_with_its_schedule_and_runs_with_other_dates(prefect: Prefect) -> None:
    with opened(44) as archive, temporary_settings({PREFECT_API_URL: prefect.url}):
        spec = archive.spec(schedule={"cron": "0 6 * * *", "timezone": "Europe/Madrid"})
        (deployed,) = deploy([spec], work_pool=POOL)
        assert deployed.scheduled

        found = prefect.get("/deployments/name/build-collection/small")
        assert found["entrypoint"] == "rasterloom.flows.build.build"
        assert found["concurrency_limit"] == 1 or found["global_concurrency_limit"]["limit"] == 1
        (schedule,) = found["schedules"]
        assert schedule["active"]
        assert schedule["schedule"]["cron"] == "0 6 * * *"
        assert schedule["schedule"]["timezone"] == "Europe/Madrid"

        refused = prefect.post(
            f"/deployments/{deployed.id}/create_flow_run", {"parameters": {"spec": found["parameters"]["spec"] | {"bands": "B02"}}}
        )
        assert refused.status_code == 409

        parameters = {"spec": found["parameters"]["spec"] | {"dates": "2024-06"}}
        started = prefect.post(f"/deployments/{deployed.id}/create_flow_run", {"parameters": parameters})
        assert started.status_code == 201
        assert ended(prefect, started.json()["id"]) == "COMPLETED"

    collection = load("small", workspace=str(prefect.workspace))
    assert len(collection) == 30


def ended(prefect: Prefect, run: str, *, seconds: float = 120) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = prefect.get(f"/flow_runs/{run}")["state"]
        if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return state["type"]
        time.sleep(0.5)
    raise AssertionError(f"run {run} is {state}")


def test_deploying_again_replaces_the_schedule(prefect: Prefect) -> None:
    with opened(1) as archive, temporary_settings({PREFECT_API_URL: prefect.url}):
        for schedule, wanted in [({"cron": "0 6 * * *"}, ["0 6 * * *"]), ({"cron": "5 7 * * *"}, ["5 7 * * *"]), (None, [])]:
            deploy([archive.spec(name="again", schedule=schedule)], work_pool=POOL)
            found = prefect.get("/deployments/name/build-collection/again")
            assert [each["schedule"]["cron"] for each in found["schedules"]] == wanted


def test_a_work_pool_that_is_not_there_is_named(prefect: Prefect) -> None:
    with opened(1) as archive, temporary_settings({PREFECT_API_URL: prefect.url}), pytest.raises(SpecError, match="elsewhere"):
        deploy([archive.spec()], work_pool="elsewhere")
