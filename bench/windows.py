"""Windows over many files: the kinds of COG that archives hold, made here with pixels that compress as theirs do.

A file has data in its upper left part alone, of which the windows are cut; the rest is sparse. Served under as many names as there
are assets, so that nobody's cache knows a file before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rig import Rig, Server, serving

DATA = 4608
"""Pixels of data along each side, at the most."""
AT = (1100, 1350)
"""First row and column of every window: on no edge of a tile."""


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    side: int
    """Pixels, both ways."""
    make: Callable[[np.random.Generator, int], NDArray[Any]]
    """Generator and side -> pixels of shape (bands, side, side)."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of GDAL's COG driver."""
    crs: str = "EPSG:32632"
    step: float = 10.0
    nodata: float | None = 0


@dataclass(frozen=True)
class Case:
    """One kind of question: so many files, one window of this side of each, all bands."""

    kind: str
    window: int
    assets: int
    bands: int = 1
    cpu_of_rasterio: float = 0.65
    """Bound of our CPU per asset."""
    rasteret: bool = True
    """Whether Rasteret 0.4.1 can read it."""

    @property
    def name(self) -> str:
        return f"{self.kind} {self.window}"

    @property
    def small(self) -> bool:
        return self.window <= 512


def reflectance(rng: np.random.Generator, side: int) -> NDArray[Any]:
    """Fields of 40 pixels with noise of some 6 bits: deflate makes two thirds of it, as of Sentinel-2 and Landsat."""
    fields = np.kron(rng.integers(300, 4000, (-(-side // 40), -(-side // 40))), np.ones((40, 40), np.int32))[:side, :side]
    return (fields + rng.normal(0, 60, (side, side))).clip(1, 10000).astype(np.uint16)[None]


def terrain(rng: np.random.Generator, side: int) -> NDArray[Any]:
    rows, cols = np.mgrid[:side, :side].astype(np.float32)
    hills = 800 + 300 * np.sin(rows / 311) * np.cos(cols / 173) + 40 * np.sin((rows + cols) / 29)
    return (hills + rng.normal(0, 0.4, (side, side))).astype(np.float32)[None]


def photograph(rng: np.random.Generator, side: int, bands: int) -> NDArray[Any]:
    small = rng.normal(0, 18, (bands, -(-side // 8), -(-side // 8))).astype(np.float32)
    soft = np.kron(small, np.ones((1, 8, 8), np.float32))[:, :side, :side]
    return (120 + soft + rng.normal(0, 9, (bands, side, side))).clip(1, 255).astype(np.uint8)


def classes(rng: np.random.Generator, side: int) -> NDArray[Any]:
    return np.kron(rng.choice([10, 20, 30, 40, 50, 60, 80], (-(-side // 24), -(-side // 24))), np.ones((24, 24), int)).astype(np.uint8)[
        None, :side, :side
    ]


DEFLATE = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES"}
KINDS: Mapping[str, Kind] = {
    "s2": Kind(10980, reflectance, {**DEFLATE, "BLOCKSIZE": 1024}),
    "landsat": Kind(7680, reflectance, {**DEFLATE, "BLOCKSIZE": 256}, step=30.0),
    "copdem": Kind(3600, terrain, {**DEFLATE, "BLOCKSIZE": 1024}, crs="EPSG:4326", step=1 / 3600, nodata=None),
    "naip": Kind(6144, lambda rng, side: photograph(rng, side, 4), {**DEFLATE, "BLOCKSIZE": 512}, step=0.6, nodata=None),
    "naip-jpeg": Kind(6144, lambda rng, side: photograph(rng, side, 3), {"COMPRESS": "JPEG", "BLOCKSIZE": 512}, step=0.6, nodata=None),
    "worldcover": Kind(36000, classes, {"COMPRESS": "DEFLATE", "BLOCKSIZE": 1024}, crs="EPSG:4326", step=1 / 12000),
}
CASES = (
    Case("s2", 256, 48),
    Case("s2", 2048, 16),
    Case("landsat", 512, 48),
    Case("landsat", 2048, 16),
    Case("copdem", 1024, 24, cpu_of_rasterio=1.0),
    Case("naip", 1024, 24, bands=4),
    Case("naip-jpeg", 1024, 32, bands=3, rasteret=False),
    Case("worldcover", 2048, 32),
)


def make_files(folder: Path) -> None:
    """Write one file of every kind (about 150 MB together); files that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in KINDS.items():
        if not (folder / f"{name}.tif").exists():
            write(folder / f"{name}.tif", kind, seed=kind.side)


def write(path: Path, kind: Kind, *, seed: int) -> None:
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    side = min(DATA, kind.side)
    data = kind.make(np.random.default_rng(seed), side)
    place = from_origin(6.0, 48.0, kind.step, kind.step) if kind.crs == "EPSG:4326" else from_origin(600000, 5300000, kind.step, kind.step)
    profile = {"driver": "GTiff", "width": kind.side, "height": kind.side, "count": len(data), "dtype": data.dtype, "crs": kind.crs}
    profile |= {"transform": place, "nodata": kind.nodata, "tiled": True, "SPARSE_OK": True, "interleave": "pixel"}
    if len(data) > 2:
        profile["photometric"] = "RGB"
        profile["alpha"] = "NO"
    part = path.with_suffix(".part")
    with MemoryFile() as memory, memory.open(**profile) as dataset:
        dataset.write(data, window=((0, side), (0, side)))
        copy(dataset, part, driver="COG", OVERVIEWS="NONE", SPARSE_OK="TRUE", BIGTIFF="NO", NUM_THREADS="ALL_CPUS", **kind.options)
    part.rename(path)


AT_ONCE = 32
"""Requests, threads or coroutines of every side."""
SIDES = ("rasterloom", "rasterio", "rasterio-other", "rasteret", "asyncgeotiff", "odc")


def reads(rig: Rig, *, latencies: Sequence[float], cases: Sequence[str] = ()) -> dict[str, Any]:
    """Every side reads the same windows of the same files, cold; the digests of the pixels are compared."""
    folder = rig.folder / "windows"
    make_files(folder)
    chosen = [case for case in CASES if not cases or case.name in cases]
    runs: list[dict[str, Any]] = []
    with serving(rig, scenes_served=1, corpus=folder) as server:
        for latency, case, repeat, side in product(latencies, chosen, range(rig.repeats), SIDES):
            about = {"side": side, "case": case.name, "latency_ms": latency}
            runs.append(about | _once(rig, server, side, case, latency, repeat))
    found = [run for run in runs if "wall_s" in run]
    return {"runs": found, "summary": summary(found), "same_pixels": _same(found)}


def _once(rig: Rig, server: Server, side: str, case: Case, latency: float, repeat: int) -> dict[str, Any]:
    if (side == "rasteret" and not case.rasteret) or (side == "odc" and case.bands > 1):
        return {}
    kind = KINDS[case.kind]
    urls = [f"{server.base}/corpus/copies/{latency:g}-{repeat}-{side}-{number}/{case.kind}.tif" for number in range(case.assets)]
    row, col = AT
    server.latency(0.0)  # what is prepared is not measured
    order = {"urls": urls, "row": row, "col": col, "side": case.window, "bands": case.bands, "crs": kind.crs, "step": kind.step}
    done = rig.side(side, "windows", cpu=None, **order, control=server.base, latency=latency, concurrency=AT_ONCE)
    if not done:
        return {}
    counts = done.pop("counts")
    done |= {"cpu_ms_per_asset": 1000 * done["cpu_s"] / case.assets, "requests_per_asset": counts.get("file_requests", 0) / case.assets}
    return done | {"bytes_per_asset": counts.get("file_bytes", 0) / case.assets}


def _same(runs: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Whether all sides had the same pixels, by case. Decoders of JPEG differ by rounding: there, those that use libjpeg-turbo."""
    found: dict[str, set[str]] = {}
    for run in runs:
        if not run["case"].startswith("naip-jpeg") or run["side"] in ("rasterloom", "rasterio"):
            found.setdefault(run["case"], set()).update(run["digests"])
    return {case: len(digests) == 1 for case, digests in found.items()}


_MEDIANS = ("wall_s", "requests_per_asset", "bytes_per_asset", "peak_rss_mb")
_ALIKE = {"version": "version", "planned_requests": "planned"}
"""What all runs of a side have in common: its name in the summary, and in a run."""


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each case, side and latency: medians, and the least CPU, of which a busy machine only makes more."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["case"], run["side"], run["latency_ms"]), []).append(run)
    return [
        {
            "case": case,
            "side": side,
            "latency_ms": latency,
            "cpu_ms_per_asset": min(run["cpu_ms_per_asset"] for run in group),
            **{key: median(run[key] for run in group) for key in _MEDIANS if key in group[0]},
            **{name: group[0][key] for name, key in _ALIKE.items() if key in group[0]},
        }
        for (case, side, latency), group in groups.items()
    ]
