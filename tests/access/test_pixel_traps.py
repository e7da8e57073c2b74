"""Files that are read wrongly elsewhere: right pixels through every method, or an error that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import shapely
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.enums import Resampling as Kernel
from rasterio.transform import Affine, from_origin
from rasterio.warp import reproject, transform_bounds

from rasterloom.access.collection import Collection, load
from rasterloom.errors import SpecError, Unreadable
from tests.access.gridfiles import EFFORT, collection_of, write
from tests.servers import RangeServer

RNG = np.random.default_rng(3)
NOISE = RNG.integers(1, 250, (200, 200))
PLACE = from_origin(600_000, 5_100_000, 10, 10)
INSIDE = shapely.box(*transform_bounds("EPSG:32632", "EPSG:4326", 600_500, 5_098_500, 601_500, 5_099_500))


def whole(path: Path) -> shapely.Geometry:
    with rasterio.open(path) as file:
        return shapely.box(*transform_bounds(file.crs, "EPSG:4326", *file.bounds))


def gdal(path: Path, dataset: Any, kernel: Kernel = Kernel.nearest) -> np.ndarray[Any, Any]:
    """Data and mask of the file on the grid of a dataset; NaN where GDAL has no valid pixel."""
    with rasterio.open(path) as file:
        data = np.where(file.read_masks(1) > 0, file.read(1).astype("float64"), np.nan)
        made = np.full((dataset.sizes["y"], dataset.sizes["x"]), np.nan)
        reproject(
            data, made, src_transform=file.transform, src_crs=file.crs, dst_transform=dataset.rio.transform(),
            dst_crs=dataset.rio.crs, src_nodata=np.nan, dst_nodata=np.nan, resampling=kernel, tolerance=0,
        )  # fmt: skip
    return made


def rotated(folder: Path) -> Path:
    turned = Affine.translation(600_000, 5_100_000) @ Affine.rotation(-20) @ Affine.scale(10, -10)
    return write(folder / "rotated.tif", NOISE.astype("uint16"), transform=turned, nodata=0)


def south_up(folder: Path) -> Path:
    return write(folder / "south.tif", NOISE.astype("int16"), transform=Affine(10, 0, 600_000, 0, 10, 5_098_000), nodata=-1)


def nan_nodata(folder: Path) -> Path:
    data = NOISE.astype("float32")
    data[80:120, 60:130] = np.nan
    return write(folder / "nan.tif", data, transform=PLACE, nodata=np.nan)


def big_endian(folder: Path) -> Path:
    return write(folder / "big.tif", (NOISE * 100).astype("int32"), transform=PLACE, nodata=0, ENDIANNESS="BIG")


def sparse(folder: Path) -> Path:
    data = np.full((200, 200), 7, "uint8")
    data[70:90, 70:90] = 9
    return write(folder / "sparse.tif", data, transform=PLACE, nodata=7, SPARSE_OK=True)


def masked(folder: Path) -> Path:
    path = write(folder / "masked.tif", NOISE.astype("uint8"), transform=PLACE)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        keep = np.full((200, 200), 255, "uint8")
        keep[60:110, 90:140] = 0
        file.write_mask(keep)
    return path


def degrees(folder: Path) -> Path:
    return write(
        folder / "degrees.tif", NOISE.astype("uint8"), crs="EPSG:4326", transform=from_origin(10.30003, 46.05007, 1e-4, 1e-4), nodata=0
    )


def own_crs(folder: Path) -> Path:
    wkt = rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=46 +lon_0=10 +datum=WGS84 +units=m").to_wkt()
    return write(folder / "laea.tif", NOISE.astype("uint8"), crs=wkt, transform=from_origin(20_000, 9_000, 10, 10), nodata=0)


TRAPS = (rotated, south_up, nan_nodata, big_endian, sparse, masked, degrees, own_crs)


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_a_trap_is_read_as_gdal_reads_it(tmp_path: Path, trap: Any) -> None:
    path = trap(tmp_path)
    made = collection_of(tmp_path, [{"B1": path}])
    with rasterio.open(path) as file:
        step = file.res[0] if file.transform.b == 0 else 10.0
        centre = whole(path).centroid.buffer(0.004)
    for options in ({}, {"resolution": step, "resampling": "nearest"}, {"target_crs": 3857, "resolution": 17.0}):
        got = made.get_xarray(centre, ["B1"], masked=True, all_touched=True, **options)
        expected = gdal(path, got)
        there = ~np.isnan(got.B1.values[0])
        assert there.any()
        assert (there & np.isnan(expected)).sum() <= 2
        assert (got.B1.values[0] == expected)[there].mean() > 0.999
    got = made.get_xarray(centre, ["B1"], masked=True, target_crs=3857, resolution=17.0, resampling="bilinear")
    there = ~np.isnan(got.B1.values[0])
    assert got.B1.values[0][there].min() >= np.nanmin(gdal(path, got))
    frame = made.get_gdf(centre, ["B1"], masked=True)
    with rasterio.open(path) as file:
        inverse = ~file.transform @ frame["transform"].iloc[0]
        col, row = round(inverse.c), round(inverse.f)
        height, width = frame.data.iloc[0].shape
        np.testing.assert_array_equal(
            frame.data.iloc[0].compressed(),
            np.ma.MaskedArray(file.read(1, masked=True)[row : row + height, col : col + width], frame.data.iloc[0].mask).compressed(),
        )


def test_a_file_without_affine_is_named(tmp_path: Path) -> None:
    path, box = tmp_path / "gcps.tif", (10.3, 45.98, 10.32, 46.0)
    points = [GroundControlPoint(row, col, 10.3 + col * 1e-4, 46.0 - row * 1e-4) for row in (0, 200) for col in (0, 200)]
    with rasterio.open(path, "w", driver="GTiff", width=200, height=200, count=1, dtype="uint8", gcps=points, crs="EPSG:4326") as file:
        file.write(NOISE.astype("uint8"), 1)
    made = collection_of(tmp_path, [{"B1": path}], bbox=[box])
    assert len(made) == 1
    assert made.footprints().empty
    for read in (made.get_numpy, made.get_xarray, made.get_gdf):
        with pytest.raises((Unreadable, SpecError), match=r"georeference|CRS"):
            read(box, ["B1"])


def test_a_palette_refuses_to_be_mixed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", (NOISE % 5).astype("uint8"), transform=PLACE, photometric="palette")
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.palette]
        file.write_colormap(1, {value: (value, 0, 0, 255) for value in range(5)})
    made = collection_of(tmp_path, [{"cover": path}])
    with pytest.raises(SpecError, match="classes"):
        made.get_xarray(INSIDE, ["cover"], resampling={"*": "average"})
    assert set(np.unique(made.get_xarray(INSIDE, ["cover"], resolution=35, resampling="mode").cover)) <= set(range(5))


def test_an_overview_is_read_for_a_coarse_grid(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    path = write(tmp_path / "files" / "a.tif", np.kron(NOISE, np.ones((4, 4))).astype("uint16"), transform=PLACE, overviews=[2, 4, 8])
    with RangeServer(path.parent) as server:
        made = collection_of(tmp_path, [{"B1": path}], base=server.url)
        server.log.clear()
        got = made.get_xarray(whole(path), ["B1"], resolution=40)
        bytes_read = sum((one.range[1] or 0) - one.range[0] for one in server.log if one.range)
    assert bytes_read < path.stat().st_size / 4
    with rasterio.open(path, overview_level=1) as file:
        inner = got.B1[0, 5:-5, 5:-5]
        np.testing.assert_array_equal(np.unique(inner), np.unique(np.intersect1d(inner, file.read(1))))


def as_rasteret_writes_it(folder: Path, path: Path, url: str) -> Collection:
    """A plain directory of one Parquet file without our own columns and commits, its files behind http."""
    table = collection_of(folder, [{"B1": path}]).to_table()
    table = table.drop_columns([name for name in table.column_names if name.endswith("_ext") or name == "crs"])
    assets = [{"B1": {"href": f"{url}/{path.name}", "band_index": 0}}]
    table = table.set_column(table.column_names.index("assets"), "assets", pa.array(assets, table.schema.field("assets").type))
    place = folder / "plain"
    place.mkdir()
    pq.write_table(table.drop_columns(["year", "month"]), place / "data.parquet")
    return load(place, effort=EFFORT)


def test_a_collection_that_rasteret_wrote(tmp_path: Path) -> None:
    """No `_ext`, no `crs` column: the EPSG code of the row is all that says where it lies."""
    (tmp_path / "files").mkdir()
    path = write(tmp_path / "files" / "a.tif", NOISE.astype("uint16"), transform=PLACE, nodata=0, overviews=[2])
    ours = collection_of(tmp_path / "ours", [{"B1": path}])
    with RangeServer(path.parent) as server:
        theirs = as_rasteret_writes_it(tmp_path, path, server.url)
        for read in ("get_numpy", "get_xarray"):
            np.testing.assert_array_equal(
                *(np.asarray(getattr(each, read)(INSIDE, ["B1"], target_crs=32633, resolution=10).B1 if read == "get_xarray" else
                             getattr(each, read)(INSIDE, ["B1"])) for each in (ours, theirs))
            )  # fmt: skip
        assert theirs.get_gdf(INSIDE, ["B1"])["transform"].iloc[0].a == 10
        assert theirs.footprints(crs=4326).geometry.iloc[0].intersects(INSIDE)
