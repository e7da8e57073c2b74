"""Points and zones over many scenes: one collection of files with pixels, which every side reads with its own public call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import windows
from rig import Rig, serving, workspace

SCENES, POINTS, ZONES = 20, 10_000, 300
FOOTPRINT = (10.31, 46.83, 11.81, 47.85)
"""Of the files, about: west, south, east, north."""
SIDES = {"points": ("rasterloom", "rasterio", "rasteret"), "zones": ("rasterloom", "rasterio")}
"""Rasteret has no statistics of zones."""


def series(rig: Rig, *, latency: float, kind: str = "s2") -> dict[str, Any]:
    """Values at points, and mean and median of zones, cold; the sums of both are compared."""
    folder = rig.folder / "windows"
    windows.make_files(folder)
    step, side = windows.KINDS[kind].step, windows.DATA
    rng = np.random.default_rng(0)
    inner = rng.uniform(0.02 * side * step, 0.98 * side * step, (POINTS, 2))
    places = {"x": (600_000 + inner[:, 0]).tolist(), "y": (5_300_000 - inner[:, 1]).tolist()}
    sizes = rng.uniform(5 * step, 40 * step, ZONES).tolist()
    runs: list[dict[str, Any]] = []
    with serving(rig, scenes_served=1, corpus=folder) as server, workspace() as place:
        urls = [f"{server.base}/corpus/copies/{number}/{kind}.tif" for number in range(SCENES)]
        server.latency(0.0)
        made = rig.side("rasterloom", "collect", urls=urls, workspace=str(place), bbox=FOOTPRINT, cpu=None)
        for _ in range(rig.repeats if made else 0):
            for what, sides in SIDES.items():
                for name in sides:
                    order = {"urls": urls, "uri": made["uri"], "sizes": sizes, "control": server.base, "latency": latency, **places}
                    done = rig.side(name, what, cpu=None, **order, bbox=FOOTPRINT, concurrency=windows.AT_ONCE)
                    if done:
                        runs.append({"what": what, "side": name, "requests": done.pop("counts").get("file_requests", 0)} | done)
    return {"latency_ms": latency, "runs": runs, "summary": _summary(runs)}


def _summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians, and the least CPU: a busy machine only makes it more."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["what"], run["side"]), []).append(run)
    return [
        {
            "what": what,
            "side": side,
            "cpu_s": min(run["cpu_s"] for run in group),
            **{key: median(run[key] for run in group) for key in ("wall_s", "requests", "peak_rss_mb", "checksum")},
        }
        for (what, side), group in groups.items()
    ]


def parcels(order: dict[str, Any]) -> Any:
    """A GeoDataFrame of the zones of an order: squares around its first points."""
    import geopandas
    import shapely

    count = len(order["sizes"])
    boxes = [
        shapely.box(x - s, y - s, x + s, y + s) for x, y, s in zip(order["x"][:count], order["y"][:count], order["sizes"], strict=True)
    ]
    return geopandas.GeoDataFrame(geometry=boxes, crs=32632)


def parquet(order: dict[str, Any]) -> Path:
    """The zones as a file beside the collection."""
    path = Path(order["uri"]).with_suffix(".zones.parquet")
    parcels(order).to_parquet(path)
    return path
