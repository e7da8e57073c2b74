"""A run with nothing to do, started as the UI does it: what it asks, what it leaves in the server's database, how long it takes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from rasterloom.access.collection import load
from rasterloom.access.versions.commits import latest
from rasterloom.access.versions.opening import delete_collection
from rasterloom.access.workspace.place import open_workspace
from rasterloom.flows.deploy import deploy
from tests.flows.archive import Archive, opened
from tests.flows.services import Services, services
from tests.waiting import until

pytestmark = pytest.mark.slow

SCENES = 44
HEADERS = 2 * SCENES
SETTLED = 8.0
"""Seconds without a change; Prefect's server writes events every five. Where it is slower, fewer rows are seen, and none of another run."""
LONGEST = 10.0
"""Seconds that an unchanged run may take, as Prefect records it."""
TABLES = {
    "flow_run": "id = :run",
    "flow_run_state": "flow_run_id = :run AND name <> 'Late'",
    "task_run": "flow_run_id = :run",
    "task_run_state": "task_run_id IN (SELECT id FROM task_run WHERE flow_run_id = :run)",
    "log": "flow_run_id = :run",
    "artifact": "flow_run_id = :run",
    "events": "instr(resource_id || related_resource_ids, :run) AND event <> 'prefect.flow-run.Late'",
}
"""Which rows are of a run; that it waited for its worker says something about the machine alone."""
NOTHING_TO_DO = {"flow_run": 1, "flow_run_state": 5, "task_run": 0, "task_run_state": 0, "log": 8, "artifact": 1, "events": 14}
"""Rows at the most: five states (Scheduled, twice Pending, Running, Completed); the short report; what worker and server tell of a run."""
PER_TASK = {"task_run": 1, "task_run_state": 3, "log": 2, "events": 4}
A_BUILD = {"flow_run": 1, "flow_run_state": 5, "task_run": 0, "task_run_state": 0, "log": 10, "artifact": 3, "events": 16}
"""And each of its tasks."""


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with opened(SCENES) as made:
        yield made


@pytest.fixture(scope="module")
def prefect(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with services(tmp_path_factory.mktemp("prefect"), "one") as made, temporary_settings({PREFECT_API_URL: made.url}):
        deploy([archive.spec()], work_pool="local")
        yield made


@dataclass(frozen=True, slots=True)
class Left:
    """A run that has ended, and the rows that it left in the database of the server, by table."""

    run: str
    rows: dict[str, int]

    def over(self, most: dict[str, int]) -> dict[str, int]:
        tasks = self.rows["task_run"]
        return {table: count for table, count in self.rows.items() if count > most[table] + tasks * PER_TASK.get(table, 0)}


@pytest.fixture(scope="module")
def built(prefect: Services) -> Left:
    return counted(prefect, tasks=3)


@pytest.fixture
def small(prefect: Services, built: Left) -> Left:
    """The collection, again where a test has failed that had deleted it."""
    if latest(open_workspace(str(prefect.workspace)), "small") is None:
        ended(prefect)
    return built


@pytest.fixture
def quiet(archive: Archive, small: Left) -> Archive:
    """Nothing was asked of it so far."""
    archive.files.log.clear()
    archive.stac.log.clear()
    return archive


def asked(archive: Archive) -> dict[str, int]:
    return {"pages": len(archive.stac.log), "headers": len(archive.files.log)}


NOTHING = {"pages": 0, "headers": 0}


def ended(prefect: Services, *, tasks: int = 0, **parameters: Any) -> str:
    """A new run of the deployment, when it has completed and the server has heard of so many tasks: it does so some seconds later."""
    run = prefect.run("build-collection/small", **parameters)
    assert prefect.ended(run) == "COMPLETED"
    until(lambda: rows(prefect, run)["task_run"] >= tasks)
    return run


def counted(prefect: Services, *, tasks: int) -> Left:
    """When the server has written the events and logs that it was sent."""
    run = ended(prefect, tasks=tasks)
    found, since = rows(prefect, run), time.monotonic()
    while time.monotonic() < since + SETTLED:
        time.sleep(1)
        if (now := rows(prefect, run)) != found:
            found, since = now, time.monotonic()
    return Left(run, found)


def rows(prefect: Services, run: str) -> dict[str, int]:
    return {table: asked_database(prefect, f"SELECT count(*) FROM {table} WHERE {of}", run)[0] for table, of in TABLES.items()}


def asked_database(prefect: Services, question: str, run: str) -> Any:
    with closing(sqlite3.connect(prefect.home / "prefect/prefect.db", timeout=60)) as database:
        return database.execute(question, {"run": run}).fetchone()


def decision(prefect: Services, run: str) -> str:
    """What the run told Prefect's event feed."""
    ours = f"SELECT payload FROM events WHERE event LIKE 'rasterloom.collection.%' AND {TABLES['events']}"
    (payload,) = until(lambda: asked_database(prefect, ours, run))
    return json.loads(payload)["action"]


def test_a_build_leaves_rows_in_proportion_to_its_tasks(built: Left) -> None:
    assert built.rows["task_run"] == 3
    assert not built.over(A_BUILD), built.rows


def test_an_unchanged_run_asks_for_nothing_and_is_done_in_ten_seconds(prefect: Services, quiet: Archive) -> None:
    again = counted(prefect, tasks=0)
    assert asked(quiet) == NOTHING
    assert decision(prefect, again.run) == "reuse"
    assert again.rows["task_run"] == 0
    assert not again.over(NOTHING_TO_DO), again.rows
    if seconds(prefect, again.run) >= LONGEST:  # as long as the machine is busy with something else
        until(lambda: seconds(prefect, ended(prefect)) < LONGEST)


def seconds(prefect: Services, run: str) -> float:
    return prefect.get(f"/flow_runs/{run}")["total_run_time"]


def test_where_the_collection_is_gone_all_batches_come_from_memory(prefect: Services, quiet: Archive) -> None:
    assert delete_collection(str(prefect.workspace), "small")
    assert tasks_of(prefect, ended(prefect, tasks=1)) == 1  # it is published
    assert asked(quiet) == NOTHING
    of_memory(prefect, "small")


def test_another_collection_of_the_same_question_is_made_from_memory(prefect: Services, quiet: Archive) -> None:
    assert tasks_of(prefect, ended(prefect, tasks=1, save_as="another")) == 1
    assert asked(quiet) == NOTHING
    of_memory(prefect, "another")


def tasks_of(prefect: Services, run: str) -> int:
    return rows(prefect, run)["task_run"]


def of_memory(prefect: Services, name: str) -> None:
    entry = latest(open_workspace(str(prefect.workspace)), name)
    assert entry is not None
    assert entry.action == "build"
    assert (entry.reuse.headers_fetched, entry.reuse.headers_cached, entry.traffic.requests) == (0, HEADERS, 0)
    assert len(load(name, str(prefect.workspace))) == SCENES
