"""Measure a refresh against the full build of the same collection, in one run.

    python bench/refresh.py --out refresh.json [--scenes 20000] [--changed 0.01]

The scenes of the last three years, from a catalog on this machine whose headers are made up but differ (see `scenes.py`); open dates,
so that the windows of the last 45 days are searched by every run. Between the two runs the given share of the items, among the newest,
becomes newer. Every run is a process of its own and goes through the Prefect flow; imports and the start of Prefect's server are not
counted. Ends with 1 where the refresh reads other headers than those of the changed assets, or takes more than a tenth of the build.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rig import Rig, Server, serving, workspace

DAYS = 3 * 365
BOUND = 0.10
"""Wall of the refresh, of the build's."""
_KEPT = ("wall_s", "cpu_s", "peak_rss_mb", "rows")


def run(rig: Rig, server: Server, folder: Path, since: str, bands: int) -> dict[str, Any]:
    """One run of the flow, and what it asked the server for."""
    server.control("reset")
    question = server.question(folder / "ws", bands) | {"dates": f"{since}/.."}
    done = rig.side("rasterloom", "build_flow", cpu=None, **question)
    asked = server.control("stats")
    files = list(Path(done["uri"]).rglob("*.parquet")) if done else []
    return {
        **{key: done[key] for key in _KEPT if key in done},
        "stac_requests": asked.get("stac_requests", 0),
        "header_requests": asked.get("file_requests", 0),
        "files": len(files),
        "files_linked": sum(path.stat().st_nlink > 1 for path in files),
    }


def measure(rig: Rig, options: argparse.Namespace) -> dict[str, Any]:
    first = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS)
    changed = round(options.scenes * options.changed)
    more = ("--first-day", first.isoformat(), "--days", str(DAYS))
    with serving(rig, scenes_served=options.scenes, bands=options.bands, more=more) as server, workspace() as folder:
        server.latency(options.latency)
        since = f"{first:%Y-%m-01}"
        build = run(rig, server, folder, since, options.bands)
        unchanged = run(rig, server, folder, since, options.bands)
        server.control(f"change/{changed}")
        refresh = run(rig, server, folder, since, options.bands)
    return {"build": build, "unchanged": unchanged, "refresh": refresh, "changed_assets": changed * options.bands}


def verdicts(results: dict[str, Any]) -> dict[str, Any]:
    build, refresh = results["build"], results["refresh"]
    share = refresh["wall_s"] / build["wall_s"] if "wall_s" in build and "wall_s" in refresh else None
    return {
        "refresh_of_build": share,
        "fast": share is not None and share <= BOUND,
        "exact": refresh["header_requests"] == results["changed_assets"] and results["unchanged"]["header_requests"] == 0,
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("refresh.json"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rasterloom-bench", help="templates (18 MB), kept")
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--changed", type=float, default=0.01, help="share of the scenes")
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--latency", type=float, default=30.0, help="milliseconds of every answer")
    parser.add_argument("--concurrency", type=int, default=100)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    rig = Rig(
        folder=options.folder,
        python=sys.executable,
        rasteret_python=None,
        rasterio_python=None,
        concurrency=(options.concurrency,),
        repeats=1,
        pin=False,
    )
    results = measure(rig, options)
    found = verdicts(results)
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "scenes": options.scenes, "bands": options.bands}
    about |= {"latency_ms": options.latency, "cores": os.cpu_count(), "load": list(os.getloadavg()), "errors": rig.errors}
    options.out.write_text(json.dumps({"about": about, "verdicts": found, **results}, indent=1))
    print(json.dumps({**results, **found}, indent=1))
    return int(not (found["fast"] and found["exact"]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
