"""A run with nothing to do, started as the UI does it: what it asks, what it leaves in the server's database, how long it takes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
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

pytestmark = pytest.mark.slow

SCENES = 44
HEADERS = 2 * SCENES
SETTLED = 8.0
"""Seconds without a change; Prefect's server writes events every five."""
LONGEST = 10.0
"""Seconds that an unchanged run may take, as Prefect records it."""
TABLES = ("flow_run", "flow_run_state", "task_run", "task_run_state", "log", "artifact", "events")
NOTHING_TO_DO = {"flow_run": 1, "flow_run_state": 5, "task_run": 0, "task_run_state": 0, "log": 8, "artifact": 1, "events": 14}
"""Rows at the most: five states (Scheduled, twice Pending, Running, Completed); the short report; what worker and server tell of a run."""
PER_TASK = {"task_run": 1, "task_run_state": 3, "log": 2, "events": 4}
A_BUILD = {"flow_run": 1, "flow_run_state": 5, "task_run": 0, "task_run_state": 0, "log": 10, "artifact": 3, "events": 16}
"""And each of its tasks."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the deployment that has ended."""

    record: dict[str, Any]
    tasks: int


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
    """A run, and the rows that it left in the database of the server, by table."""

    run: Run
    rows: dict[str, int]

    def over(self, most: dict[str, int]) -> dict[str, int]:
        tasks = self.run.tasks
        return {table: count for table, count in self.rows.items() if count > most[table] + tasks * PER_TASK.get(table, 0)}


@pytest.fixture(scope="module")
def built(prefect: Services) -> Left:
    return counted(prefect)


@pytest.fixture
def quiet(archive: Archive) -> Archive:
    """Nothing was asked of it so far."""
    archive.files.log.clear()
    archive.stac.log.clear()
    return archive


def asked(archive: Archive) -> dict[str, int]:
    return {"pages": len(archive.stac.log), "headers": len(archive.files.log)}


NOTHING = {"pages": 0, "headers": 0}


def ended(prefect: Services, **parameters: Any) -> Run:
    """A new run of the deployment, at its end."""
    run = prefect.run("build-collection/small", **parameters)
    assert prefect.ended(run) == "COMPLETED"
    tasks = prefect.post("/task_runs/count", {"flow_runs": {"id": {"any_": [run]}}})
    return Run(record=prefect.get(f"/flow_runs/{run}"), tasks=tasks)


def counted(prefect: Services) -> Left:
    before = settled(prefect)
    run = ended(prefect)
    after = settled(prefect)
    after.subtract(before)
    return Left(run, dict(after))


def settled(prefect: Services) -> Counter[str]:
    """Rows when the server has written the events and logs that it was sent: it does so some seconds later."""
    found, since = rows(prefect), time.monotonic()
    while time.monotonic() < since + SETTLED:
        time.sleep(1)
        if (now := rows(prefect)) != found:
            found, since = now, time.monotonic()
    return found


def rows(prefect: Services) -> Counter[str]:
    return Counter({table: asked_database(prefect, f"SELECT count(*) FROM {table}") for table in TABLES})


def asked_database(prefect: Services, question: str) -> Any:
    with closing(sqlite3.connect(prefect.home / "prefect/prefect.db", timeout=60)) as database:
        return database.execute(question).fetchone()[0]


def decision(prefect: Services) -> str:
    """Of the newest run: what it told Prefect's event feed."""
    ours = "SELECT payload FROM events WHERE event LIKE 'rasterloom.collection.%' ORDER BY occurred DESC LIMIT 1"
    return json.loads(asked_database(prefect, ours))["action"]


def test_a_build_leaves_rows_in_proportion_to_its_tasks(built: Left) -> None:
    assert built.run.tasks == 3
    assert not built.over(A_BUILD), built.rows


def test_an_unchanged_run_asks_for_nothing_and_is_done_in_ten_seconds(prefect: Services, built: Left, quiet: Archive) -> None:
    assert built.run.tasks
    again = counted(prefect)
    assert asked(quiet) == NOTHING
    assert decision(prefect) == "reuse"
    assert again.run.tasks == 0
    assert not again.over(NOTHING_TO_DO), again.rows
    seconds = again.run.record["total_run_time"]
    if seconds >= LONGEST:  # the machine is busy with something else
        seconds = ended(prefect).record["total_run_time"]
    assert seconds < LONGEST


def test_where_the_collection_is_gone_all_batches_come_from_memory(prefect: Services, built: Left, quiet: Archive) -> None:
    assert built.run.tasks
    assert delete_collection(str(prefect.workspace), "small")
    assert ended(prefect).tasks == 1  # it is published
    assert asked(quiet) == NOTHING
    of_memory(prefect, "small")


def test_another_collection_of_the_same_question_is_made_from_memory(prefect: Services, built: Left, quiet: Archive) -> None:
    assert built.run.tasks
    assert ended(prefect, save_as="another").tasks == 1
    assert asked(quiet) == NOTHING
    of_memory(prefect, "another")


def of_memory(prefect: Services, name: str) -> None:
    entry = latest(open_workspace(str(prefect.workspace)), name)
    assert entry is not None
    assert entry.action == "build"
    assert (entry.reuse.headers_fetched, entry.reuse.headers_cached, entry.traffic.requests) == (0, HEADERS, 0)
    assert len(load(name, str(prefect.workspace))) == SCENES
