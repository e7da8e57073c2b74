"""Areas: GeoJSON in its common forms becomes one checked geometry; files never lead out of the directory of the spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from rasterloom.errors import SpecError
from rasterloom.specs.area import bounds, checked_box, checked_geometry
from rasterloom.specs.loader import load_specs
from rasterloom.specs.question import Box

RING = [[0, 0, 9], [2, 0, 9], [2, 1, 9], [0, 0, 9]]
POLYGON = {"type": "Polygon", "coordinates": [RING], "bbox": [0, 0, 2, 1]}
PLAIN: dict[str, Any] = {"type": "Polygon", "coordinates": [[[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 0.0]]]}
FEATURE = {"type": "Feature", "properties": {"a": 1}, "geometry": POLYGON}


@pytest.mark.parametrize(
    "value",
    [POLYGON, FEATURE, {"type": "FeatureCollection", "features": [FEATURE]}, {"type": "GeometryCollection", "geometries": [POLYGON]}],
    ids=["geometry", "feature", "features", "geometries"],
)
def test_common_forms_of_one_polygon_are_the_same(value: dict[str, Any]) -> None:
    assert checked_geometry(value) == PLAIN


def test_several_polygons_become_one_geometry() -> None:
    several = checked_geometry({"type": "FeatureCollection", "features": [FEATURE, FEATURE]})
    assert several == {"type": "MultiPolygon", "coordinates": [PLAIN["coordinates"]] * 2}
    assert bounds(several) == Box(west=0, south=0, east=2, north=1)


@pytest.mark.parametrize(
    "value",
    [
        None, "POLYGON ((0 0, 1 0, 1 1, 0 0))", [], {}, {"type": "Polygon"}, {"type": "Polygon", "coordinates": []}, {"type": "Feature"},
        {"type": "Feature", "geometry": None}, {"type": "FeatureCollection", "features": []}, {"type": "Point", "coordinates": [1]},
        {"type": "Point", "coordinates": ["1", "2"]}, {"type": "Point", "coordinates": [181, 0]}, {"type": "Point", "coordinates": [0, 91]},
        {"type": "Point", "coordinates": [float("nan"), 0]}, {"type": "LineString", "coordinates": [[0, 0]]},
        {"type": "Polygon", "coordinates": [[0, 0], [1, 1]]}, {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]},
        {"type": "Polygon", "coordinates": [[[500000, 4000000], [500001, 4000000], [500001, 4000001], [500000, 4000000]]]},
        {"type": "GeometryCollection", "geometries": [POLYGON, {"type": "Point", "coordinates": [1, 2]}]}, {"type": ["Polygon"]},
        {"type": "LineString", "coordinates": [[0, 0]] * 10_001},
    ],
)  # fmt: skip
def test_what_is_no_area_is_refused(value: Any) -> None:
    with pytest.raises(PydanticCustomError):
        checked_geometry(value)


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(0.001, 10), st.floats(0.001, 10))
def test_geometries_of_shapely_keep_their_bounds(west: float, south: float, width: float, height: float) -> None:
    east, north = min(180.0, west + width), min(90.0, south + height)
    geometry = json.loads(shapely.to_geojson(shapely.box(west, south, east, north)))
    assert bounds(checked_geometry(geometry)) == Box(west=west, south=south, east=east, north=north)


def test_a_box_may_cross_the_antimeridian() -> None:
    assert checked_box([170, -10, -170, 10]) == (170.0, -10.0, -170.0, 10.0)


def spec_beside(directory: Path, name: str) -> Path:
    file = directory / "spec.yaml"
    file.write_text(f"name: a\ndataset: pc/naip\nintersects: {name}\n")
    return file


def test_a_file_beside_the_spec_is_read_into_it(tmp_path: Path) -> None:
    (tmp_path / "areas").mkdir()
    (tmp_path / "areas" / "bay.geojson").write_text(json.dumps(FEATURE))
    (spec,) = load_specs(spec_beside(tmp_path, "areas/bay.geojson"))
    assert spec.intersects == PLAIN


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(POLYGON))
    (inside / "link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(SpecError, match="leaves the directory"):
        load_specs(spec_beside(inside, "link.json"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PAR1....", "GeoParquet"),
        (b"<html>", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b" " * 300_000, "the limit is"),
        (b'{"type": "X"}', "X is no"),
    ],
)
def test_a_file_that_is_no_geojson_is_told_at_its_line(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "area.json").write_bytes(data)
    with pytest.raises(SpecError) as caught:
        load_specs(spec_beside(tmp_path, "area.json"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.path, says in problem.message) == (3, "intersects", True)
