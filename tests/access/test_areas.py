"""`intersects` from a GeoParquet file, as its writers make it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import rasterloom
from rasterloom.access.sources.areas import load_specs
from rasterloom.cli.main import main
from rasterloom.errors import SpecError
from rasterloom.specs.loader import load_specs as plain_load_specs

WEST, EAST = shapely.box(5, 43, 6, 44), shapely.box(7, 43, 8, 44.5)


def spec_of(folder: Path, table: geopandas.GeoDataFrame, **how: Any) -> Path:
    table.to_parquet(folder / "area.parquet", **how)
    return spec_beside(folder)


def spec_beside(folder: Path) -> Path:
    (folder / "spec.yaml").write_text("name: a\ndataset: pc/naip\nintersects: area.parquet\n")
    return folder / "spec.yaml"


def area_of(path: Path) -> shapely.Geometry:
    (spec,) = load_specs(path)
    return shapely.from_geojson(json.dumps(spec.intersects))


@pytest.mark.parametrize("how", [{}, {"geometry_encoding": "geoarrow"}, {"write_covering_bbox": True, "schema_version": "1.1.0"}])
def test_all_geometries_of_the_file_are_the_area(tmp_path: Path, how: dict[str, Any]) -> None:
    table = geopandas.GeoDataFrame({"n": [1, 2], "geometry": [WEST, EAST]}, crs="EPSG:4326")
    found = area_of(spec_of(tmp_path, table, **how))
    assert shapely.equals(found, shapely.union_all([WEST, EAST]))


def test_rows_without_a_geometry_and_other_names_make_no_difference(tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame({"where": [WEST, None, shapely.Polygon()]}, geometry="where", crs="OGC:CRS84")
    assert shapely.equals(area_of(spec_of(tmp_path, table)), WEST)


def test_another_crs_is_moved_to_degrees(tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame({"geometry": [WEST]}, crs="EPSG:4326").to_crs("EPSG:32631")
    found = area_of(spec_of(tmp_path, table))
    assert shapely.hausdorff_distance(found, WEST) < 2e-3  # edges that were straight there


def test_the_public_loader_and_the_command_line_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = spec_of(tmp_path, geopandas.GeoDataFrame({"geometry": [WEST]}, crs="EPSG:4326"))
    assert rasterloom.load_specs(path) == load_specs(path)
    assert main(["validate", str(path)]) == 0
    assert "valid" in capsys.readouterr().out


def test_without_a_reader_it_says_who_has_one(tmp_path: Path) -> None:
    path = spec_of(tmp_path, geopandas.GeoDataFrame({"geometry": [WEST]}, crs="EPSG:4326"))
    with pytest.raises(SpecError, match="GeoParquet, and nothing here reads it"):
        plain_load_specs(path)


def many(count: int) -> pa.Table:
    return pa.table({"geometry": pa.array([shapely.to_wkb(WEST)] * count, pa.binary())})


REFUSED: dict[str, tuple[pa.Table | bytes, str]] = {
    "no geometry": (pa.table({"a": [1]}), "no geometry column"),
    "nothing in it": (pa.table({"geometry": pa.array([None], pa.binary())}), "holds no geometry"),
    "broken": (pa.table({"geometry": pa.array([shapely.to_wkb(WEST), b"xx"], pa.binary())}), "row 1 cannot be decoded"),
    "of numbers": (pa.table({"geometry": [1.5]}), "not read"),
    "many": (many(10_001), "10,001 geometries"),
    "repeated": (pa.table({"geometry": pa.array([bytes(1 << 20)] * 17, pa.binary())}), "17 geometries of"),
    "large": (pa.table({"geometry": pa.array([bytes([n]) * (1 << 20) for n in range(17)], pa.binary())}), "17 geometries of"),
    "many positions": (many(2_001), "more than 10000 positions"),
    "not in degrees": (
        pa.table({"geometry": pa.array([shapely.to_wkb(shapely.box(5e5, 0, 6e5, 1))], pa.binary())}),
        "outside of -180..180",
    ),
    "cut": (b"PAR1....", "no Parquet file"),
}


@pytest.mark.parametrize(("content", "says"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_area_is_told_at_its_line(content: pa.Table | bytes, says: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / "area.parquet").write_bytes(content)
    else:
        pq.write_table(content, tmp_path / "area.parquet")
    with pytest.raises(SpecError) as caught:
        load_specs(spec_beside(tmp_path))
    (problem,) = caught.value.problems
    assert (problem.line, problem.path, says in problem.message) == (3, "intersects", True), problem.message
    assert problem.remedy


def test_a_damaged_file_is_told_and_nothing_else_happens(tmp_path: Path) -> None:
    geopandas.GeoDataFrame({"geometry": [WEST, EAST]}, crs="EPSG:4326").to_parquet(tmp_path / "area.parquet")
    good = (tmp_path / "area.parquet").read_bytes()
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(100):
        data = bytearray(good)
        for at in random.integers(4, len(data), 3):
            data[at] = random.integers(256)
        (tmp_path / "area.parquet").write_bytes(data)
        with suppress(SpecError):
            load_specs(spec_beside(tmp_path))
            continue
        refused += 1
    assert refused > 10
