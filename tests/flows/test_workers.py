"""Two Prefect workers: a build that they share, and what is left of a build when the flow, the worker or the server is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

import rasterloom
from rasterloom.flows.deploy import deploy
from rasterloom.flows.helper import register
from rasterloom.flows.run import run
from rasterloom.flows.setup import set_up
from rasterloom.specs.model import CollectionSpec
from rasterloom.tasks.limits import limit_name
from tests.flows.archive import Archive, opened
from tests.flows.services import Services, services, until

pytestmark = pytest.mark.slow

SCENES = 440
LATENCY = 0.05
WEEKS = {"split": {"time": "P7D"}}
"""Seven searches: enough for helpers to be called."""
SLOW: dict[str, Any] = {"build": {"max_concurrent": 4}}


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with opened(SCENES, latency=LATENCY) as made:
        yield made


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("prefect"), "one", "two") as made:
        yield made


@pytest.fixture(scope="module")
def alone(prefect: Services, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What one process makes of the archive."""
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        return rows(run(archive.spec(**WEEKS), workspace=str(tmp_path_factory.mktemp("alone"))))


def rows(collection: rasterloom.Collection) -> pa.Table:
    return collection.to_table().sort_by("id")


def deployed(prefect: Services, spec: CollectionSpec) -> str:
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        deploy([spec], work_pool="local")
    return f"build-collection/{spec.name}"


def test_two_workers_share_a_build(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        assert register("local", of=2) == "gather-share/local"
    name = deployed(prefect, archive.spec(name="shared", workspace=str(tmp_path), **WEEKS, **SLOW))
    first = started(prefect, archive, name)
    until(lambda: [helper["state"]["type"] for helper in helpers(prefect)] == ["RUNNING"])
    archive.files.latency = LATENCY  # not before the helper is there, however long its worker takes
    assert prefect.ended(first) == "COMPLETED"
    assert rows(rasterloom.load("shared", workspace=str(tmp_path))).equals(alone)
    (helper,) = helpers(prefect)
    assert prefect.ended(helper["id"]) == "COMPLETED"
    prefect.delete("/deployments/name/gather-share/local")


def test_a_build_does_without_the_worker_that_helped_it(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        register("local", of=2)
    before = {helper["id"] for helper in helpers(prefect)}
    first = started(prefect, archive, deployed(prefect, archive.spec(name="left", workspace=str(tmp_path), **WEEKS, **SLOW)))
    until(lambda: [new["state"]["type"] for new in helpers(prefect) if new["id"] not in before] == ["RUNNING"])
    (helper,) = (new["id"] for new in helpers(prefect) if new["id"] not in before)
    worker = prefect.worker_of(helper)
    assert worker != prefect.worker_of(first)
    prefect.kill(worker)
    prefect.kill_flow(helper)
    archive.files.latency = LATENCY
    assert prefect.ended(first) == "COMPLETED"
    assert rows(rasterloom.load("left", workspace=str(tmp_path))).equals(alone)
    prefect.start_worker(worker)
    prefect.delete("/deployments/name/gather-share/local")


def helpers(prefect: Services) -> list[dict[str, Any]]:
    return prefect.post("/flow_runs/filter", {"flows": {"name": {"any_": ["gather-share"]}}})


def test_a_killed_flow_and_a_killed_worker_lose_nothing(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    name = deployed(prefect, archive.spec(name="killed", workspace=str(tmp_path), **WEEKS, **SLOW))
    first = started(prefect, archive, name)
    prefect.kill_flow(first)
    assert prefect.ended(first) == "CRASHED"
    assert rasterloom.Collection.list_collections(str(tmp_path)) == []

    prefect.kill("two")
    second = started(prefect, archive, name)
    prefect.kill("one")
    archive.files.latency = LATENCY
    # its process sees that the worker is gone, and ends with the batches under way, unless they were the last ones
    assert prefect.ended(second) in ("CRASHED", "COMPLETED")
    prefect.start_worker("one")
    assert prefect.ended(prefect.run(name)) == "COMPLETED"
    assert rows(rasterloom.load("killed", workspace=str(tmp_path))).equals(alone)


def test_a_build_waits_for_a_killed_server_to_come_back(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    """Its slots of the host are its own again afterwards, and then free."""
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        set_up(work_pool="local", limits={archive.files.host: 4})
    name = deployed(prefect, archive.spec(name="server", workspace=str(tmp_path), **WEEKS, **SLOW))
    run = started(prefect, archive, name)
    assert 0 < slots(prefect, archive) <= 4
    prefect.kill("server")
    prefect.start_server()
    archive.files.latency = LATENCY
    assert prefect.ended(run) == "COMPLETED"
    assert slots(prefect, archive) == 0
    assert rows(rasterloom.load("server", workspace=str(tmp_path))).equals(alone)
    assert prefect.ended(prefect.run(name)) == "COMPLETED"


def slots(prefect: Services, archive: Archive) -> int:
    """Taken of the limit of the archive's host."""
    return prefect.get(f"/v2/concurrency_limits/{limit_name(archive.files.host)}")["active_slots"]


def started(prefect: Services, archive: Archive, deployment: str) -> str:
    """A run that has asked for its first files, and waits for them."""
    archive.files.latency = 2.0
    before = len(archive.files.log)
    run = prefect.run(deployment)
    until(lambda: len(archive.files.log) > before)
    return run
