"""Measure what Prefect costs per run beside the work itself: requests to its API, rows and bytes in its database, CPU per task.

    python bench/overheads.py --out overheads.json

Counts do not depend on the machine; `tests/flows/test_overheads.py` and `test_unchanged.py` hold them. Local runs have a temporary server
each, as `rasterloom run` without PREFECT_API_URL. Those of a deployment have a server with all its services, and a worker; its database is
SQLite's, or what `--database` names, which must be empty. Ends with 1 where a count is over its budget.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from growth import TABLES, growth
from rig import Rig, serving

BUDGET = {"requests": 16, "flow_run": 1, "flow_run_state": 3, "task_run": 0, "artifact": 2, "events": 0, "heartbeats": 0}
"""Of one local run, at the most; logs are a request in two seconds."""
TASKS = 200

TASKS_SCRIPT = """
import json, sys, time
from prefect import flow, task
from rasterloom.tasks.settings import connected, local_settings

@task(persist_result=False)
def nothing(number):
    return number

@flow(persist_result=False)
def empty(count):
    for future in [nothing.submit(number) for number in range(count)]:
        future.result()

with local_settings(), connected():
    empty(1)
    seconds = []
    for count in (0, int(sys.argv[1])):
        cpu, wall = time.process_time(), time.perf_counter()
        empty(count)
        seconds.append((time.process_time() - cpu, time.perf_counter() - wall))
(no_cpu, no_wall), (cpu, wall) = seconds
count = int(sys.argv[1])
found = {"flow_wall_ms": 1000 * no_wall, "flow_cpu_ms": 1000 * no_cpu}
print(json.dumps(found | {"task_cpu_ms": 1000 * (cpu - no_cpu) / count, "task_wall_ms": 1000 * (wall - no_wall) / count}))
"""


def rows(home: Path) -> dict[str, int]:
    """Rows of the tables that grow, and the bytes of the database."""
    database = sqlite3.connect(home / "prefect.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
    pages, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    counts["heartbeats"] = database.execute("SELECT count(*) FROM events WHERE event LIKE '%heartbeat%'").fetchone()[0]
    return counts | {"bytes": pages * size}


def measure(rig: Rig, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rasterloom-bench-") as folder, serving(rig, scenes_served=options.scenes) as server:
        home = Path(folder) / "prefect"
        os.environ["PREFECT_HOME"] = str(home)
        before: Counter[str] = Counter()
        for name in ("build", "reuse", "reuse_again"):
            done = rig.side("rasterloom", "build_flow", cpu=None, count_api=True, **server.question(Path(folder) / "w", 4))
            after = Counter(rows(home))
            after.subtract(before)
            found[name] = {"requests": done["api_requests"], "logs_requests": done["api_logs"], **after}
            before = Counter(rows(home))
        script = [sys.executable, "-c", TASKS_SCRIPT, str(TASKS)]
        tasks = subprocess.run(script, capture_output=True, text=True, check=True)
        found["per_task"] = json.loads(tasks.stdout.splitlines()[-1])
        del os.environ["PREFECT_HOME"]
        found["deployment"] = growth(rig, Path(folder), scenes=options.scenes, database=options.database)
    return found


def over(found: dict[str, Any]) -> list[str]:
    runs = {name: found[name] for name in ("build", "reuse", "reuse_again")}
    return [f"{name}: {key} {run[key]} > {most}" for name, run in runs.items() for key, most in BUDGET.items() if run[key] > most]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("overheads.json"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rasterloom-bench", help="templates (18 MB), kept")
    parser.add_argument("--database", help="of the server, as SQLAlchemy names it: postgresql+asyncpg://USER:PASSWORD@HOST/NAME")
    parser.add_argument("--scenes", type=int, default=500)
    options = parser.parse_args(arguments)
    rig = Rig(options.folder, sys.executable, None, None, concurrency=(100,), repeats=1, pin=False)
    found = measure(rig, options)
    wrong = over(found)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"date": date, "scenes": options.scenes, "load": list(os.getloadavg()), "errors": rig.errors}
    options.out.write_text(json.dumps({"about": about, "over": wrong, **found}, indent=1))
    print(json.dumps({**found, "over": wrong}, indent=1))
    return int(bool(wrong or rig.errors))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
