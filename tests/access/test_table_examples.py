"""The example specs of tables, on an index made here: what users copy works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import shapely

from rasterloom.access.collection import load
from rasterloom.specs.loader import load_specs, with_overrides
from tests.access.tabled import geo, written
from tests.access.test_table_builds import planar, run
from tests.servers import RangeServer

LIBREVILLE = shapely.box(9.35, 0.25, 9.45, 0.35)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Path]:
    """As the published index of the embeddings: one file twice, another year, another place."""
    data = planar(bands=64)
    with RangeServer({f"/{name}.tif": data for name in ("a", "b", "c")}) as server:
        rows = {
            "fid": pa.array([1, 2, 3, 4]),
            "geom": pa.array([shapely.to_wkb(shape) for shape in (LIBREVILLE, LIBREVILLE, LIBREVILLE, shapely.box(50, 50, 51, 51))]),
            "year": pa.array([2023, 2023, 2022, 2023], pa.int32()),
            "path": pa.array([f"{server.url}/{name}.tif" for name in ("a", "a", "b", "c")]),
        }
        yield written(tmp_path / "index.parquet", pa.table(rows).replace_schema_metadata(geo("geom")))


def test_embeddings_of_an_index(root: Path, tmp_path: Path, index: Path) -> None:
    (spec,) = load_specs(root / "specs" / "embeddings.yaml")
    made = with_overrides(spec, {"table.uri": str(index), "workspace": str(tmp_path / "ws")})
    run(tmp_path / "ws", made.model_dump(mode="json", exclude_none=True), "run-1")
    found = load("embeddings", workspace=str(tmp_path / "ws"))
    assert found.bands == [f"A{number:02d}" for number in range(64)]
    assert found.to_table(["id"])["id"].to_pylist() == ["1", "2"]
    assert found.data_source == "aef-v1-annual"


def test_embeddings_of_a_query(root: Path, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root / "docs" / "examples")
    (spec,) = load_specs(root / "specs" / "embeddings-query.yaml")
    params = json.dumps({"index": str(index), "years": [2022, 2023]})
    made = with_overrides(spec, {"table.params": params, "build.allow_private_hosts": "true"})
    run(tmp_path / "ws", made.model_dump(mode="json", exclude_none=True), "run-1")
    found = load("embeddings-query", workspace=str(tmp_path / "ws"))
    assert found.to_table(["id"])["id"].to_pylist() == ["3", "1"]
    assert found.bands == ["A00", "A01", "A63"]
    assert [row["A63"]["band_index"] for row in found.to_table(["assets"])["assets"].to_pylist()] == [63, 63]


def test_the_page_shows_the_example_as_it_is(root: Path) -> None:
    assert (root / "docs" / "examples" / "aef_index.py").read_text() in (root / "docs" / "how-to" / "tables.md").read_text()
