"""What a run of a deployment leaves in the database of a Prefect server with all its services, under a worker."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import Rig, Server, serving

TABLES = ("flow_run", "flow_run_state", "task_run", "task_run_state", "log", "artifact", "events", "event_resources")
SETTLED = 12.0
"""Seconds without a change: the server writes events every five, and worker and run send theirs in the background."""
POOL = "bench"
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Prefect:
    """The running server."""

    api: str
    database: str
    """URL of SQLAlchemy."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def counts(self) -> Counter[str]:
        """Rows of the tables that grow, and bytes of the database."""
        return asyncio.run(self._counts())

    async def _counts(self) -> Counter[str]:
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine(self.database)
        sqlite = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        asked = {table: f"SELECT count(*) FROM {table}" for table in TABLES}
        asked["heartbeats"] = "SELECT count(*) FROM events WHERE event LIKE '%heartbeat%'"
        asked["bytes"] = sqlite if self.database.startswith("sqlite") else "SELECT pg_database_size(current_database())"
        try:
            async with engine.connect() as connection:
                return Counter({name: (await connection.execute(text(question))).scalar_one() for name, question in asked.items()})
        finally:
            await engine.dispose()

    def settled(self) -> Counter[str]:
        found, since = self.counts(), time.monotonic()
        while time.monotonic() < since + SETTLED:
            time.sleep(2)
            if (now := self.counts()) != found:
                found, since = now, time.monotonic()
        return found


@contextmanager
def running(home: Path, database: str | None) -> Generator[Prefect]:
    """A server and a worker of the pool `bench`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prefect = Prefect(f"http://127.0.0.1:{port}/api", database or f"sqlite+aiosqlite:///{home}/prefect.db")
    env = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": prefect.api,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect.database,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect"]
    processes: list[subprocess.Popen[bytes]] = []
    with (home / "log").open("wb") as log:
        try:
            for more in (["server", "start", "--port", str(port)], ["worker", "start", "--pool", POOL, "--type", "process"]):
                processes.append(subprocess.Popen([*command, *more], env=env, cwd=home, stdout=log, stderr=log))
                _wait_for(lambda: prefect.ask("/health" if len(processes) == 1 else f"/work_pools/{POOL}"))
            yield prefect
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(60)


def _wait_for(answer: Callable[[], Any]) -> None:
    for _ in range(240):
        try:
            answer()
        except OSError:  # refused, or 404 as long as the worker has not made its pool
            time.sleep(0.5)
        else:
            return
    raise TimeoutError("Prefect does not start")


def growth(rig: Rig, folder: Path, *, scenes: int, database: str | None) -> dict[str, Counter[str]]:
    """By run: a build, and two with nothing to do. The second of those shows what every further one leaves."""
    found: dict[str, Counter[str]] = {}
    home = folder / "server"
    home.mkdir()
    with serving(rig, scenes_served=scenes) as server, running(home, database) as prefect:
        deployment = _deployed(prefect, server, folder)
        before = prefect.settled()
        for name in ("build", "reuse", "reuse_again"):
            run = prefect.ask(f"/deployments/{deployment}/create_flow_run", {"parameters": {}})["id"]
            while (state := prefect.ask(f"/flow_runs/{run}")["state"]["type"]) not in ENDED:
                time.sleep(1)
            if state != "COMPLETED":
                rig.errors.append(f"growth {name}: {state}")
            after = prefect.settled()
            found[name] = Counter(after)
            found[name].subtract(before)
            before = after
    return found


def _deployed(prefect: Prefect, server: Server, folder: Path) -> str:
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from side_rasterloom import question_spec

    from rasterloom.flows.deploy import deploy
    from rasterloom.specs.loader import spec_from

    spec = spec_from(question_spec({**server.question(folder / "deployed", 4), "concurrency": 100}))
    with temporary_settings({PREFECT_API_URL: prefect.api}):
        deploy([spec], work_pool=POOL)
    return prefect.ask(f"/deployments/name/build-collection/{spec.name}")["id"]
