"""Two Prefect workers: a build that they share, and what is left of a build when the flow, the worker or the server is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
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
from rasterloom.tasks.limits import limit_name
from tests.flows.archive import Archive, opened
from tests.flows.services import Services, services
from tests.waiting import until

pytestmark = pytest.mark.slow

SCENES = 440
LATENCY = 0.05
WEEKS = {"split": {"time": "P7D"}}
"""Seven searches: enough for helpers to be called."""
SLOW: dict[str, Any] = {"build": {"max_concurrent": 4}}


@pytest.fixture
def archive() -> Iterator[Archive]:
    """Of each test its own: nobody else asks it for anything, and nobody else finds it slow."""
    with opened(SCENES, latency=LATENCY) as made:
        yield made


@pytest.fixture(scope="module")
def server_and_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("prefect"), "one", "two") as made:
        yield made


@pytest.fixture
def prefect(server_and_workers: Services, archive: Archive) -> Iterator[Services]:
    """All of it is up, and idle; `archive` outlives the runs that ask it."""
    with temporary_settings({PREFECT_API_URL: server_and_workers.url}):
        yield server_and_workers
    archive.files.latency = 0.0
    server_and_workers.restore()


@pytest.fixture
def alone(prefect: Services, archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What one process makes of the archive."""
    return rows(run(archive.spec(**WEEKS), workspace=str(tmp_path_factory.mktemp("alone"))))


def rows(collection: rasterloom.Collection) -> pa.Table:
    return collection.to_table().sort_by("id")


def deployed(archive: Archive, name: str, workspace: Path) -> str:
    deploy([archive.spec(name=name, workspace=str(workspace), **WEEKS, **SLOW)], work_pool="local")
    return f"build-collection/{name}"


def test_two_workers_share_a_build(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    assert register("local", of=2) == "gather-share/local"
    first = started(prefect, archive, deployed(archive, "shared", tmp_path))
    helper = helper_of(prefect, first)
    archive.files.latency = LATENCY  # not before the helper is there, however long its worker takes
    assert prefect.ended(first) == "COMPLETED"
    assert rows(rasterloom.load("shared", workspace=str(tmp_path))).equals(alone)
    assert prefect.ended(helper) == "COMPLETED"


def test_a_build_does_without_the_worker_that_helped_it(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    register("local", of=2)
    first = started(prefect, archive, deployed(archive, "left", tmp_path))
    helper = helper_of(prefect, first)
    process, worker = prefect.process_of(helper), prefect.worker_of(helper)
    assert worker != prefect.worker_of(first)
    prefect.kill(worker)
    kill(process)
    archive.files.latency = LATENCY
    assert prefect.ended(first) == "COMPLETED"
    assert rows(rasterloom.load("left", workspace=str(tmp_path))).equals(alone)


def helper_of(prefect: Services, build: str) -> str:
    """The one helper of a build, when it runs."""
    asked = {"flows": {"name": {"any_": ["gather-share"]}}}
    (found,) = until(lambda: [run["id"] for run in prefect.post("/flow_runs/filter", asked) if run["parameters"]["build_run"] == build])
    return prefect.running(found)


def test_a_killed_flow_and_a_killed_worker_lose_nothing(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    name = deployed(archive, "killed", tmp_path)
    first = started(prefect, archive, name)
    kill(prefect.process_of(first))
    assert prefect.ended(first) == "CRASHED"
    assert rasterloom.Collection.list_collections(str(tmp_path)) == []

    second = started(prefect, archive, name)
    for worker in prefect.workers:
        prefect.kill(worker)
    archive.files.latency = LATENCY
    # its process sees that the worker is gone, and ends with the batches under way, unless they were the last ones
    assert prefect.ended(second) in ("CRASHED", "COMPLETED")
    prefect.start_worker("one")
    assert prefect.ended(prefect.run(name)) == "COMPLETED"
    assert rows(rasterloom.load("killed", workspace=str(tmp_path))).equals(alone)


def test_a_build_waits_for_a_killed_server_to_come_back(prefect: Services, archive: Archive, alone: pa.Table, tmp_path: Path) -> None:
    """Its slots of the host are its own again afterwards, and then free."""
    set_up(work_pool="local", limits={archive.files.host: 4})
    name = deployed(archive, "server", tmp_path)
    run = started(prefect, archive, name)
    assert until(lambda: slots(prefect, archive)) <= 4
    prefect.kill("server")
    prefect.start_server()
    archive.files.latency = LATENCY
    assert prefect.ended(run) == "COMPLETED"
    until(lambda: slots(prefect, archive) == 0)
    assert rows(rasterloom.load("server", workspace=str(tmp_path))).equals(alone)
    assert prefect.ended(prefect.run(name)) == "COMPLETED"


def slots(prefect: Services, archive: Archive) -> int:
    """Taken of the limit of the archive's host."""
    return prefect.get(f"/v2/concurrency_limits/{limit_name(archive.files.host)}")["active_slots"]


def started(prefect: Services, archive: Archive, deployment: str) -> str:
    """A run that runs, has asked for its first files, and waits for them."""
    archive.files.latency = 2.0
    before = len(archive.files.log)
    run = prefect.running(prefect.run(deployment))
    until(lambda: len(archive.files.log) > before)
    return run


def kill(process: int) -> None:
    """It may be about to end by itself: its worker is gone."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
