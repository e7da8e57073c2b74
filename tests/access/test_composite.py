"""Composites of real files, against rasterio and numpy; what they cost; what other programs say of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate

from rasterloom.access.reads.run import plan_read
from rasterloom.errors import SpecError
from tests.access.imagery import Imagery, run_read
from tests.servers import RangeServer

AREA = [9.0, 46.04, 9.009, 46.046]
"""Lies inside of the scenes, which begin at 9 degrees east."""
DAYS = ("2024-06-04T10:30:00", "2024-06-14T10:30:00", "2024-07-04T10:30:00", "2024-07-14T10:30:00", "2024-07-24T10:30:00")


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """Five days of three bands; SCL is twice as coarse."""
    made = Imagery(tmp_path / "files", tmp_path / "workspace")
    for number, day in enumerate(DAYS):
        add(made, number, day)
    made.build()
    return made


def add(made: Imagery, number: int, day: str, *, cloud: float | None = None, **changes: Any) -> None:
    draw = np.random.default_rng(number)
    red = draw.integers(0, 3000, (160, 200)).astype("u2")
    infrared = draw.integers(1, 5000, (160, 200)).astype("u2")
    classes = draw.choice([0, 3, 4, 5, 9], (80, 100), p=[0.1, 0.2, 0.3, 0.3, 0.1]).astype("u1")
    bands = {"B04": red, "B08": infrared, "SCL": classes}
    made.add(f"scene-{number}", day, bands, pixel={"SCL": 20.0}, cloud=float(number % 3) if cloud is None else cloud, **changes)


def seen(made: Imagery, name: str, band: str, like: rasterio.DatasetReader) -> np.ma.MaskedArray[Any, Any]:
    """What rasterio reads of a file on the grid of an output, by the nearest pixel."""
    with rasterio.open(made.path(name, band)) as file:
        data = np.zeros(like.shape, file.dtypes[0])
        there = np.zeros(like.shape, "u1")
        place = {"src_transform": file.transform, "src_crs": file.crs, "dst_transform": like.transform, "dst_crs": like.crs}
        reproject(file.read(1), data, resampling=Resampling.nearest, **place)
        reproject((file.read_masks(1) > 0).astype("u1"), there, resampling=Resampling.nearest, **place)
    return np.ma.masked_array(data, there == 0)


def masked(made: Imagery, names: Sequence[str], like: rasterio.DatasetReader, band: str) -> np.ma.MaskedArray[Any, Any]:
    """Shape (scenes, height, width); clouds are out."""
    layers = []
    for name in names:
        classes = seen(made, name, "SCL", like)
        layers.append(np.ma.masked_where(np.ma.getmaskarray(classes) | np.isin(classes.data, [3, 9]), seen(made, name, band, like)))
    return np.ma.stack(layers)


JUNE, JULY = ("scene-0", "scene-1"), ("scene-2", "scene-3", "scene-4")
CLOUDS = {"band": "SCL", "values": [3, 9]}


def read(**changes: Any) -> dict[str, Any]:
    return {"kind": "composite", "bands": ["B04"], "area": {"type": "Polygon", "coordinates": [corners()]}, "mask": CLOUDS} | changes


def corners() -> list[list[float]]:
    west, south, east, north = AREA
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def image(path: Path) -> np.ma.MaskedArray[Any, Any]:
    with rasterio.open(path) as file:
        return file.read(1, masked=True)


@pytest.mark.parametrize("method", ["median", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mean", "min", "max"))])
def test_a_month_is_what_numpy_makes_of_it(imagery: Imagery, method: str) -> None:
    output = imagery.output(run_read(imagery.job(read(method=method, period="P1M"))).ref)
    for period, names in (("2024-06", JUNE), ("2024-07", JULY)):
        with rasterio.open(output / period / "B04.tif") as file:
            found = file.read(1, masked=True)
            expected = getattr(np.ma, method)(masked(imagery, names, file, "B04").astype("f8"), axis=0)
            assert file.dtypes[0] == ("uint16" if method in ("min", "max") else "float32")
        assert found.shape == (67, 71) or found.size > 3000
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
        np.testing.assert_array_equal(found.compressed(), expected.compressed().astype(found.dtype))


@pytest.mark.slow
def test_the_first_valid_pixel_by_the_least_clouds(imagery: Imagery) -> None:
    output = imagery.output(run_read(imagery.job(read(method="first", order_by=["eo:cloud_cover", "-datetime"]))).ref)
    with rasterio.open(output / "all" / "B04.tif") as file:
        found = file.read(1, masked=True)
        # Cloud cover is the number modulo 3: 0 and 3 have none, the later first.
        layers = masked(imagery, ("scene-3", "scene-0", "scene-4", "scene-1", "scene-2"), file, "B04")
        expected = np.ma.masked_all(file.shape, "u2")
        for layer in layers[::-1]:
            expected[~np.ma.getmaskarray(layer)] = layer[~np.ma.getmaskarray(layer)]
    np.testing.assert_array_equal(found.filled(0), expected.filled(0))
    assert 0 < np.ma.count_masked(found) < found.size / 10


@pytest.mark.slow
def test_an_expression_is_composed_and_not_the_bands(imagery: Imagery) -> None:
    spec = read(bands=None, expressions={"ndvi": "(B08 - B04) / (B08 + B04)", "green": "B08 > 2 * B04"}, period="P1M")
    output = imagery.output(run_read(imagery.job(spec)).ref)
    with rasterio.open(output / "2024-07" / "ndvi.tif") as file:
        red, infrared = (masked(imagery, JULY, file, band).astype("f8") for band in ("B04", "B08"))
        expected = np.ma.median((infrared - red) / (infrared + red), axis=0)
        found = file.read(1, masked=True)
        assert (file.dtypes[0], file.nodata != file.nodata, file.descriptions) == ("float32", True, ("ndvi",))
    np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))
    np.testing.assert_allclose(found.compressed(), expected.compressed(), rtol=1e-6, atol=1e-7)
    share = image(output / "2024-07" / "green.tif")
    np.testing.assert_allclose(share.compressed(), np.ma.median(infrared > 2 * red, axis=0).compressed())


def test_what_is_written_is_what_others_read(imagery: Imagery) -> None:
    output = imagery.output(run_read(imagery.job(read(period="P1M", bands=["B04", "SCL"], method="max"))).ref)
    for path in output.rglob("*.tif"):
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert valid, (errors, warnings)
    catalog = pystac.Catalog.from_file(str(output / "catalog.json"))
    items = list(catalog.get_items())
    assert [item.id for item in items] == ["s2-a-2024-06", "s2-a-2024-07"]
    assert items[0].common_metadata.start_datetime.isoformat() == "2024-06-01T00:00:00+00:00"
    assert items[1].properties["rasterloom:scenes"] == list(JULY)
    assert [link.rel for link in items[0].links if link.rel == "derived_from"] == ["derived_from"]
    asset = items[0].get_assets()["B04"]
    with rasterio.open(asset.get_absolute_href()) as file:
        assert items[0].properties["proj:code"] == "EPSG:32632"
        assert items[0].properties["proj:shape"] == list(file.shape)
        assert items[0].properties["proj:transform"] == list(file.transform)[:6]
        found = file.read(1, masked=True)
        statistics = asset.extra_fields["bands"][0]["statistics"]
        assert statistics["maximum"] == found.max()
        assert statistics["mean"] == pytest.approx(found.mean())
        assert statistics["valid_percent"] == pytest.approx(100 * found.count() / found.size)
    assert (output / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_one_new_scene_costs_one_scene_and_nothing_new_costs_nothing(tmp_path: Path) -> None:
    with RangeServer(tmp_path / "files") as server:
        made = Imagery(tmp_path / "files", tmp_path / "workspace", base=server.url)
        for number, day in enumerate(DAYS):
            add(made, number, day)
        made.build()
        server.log.clear()
        first = run_read(made.job(read(period="P1M")))
        assert (first.made, first.ref.changed) == (5, True)
        assert len(server.log) == 10
        before = images(first.ref.uri)
        again = plan_read(made.job(read(period="P1M"), run_id="read-2"))
        assert again.is_done
        assert not again.missing
        add(made, 7, "2024-08-03T10:30:00")
        made.build("run-2")
        server.log.clear()
        second = run_read(made.job(read(period="P1M"), run_id="read-3"))
        assert second.made == 1
        assert sorted(request.path for request in server.log) == ["/scene-7/B04.tif", "/scene-7/SCL.tif"]
        after = images(second.ref.uri)
    assert set(after) - set(before) == {"2024-08/B04.tif"}
    assert all(after[path] == data for path, data in before.items())


def images(uri: str) -> dict[str, bytes]:
    return {path.relative_to(uri).as_posix(): path.read_bytes() for path in Path(uri).rglob("*.tif")}


@pytest.mark.slow
def test_another_method_and_period_read_no_scene_again(imagery: Imagery) -> None:
    run_read(imagery.job(read(period="P1M")))
    other = run_read(imagery.job(read(period="P16D", method="max"), name="b", run_id="read-2"))
    assert (other.made, other.traffic.requests) == (0, 0)
    assert run_read(imagery.job(read(mask={"band": "SCL", "values": [3]}), name="c", run_id="read-3")).made == 5


@pytest.mark.slow
def test_a_file_that_is_gone_is_a_failure_and_the_others_are_composed(imagery: Imagery) -> None:
    imagery.path("scene-4", "B04").unlink()
    imagery.path("scene-3", "SCL").unlink()
    job = imagery.job(read(period="P1M"))
    done = run_read(replace(job, effort=replace(job.effort, max_error_rate=0.5)))
    assert done.ref.failed == 2
    item = json.loads((imagery.output(done.ref) / "2024-07" / "item.json").read_text())
    assert item["properties"]["rasterloom:scenes"] == ["scene-2"]
    with rasterio.open(imagery.output(done.ref) / "2024-07" / "B04.tif") as file:
        expected = masked(imagery, ("scene-2",), file, "B04")[0]
        np.testing.assert_array_equal(file.read(1, masked=True).filled(-1), expected.astype("f4").filled(-1))


@pytest.mark.slow
def test_scenes_of_two_zones_and_of_another_resolution_meet_on_the_grid(imagery: Imagery) -> None:
    draw = np.random.default_rng(99)
    bands = {"B04": draw.integers(1, 3000, (400, 400)).astype("u2"), "SCL": np.full((200, 200), 4, "u1")}
    imagery.add("scene-31", "2024-06-20T10:30:00", bands, crs="EPSG:32631", west=963_000, north=5_119_000, pixel={"SCL": 20.0})
    imagery.build("run-2")
    output = imagery.output(run_read(imagery.job(read(method="max", resolution=15.0, period="P1M"))).ref)
    with rasterio.open(output / "2024-06" / "B04.tif") as file:
        assert (file.crs.to_epsg(), file.res) == (32632, (15.0, 15.0))
        expected = masked(imagery, (*JUNE, "scene-31"), file, "B04").max(axis=0)
        found = file.read(1, masked=True)
    assert (found.filled(0) == expected.filled(0)).mean() > 0.995


@pytest.mark.slow
def test_scale_and_offset_stay_where_all_agree_and_are_refused_where_not(tmp_path: Path) -> None:
    made = Imagery(tmp_path / "files", tmp_path / "workspace")
    add(made, 0, DAYS[0], scale=(0.0001, -0.1))
    add(made, 1, DAYS[1], scale=(0.0001, -0.1))
    made.build()
    output = made.output(run_read(made.job(read())).ref)
    with rasterio.open(output / "all" / "B04.tif") as file:
        assert (file.scales, file.offsets) == ((0.0001,), (-0.1,))
    assert json.loads((output / "all" / "item.json").read_text())["assets"]["B04"]["bands"][0]["raster:scale"] == 0.0001
    add(made, 2, DAYS[2], scale=(0.0002, 0.0))
    made.build("run-2")
    with pytest.raises(SpecError, match="scaled in one way in some files") as caught:
        plan_read(made.job(read()))
    assert "expressions: {B04: B04}" in caught.value.remedy
    output = made.output(run_read(made.job(read(bands=None, expressions={"B04": "B04"}, method="first"), run_id="read-2")).ref)
    with rasterio.open(output / "all" / "B04.tif") as file:
        first = masked(made, ["scene-0"], file, "B04")[0]
        found = file.read(1, masked=True)
    there = ~np.ma.getmaskarray(first)
    np.testing.assert_allclose(found[there], first[there] * 0.0001 - 0.1, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"order_by": ["eo:cloud"], "method": "first"}, "the collection has no property 'eo:cloud'"),
        ({"order_by": ["assets"]}, "which has no order"),
        ({"bands": ["B05"]}, "the collection has no band 'B05'"),
        ({"area": {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 1]]]}}, "no scene of s2"),
    ],
)
def test_what_cannot_be_made_is_told_before_anything_is_asked(imagery: Imagery, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        plan_read(imagery.job(read(**changes)))


@pytest.mark.slow
def test_whole_numbers_without_a_nodata_become_floats(tmp_path: Path) -> None:
    made = Imagery(tmp_path / "files", tmp_path / "workspace")
    made.add("scene-0", DAYS[0], {"B04": np.arange(40_000).reshape(200, 200).astype("u2")}, nodata=None)
    made.build()
    output = made.output(run_read(made.job({"kind": "composite", "method": "max"})).ref)
    with rasterio.open(output / "all" / "B04.tif") as file:
        assert file.dtypes == ("float32",)
        found = file.read(1, masked=True)
    assert found.min() == 0
    assert found.max() == 39_999


@pytest.mark.slow
def test_a_valid_pixel_that_holds_the_nodata_is_told(tmp_path: Path) -> None:
    made = Imagery(tmp_path / "files", tmp_path / "workspace")
    made.add("scene-0", DAYS[0], {"B04": np.arange(40_000).reshape(200, 200).astype("u2")}, nodata=7)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(made.path("scene-0", "B04"), "r+") as file:
        file.write_mask(np.ones((200, 200), bool))
    made.build()
    spec = {"kind": "composite", "method": "max"}
    with pytest.raises(SpecError, match="B04 has valid pixels that hold 7"):
        run_read(made.job(spec))
    output = made.output(run_read(made.job({**spec, "expressions": {"B04": "B04"}}, run_id="read-2")).ref)
    assert image(output / "all" / "B04.tif").compressed().tolist() == list(range(40_000))
