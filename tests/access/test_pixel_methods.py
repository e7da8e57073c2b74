"""What a Collection gives of pixels, against rasterio, GDAL's warp, rioxarray and GeoPandas."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask
import geopandas
import numpy as np
import pyarrow as pa
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import shapely
import xarray
from rasterio.enums import Resampling as Kernel
from rasterio.features import geometry_mask
from rasterio.transform import Affine, from_origin
from rasterio.warp import reproject
from rasterio.warp import transform_bounds as warp_bounds
from shapely.geometry import mapping

from rasterloom.access.collection import Collection
from rasterloom.access.pixels import stacks
from rasterloom.access.pixels.gridded import projected
from rasterloom.errors import SpecError, Unreadable
from tests.access.building import START
from tests.access.gridfiles import collection_of, write

RNG = np.random.default_rng(11)
WEST = from_origin(697_000, 5_003_000, 10, 10)
"""Of UTM zone 32, near its border with zone 33 at 12 degrees east."""
AREA = shapely.box(11.52, 45.135, 11.535, 45.145)
CLASSES = [0, 3, 40, 80, 200]


def amounts(size: int = 300) -> np.ndarray[Any, Any]:
    """Smooth, 1000 and more, with holes of 0."""
    rows, cols = np.mgrid[:size, :size]
    data = (1500 + 400 * np.sin(rows / 23.0) + 300 * np.cos(cols / 31.0)).astype("uint16")
    data[60:90, 40:180] = 0
    return data


def in_zone_33(path: Path, source: Path, kernel: Kernel) -> Path:
    """The same ground in the next zone."""
    with rasterio.open(source) as file:
        transform, width, height = rasterio.warp.calculate_default_transform(file.crs, "EPSG:32633", file.width, file.height, *file.bounds)
        step = file.transform.a
        transform = Affine(step, 0, round(transform.c / step) * step, 0, -step, round(transform.f / step) * step)
        made = np.zeros((height, width), file.dtypes[0])
        reproject(
            file.read(1), made, src_transform=file.transform, src_crs=file.crs, dst_transform=transform, dst_crs="EPSG:32633",
            src_nodata=0, dst_nodata=0, resampling=kernel,
        )  # fmt: skip
    return write(path, made, crs="EPSG:32633", transform=transform, nodata=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pixels")


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, Path]:
    classes = np.kron(RNG.choice(CLASSES, (75, 75)), np.ones((2, 2), int)).astype("uint8")
    west = {
        "red": write(folder / "red32.tif", amounts(), transform=WEST, nodata=0),
        "swir": write(folder / "swir32.tif", amounts(150), transform=from_origin(697_000, 5_003_000, 20, 20), nodata=0),
        "SCL": write(folder / "scl32.tif", classes, transform=from_origin(697_000, 5_003_000, 20, 20), nodata=0),
    }
    east = {f"{name}33": in_zone_33(folder / f"{name}33.tif", path, Kernel.nearest) for name, path in west.items()}
    return west | east


def zone(files: dict[str, Path], number: int) -> dict[str, Path]:
    return {band: files[f"{band}{number if number == 33 else ''}"] for band in ("red", "swir", "SCL")}


@pytest.fixture(scope="module")
def zones(folder: Path, files: dict[str, Path]) -> Collection:
    """Two scenes of zone 32, one of zone 33; 10 m, 20 m and classes of 20 m."""
    times = [START, START + timedelta(seconds=20), START + timedelta(days=5)]
    return collection_of(folder / "zones", [zone(files, 32), zone(files, 33), zone(files, 32)], datetime=times)


@pytest.fixture(scope="module")
def plain(folder: Path, files: dict[str, Path]) -> Collection:
    """Two scenes of one file."""
    return collection_of(folder / "plain", [{"red": files["red"]}, {"red": files["red"]}])


def warp(path: Path, dataset: xarray.Dataset, kernel: Kernel) -> np.ndarray[Any, Any]:
    """The whole file by GDAL on the grid of a dataset, 0 where there is nothing."""
    with rasterio.open(path) as file:
        made = np.zeros((dataset.sizes["y"], dataset.sizes["x"]), file.dtypes[0])
        reproject(
            file.read(1), made, src_transform=file.transform, src_crs=file.crs, dst_transform=dataset.rio.transform(),
            dst_crs=dataset.rio.crs, src_nodata=0, dst_nodata=0, resampling=kernel, tolerance=0,
        )  # fmt: skip
    return made


# get_xarray


def test_two_zones_mixed_resolutions_and_classes(zones: Collection, files: dict[str, Path]) -> None:
    """No class is invented, nodata bleeds nowhere, and all is what GDAL makes of the whole files."""
    made = zones.get_xarray(AREA, ["red", "swir", "SCL"], resampling={"*": "bilinear", "SCL": "nearest"})
    assert made.rio.crs.to_epsg() == 32632, "most files are of that zone"
    assert made.rio.resolution() == (10.0, -10.0)
    assert [made[band].dtype for band in made] == [np.uint16, np.uint16, np.uint8]
    inside = ~geometry_mask([projected(AREA, "EPSG:32632")], (made.sizes["y"], made.sizes["x"]), made.rio.transform())
    for step, number in enumerate([32, 33, 32]):
        paths = zone(files, number)
        assert set(np.unique(made.SCL[step])) <= set(CLASSES)
        assert (made.SCL[step].values == np.where(inside, warp(paths["SCL"], made, Kernel.nearest), 0)).mean() > 0.999
        for band in ("red", "swir"):
            got, expected = made[band][step].values, np.where(inside, warp(paths[band], made, Kernel.bilinear), 0)
            assert got[got > 0].min() > 750, "half a pixel and half nodata"
            assert ((got == 0) == (expected == 0)).mean() > 0.999
            assert np.abs(got.astype(int) - expected)[(got > 0) & (expected > 0)].max() <= 1
    np.testing.assert_array_equal(made.red[0], made.red[2])
    with rasterio.open(files["red"]) as file:
        window = rasterio.windows.from_bounds(*made.rio.bounds(), file.transform).round_offsets().round_lengths()
        np.testing.assert_array_equal(made.red[0], np.where(inside, file.read(1, window=window), 0), "aligned: a copy")


def test_a_class_band_refuses_to_be_mixed(zones: Collection) -> None:
    with pytest.raises(SpecError, match="classes") as caught:
        zones.get_xarray(AREA, ["red", "SCL"], resampling="cubic")
    assert "'SCL': 'nearest'" in caught.value.remedy
    with pytest.raises(SpecError, match="classes"):
        zones.get_gdf(AREA, ["SCL"], resampling="bilinear", resolution=15)


def test_rioxarray_knows_what_it_is(plain: Collection, tmp_path: Path) -> None:
    made = plain.get_xarray(AREA, ["red"])
    assert made.red.dims == ("time", "y", "x")
    assert made.rio.crs.to_epsg() == 32632
    assert made.red.rio.nodata == 0
    assert made.red.rio.transform(recalc=True) == made.red.rio.transform()
    assert made.x.attrs["standard_name"] == "projection_x_coordinate"
    assert list(made.time.values) == sorted(made.time.values)
    assert list(made.id.values) == plain.to_table(["id"]).sort_by("id")["id"].to_pylist()
    made.red[0].rio.to_raster(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert (file.crs.to_epsg(), file.nodata, file.transform) == (32632, 0, made.rio.transform())
    made.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    made.to_zarr(tmp_path / "a.zarr")
    for again in (xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf", decode_coords="all", mask_and_scale=False),
                  xarray.open_zarr(tmp_path / "a.zarr", decode_coords="all", mask_and_scale=False)):  # fmt: skip
        assert again.rio.crs.to_epsg() == 32632
        np.testing.assert_array_equal(again.red, made.red)
        again.close()


def test_lazy_is_the_same_block_by_block(zones: Collection) -> None:
    shape = shapely.Point(11.527, 45.14).buffer(0.006)
    chosen: dict[str, Any] = {"bands": ["red", "SCL"], "resampling": {"red": "bilinear"}}
    eager = zones.get_xarray(shape, **chosen)
    lazy = zones.get_xarray(shape, **chosen, chunks={"time": 2, "y": 40, "x": 64})
    assert lazy.red.chunks == ((2, 1), tuple([40] * (lazy.sizes["y"] // 40) + [lazy.sizes["y"] % 40]), lazy.red.chunks[2])
    made = pickle.loads(pickle.dumps(lazy)).compute(scheduler="sync")
    xarray.testing.assert_identical(made.SCL, eager.SCL)
    assert np.abs(made.red.astype(int) - eager.red).max() <= 1
    assert (made.red == eager.red).mean() > 0.999
    with dask.config.set(scheduler="threads"):
        xarray.testing.assert_identical(lazy.compute(), made)
    for chunks in (True, "auto", {}, {"y": -1}):
        assert zones.get_xarray(shape, **chosen, chunks=chunks).red.chunks[0] == (1, 1, 1)
    with pytest.raises(SpecError, match="classes"):
        zones.get_xarray(shape, ["SCL"], resampling="bilinear", chunks=True)
    for wrong in ({"z": 1}, {"x": 0}, -5, "many"):
        with pytest.raises(SpecError, match="chunks"):
            zones.get_xarray(shape, ["red"], chunks=wrong)


def test_scenes_of_a_day_become_one_image(zones: Collection, files: dict[str, Path]) -> None:
    one = zones.get_xarray(AREA, ["red"])
    day = zones.get_xarray(AREA, ["red"], group_by="solar_day")
    assert day.sizes["time"] == 2
    first, second = one.red[0].values, one.red[1].values
    np.testing.assert_array_equal(day.red[0], np.where(first > 0, first, second))
    assert day.id.values[0] == ",".join(one.id.values[:2])
    assert zones.get_xarray(AREA, ["red"], group_by="datetime").sizes["time"] == 3
    with pytest.raises(SpecError, match="group_by"):
        zones.get_xarray(AREA, ["red"], group_by="month")


def test_an_asked_grid(zones: Collection) -> None:
    made = zones.get_xarray(AREA, ["red"], target_crs=4326, resolution=0.0002)
    assert made.rio.crs.to_epsg() == 4326
    assert made.x.attrs["units"] == "degrees_east"
    np.testing.assert_allclose(made.rio.bounds(), AREA.bounds, atol=0.0002)
    assert (made.red.values > 0).mean() > 0.5
    coarse = zones.get_xarray(AREA, ["red"], resolution=60, resampling="average")
    assert coarse.rio.transform().c % 60 == 0
    for crs in (4326, np.int64(4326), "EPSG:4326", rasterio.crs.CRS.from_epsg(4326), pyproj.CRS(4326)):
        xarray.testing.assert_identical(zones.get_xarray(AREA, ["red"], target_crs=crs, resolution=[0.0002, 0.0002]), made)
    for wrong in ({"target_crs": 3857}, {"resolution": "10m"}, {"resolution": (1, 2, 3)}, {"resolution": 0}):
        with pytest.raises(SpecError, match="resolution"):
            zones.get_xarray(AREA, ["red"], **wrong)
    for crs in (99999, 3.5, "nowhere"):
        with pytest.raises(SpecError, match="not known"):
            zones.get_xarray(AREA, ["red"], target_crs=crs)


def test_scale_and_offset_on_request(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", amounts(), transform=WEST, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.0001,), (-0.1,)
    made = collection_of(tmp_path, [{"red": path}])
    raw, scaled = made.get_xarray(AREA, ["red"]), made.get_xarray(AREA, ["red"], scaled=True)
    assert (raw.red.attrs["scale_factor"], raw.red.attrs["add_offset"]) == (0.0001, -0.1)
    assert scaled.red.dtype == np.float32
    expected = np.where(raw.red == 0, np.nan, raw.red.values * 0.0001 - 0.1)
    np.testing.assert_allclose(scaled.red, expected, rtol=1e-6)
    np.testing.assert_allclose(made.get_numpy(AREA, ["red"], scaled=True), expected, rtol=1e-6)
    masked = made.get_xarray(AREA, ["red"], masked=True)
    np.testing.assert_array_equal(masked.red, np.where(raw.red == 0, np.nan, raw.red.values).astype("float32"))
    assert np.isnan(masked.red.rio.nodata)


# get_numpy


def test_several_bands_have_an_axis(folder: Path, files: dict[str, Path]) -> None:
    made = collection_of(folder / "bands", [{"red": files["red"], "nir": files["red"]}] * 2)
    one, two = made.get_numpy(AREA, ["red"]), made.get_numpy(AREA, ["red", "nir"])
    assert (one.ndim, two.shape) == (3, (2, 2, *one.shape[1:]))
    np.testing.assert_array_equal(two[:, 1], one)


def test_bands_of_two_resolutions_ask_for_a_grid(zones: Collection) -> None:
    with pytest.raises(SpecError, match="differ in grid") as caught:
        zones.get_numpy(AREA, ["red", "swir"])
    assert "resolution" in caught.value.remedy
    got = zones.get_numpy(AREA, ["red", "SCL"], resolution=10)
    expected = zones.get_xarray(AREA, ["red", "SCL"])
    assert got.dtype == np.uint16
    ids = zones.to_table(["id"])["id"].to_pylist()
    for place, name in enumerate(ids):
        step = list(expected.id.values).index(name)
        np.testing.assert_array_equal(got[place, 0], expected.red[step])
        np.testing.assert_array_equal(got[place, 1], expected.SCL[step])


def test_masked_arrays_and_all_touched(plain: Collection, files: dict[str, Path]) -> None:
    shape = shapely.Polygon([(11.521, 45.136), (11.534, 45.138), (11.527, 45.144)])
    for touched in (False, True):
        got = plain.get_numpy(shape, ["red"], all_touched=touched, masked=True)
        with rasterio.open(files["red"]) as file:
            expected, _ = rasterio.mask.mask(
                file, [projected(shape, "EPSG:32632")], crop=True, all_touched=touched, indexes=1, filled=False
            )
        np.testing.assert_array_equal(got.mask[0], expected.mask)
        np.testing.assert_array_equal(got[0].filled(7), expected.filled(7))


def test_filters_are_those_of_subset(plain: Collection) -> None:
    assert plain.get_numpy(AREA, ["red"], date_range="2024-06-01").shape[0] == len(plain.subset(date_range="2024-06-01"))
    np.testing.assert_array_equal(plain.get_numpy(AREA, ["red"], max_concurrent=1), plain.get_numpy(AREA, ["red"]))
    with pytest.raises(TypeError, match="backend"):
        plain.get_numpy(AREA, ["red"], backend=None)


# what an area may be


def areas() -> dict[str, Any]:
    frame = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[AREA], crs="EPSG:4326")
    return {
        "box": AREA.bounds,
        "geojson": mapping(AREA),
        "text": json.dumps(mapping(AREA)),
        "feature": {"type": "Feature", "properties": {}, "geometry": mapping(AREA)},
        "wkb": shapely.to_wkb(AREA),
        "wkb array": pa.array([shapely.to_wkb(AREA)]),
        "frame": frame,
        "series": frame.geometry,
        "frame in metres": frame.to_crs(3857),
        "arrow": pa.table(frame.to_arrow()),
        "arrow in metres": pa.table(frame.to_crs(32633).to_arrow()),
    }


@pytest.mark.parametrize("kind", areas())
def test_an_area_of_every_kind(plain: Collection, kind: str) -> None:
    np.testing.assert_array_equal(plain.get_numpy(areas()[kind], ["red"]), plain.get_numpy(AREA, ["red"]))


def test_an_area_in_metres_says_so(plain: Collection) -> None:
    metres = projected(AREA, "EPSG:32632")
    np.testing.assert_array_equal(plain.get_numpy(metres, ["red"], geometry_crs=32632), plain.get_numpy(AREA, ["red"]))
    for wrong in (metres, shapely.Polygon(), []):
        with pytest.raises(SpecError) as caught:
            plain.get_numpy(wrong, ["red"])
        assert caught.value.remedy


# get_gdf


def test_rows_of_a_frame(zones: Collection, files: dict[str, Path]) -> None:
    small = shapely.box(11.522, 45.136, 11.525, 45.138)
    frame = geopandas.GeoDataFrame({"field": ["x", "none", "y"]}, geometry=[AREA, shapely.box(0, 0, 1, 1), small], crs="EPSG:4326")
    got = zones.get_gdf(frame.to_crs(32632), ["red", "swir"])
    assert len(got) == 3 * 2 * 2
    assert list(got.geometry_id[:4]) == [1, 1, 3, 3]
    assert list(got.field[:4]) == ["x", "x", "y", "y"]
    assert got.crs.to_epsg() == 32632
    assert set(got["crs"]) == {"EPSG:32632", "EPSG:32633"}
    row = got[(got.band == "swir") & (got["crs"] == "EPSG:32633") & (got.geometry_id == 3)].iloc[0]
    with rasterio.open(files["swir33"]) as file:
        expected, transform = rasterio.mask.mask(file, [projected(small, "EPSG:32633")], crop=True, indexes=1)
    np.testing.assert_array_equal(row.data, expected)
    assert row["transform"] == transform
    warped = zones.get_gdf(frame, ["red"], target_crs=3857, resolution=15)
    assert {(each.shape, crs) for each, crs in zip(warped[warped.geometry_id == 3].data, warped["crs"], strict=False)} == {
        (warped.data.iloc[1].shape, "EPSG:3857")
    }
    assert zones.get_gdf(small, ["red"]).crs == frame.crs
    with pytest.raises(SpecError, match="'band'"):
        zones.get_gdf(frame.rename(columns={"field": "band"}), ["red"])


# read_window


def test_a_fixed_window(zones: Collection, files: dict[str, Path]) -> None:
    ids = zones.get_xarray(AREA, ["red"]).id.values.tolist()
    bounds = (697_500.0, 5_001_000.0, 698_500.0, 5_002_000.0)
    got = zones.read_window(record_ids=ids[:1], bounds=bounds, res=(10, 10), bands=["red", "SCL"])
    with rasterio.open(files["red"]) as file:
        window = rasterio.windows.from_bounds(*bounds, file.transform)
        np.testing.assert_array_equal(got[0], file.read(1, window=window))
    assert got.shape == (2, 100, 100)
    stack = zones.read_window(record_ids=ids, bounds=bounds, res=10, bands=["red"], group_by="id", target_crs=32632)
    np.testing.assert_array_equal(stack[:1], got[None, :1])
    mosaic = zones.read_window(record_ids=ids[1::-1], bounds=bounds, res=10, bands=["red"], target_crs=32632)
    np.testing.assert_array_equal(mosaic, np.where(stack[1] > 0, stack[1], stack[0]))
    assert zones.read_window(bounds=bounds, res=10, bands=["red"], group_by="solar_day", target_crs=32632).shape == (2, 1, 100, 100)
    for wrong in ({"record_ids": ["none"]}, {"record_ids": []}, {"res": 0}, {}):
        with pytest.raises(SpecError) as caught:
            zones.read_window(**{"bounds": bounds, "res": 10, "bands": ["red"], **wrong})
        assert caught.value.remedy


# footprints


def test_footprints_are_the_edges_of_pixels(zones: Collection, plain: Collection) -> None:
    own = plain.footprints()
    assert own.crs.to_epsg() == 32632
    assert own.geometry.iloc[0].bounds == (697_000, 5_000_000, 700_000, 5_003_000)
    assert zones.footprints().crs is None
    both = zones.footprints(crs=4326)
    expected = warp_bounds("EPSG:32632", "EPSG:4326", 697_000, 5_000_000, 700_000, 5_003_000)
    np.testing.assert_allclose(both.geometry.iloc[0].bounds, expected, atol=1e-6)
    assert list(both.columns) == ["id", "datetime", "geometry"]
    assert zones.native_res("swir") == (20.0, 20.0)
    assert plain.native_res() == (10.0, 10.0)


# what cannot be


def test_what_is_larger_than_memory_is_refused_before_it_is_read(zones: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "largest", lambda: 10_000)
    for read in (zones.get_xarray, zones.get_gdf):
        with pytest.raises(SpecError, match="limit") as caught:
            read(AREA, ["red"])
        assert "chunks=" in caught.value.remedy
    assert zones.get_xarray(AREA, ["red"], chunks=True).red.nbytes > 0


def test_a_view_that_holds_nothing_there(zones: Collection) -> None:
    far = (100.0, 10.0, 101.0, 11.0)
    for read in (zones.get_numpy, zones.get_xarray, zones.get_gdf):
        with pytest.raises(SpecError, match="no scene"):
            read(far, ["red"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", amounts(), transform=WEST)
    made = collection_of(tmp_path, [{"red": path}])
    path.unlink()
    with pytest.raises(Unreadable, match=r"a\.tif"):
        made.get_xarray(AREA, ["red"])


def test_times_are_naive_utc(zones: Collection) -> None:
    first = zones.get_xarray(AREA, ["red"]).time.values[0]
    assert first == np.datetime64(START.astimezone(UTC).replace(tzinfo=None).isoformat())
    assert isinstance(zones.footprints().datetime.iloc[0], datetime)


def test_over_the_antimeridian(tmp_path: Path) -> None:
    """Two scenes of zones 60 and 1 that meet at 180 degrees; the area crosses it as a box, and as a polygon in metres."""
    data = amounts()
    west = write(tmp_path / "w.tif", data, crs="EPSG:32760", transform=from_origin(817_700, 8_120_000, 10, 10), nodata=0)
    east = write(tmp_path / "e.tif", data, crs="EPSG:32701", transform=from_origin(179_300, 8_120_000, 10, 10), nodata=0)
    boxes = [(179.98, -17.02, -179.98, -16.96), (179.97, -17.02, -179.97, -16.96)]
    made = collection_of(tmp_path, [{"red": west}, {"red": east}], bbox=boxes)
    box = (179.995, -17.0, -179.995, -16.99)
    got = made.get_xarray(box, ["red"], target_crs=32760, resolution=10)
    assert got.sizes["time"] == 2
    assert got.sizes["x"] < 130
    assert (got.red.values > 0).any(axis=(1, 2)).all()
    metres = shapely.box(*got.rio.bounds())
    again = made.get_xarray(metres, ["red"], geometry_crs=32760, target_crs=32760, resolution=10)
    assert again.sizes == got.sizes
    assert len(made.subset(geometries=geopandas.GeoSeries([metres], crs=32760))) == 2


def test_a_table_chooses_rows(plain: Collection, zones: Collection) -> None:
    frame = geopandas.GeoDataFrame({"n": range(40)}, geometry=[shapely.box(n, 0, n + 0.1, 1) for n in range(20, 60)], crs=4326)
    assert len(plain.subset(geometries=frame)) == 0
    frame.loc[7, "geometry"] = AREA
    assert len(plain.subset(geometries=frame.to_crs(3857))) == 2
    assert set(zones.get_gdf(frame, ["red"]).n) == {7}
