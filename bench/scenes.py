"""Scenes with realistic headers for the benchmarks: Sentinel-2-like items and COGs of 10980 x 10980 pixels.

Two real COGs are written by GDAL's COG driver (the layout that most archives have). Every other file is an *alias*: the
template's header with tile tables of its own, drawn from a seeded distribution, so that tile tables compress as badly as real
ones do and yet 50,000 scenes need no disk. Aliases hold no pixels; the scenes with a number below `REAL_SCENES` are the
templates themselves, and their pixels can be read and compared.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLLECTION = "bench-s2"
BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B05": "rededge1", "B06": "rededge2", "B07": "rededge3", "B8A": "nir08"}
"""Band code -> asset key, in the order in which `--bands N` takes them."""
REAL_SCENES = 4
FIRST_DAY = datetime(2024, 1, 1, 10, 20, 31, tzinfo=UTC)
DAYS = 365
NOISE = 2048
"""Pixels of real (noisy) data along each side, at the upper left corner; the rest of a template is nodata."""
SIZE = 10980
ZONES = (32632, 32633)
ORIGIN_X = {32632: 699960.0, 32633: 240000.0}
ORIGIN_Y = 5100000.0
FOOTPRINT = {32632: (11.54, 44.99, 13.0, 46.03), 32633: (11.64, 45.01, 13.1, 46.04)}
"""west, south, east, north in degrees: both zones hold the same piece of Earth."""
PIXELS = (11.7, 45.92, 11.78, 45.95)
"""west, south, east, north in degrees, inside the noise of both templates."""
TILE_OFFSETS, TILE_BYTE_COUNTS = 324, 325
SWATH_EDGES = 0.4
"""Share of the scenes that a swath's edge runs through."""
EMPTY = 2072
"""Bytes of a deflated tile of zeros."""
COG_GAP = 8
"""Bytes between two tiles of a GDAL COG: the trailing repetition of 4 bytes and the next tile's leading size of 4."""


@dataclass(frozen=True, slots=True)
class Table:
    """Where the tile tables of one IFD stand in the header."""

    offsets_at: int
    counts_at: int
    tiles: int


@dataclass(frozen=True, slots=True)
class Template:
    path: Path
    header: bytes
    """Everything before the first tile."""
    tables: tuple[Table, ...]
    size: int


@dataclass(frozen=True, slots=True)
class File:
    """The bytes of one (alias of a) file: `head`, then zeros up to `size`, unless `path` has the real ones."""

    head: bytes
    size: int
    path: Path | None


def make_templates(folder: Path) -> None:
    """Write one COG per UTM zone into `folder` (about 12 MB each); files that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for zone in ZONES:
        path = folder / f"{zone}.tif"
        if not path.exists():
            _write_cog(path, zone)


def _write_cog(path: Path, zone: int) -> None:
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    rng = np.random.default_rng(zone)
    pixels = rng.normal(1500, 250, (NOISE, NOISE)).clip(1, 10000).astype(np.uint16)
    profile = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 1, "dtype": "uint16", "crs": f"EPSG:{zone}", "nodata": 0}
    transform = from_origin(ORIGIN_X[zone], ORIGIN_Y, 10, 10)
    part = path.with_suffix(".part")
    with MemoryFile() as memory, memory.open(**profile, transform=transform, tiled=True, SPARSE_OK=True) as dataset:
        dataset.write(pixels, 1, window=((0, NOISE), (0, NOISE)))
        dataset.update_tags(OVR_RESAMPLING_ALG="AVERAGE")
        copy(dataset, part, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=1024, OVERVIEWS="AUTO", BIGTIFF="NO")
    part.rename(path)


def read_template(path: Path) -> Template:
    """Find the tile tables of a little-endian classic TIFF as GDAL's COG driver writes it."""
    data = path.read_bytes()
    tables: list[Table] = []
    (ifd,) = struct.unpack_from("<I", data, 4)
    while ifd:
        table, ifd = _table(data, ifd)
        tables.append(table)
    first_tile = min(min(struct.unpack_from(f"<{t.tiles}I", data, t.offsets_at)) for t in tables)
    return Template(path=path, header=data[: first_tile - 4], tables=tuple(tables), size=len(data))


def _table(data: bytes, ifd: int) -> tuple[Table, int]:
    (entries,) = struct.unpack_from("<H", data, ifd)
    found: dict[int, tuple[int, int]] = {}
    for at in range(ifd + 2, ifd + 2 + 12 * entries, 12):
        tag, kind, count, value = struct.unpack_from("<HHII", data, at)
        if tag in (TILE_OFFSETS, TILE_BYTE_COUNTS):
            if kind != 4:
                raise ValueError(f"{tag} is of type {kind}, not LONG: the template has no noise in every level")
            found[tag] = (at + 8 if count == 1 else value, count)
    (following,) = struct.unpack_from("<I", data, ifd + 2 + 12 * entries)
    (offsets_at, tiles), (counts_at, _) = found[TILE_OFFSETS], found[TILE_BYTE_COUNTS]
    return Table(offsets_at, counts_at, tiles), following


