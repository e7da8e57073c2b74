"""Outputs open in what users use, without a word of complaint: xarray, GDAL, a COG validator, GeoPandas, DuckDB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  the accessor `rio`
import shapely
import xarray
from rasterio.drivers import raster_driver_extensions
from rio_cogeo.cogeo import cog_validate

from tests.access.imagery import Imagery, run_read

pytestmark = pytest.mark.slow

SIDE = 1300
"""More than the largest edge of an image that needs no overview."""


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory) -> Imagery:
    """Three scenes of a band with holes and a band of classes. Not changed by any test; outputs have names of their own."""
    folder = tmp_path_factory.mktemp("imagery")
    made = Imagery(folder / "files", folder / "workspace")
    for number in range(3):
        draw = np.random.default_rng(number)
        red = draw.integers(1, 4000, (SIDE, SIDE)).astype("u2")
        red[200:700, 300 + 100 * number : 900] = 0
        classes = draw.choice([4, 5, 6], (SIDE, SIDE)).astype("u1")
        made.add(f"scene-{number}", f"2024-06-{4 + number:02d}T10:30:00", {"B04": red, "SCL": classes})
    made.build()
    return made


@pytest.fixture
def silent() -> Iterator[None]:
    """Of what xarray, zarr, GDAL and GeoPandas warn users of."""
    with warnings.catch_warnings():
        for kind in (UserWarning, RuntimeWarning, FutureWarning):
            warnings.simplefilter("error", kind)
        yield


def output(imagery: Imagery, name: str, **read: Any) -> Path:
    return imagery.output(run_read(imagery.job(read, name=name)).ref)


def test_images_are_cogs_whose_overviews_are_of_the_valid_pixels(imagery: Imagery) -> None:
    made = output(imagery, "months", kind="composite", method="median", bands=["B04"])
    classes = output(imagery, "classes", kind="composite", method="first", bands=["SCL"])
    for path in (made / "all" / "B04.tif", classes / "all" / "SCL.tif"):
        valid, errors, complaints = cog_validate(path, strict=True, quiet=True)
        assert valid, (errors, complaints)
        with rasterio.open(path) as image:
            assert image.overviews(1)[:1] == [2]
            assert image.profile["tiled"]
    with rasterio.open(made / "all" / "B04.tif") as image, rasterio.open(made / "all" / "B04.tif", overview_level=0) as small:
        found, seen = image.read(1), small.read(1)
    assert 0.1 < np.isnan(found).mean() < 0.4
    assert np.isnan(seen).mean() == pytest.approx(np.isnan(found).mean(), abs=0.01)
    assert np.nanmean(seen) == pytest.approx(np.nanmean(found), rel=0.001), "holes have no weight"
    assert np.nanstd(seen) < 0.7 * np.nanstd(found)
    with rasterio.open(classes / "all" / "SCL.tif", overview_level=0) as small:
        assert set(np.unique(small.read(1))) <= {0, 4, 5, 6}, "classes are not averaged"


@pytest.mark.usefixtures("silent")
def test_cubes_open_in_xarray_and_gdal(imagery: Imagery) -> None:
    zarr = output(imagery, "zarr", kind="stack", bands=["B04"]) / "stack.zarr"
    netcdf = output(imagery, "netcdf", kind="stack", bands=["B04"], format="netcdf") / "stack.nc"
    with xarray.open_zarr(zarr) as one, xarray.open_dataset(netcdf, engine="h5netcdf", decode_coords="all") as other:
        xarray.testing.assert_equal(one.B04.drop_vars("spatial_ref"), other.B04.drop_vars("spatial_ref"))
        assert one.rio.crs == other.rio.crs == rasterio.crs.CRS.from_epsg(32632)
        transform = one.rio.transform()
        expected = one.B04.isel(time=1).fillna(0).values
    drivers = set(raster_driver_extensions().values())
    opened = [name for driver, name in (("Zarr", f'ZARR:"{zarr}":/B04'), ("netCDF", f"NETCDF:{netcdf}:B04")) if driver in drivers]
    for name in opened:
        with rasterio.open(name) as data:
            assert (data.count, data.nodata) == (3, 0)
            np.testing.assert_array_equal(data.read(2), expected)
            assert data.transform == transform
    assert opened, "GDAL of the wheels has one of the drivers at least"


@pytest.mark.usefixtures("silent")
def test_tables_open_in_geopandas_and_duckdb(imagery: Imagery) -> None:
    place = shapely.from_wkt("POINT (9.01 46.05)")
    lon, lat = place.x, place.y
    point = {"type": "Feature", "properties": {"plot": "a"}, "geometry": {"type": "Point", "coordinates": [lon, lat]}}
    zone = {"type": "Feature", "properties": {"field": "a"}, "geometry": shapely.geometry.mapping(place.buffer(0.002))}
    tables = {
        "points.parquet": output(imagery, "points", kind="points", points=point, bands=["B04"]),
        "zonal.parquet": output(imagery, "zonal", kind="zonal", zones=zone, bands=["B04"], statistics=["mean", "histogram"]),
        "chips.parquet": output(imagery, "chips", kind="chips", size=256, bands=["B04"]),
    }
    for name, folder in tables.items():
        scene = "scene" if name == "chips.parquet" else "record_id"
        ((rows, scenes),) = duckdb.sql(f"SELECT count(*), count(DISTINCT {scene}) FROM '{folder / name}'").fetchall()
        assert rows >= scenes == 3, name
    for name, path in (("points", "points.parquet"), ("zonal", "zones.parquet"), ("chips", "chips.parquet")):
        frame = geopandas.read_parquet(tables[f"{name}.parquet"] / path)
        assert frame.crs is not None
        assert frame.geometry.is_valid.all()
