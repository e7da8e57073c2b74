"""rasterio/GDAL: open every file over HTTP in threads, tuned as GDAL's COG practice says."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from measure import run_side, timed
from reading import digests, measured

TUNED = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.TIF,.TIFF",
    "GDAL_INGESTED_BYTES_AT_OPEN": "16384",
    "GDAL_HTTP_VERSION": "1.1",
    "GDAL_HTTP_TCP_KEEPALIVE": "YES",
    "VSI_CACHE": "FALSE",
    "GDAL_CACHEMAX": "64",
    "GDAL_NUM_THREADS": "1",
}


def headers(order: dict[str, Any]) -> dict[str, Any]:
    """Size, tiling, dtype, CRS, transform and nodata of every file; with `tables` also where each full-resolution tile lies.

    The tables are what the other sides read as well, and what reading pixels by range requests needs.
    """
    if order.get("tuned", True):
        os.environ.update(TUNED)  # before GDAL is loaded: every thread sees them
    import rasterio

    driver = order.get("driver", "GTiff")

    def one(url: str) -> tuple[object, ...]:
        with rasterio.open(f"/vsicurl/{url}", driver=driver) as dataset:
            epsg = dataset.crs.to_epsg() if dataset.crs else None
            if order["tables"]:
                tables(dataset)
            return dataset.shape, dataset.block_shapes, dataset.dtypes, dataset.transform, dataset.nodata, epsg

    result: dict[str, Any] = {"version": f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}, driver {driver}"}
    with ThreadPoolExecutor(order["concurrency"]) as pool, timed(result):
        found = list(pool.map(one, order["urls"]))
    return result | {"headers": len(found)}


def tables(dataset: Any) -> list[tuple[str, str]]:
    """Offset and byte count of every tile, through GDAL's TIFF metadata domain."""
    (height, width), (rows, cols) = dataset.shape, dataset.block_shapes[0]
    tiles = [f"{x}_{y}" for y in range(-(-height // rows)) for x in range(-(-width // cols))]
    item = dataset.get_tag_item
    return [(item(f"BLOCK_OFFSET_{t}", "TIFF", bidx=1), item(f"BLOCK_SIZE_{t}", "TIFF", bidx=1)) for t in tiles]


def window(order: dict[str, Any]) -> dict[str, Any]:
    """Pixels of one bbox (lon/lat) of every URL, in the grid of the file: the oracle of the other sides' reads."""
    os.environ.update(TUNED)
    import numpy as np
    import rasterio
    from rasterio.mask import mask
    from rasterio.warp import transform_geom

    west, south, east, north = order["bbox"]
    box = {"type": "Polygon", "coordinates": [[(west, south), (east, south), (east, north), (west, north), (west, south)]]}
    result: dict[str, Any] = {}
    totals: list[int] = []
    with timed(result):
        for url in order["urls"]:
            with rasterio.open(f"/vsicurl/{url}") as dataset:
                pixels, _ = mask(dataset, [transform_geom("EPSG:4326", dataset.crs, box)], crop=True)
                totals.append(int(pixels.sum(dtype=np.int64)))
    return result | {"checksum": sum(totals), "arrays": len(totals)}


READING = TUNED | {
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
    "GDAL_CACHEMAX": "256",
}
"""For pixels, as the practice of reading COGs says."""


def windows(order: dict[str, Any]) -> dict[str, Any]:
    """The same window of every file, all bands, cold; as many threads as all sides have requests at once."""
    os.environ.update(READING)
    import rasterio
    from rasterio.windows import Window

    window = Window(order["col"], order["row"], order["side"], order["side"])

    def one(url: str) -> Any:
        with rasterio.open(f"/vsicurl/{url}") as dataset:
            return dataset.read(window=window)

    result: dict[str, Any] = {"version": f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}"}
    with ThreadPoolExecutor(order["concurrency"]) as pool, measured(order, result):
        found = list(pool.map(one, order["urls"]))
    return result | {"digests": digests(found)}


def crossing(order: dict[str, Any]) -> dict[str, Any]:
    """A `WarpedVRT` of every file, which is the grid."""
    os.environ.update(READING)
    import numpy as np
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.vrt import WarpedVRT

    grid = order["grid"]
    place = {"crs": grid["crs"], "transform": rasterio.Affine(*grid["affine"]), "width": grid["width"], "height": grid["height"]}
    extra: dict[str, Any] = {}
    if order["exact"]:
        extra = {"tolerance": 0.001, **_scales(grid)}

    def one(url: str) -> Any:
        kernel = Resampling[order["resampling"]]
        with rasterio.open(f"/vsicurl/{url}") as dataset, WarpedVRT(dataset, resampling=kernel, **place, **extra) as warped:
            return warped.read(1)

    result: dict[str, Any] = {}
    with ThreadPoolExecutor(order["concurrency"]) as pool, measured(order, result):
        found = list(pool.map(one, order["urls"]))
    np.save(order["to"], found[0])
    return result


def _scales(grid: dict[str, Any]) -> dict[str, float]:
    """Of a pixel in the middle of the grid: the box around it in the zone of the files, whose pixels are as large."""
    from rasterio.warp import transform

    step, _, left, _, _, top = grid["affine"]
    x, y = left + step * grid["width"] / 2, top - step * grid["height"] / 2
    xs, ys = transform(grid["crs"], "EPSG:32632", [x, x + step, x], [y, y, y - step])
    return {name: step / (abs(at[1] - at[0]) + abs(at[2] - at[0])) for name, at in (("XSCALE", xs), ("YSCALE", ys))}


def points(order: dict[str, Any]) -> dict[str, Any]:
    """`sample` of every file, the points by tile, so that GDAL's cache finds each tile once."""
    os.environ.update(READING)
    import numpy as np
    import rasterio

    x, y = np.array(order["x"]), np.array(order["y"])
    by_tile = np.lexsort(((x - 600_000) // 10_240, (5_300_000 - y) // 10_240))
    places = list(zip(x[by_tile].tolist(), y[by_tile].tolist(), strict=True))

    def one(url: str) -> float:
        with rasterio.open(f"/vsicurl/{url}") as dataset:
            return float(sum(int(value[0]) for value in dataset.sample(places)))

    result: dict[str, Any] = {}
    with ThreadPoolExecutor(order["concurrency"]) as pool, measured(order, result):
        found = list(pool.map(one, order["urls"]))
    return result | {"checksum": sum(found)}


def zones(order: dict[str, Any]) -> dict[str, Any]:
    """As rasterstats does it: a window and a mask per zone and file."""
    os.environ.update(READING)
    import numpy as np
    import rasterio
    from rasterio.features import geometry_mask, geometry_window
    from series import parcels

    shapes = list(parcels(order).geometry)

    def one(url: str) -> float:
        total = 0.0
        with rasterio.open(f"/vsicurl/{url}") as dataset:
            for shape in shapes:
                window = geometry_window(dataset, [shape])
                data = dataset.read(1, window=window)
                inside = geometry_mask([shape], data.shape, dataset.window_transform(window), invert=True)
                values = data[inside & (data != dataset.nodata)].astype(np.float64)
                total += values.mean() + np.median(values)
        return total

    result: dict[str, Any] = {}
    with ThreadPoolExecutor(order["concurrency"]) as pool, measured(order, result):
        found = list(pool.map(one, order["urls"]))
    return result | {"checksum": round(sum(found), 3)}


def composite(order: dict[str, Any]) -> dict[str, Any]:
    """The windows of a month in threads, `nanmedian` of them, and GDAL's COG driver."""
    os.environ.update(READING)
    from pathlib import Path

    import numpy as np
    import rasterio
    from composites import digest, months
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.windows import Window

    grid = order["grid"]
    place = rasterio.Affine(*grid["affine"])

    def one(url: str) -> Any:
        with rasterio.open(f"/vsicurl/{url}") as dataset:
            col, row = (round(value) for value in ~dataset.transform * (place.c, place.f))
            data = dataset.read(1, window=Window(col, row, grid["width"], grid["height"]))
            return np.where(data == dataset.nodata, np.float32(np.nan), data.astype(np.float32))

    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan, "crs": "EPSG:32632", "transform": place}
    profile |= {"width": grid["width"], "height": grid["height"]}
    options = {"driver": "COG", "compress": "DEFLATE", "predictor": "YES", "blocksize": 512, "overview_resampling": "AVERAGE"}
    paths = [Path(order["folder"]) / f"rasterio-{month}.tif" for month in months(order)]
    result: dict[str, Any] = {}
    with ThreadPoolExecutor(order["concurrency"]) as pool, measured(order, result), np.errstate(all="ignore"):
        for path, urls in zip(paths, months(order).values(), strict=True):
            made = np.nanmedian(np.stack(list(pool.map(one, urls))), axis=0)
            with MemoryFile() as memory, memory.open(**profile) as image:
                image.write(made, 1)
                copy(image, path, **options)
    return result | {"digest": digest(paths)}


if __name__ == "__main__":
    run_side(
        {
            "headers": headers,
            "window": window,
            "windows": windows,
            "crossing": crossing,
            "points": points,
            "zones": zones,
            "composite": composite,
        }
    )
