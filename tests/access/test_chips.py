"""Chips of real files, against windows that rasterio reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import xarray
from rasterio.windows import Window

from rasterloom.access.reads.run import make_units, plan_read
from rasterloom.errors import SpecError
from tests.access.imagery import NORTH, PIXEL, WEST, Imagery, run_read

AREA = {"type": "Polygon", "coordinates": [[[9.0005, 46.0405], [9.02, 46.0405], [9.02, 46.05], [9.0005, 46.05], [9.0005, 46.0405]]]}
DAYS = ("2024-06-04T10:30:00", "2024-06-14T10:30:00", "2024-07-04T10:30:00")


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    made = Imagery(tmp_path / "files", tmp_path / "workspace")
    for number, day in enumerate(DAYS):
        add(made, number, day)
    made.build()
    return made


def add(made: Imagery, number: int, day: str) -> None:
    draw = np.random.default_rng(number)
    red, infrared = (draw.integers(1, 5000, (300, 310)).astype("u2") for _ in range(2))
    # Above the diagonal there is nothing, further to the right with each scene.
    red[np.add.outer(np.arange(300), -np.arange(310)) < -100 + 40 * number] = 0
    made.add(f"scene-{number}", day, {"B04": red, "B08": infrared})


def read(**changes: Any) -> dict[str, Any]:
    return {"kind": "chips", "bands": ["B04", "B08"], "size": 32, "stride": 24, "area": AREA, "min_valid": 0.8} | changes


def of_scene(made: Imagery, name: str, row: Any) -> np.ndarray[Any, Any]:
    """Both bands of the window that the manifest names, by its affine alone."""
    col, line = round((row["affine"][2] - WEST) / PIXEL), round((NORTH - row["affine"][5]) / PIXEL)
    layers = []
    for band in ("B04", "B08"):
        with rasterio.open(made.path(name, band)) as file:
            layers.append(file.read(1, window=Window(col, line, 32, 32)))
    return np.stack(layers)


def test_chips_are_windows_of_the_files_and_the_manifest_says_which(imagery: Imagery) -> None:
    done = run_read(imagery.job(read()))
    output = imagery.output(done.ref)
    manifest = geopandas.read_parquet(output / "chips.parquet")
    assert manifest.crs.equals("OGC:CRS84")
    assert list(manifest.chip) == sorted(manifest.chip)
    assert manifest.index.tolist() == manifest["index"].tolist()
    assert set(manifest.scene) == {"scene-0", "scene-1", "scene-2"}
    assert manifest.valid.min() >= 0.8
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.tif")} == set(manifest.path)
    for _, row in manifest.iterrows():
        expected = of_scene(imagery, row.scene, row)
        valid = (expected > 0).all(axis=0)
        with rasterio.open(output / row.path) as file:
            assert (file.crs.to_epsg(), list(file.transform)[:6]) == (32632, list(row.affine))
            assert (file.descriptions, file.dtypes) == (("B04", "B08"), ("uint16", "uint16"))
            np.testing.assert_array_equal(file.dataset_mask() > 0, valid)
            np.testing.assert_array_equal(file.read(), np.where(valid, expected, 0))
        assert row.valid == valid.mean()


@pytest.mark.slow
def test_windows_are_the_same_ground_in_every_scene_and_stay_inside_of_the_area(imagery: Imagery) -> None:
    manifest = geopandas.read_parquet(imagery.output(run_read(imagery.job(read(min_valid=0))).ref) / "chips.parquet")
    places = manifest.groupby("scene")[["row", "col"]].apply(lambda rows: set(map(tuple, rows.to_numpy())))
    assert places["scene-0"] > places["scene-2"]
    assert (manifest.row % 24 == 0).all()
    assert manifest.intersects(shapely.geometry.shape(AREA)).all()
    triangle = {"type": "Polygon", "coordinates": [[[9.0005, 46.0405], [9.02, 46.0405], [9.0005, 46.05], [9.0005, 46.0405]]]}
    fewer = geopandas.read_parquet(
        imagery.output(run_read(imagery.job(read(min_valid=0, area=triangle), name="b", run_id="r2")).ref) / "chips.parquet"
    )
    assert len(manifest) * 0.4 < len(fewer) < len(manifest) * 0.75


@pytest.mark.slow
def test_one_array_of_all_chips(imagery: Imagery) -> None:
    spec = read(format="zarr", expressions={"ndvi": "(B08 - B04) / (B08 + B04)"})
    output = imagery.output(run_read(imagery.job(spec)).ref)
    manifest = geopandas.read_parquet(output / "chips.parquet")
    chips = xarray.open_zarr(output / "chips.zarr")
    assert chips.chips.dims == ("chip", "band", "y", "x")
    assert (chips.chips.shape, chips.chips.dtype) == ((len(manifest), 3, 32, 32), "float32")
    assert chips.attrs["bands"] == ["B04", "B08", "ndvi"]
    for number in (0, len(manifest) // 2, len(manifest) - 1):
        row = manifest.iloc[number]
        expected = of_scene(imagery, row.scene, row).astype("f8")
        valid = (expected > 0).all(axis=0)
        np.testing.assert_array_equal(chips.valid[number], valid)
        np.testing.assert_array_equal(chips.chips[number, :2], np.where(valid, expected, 0))
        ndvi = (expected[1] - expected[0]) / (expected[1] + expected[0])
        np.testing.assert_allclose(chips.chips[number, 2], np.where(valid, ndvi, 0), rtol=1e-6)


@pytest.mark.slow
def test_a_new_scene_makes_its_chips_alone_and_a_killed_job_goes_on(imagery: Imagery) -> None:
    job = imagery.job(read())
    make_units(job, plan_read(job).units[:1])
    first = run_read(imagery.job(read(), run_id="read-2"))
    assert first.made == 2
    assert plan_read(imagery.job(read(), run_id="read-3")).is_done
    add(imagery, 3, "2024-08-03T10:30:00")
    imagery.build("run-2")
    second = run_read(imagery.job(read(), run_id="read-4"))
    assert second.made == 1
    before, after = (geopandas.read_parquet(Path(ran.ref.uri) / "chips.parquet") for ran in (first, second))
    assert after.iloc[: len(before)].equals(before)
    assert set(after.scene) - set(before.scene) == {"scene-3"}
    for path in before.path:
        assert (Path(first.ref.uri) / path).read_bytes() == (Path(second.ref.uri) / path).read_bytes()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": 8, "stride": 1, "resolution": 2.0}, "windows, the most are 100,000"),
        ({"size": 512}, "a chip is 512 pixels wide and high, the area"),
        ({"bands": ["B8A"]}, "the collection has no band 'B8A'"),
    ],
)
def test_what_cannot_be_cut_is_told_before_anything_is_asked(imagery: Imagery, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        plan_read(imagery.job(read(**changes)))


@pytest.mark.slow
def test_no_window_that_is_valid_enough_is_told(imagery: Imagery) -> None:
    with pytest.raises(SpecError, match="no window of 32 x 32 pixels is valid in at least 100%"):
        run_read(imagery.job(read(min_valid=1.0, mask={"band": "B08", "values": list(range(1, 3000))})))
