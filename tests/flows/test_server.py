"""A real Prefect server and worker: deploy specs, run one with other dates as the UI's form does it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from rasterloom.access.collection import load
from rasterloom.errors import SpecError
from rasterloom.flows.deploy import deploy
from tests.flows.archive import opened
from tests.flows.services import Services, services

pytestmark = pytest.mark.slow

POOL = "local"


@pytest.fixture(scope="module")
def server_and_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("server"), "one") as made:
        yield made


@pytest.fixture
def prefect(server_and_worker: Services) -> Iterator[Services]:
    """All of it is up, and empty."""
    with temporary_settings({PREFECT_API_URL: server_and_worker.url}):
        yield server_and_worker
    server_and_worker.restore()


def test_a_deployed_spec_stands_with_its_schedule_and_runs_with_other_dates(prefect: Services) -> None:
    with opened(44) as archive:
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

        wrong = {"parameters": {"spec": found["parameters"]["spec"] | {"bands": "B02"}}}
        assert prefect.asked("POST", f"/deployments/{deployed.id}/create_flow_run", json=wrong).status_code == 409

        run = prefect.run("build-collection/small", spec=found["parameters"]["spec"] | {"dates": "2024-06"})
        assert prefect.ended(run) == "COMPLETED"

    collection = load("small", workspace=str(prefect.workspace))
    assert len(collection) == 30


def test_deploying_again_replaces_the_schedule(prefect: Services) -> None:
    with opened(1) as archive:
        for schedule, wanted in [({"cron": "0 6 * * *"}, ["0 6 * * *"]), ({"cron": "5 7 * * *"}, ["5 7 * * *"]), (None, [])]:
            deploy([archive.spec(name="again", schedule=schedule)], work_pool=POOL)
            found = prefect.get("/deployments/name/build-collection/again")
            assert [each["schedule"]["cron"] for each in found["schedules"]] == wanted


def test_a_work_pool_that_is_not_there_is_named(prefect: Services) -> None:
    with opened(1) as archive, pytest.raises(SpecError, match="elsewhere"):
        deploy([archive.spec()], work_pool="elsewhere")
