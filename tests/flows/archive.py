"""A small archive for builds: real COGs on a range server and their items on a STAC API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from rasterloom.demo.cog import Grid, cog_bytes
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from tests.servers import RangeServer, StacServer

BANDS = {"B02": "blue", "B03": "green"}
AREA = [9.0, 44.0, 12.0, 46.0]


@dataclass(frozen=True, slots=True)
class Archive:
    """`scenes` scenes of one file per band, one a day from 2024-06-01, the longitude growing by 0.01 degrees with each."""

    files: RangeServer
    stac: StacServer
    scenes: int

    def spec(self, **more: Any) -> CollectionSpec:
        mapping = {
            "version": 1,
            "name": "small",
            "stac": {"url": self.stac.url, "collection": "s2"},
            "bbox": AREA,
            "dates": ["2024-06-01", "2024-07-15"],
            "band_map": BANDS,
        }
        return spec_from(mapping | more)

    @property
    def ids(self) -> list[str]:
        return [f"scene-{number:04d}" for number in range(self.scenes)]

    def requested(self) -> dict[str, int]:
        """Requests so far, by path of a file."""
        counts: dict[str, int] = {}
        for request in list(self.files.log):
            counts[request.path] = counts.get(request.path, 0) + 1
        return counts


@contextmanager
def opened(scenes: int, *, latency: float = 0.0) -> Iterator[Archive]:
    grid = Grid(epsg=32632, west=500_000.0, north=5_000_000.0, pixel=10.0)
    data = cog_bytes(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), grid, tile=64)
    paths = [f"/scene-{number:04d}/{key}.tif" for number in range(scenes) for key in BANDS.values()]
    with RangeServer(dict.fromkeys(paths, data), latency=latency) as files, StacServer() as stac:
        stac.items = [_item(number, files.url) for number in range(scenes)]
        yield Archive(files, stac, scenes)


def _item(number: int, base: str) -> Mapping[str, Any]:
    west, south = 9.0 + (number % 100) * 0.01, 45.0
    ring = [[west, south], [west + 0.01, south], [west + 0.01, south + 0.01], [west, south + 0.01], [west, south]]
    day = number % 44
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"scene-{number:04d}",
        "collection": "s2",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, west + 0.01, south + 0.01],
        "properties": {"datetime": f"2024-{6 + day // 30:02d}-{1 + day % 30:02d}T10:00:00Z", "eo:cloud_cover": float(number % 100)},
        "links": [],
        "assets": {key: {"href": f"{base}/scene-{number:04d}/{key}.tif", "type": "image/tiff"} for key in BANDS.values()},
    }
