"""The outside of a torture: a catalog whose scenes all tell the generation that they are of, so that a mix of two shows.

June never changes. Every scene of July is of the catalog's present generation, and one that came late is there from generation 1 on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np

from rasterloom.demo.cog import Grid, cog_bytes
from tests.servers import RangeServer, StacServer
from tests.torture.rows import NAME, expected

JUNE, JULY = datetime(2024, 6, 3, 10, tzinfo=UTC), datetime(2024, 7, 3, 10, tzinfo=UTC)
NOW = datetime(2024, 8, 20, tzinfo=UTC)
"""The instant of every plan: June is closed then, July is open."""


@dataclass
class Upstream:
    """A STAC API and its files, as a context manager."""

    stac: StacServer = field(default_factory=StacServer)
    files: RangeServer = field(default_factory=lambda: RangeServer({}))
    generation: int = 0

    def __enter__(self) -> Self:
        self.stac.__enter__()
        self.files.__enter__()
        pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
        cog = cog_bytes(pixels, Grid(epsg=32633, west=500_000.0, north=5_000_000.0, pixel=10.0), tile=32)
        self.files.files.update({f"/{name}.tif": cog for name in (*expected(1),)})
        self.become(0)
        return self

    def __exit__(self, *_: object) -> None:
        self.files.__exit__()
        self.stac.__exit__()

    def become(self, generation: int) -> None:
        """All of July is reprocessed."""
        self.generation = generation
        self.stac.items = [self._item(number, name, of) for number, (name, of) in enumerate(expected(generation).items())]

    def spec(self) -> dict[str, Any]:
        return {
            "name": NAME,
            "stac": {"url": self.stac.url, "collection": "t"},
            "bbox": [14.0, 44.0, 16.0, 46.0],
            "dates": ["2024-06-01", "2024-07-31"],
            "split": {"time": "P1M"},
            "refresh": {"lookback": "P45D"},
            "band_map": {"B04": "red"},
            "build": {"allow_private_hosts": True, "retries": 2},
        }

    def _item(self, number: int, name: str, generation: int) -> dict[str, Any]:
        month = JUNE if name.startswith("june") else JULY
        west = 15.0 + number * 0.01
        ring = [[west, 45.0], [west + 0.1, 45.0], [west + 0.1, 45.1], [west, 45.1], [west, 45.0]]
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": name,
            "collection": "t",
            "bbox": [west, 45.0, west + 0.1, 45.1],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "datetime": (month + timedelta(days=number)).isoformat().replace("+00:00", "Z"),
                "updated": f"2024-08-01T00:{generation // 60 % 60:02d}:{generation % 60:02d}.{generation // 3600:03d}Z",
                "generation": generation,
            },
            "assets": {"red": {"href": f"{self.files.url}/{name}.tif", "type": "image/tiff"}},
            "links": [],
        }
