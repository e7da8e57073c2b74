"""Monthly medians of many scenes on one grid, written as COGs with overviews: what each side makes of the same files, cold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import windows
from numpy.typing import NDArray
from rig import Rig, Server, serving, workspace

SCENES, DAYS, FILES = 24, 5, 6
"""Scenes, days from one to the next, and files that differ: six scenes a month, of pixels of their own."""
AREA = (10.36, 47.58, 10.62, 47.76)
"""West, south, east, north: some 2000 pixels of 10 m each way, inside of the files."""
FOOTPRINT = (10.31, 46.83, 11.81, 47.85)
SIDES = ("rasterloom", "rasterio", "odc")


def cloudy(rng: np.random.Generator, side: int) -> NDArray[Any]:
    """Fields as of `windows`, a fifth of them nodata."""
    data = windows.reflectance(rng, side)
    clear = np.kron(rng.random((-(-side // 90), -(-side // 90))) > 0.2, np.ones((90, 90), bool))[:side, :side]
    return data * clear


def make_files(folder: Path) -> list[str]:
    """Six files of 3072 x 3072 pixels, some 70 MB together; their names."""
    names = [f"month-{number}" for number in range(FILES)]
    for seed, name in enumerate(names):
        if not (folder / f"{name}.tif").exists():
            windows.write(folder / f"{name}.tif", replace(windows.KINDS["s2"], side=3072, make=cloudy), seed=seed)
    return names


def composites(rig: Rig, *, latencies: Sequence[float]) -> dict[str, Any]:
    """Sides take turns; ours is first and says which grid it is."""
    folder = rig.folder / "windows"
    folder.mkdir(parents=True, exist_ok=True)
    names = make_files(folder)
    runs: list[dict[str, Any]] = []
    with serving(rig, scenes_served=1, corpus=folder) as server:
        for latency, repeat in product(latencies, range(rig.repeats)):
            with workspace() as place:
                runs += _once(rig, server, place, names, latency, repeat)
    return {"runs": runs, "summary": _summary(runs), "same_pixels": len({run["digest"] for run in runs}) == 1}


def _once(rig: Rig, server: Server, place: Path, names: Sequence[str], latency: float, repeat: int) -> list[dict[str, Any]]:
    urls = [f"{server.base}/corpus/copies/{latency:g}-{repeat}-{number}/{names[number % FILES]}.tif" for number in range(SCENES)]
    server.latency(0.0)
    made = rig.side("rasterloom", "collect", urls=urls, workspace=str(place), bbox=FOOTPRINT, days=DAYS, cpu=None)
    order = {"urls": urls, "days": DAYS, "area": AREA, "control": server.base, "latency": latency, "folder": str(place)}
    found: list[dict[str, Any]] = []
    for side in SIDES if made else ():
        done = rig.side(side, "composite", cpu=None, **order, uri=made["uri"], concurrency=windows.AT_ONCE)
        if done:
            order |= {"grid": done.pop("grid")} if "grid" in done else {}
            found.append({"side": side, "latency_ms": latency, "requests": done.pop("counts").get("file_requests", 0)} | done)
    return found


def _summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians, and the least CPU: a busy machine only makes it more."""
    groups: dict[tuple[float, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["latency_ms"], run["side"]), []).append(run)
    return [
        {
            "latency_ms": latency,
            "side": side,
            "cpu_s": min(run["cpu_s"] for run in group),
            **{key: median(run[key] for run in group) for key in ("wall_s", "requests", "peak_rss_mb")},
        }
        for (latency, side), group in groups.items()
    ]


# --- what the sides do alike ---------------------------------------------------------------------------------------------------------


def months(order: dict[str, Any]) -> dict[str, list[str]]:
    """URLs of each month, e.g. `2024-06`."""
    found: dict[str, list[str]] = {}
    for day, url in zip(days(order), order["urls"], strict=True):
        found.setdefault(f"{day:%Y-%m}", []).append(url)
    return found


def days(order: dict[str, Any]) -> list[Any]:
    from datetime import UTC, datetime, timedelta

    return [datetime(2024, 6, 1, tzinfo=UTC) + timedelta(days=number * order.get("days", 1)) for number in range(len(order["urls"]))]


def digest(paths: Sequence[Path]) -> str:
    """Of the pixels of images that were written, float32 with NaN for nothing."""
    import hashlib

    import rasterio

    found = hashlib.sha256()
    for path in sorted(paths):
        with rasterio.open(path) as image:
            assert image.overviews(1), path
            found.update(np.ascontiguousarray(np.nan_to_num(image.read(1), nan=-1.0)).tobytes())
    return found.hexdigest()[:16]
