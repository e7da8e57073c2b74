"""Windows of many files of one UTM zone on a grid of the next: ours beside GDAL's `WarpedVRT`, as a user would open it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import windows
from rig import Rig, Server, serving, workspace

KIND, CRS, ASSETS = "s2", "EPSG:32633", 24
"""The files lie in zone 32, of which their middle is 1.3 degrees east."""
SIDES = ("rasterloom", "rasterio", "rasterio-exact")
"""GDAL with its defaults, which is timed, and with a projection within 0.001 pixels and the width of the kernel, which ours equals."""


@dataclass(frozen=True)
class Case:
    """So many pixels along each side of the grid."""

    resampling: str
    window: int

    @property
    def name(self) -> str:
        return f"cross-zone {self.resampling} {self.window}"


CASES = tuple(Case(resampling, window) for window in (256, 1024) for resampling in ("nearest", "bilinear"))


def crossing(rig: Rig, *, latencies: Sequence[float]) -> dict[str, Any]:
    """Every side reads the same grid of the same files, cold; the pixels are compared."""
    folder = rig.folder / "windows"
    windows.make_files(folder)
    runs: list[dict[str, Any]] = []
    pixels: dict[str, dict[str, float]] = {}
    with serving(rig, scenes_served=1, corpus=folder) as server, workspace() as place:
        for latency, case, repeat in product(latencies, CASES, range(rig.repeats)):
            for side in SIDES if repeat == 0 else SIDES[:2]:
                done = _once(rig, server, place, side, case, f"{latency:g}-{repeat}", latency)
                if done:
                    runs.append({"side": side, "case": case.name, "latency_ms": latency} | done)
            if repeat == 0:
                pixels[case.name] = _compared(place)
    return {"runs": runs, "summary": windows.summary(runs), "pixels": pixels}


def _once(rig: Rig, server: Server, place: Path, side: str, case: Case, run: str, latency: float) -> dict[str, Any]:
    urls = [f"{server.base}/corpus/copies/{run}-{side}-{case.resampling}-{number}/{KIND}.tif" for number in range(ASSETS)]
    server.latency(0.0)  # what is prepared is not measured
    order = {"urls": urls, "grid": _grid(case.window), "resampling": case.resampling, "exact": side == "rasterio-exact"}
    more = {"control": server.base, "latency": latency, "concurrency": windows.AT_ONCE, "to": str(place / f"{side}.npy")}
    done = rig.side(side.removesuffix("-exact"), "crossing", cpu=None, **order, **more)
    if not done:
        return {}
    requests = done.pop("counts").get("file_requests", 0) / ASSETS
    return done | {"cpu_ms_per_asset": 1000 * done["cpu_s"] / ASSETS, "requests_per_asset": requests}


def _grid(window: int) -> dict[str, Any]:
    """Around the middle of the data of the files."""
    import pyproj

    (col, row), step = windows.AT[::-1], windows.KINDS[KIND].step
    middle = 600_000 + step * (col + window / 2), 5_300_000 - step * (row + window / 2)
    x, y = (round(value, -1) for value in pyproj.Transformer.from_crs(32632, CRS, always_xy=True).transform(*middle))
    affine = [step, 0.0, x - step * window / 2, 0.0, -step, y + step * window / 2]
    return {"crs": CRS, "affine": affine, "width": window, "height": window}


def _compared(place: Path) -> dict[str, float]:
    """Share of the pixels of one file that are equal, or one apart, as rounding goes; to GDAL's defaults for the reader's information."""
    ours = np.load(place / "rasterloom.npy").astype(np.int64)
    return {side: float((np.abs(np.load(place / f"{side}.npy") - ours) <= 1).mean()) for side in SIDES[1:]}
