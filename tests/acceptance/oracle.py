"""What GDAL says of a file, in the words of a collection's row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import rasterio
from affine import Affine
from rasterio.crs import CRS

FIELDS = ("image_width", "image_height", "tile_width", "tile_height", "dtype", "tile_offsets", "tile_byte_counts")


def gdal_header(path: str, band_index: int = 0) -> dict[str, Any]:
    """Fields of `{band}_metadata`, and `transform` as an Affine and `crs` as a CRS."""
    with rasterio.open(path) as dataset:
        band = band_index + 1
        rows, cols = dataset.block_shapes[band_index]
        tiles = [f"{x}_{y}" for y in range(-(-dataset.height // rows)) for x in range(-(-dataset.width // cols))]
        item = dataset.get_tag_item
        return {
            "image_width": dataset.width,
            "image_height": dataset.height,
            "tile_width": cols,
            "tile_height": rows,
            "dtype": dataset.dtypes[band_index],
            "tile_offsets": [int(item(f"BLOCK_OFFSET_{tile}", "TIFF", bidx=band) or 0) for tile in tiles],
            "tile_byte_counts": [int(item(f"BLOCK_SIZE_{tile}", "TIFF", bidx=band) or 0) for tile in tiles],
            "nodata": dataset.nodatavals[band_index],
            "transform": dataset.transform,
            "crs": dataset.crs,
        }


def differences(row: Mapping[str, Any], band: str, gdal: Mapping[str, Any]) -> list[str]:
    """What a collection's row says otherwise than GDAL."""
    ours = row[f"{band}_metadata"]
    if ours is None:
        return ["no header"]
    wrong = [f"{name}: {ours[name]} != {gdal[name]}" for name in FIELDS if ours[name] != gdal[name]]
    if not _same_number(ours["nodata"], gdal["nodata"]):
        wrong.append(f"nodata: {ours['nodata']} != {gdal['nodata']}")
    if not gdal["transform"].almost_equals(_affine(ours["transform"]), 1e-9 * max(1.0, abs(gdal["transform"].f))):
        wrong.append(f"transform: {ours['transform']} != {tuple(gdal['transform'])}")
    if CRS.from_user_input(row["crs"]) != gdal["crs"]:
        wrong.append(f"crs: {row['crs']} != {gdal['crs']}")
    if row["proj:epsg"] != gdal["crs"].to_epsg():
        wrong.append(f"proj:epsg: {row['proj:epsg']} != {gdal['crs'].to_epsg()}")
    return wrong


def _affine(stored: list[float]) -> Affine:
    """`[sx, tx, sy, ty]` of a north-up grid, or the six numbers."""
    if len(stored) == 4:
        sx, tx, sy, ty = stored
        return Affine(sx, 0, tx, 0, sy, ty)
    return Affine(*stored)


def _same_number(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))
