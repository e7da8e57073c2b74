"""Measure a build that two Prefect workers share against the same build by one, in one run.

    python bench/workers.py --out workers.json [--scenes 2000] [--latency 300] [--concurrency 8]

The build is bound by latency: few requests at once for each process, and a slow archive. Server, workers and archive are processes on
this machine; what is compared is the time of the flow run, from its start to its end as Prefect says it, with what it takes until the
helper has begun: a new process that imports everything (`helper_after_s`). Ends with 1 where two workers are less than 1.7 times as fast
as one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig import Rig, Server, serving

sys.path.append(str(Path(__file__).resolve().parent.parent))
from tests.flows.services import ENDED, Services, services, until

BOUND = 1.7
LONGEST = 3600.0
"""Seconds of one build."""


def build(prefect: Services, server: Server, options: argparse.Namespace, *, runs: int) -> dict[str, Any]:
    """One build in a workspace of its own, with `runs` runs that share it."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from rasterloom.flows.deploy import deploy
    from rasterloom.flows.setup import set_up
    from rasterloom.specs.loader import spec_from

    question = server.question(prefect.home / f"workspace-{runs}", options.bands)
    spec = {
        "version": 1,
        "name": f"by-{runs}",
        "stac": {"url": question["stac"], "collection": question["collection"], "page_size": 250},
        "bbox": question["bbox"],
        "dates": question["dates"],
        "band_map": question["bands"],
        "workspace": question["workspace"],
        "build": {"max_concurrent": options.concurrency},
        "split": {"time": "P7D"},
    }
    with temporary_settings({PREFECT_API_URL: prefect.url}):
        set_up(work_pool="local", limits={}, share=runs)
        deploy([spec_from(spec)], work_pool="local")
    server.control("reset")
    run = prefect.run(f"build-collection/by-{runs}")
    until(lambda: prefect.state(run) in ENDED, seconds=LONGEST)
    built = prefect.get(f"/flow_runs/{run}")
    helpers = prefect.post("/flow_runs/filter", {"flows": {"name": {"any_": ["gather-share"]}}})
    return {
        "runs": runs,
        "state": built["state"]["type"],
        "wall_s": built["total_run_time"],
        "helper_after_s": [_seconds(built, helper) for helper in helpers],
        "header_requests": server.control("stats").get("file_requests", 0),
    }


def _seconds(first: dict[str, Any], then: dict[str, Any]) -> float | None:
    """Between the starts of two runs; None where one of them never began."""
    starts = [datetime.fromisoformat(each["start_time"]) for each in (first, then) if each["start_time"]]
    return (starts[1] - starts[0]).total_seconds() if len(starts) == 2 else None


def measure(rig: Rig, options: argparse.Namespace) -> list[dict[str, Any]]:
    with (
        serving(rig, scenes_served=options.scenes, bands=options.bands) as server,
        tempfile.TemporaryDirectory(prefix="rasterloom-bench-") as folder,
        services(Path(folder), "one", "two") as prefect,
    ):
        server.control(f"warm/{options.scenes}")
        server.latency(options.latency)
        return [build(prefect, server, options, runs=runs) for runs in (1, 2)]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("workers.json"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rasterloom-bench", help="templates (18 MB), kept")
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--latency", type=float, default=300.0, help="milliseconds of every answer")
    parser.add_argument("--concurrency", type=int, default=8, help="requests at once of each process")
    options = parser.parse_args(arguments)
    rig = Rig(options.folder, sys.executable, None, None, concurrency=(options.concurrency,), repeats=1, pin=False)
    one, two = measure(rig, options)
    times = one["wall_s"] / two["wall_s"]
    again = two["header_requests"] / one["header_requests"] - 1
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "cores": os.cpu_count(), "load": list(os.getloadavg())}
    found = {"about": about, "one": one, "two": two, "times": times, "asked_twice": again, "met": times >= BOUND}
    options.out.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
    return int(not found["met"])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
