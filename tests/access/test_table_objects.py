"""Arrow data that a callable gives: whoever made it, the scenes are the same."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from rasterloom.access.building.decide import decide
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError, Unavailable
from rasterloom.specs.loader import spec_from
from rasterloom.specs.plan import make_plan
from rasterloom.specs.question import Box
from tests.access import tabled
from tests.access.tabled import footprint, href, items, question, scenes, table, written

HERE = "tests.access.tabled"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user, on PYTHONPATH where the work runs."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_index", raising=False)
    return tmp_path / "my_index.py"


def expected(found: list[Any], count: int) -> None:
    assert [scene.id for scene in found] == [f"scene-{number}" for number in range(count)]
    assert [scene.assets[0].href for scene in found] == [href(number) for number in range(count)]


@pytest.mark.parametrize(("name", "params"), [("gives_table", '{"count":3}'), ("gives_table", None), ("gives_reader", None)])
def test_tables_and_readers_of_pyarrow(name: str, params: str | None) -> None:
    expected(scenes(question(object=f"{HERE}:{name}", params=params)), 3)


@pytest.mark.parametrize(
    "body",
    [
        "import pyarrow.dataset as ds\ndef index(path): return ds.dataset(path)",
        "import pyarrow.dataset as ds\ndef index(path): return ds.dataset(path).scanner()",
        "import pyarrow.parquet as pq\ndef index(path): return pq.read_table(path).to_batches()[0]",
        "import duckdb\ndef index(path): return duckdb.sql(f\"SELECT * FROM read_parquet('{path}') ORDER BY datetime\")",
        "import geopandas\ndef index(path): return geopandas.read_parquet(path)",
    ],
    ids=["dataset", "scanner", "record batch", "DuckDB", "GeoPandas"],
)
def test_other_makers(module: Path, body: str) -> None:
    path = written(module.parent / "t.parquet", table(5))
    module.write_text(body)
    asked = question(object="my_index:index", params=f'{{"path":"{path}"}}')
    expected(scenes(asked), 5)
    area = Box(west=-120.5, south=-40.5, east=-117.5, north=-38.5)
    expected(scenes(question(object="my_index:index", params=f'{{"path":"{path}"}}', bbox=area)), 2)


def test_polars(module: Path) -> None:
    pytest.importorskip("polars")
    path = written(module.parent / "t.parquet", table(5))
    module.write_text("import polars\ndef index(path): return polars.read_parquet(path)\ndef lazy(path): return polars.scan_parquet(path)")
    expected(scenes(question(object="my_index:index", params=f'{{"path":"{path}"}}')), 5)
    with pytest.raises(SpecError, match="LazyFrame") as caught:
        items(question(object="my_index:lazy", params=f'{{"path":"{path}"}}'))
    assert "collect" in caught.value.remedy


def test_a_reader_is_read_batch_by_batch() -> None:
    """Nothing is gathered: the first page comes when the first batch was made."""
    made: list[int] = []

    def batches() -> Any:
        for number in range(4):
            made.append(number)
            yield table(3).to_batches()[0]

    reader = pa.RecordBatchReader.from_batches(table(3).schema, batches())
    tabled.reader = lambda: reader  # type: ignore[attr-defined]
    from rasterloom.access.credentials.secrets import environment_secrets
    from rasterloom.access.sources import tables
    from rasterloom.specs.effort import Effort
    from rasterloom.specs.question import Shard

    asked = question(object=f"{HERE}:reader")
    shard = Shard(index=0, dates=asked.dates, cell=None, closed=False)
    first = next(iter(tables.search(asked, shard, effort=Effort(), secrets=environment_secrets)))
    assert len(first.items) == 3
    assert made == [0]


@pytest.mark.parametrize(
    ("name", "says", "remedy"),
    [
        ("no_such_package.index:make", "there is no module 'no_such_package'", "PYTHONPATH"),
        (f"{HERE}:give_table", "has no callable 'give_table'", "did you mean gives_table?"),
        (f"{HERE}:NO_CALLABLE", "has no callable", "it has"),
        (f"{HERE}:gives_nothing", "gave a builtins.list", "__arrow_c_stream__"),
        (f"{HERE}:gives_up", "KeyError: 'no such index'", "table.params"),
    ],
)
def test_what_goes_wrong_is_an_error_of_the_spec(name: str, says: str, remedy: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        items(question(object=name))
    assert remedy in caught.value.remedy


def test_nothing_is_imported_before_the_work_runs(module: Path) -> None:
    module.write_text("raise SystemExit('imported')")
    asked = {"name": "a", "table": {"object": "my_index:index"}, "bands": ["B04"]}
    plan = make_plan(spec_from(asked), now=datetime(2025, 1, 1, tzinfo=UTC))
    assert decide(plan, open_workspace(str(module.parent / "ws"))).action == "build"
    assert "my_index" not in sys.modules


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(SpecError, match="unexpected keyword argument 'rows'"):
        items(question(object=f"{HERE}:gives_table", params='{"rows":3}'))


def test_a_module_that_does_not_import(module: Path) -> None:
    module.write_text("raise RuntimeError('no licence')")
    with pytest.raises(SpecError, match="the import of my_index failed: RuntimeError: no licence"):
        items(question(object="my_index:index"))


def test_a_network_that_is_down_is_tried_again_later(module: Path) -> None:
    module.write_text("def index(): raise ConnectionResetError('peer')")
    with pytest.raises(Unavailable):
        items(question(object="my_index:index"))


def test_an_error_in_the_middle_of_the_data(module: Path) -> None:
    module.write_text(
        "import pyarrow as pa\nfrom tests.access.tabled import table\n"
        "def batches():\n    yield table(2).to_batches()[0]\n    raise ValueError('lost')\n"
        "def index(): return pa.RecordBatchReader.from_batches(table(2).schema, batches())"
    )
    with pytest.raises(SpecError, match="lost"):
        items(question(object="my_index:index"))


def test_a_column_that_is_not_there(module: Path) -> None:
    with pytest.raises(SpecError) as caught:
        items(question(object=f"{HERE}:gives_table", href_column="asset"))
    assert "assets" in caught.value.problems[0].remedy


def test_the_footprints_of_geopandas_keep_their_crs(module: Path) -> None:
    frame = geopandas.GeoDataFrame({"geometry": [footprint(0)]}, crs="EPSG:4326").to_crs(32610)
    frame["id"], frame["datetime"], frame["path"] = "a", "2024-06-01", "s3://b/a.tif"
    frame.to_parquet(module.parent / "t.parquet")
    module.write_text("import geopandas\ndef index(path): return geopandas.read_parquet(path)")
    params = f'{{"path":"{module.parent / "t.parquet"}"}}'
    for asked in (
        question(object="my_index:index", params=params, href_column="path"),
        question(module.parent / "t.parquet", href_column="path"),
    ):
        (scene,) = scenes(asked)
        assert scene.bbox == pytest.approx(footprint(0).bounds, abs=0.02)


def test_duckdb_sees_what_is_said(tmp_path: Path) -> None:
    """The oracle: the same question in SQL."""
    path = written(tmp_path / "t.parquet", table(300), row_group_size=50)
    area = Box(west=-80.2, south=-30.0, east=-60.1, north=10.0)
    rows = duckdb.sql(
        f"SELECT id FROM '{path}' WHERE bbox.xmin <= {area.east} AND bbox.xmax >= {area.west} "
        f'AND bbox.ymin <= {area.north} AND bbox.ymax >= {area.south} AND "eo:cloud_cover" < 50'
    ).fetchall()
    found = scenes(question(path, bbox=area, query='{"eo:cloud_cover":{"lt":50}}'))
    assert sorted(scene.id for scene in found) == sorted(row[0] for row in rows)
    assert len(found) > 3


def test_a_dataset_is_scanned_where_it_lies(module: Path) -> None:
    path = written(module.parent / "t.parquet", table(5))
    assert ds.dataset(path).count_rows() == len(items(question(path)))