class Archive:
    """All files of the benchmark, by scene number and band."""

    def __init__(self, folder: Path) -> None:
        self._templates = {zone: read_template(folder / f"{zone}.tif") for zone in ZONES}
        self.file = lru_cache(maxsize=40_000)(self._file)

    def _file(self, number: int, band: str) -> File:
        template = self._templates[zone_of(number)]
        if number < REAL_SCENES:
            return File(template.header, template.size, template.path)
        return _alias(template, seed=number * 100 + list(BANDS).index(band))


def _alias(template: Template, *, seed: int) -> File:
    rng = np.random.default_rng(seed)
    edge = rng.uniform(0.2, 0.9) if rng.random() < SWATH_EDGES else 1.0
    head = bytearray(template.header)
    position = len(head) + 4
    for table in reversed(template.tables):  # GDAL writes the smallest overview's tiles first
        counts = _byte_counts(rng, table.tiles, edge)
        steps = np.cumsum(counts + COG_GAP)
        offsets = position + np.concatenate(([0], steps[:-1]))
        position += int(steps[-1])
        struct.pack_into(f"<{table.tiles}I", head, table.offsets_at, *offsets.tolist())
        struct.pack_into(f"<{table.tiles}I", head, table.counts_at, *counts.tolist())
    return File(bytes(head), position, None)


def _byte_counts(rng: np.random.Generator, tiles: int, edge: float) -> NDArray[np.int64]:
    """A deflated tile of 2 MiB of reflectances takes 1 to 2 MB; beyond the swath's edge a tile of nodata alone takes `EMPTY`.

    `edge` is the share of the columns that have data in the first row; it moves one column every four rows.
    """
    side = round(tiles**0.5)
    rows, cols = np.divmod(np.arange(tiles), side)
    counts = rng.lognormal(np.log(1.4e6), 0.25, tiles).astype(np.int64).clip(max=2**21)
    counts[cols > edge * side - rows // 4] = EMPTY
    return counts


def zone_of(number: int) -> int:
    return ZONES[number % 2]


@dataclass(slots=True)
class Span:
    """When the scenes were taken."""

    first: datetime = FIRST_DAY
    days: int = DAYS


SPAN = Span()
"""Of this process; the server sets it before it serves."""


def when(number: int, scenes: int) -> datetime:
    """Scenes are spread evenly over the span, in the order of their numbers."""
    return SPAN.first + timedelta(seconds=number * SPAN.days * 86400 // scenes)


def scene_id(number: int) -> str:
    return f"S2X_{zone_of(number)}_{number:06d}"


def item(number: int, scenes: int, bands: int, base: str) -> dict[str, Any]:
    """A STAC item with the properties, and about the size, of one of Earth Search's."""
    zone, day, sid = zone_of(number), when(number, scenes), scene_id(number)
    shift = 0.3 * (number // 2 % 40) if number >= REAL_SCENES else 0.0
    west, south, east, north = (round(v + shift * (i % 2 == 0), 6) for i, v in enumerate(FOOTPRINT[zone]))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": sid,
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": _properties(number, zone, day, sid),
        "links": [{"rel": "self", "href": f"{base}/stac/collections/{COLLECTION}/items/{sid}"}],
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "assets": {BANDS[b]: _asset(f"{base}/files/{sid}/{b}.tif", zone) for b in list(BANDS)[:bands]},
    }


def _properties(number: int, zone: int, day: datetime, sid: str) -> dict[str, Any]:
    return {
        "datetime": day.strftime("%Y-%m-%dT%H:%M:%S.024Z"),
        "created": "2024-12-31T00:00:00.000Z",
        "updated": "2024-12-31T00:00:00.000Z",
        "platform": f"sentinel-2{'ab'[number // 2 % 2]}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": (number * 37) % 100 + 0.5,
        "proj:epsg": zone,
        "mgrs:utm_zone": zone % 100,
        "mgrs:latitude_band": "T",
        "mgrs:grid_square": "QM",
        "grid:code": f"MGRS-{zone % 100}TQM",
        "view:sun_azimuth": 150.1 + number % 7,
        "view:sun_elevation": 55.2 - number % 11,
        "s2:nodata_pixel_percentage": 0.0,
        "s2:cloud_shadow_percentage": number % 13 / 10,
        "s2:vegetation_percentage": 40.5,
        "s2:water_percentage": 3.3,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": "05.10",
        "s2:product_uri": f"{sid}.SAFE",
        "s2:generation_time": "2024-12-31T00:00:00.000000Z",
        "s2:datatake_id": f"GS2A_{number:06d}_N05.10",
        "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_{number:06d}",
        "s2:reflectance_conversion_factor": 1.03,
        "s2:sequence": "0",
        "earthsearch:payload_id": f"roda/{sid}",
        "earthsearch:boa_offset_applied": True,
        "processing:software": {"sentinel2-to-stac": "0.1.1"},
    }


def _asset(href: str, zone: int) -> dict[str, Any]:
    return {
        "href": href,
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data", "reflectance"],
        "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
        "proj:shape": [SIZE, SIZE],
        "proj:transform": [10, 0, ORIGIN_X[zone], 0, -10, ORIGIN_Y],
    }
