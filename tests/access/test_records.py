"""Scenes and headers as rows, with nothing lost and nothing made up."""

from __future__ import annotations

import json
from datetime import datetime

import pyarrow as pa
import pytest

from rasterloom.access.cache.records import assemble, epsg_of
from rasterloom.raster.arrow import METADATA_TYPE
from tests.access.building import BANDS, header, headers, scene


def test_one_row_per_scene_with_the_columns_of_the_format() -> None:
    scenes = [scene(number) for number in range(3)]
    table = assemble(scenes, headers(scenes), BANDS)
    assert table.num_rows == 3
    assert table["id"].to_pylist() == [one.id for one in scenes]
    assert table.schema.field("datetime").type == pa.timestamp("us")
    assert table["datetime"][1].as_py() == datetime(2024, 6, 1, 0, 7, 0, 250_000)
    assert table.schema.field("B02_metadata").type == METADATA_TYPE
    assert table["assets"][2].as_py()["B08"] == {"href": scenes[2].assets[3].href, "band_index": 0}
    assert table["crs"].to_pylist() == ["EPSG:32610"] * 3
    assert json.loads(table["properties"][0].as_py()) == scenes[0].properties


def test_an_asset_without_a_header_and_a_scene_without_an_asset_are_null() -> None:
    whole, part = scene(0), scene(1, bands=("B03", "B04"))
    found = headers([whole, part])
    del found[0, "B04"]
    table = assemble([whole, part], found, BANDS)
    assert [row is None for row in table["B04_metadata"].to_pylist()] == [True, False]
    assert [row is None for row in table["B04_ext"].to_pylist()] == [True, False]
    assert table["assets"][0].as_py()["B04"] is not None, "the href stays: the failure says why there is no header"
    assert table["assets"][1].as_py()["B02"] is None
    assert table["B02_metadata"][1].as_py() is None


def test_the_first_header_with_a_crs_decides_and_each_keeps_its_own() -> None:
    scenes = [scene(0)]
    found = headers(scenes)
    found[0, "B02"] = header(1, epsg=None, crs=None)
    found[0, "B03"] = header(2, epsg=32611, crs="EPSG:32611")
    table = assemble(scenes, found, BANDS)
    assert table["proj:epsg"].to_pylist() == [32611]
    assert table["crs"].to_pylist() == ["EPSG:32611"]
    assert [table[f"{band}_ext"][0].as_py()["crs"] for band in BANDS[:2]] in ([None, None], [None, "EPSG:32611"])
    assert table["B04_metadata"][0].as_py() is not None


def test_a_crs_without_a_code_is_text_and_no_number_is_made_up() -> None:
    wkt = 'PROJCRS["Sinusoidal"]'
    one = scene(0)
    table = assemble([one], {(0, "B02"): header(1, epsg=None, crs=wkt)}, BANDS)
    assert table["proj:epsg"].to_pylist() == [None]
    assert table["crs"].to_pylist() == [wkt]


@pytest.mark.parametrize(("crs", "epsg"), [("EPSG:32633", 32633), ("PROJCRS[]", None), (None, None)])
def test_without_a_header_the_item_decides(crs: str | None, epsg: int | None) -> None:
    table = assemble([scene(0, crs=crs)], {}, BANDS)
    assert table["proj:epsg"].to_pylist() == [epsg]
    assert table["crs"].to_pylist() == [crs]
    assert epsg_of(crs) == epsg


@pytest.mark.parametrize(
    ("box", "stored"),
    [
        ((10.0, 0.0, 11.0, 1.0), (10.0, 11.0)),
        ((179.0, 0.0, -179.0, 1.0), (179.0, -179.0)),
        ((-10.0, 0.0, -20.0, 1.0), (-180.0, 180.0)),
        ((20.0, 0.0, 10.0, 1.0), (-180.0, 180.0)),
    ],
)
def test_a_crossing_box_is_kept_unless_it_is_half_the_globe(box: tuple[float, float, float, float], stored: tuple[float, float]) -> None:
    row = assemble([scene(0, bbox=box)], {}, BANDS)["bbox"][0].as_py()
    assert (row["xmin"], row["xmax"]) == stored


def test_no_scene_gives_no_row() -> None:
    assert assemble([], {}, BANDS).num_rows == 0
