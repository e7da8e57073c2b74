"""Makes the demo's archive: Sentinel-2-like scenes over two UTM zones, as COG files and STAC items. One file is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from numpy.typing import NDArray

from rasterloom.demo.cog import Grid, cog_bytes
from rasterloom.demo.landscape import BANDS, Extent, Field, clouds, ground_at, make_landscape, reflectance
from rasterloom.errors import SpecError

COLLECTION = "demo-sentinel-2"
ASSETS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir"}
"""Band code -> asset key, as Earth Search names them."""
AREA = Extent(west=5.86, south=43.03, east=6.15, north=43.14)
"""The demo's question: it lies on both sides of 6 degrees east, where UTM zone 31 ends and zone 32 begins."""
DATES = ("2024-06-01", "2024-07-15")
CLOUDIEST = 60
"""The demo's question takes scenes with less than this cloud cover, in percent."""

_EDGE = 15_360
"""Metres of ground that a scene is wide and high."""
_LANDSCAPE = Extent(west=5.79, south=42.97, east=6.22, north=43.20)
_SEED = 7
_ITEMS = "items.json"
_DAYS = (
    (datetime(2024, 6, 4, 10, 36, 21, tzinfo=UTC), 0.00),
    (datetime(2024, 6, 19, 10, 36, 19, tzinfo=UTC), 0.18),
    (datetime(2024, 6, 29, 10, 36, 22, tzinfo=UTC), 0.82),
    (datetime(2024, 7, 9, 10, 36, 20, tzinfo=UTC), 0.10),
)
"""Passes and their cloud cover: the third is too cloudy for the demo's question."""
_TILES = (("31TGH", 32631, 5.935), ("32TKN", 32632, 6.075))
"""Name, EPSG code, longitude of the middle."""
_MIDDLE = 43.085
_MISSING = ("32TKN", 3, "B08")
"""Tile, number of the pass and band of the one file that is not there, as happens in every large archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What the demo's server serves."""

    directory: Path
    items: tuple[dict[str, Any], ...]
    """STAC items whose hrefs are paths relative to `directory`."""
    files: int
    """COG files that exist."""
    size: int
    """Bytes of all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """One tile on one day."""

    tile: str
    number: int
    """0-based position in `_DAYS`."""
    grid: Grid

    @property
    def when(self) -> datetime:
        return _DAYS[self.number][0]

    @property
    def id(self) -> str:
        return f"S2_{self.tile}_{self.when:%Y%m%d}"


def make_archive(directory: Path, *, size: int = 768) -> Archive:
    """Writes `<directory>/<item id>/<band>.tif` and the items, and says what stands there.

    A scene is 15.36 km of ground in `size` x `size` pixels: 20 m each as it comes.
    """
    land = make_landscape(_LANDSCAPE, seed=_SEED)
    skies = [clouds(land, day=number, cover=cover) for number, (_, cover) in enumerate(_DAYS)]
    items: list[dict[str, Any]] = []
    for tile, epsg, middle in _TILES:
        grid = _grid(epsg, middle, size)
        ground = ground_at(land, *_positions(grid, size))
        for number, sky in enumerate(skies):
            each = _Pass(tile=tile, number=number, grid=grid)
            _write(directory / each.id, each, reflectance(land, ground, sky, greenness=0.85 - 0.11 * number))
            items.append(_item(each))
    (directory / _ITEMS).write_text(json.dumps(items))
    return open_archive(directory)


def open_archive(directory: Path) -> Archive:
    """An archive that was made before. Raises SpecError where there is none."""
    try:
        items = json.loads((directory / _ITEMS).read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"there is no demo archive in {directory}", remedy="make it with `rasterloom demo`") from error
    files = list(directory.rglob("*.tif"))
    return Archive(directory=directory, items=tuple(items), files=len(files), size=sum(path.stat().st_size for path in files))


def _grid(epsg: int, middle: float, size: int) -> Grid:
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(middle, _MIDDLE)
    west, north = (round(value / 20) * 20 for value in (x - _EDGE / 2, y + _EDGE / 2))
    return Grid(epsg=epsg, west=west, north=north, pixel=_EDGE / size)


def _write(folder: Path, each: _Pass, seen: Field) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, band in enumerate(BANDS):
        if (each.tile, each.number, band) != _MISSING:
            (folder / f"{band}.tif").write_bytes(cog_bytes(_counts(seen[..., index], each.number), each.grid))


def _positions(grid: Grid, size: int) -> tuple[Field, Field]:
    """Longitude and latitude of every pixel's centre, both (size, size): exact on 17 x 17 knots, linear between (error under 1 m)."""
    knots = np.linspace(0, size, 17)
    x, y = np.meshgrid(grid.west + knots * grid.pixel, grid.north - knots * grid.pixel)
    lon, lat = pyproj.Transformer.from_crs(grid.epsg, 4326, always_xy=True).transform(x, y)
    return _between(np.asarray(lon), knots, size), _between(np.asarray(lat), knots, size)


def _between(values: NDArray[np.float64], knots: NDArray[np.float64], size: int) -> Field:
    centres = np.arange(size) + 0.5
    across = np.stack([np.interp(centres, knots, row) for row in values])
    return np.stack([np.interp(centres, knots, col) for col in across.T], axis=1).astype(np.float32)


def _counts(seen: Field, number: int) -> NDArray[np.uint16]:
    """Digital numbers: reflectance times 10000 with a little sensor noise, at least 1 because 0 is nodata."""
    noise = np.random.default_rng(number).normal(0, 12, seen.shape).astype(np.float32)
    return np.clip(seen * 10_000 + noise, 1, 65_535).astype(np.uint16)


def _item(each: _Pass) -> dict[str, Any]:
    ring = _footprint(each.grid)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": each.id,
        "collection": COLLECTION,
        "bbox": [min(x for x, _ in ring), min(y for _, y in ring), max(x for x, _ in ring), max(y for _, y in ring)],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": _properties(each),
        "assets": {ASSETS[band]: _asset(each.id, band) for band in BANDS},
        "links": [],
    }


def _properties(each: _Pass) -> dict[str, Any]:
    return {
        "datetime": each.when.isoformat().replace("+00:00", "Z"),
        "platform": f"demo-2{'ab'[each.number % 2]}",
        "eo:cloud_cover": round(_DAYS[each.number][1] * 100, 1),
        "gsd": each.grid.pixel,
        "grid:code": f"MGRS-{each.tile}",
        "proj:epsg": each.grid.epsg,
    }


def _asset(scene: str, band: str) -> dict[str, Any]:
    return {"href": f"{scene}/{band}.tif", "type": "image/tiff; application=geotiff; profile=cloud-optimized", "roles": ["data"]}


def _footprint(grid: Grid) -> list[list[float]]:
    x = [grid.west, grid.west, grid.west + _EDGE, grid.west + _EDGE, grid.west]
    y = [grid.north, grid.north - _EDGE, grid.north - _EDGE, grid.north, grid.north]
    lon, lat = pyproj.Transformer.from_crs(grid.epsg, 4326, always_xy=True).transform(x, y)
    return [[round(a, 6), round(b, 6)] for a, b in zip(lon, lat, strict=True)]
