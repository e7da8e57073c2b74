"""What Prefect costs per local run, in counts: requests to its API and rows in its database."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.archive import opened

SCRIPT = """
import json, sys
import httpx
from rasterloom.flows.run import run
from rasterloom.tasks.settings import local_settings, reach_server

asked = []
sync, later = httpx.Client.send, httpx.AsyncClient.send

def remember(request, answer):
    '''But for logs and for the progress bar, which go by the seconds that a run lasts, and what is asked again of a locked database.'''
    by_time = request.url.path == "/api/logs/" or (request.method == "PATCH" and request.url.path.startswith("/api/artifacts/"))
    if not by_time and answer.status_code != 503:
        asked.append(request.url.path)
    return answer

def send(self, request, **more):
    return remember(request, sync(self, request, **more))

async def send_later(self, request, **more):
    return remember(request, await later(self, request, **more))

with local_settings():
    reach_server()
httpx.Client.send, httpx.AsyncClient.send = send, send_later
counts = []
for _ in range(2):
    asked.clear()
    run(json.loads(sys.argv[1]), workspace=sys.argv[2])
    counts.append(len(asked))
print(json.dumps(counts))
"""
PER_RUN = {"flow_run": 1, "flow_run_state": 3, "task_run": 0, "artifact": 2, "events": 0}
"""Rows at the most. A flow run is Pending, Running and Completed; its page has a progress bar where it takes long, and a report."""


@pytest.mark.slow
def test_a_local_run_asks_little_of_prefect_and_leaves_little_in_its_database(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    with opened(1000) as archive:
        spec = archive.spec().model_dump_json(exclude_none=True)
        command = [sys.executable, "-c", SCRIPT, spec, str(tmp_path / "workspace")]
        done = subprocess.run(command, env=os.environ | {"PREFECT_HOME": str(home)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    built, reused = json.loads(done.stdout)
    assert built <= 16  # however many tasks there are
    assert reused <= 10
    database = sqlite3.connect(home / "prefect.db")
    for table, most in PER_RUN.items():
        assert database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] <= 2 * most, table
    tasks = 1 + 5 + 1
    assert database.execute("SELECT count(*) FROM log").fetchone()[0] <= 2 * (tasks + 6)
