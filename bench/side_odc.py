"""odc-stac: the same windows as one lazy cube of items, read by GDAL in threads."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from measure import run_side
from reading import digests, measured
from side_rasterio import READING


def windows(order: dict[str, Any]) -> dict[str, Any]:
    """Every file is an item of its own time; the grid is that of the window, so that nothing is warped."""
    os.environ.update(READING)
    import dask
    import numpy as np
    import odc.stac
    import pystac
    import rasterio
    import rasterio.warp
    from odc.geo.geobox import GeoBox

    with rasterio.open(f"/vsicurl/{order['urls'][0]}") as file:
        across, crs, dtype = file.transform, file.crs.to_epsg(), file.dtypes[0]
        shape = list(file.shape)
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    place = across @ rasterio.Affine.translation(order["col"], order["row"])
    box = GeoBox((order["side"], order["side"]), place, f"EPSG:{crs}")
    place_of_file = {"proj:epsg": crs, "proj:transform": list(across)[:6], "proj:shape": shape}
    items = [_item(pystac, url, number, bounds, place_of_file) for number, url in enumerate(order["urls"])]
    names = [f"b{band}" for band in range(order["bands"])]
    result: dict[str, Any] = {"version": f"odc-stac {odc.stac.__version__}, rasterio {rasterio.__version__}"}
    with measured(order, result), dask.config.set(scheduler="threads", num_workers=order["concurrency"]):
        cube = odc.stac.load(items, bands=names, geobox=box, chunks={}, stac_cfg=_config(order["bands"], dtype)).compute()
    stacked = np.stack([cube[name].values for name in names], axis=1)
    return result | {"digests": digests(stacked)}


def _item(pystac: Any, url: str, number: int, bounds: tuple[float, ...], place: dict[str, Any]) -> Any:
    west, south, east, north = bounds
    when = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = pystac.Item(f"i{number}", {"type": "Polygon", "coordinates": [ring]}, list(bounds), when, place)
    item.collection_id = "bench"
    item.add_asset("data", pystac.Asset(url, media_type=pystac.MediaType.COG, roles=["data"]))
    return item


def _config(bands: int, dtype: str) -> dict[str, Any]:
    """Each band of the one asset under a name of its own."""
    aliases = {f"b{band}": f"data.{band + 1}" if bands > 1 else "data" for band in range(bands)}
    return {"bench": {"assets": {"*": {"data_type": dtype}}, "aliases": aliases}}


def composite(order: dict[str, Any]) -> dict[str, Any]:
    """A lazy cube on the grid, the median of its months by xarray, and GDAL's COG driver of each."""
    os.environ.update(READING)
    from pathlib import Path

    import dask
    import odc.stac
    import pystac
    import rasterio
    import rasterio.warp
    from composites import days, digest
    from odc.geo.geobox import GeoBox
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    grid = order["grid"]
    with rasterio.open(f"/vsicurl/{order['urls'][0]}") as file:
        across, shape, dtype = file.transform, list(file.shape), file.dtypes[0]
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    box = GeoBox((grid["height"], grid["width"]), rasterio.Affine(*grid["affine"]), "EPSG:32632")
    about = {"proj:epsg": 32632, "proj:transform": list(across)[:6], "proj:shape": shape}
    items = [_item(pystac, url, number, bounds, about) for number, url in enumerate(order["urls"])]
    for item, day in zip(items, days(order), strict=True):
        item.datetime = day
    config = _config(1, dtype)
    config["bench"]["assets"]["*"]["nodata"] = 0
    options = {"driver": "COG", "compress": "DEFLATE", "predictor": "YES", "blocksize": 512, "overview_resampling": "AVERAGE"}
    paths: list[Path] = []
    result: dict[str, Any] = {"version": f"odc-stac {odc.stac.__version__}, rasterio {rasterio.__version__}"}
    with measured(order, result), dask.config.set(scheduler="threads", num_workers=order["concurrency"]):
        cube = odc.stac.load(items, bands=["b0"], geobox=box, chunks={"x": 1024, "y": 1024}, stac_cfg=config).b0
        made = cube.where(cube != 0).astype("float32").groupby("time.month").median().compute()
        for month in made.month.values:
            paths.append(Path(order["folder"]) / f"odc-{month:02d}.tif")
            profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": float("nan"), "crs": "EPSG:32632"}
            profile |= {"transform": box.affine, "width": grid["width"], "height": grid["height"]}
            with MemoryFile() as memory, memory.open(**profile) as image:
                image.write(made.sel(month=month).values, 1)
                copy(image, paths[-1], **options)
    return result | {"digest": digest(paths)}


if __name__ == "__main__":
    run_side({"windows": windows, "composite": composite})
