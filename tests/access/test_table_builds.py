"""Whole builds from tables: their files, their headers, and what a second run asks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from rasterloom.access.build import Job, decide, index_batch, publish, search_shard
from rasterloom.access.collection import load
from rasterloom.access.refs import to_json
from rasterloom.access.values import CollectionRef, Traffic
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import AccessDenied, Refused, SpecError, Unavailable, Unreadable
from rasterloom.specs.loader import spec_from
from rasterloom.specs.plan import make_plan
from rasterloom.specs.question import Box, Interval
from rasterloom.specs.resolve import effort
from tests.access import tabled
from tests.access.tabled import edges, geo, question, table, written
from tests.servers import Cut, Html, RangeServer, Status
from tests.torture.objects import BUCKET, moto

SUMMER = Interval(start=datetime(2024, 6, 1, tzinfo=UTC), end=datetime(2024, 9, 1, tzinfo=UTC))
NOW = datetime(2025, 1, 1, tzinfo=UTC)
SCENES = 4
PIXELS = np.random.default_rng(7).integers(-120, 120, (3, 256, 256), dtype=np.int8)


def planar(bands: int = 3) -> bytes:
    """Several bands in one file, plane after plane, as the AlphaEarth embeddings are."""
    with MemoryFile() as memory:
        how = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate", "interleave": "band", "nodata": -128}
        with memory.open(
            driver="GTiff",
            width=256,
            height=256,
            count=bands,
            dtype="int8",
            crs="EPSG:32633",
            transform=from_origin(500_000, 5_000_000, 10, 10),
            **how,
        ) as file:
            for band in range(bands):
                file.write(PIXELS[band % 3], band + 1)
        return memory.read()


@pytest.fixture
def files() -> Iterator[RangeServer]:
    data = planar()
    with RangeServer({f"/cogs/{number}.tif": data for number in range(SCENES)}) as server:
        yield server


def index(server: RangeServer, count: int = SCENES) -> pa.Table:
    """Columns of its own, one file a row."""
    shapes = [shapely.box(14.9 + 0.01 * number, 45.0, 15.1, 45.2) for number in range(count)]
    return pa.table(
        {
            "fid": pa.array(range(count)),
            "geom": pa.array([shapely.to_wkb(shape) for shape in shapes]),
            "bbox": edges(shapes),
            "year": pa.array([2020 + number for number in range(count)], pa.int32()),
            "path": pa.array([f"{server.url}/cogs/{number}.tif" for number in range(count)]),
            "cloud": pa.array([10.0 * number for number in range(count)]),
        }
    ).replace_schema_metadata(geo("geom"))


def spec(uri: Path | str, **changes: Any) -> dict[str, Any]:
    source = {
        "uri": str(uri),
        "column_map": {"fid": "id", "geom": "geometry", "year": "datetime"},
        "href_column": "path",
        "data_source": "own",
    }
    written = {
        "name": "t",
        "table": source | changes.pop("table", {}),
        "band_index_map": {"A0": 0, "A1": 1, "A2": 2},
        "build": {"retries": 0},
    }
    return written | changes


def run(workspace: Path, asked: Mapping[str, Any], run_id: str, *, retries: int = 0) -> CollectionRef:
    made = spec_from(asked)
    job = Job(
        workspace=str(workspace),
        plan=make_plan(made, now=NOW),
        effort=effort(made),
        spec=made.model_dump(mode="json", exclude_none=True),
        run_id=run_id,
    )
    searches = [search_shard(job, shard) for shard in job.plan.shards]
    batches = [index_batch(job, items) for search in searches for items in search.batches]
    return publish(job, searches, batches)


def action(workspace: Path, asked: Mapping[str, Any]) -> str:
    return decide(make_plan(spec_from(asked), now=NOW), open_workspace(str(workspace))).action


def test_many_bands_of_one_file(tmp_path: Path, files: RangeServer) -> None:
    asked = spec(written(tmp_path / "index.parquet", index(files)), bbox=[14.95, 45.05, 15.05, 45.15], dates=["2021-03-01", "2023-02-01"])
    run(tmp_path / "ws", asked, "run-1")
    assert len(files.log) == 3  # one request a file, whatever it holds
    made = load("t", workspace=str(tmp_path / "ws"))
    assert made.to_table(["id"])["id"].to_pylist() == ["1", "2", "3"]
    assert made.bands == ["A0", "A1", "A2"]
    assert made.data_source == "own"
    rows = made.to_table(["assets", "collection", "cloud"])
    assert [row["A2"]["band_index"] for row in rows["assets"].to_pylist()] == [2, 2, 2]
    assert set(rows["collection"].to_pylist()) == {"own"}
    (first, *_) = made.get_numpy(shapely.box(15.0, 45.132, 15.03, 45.152), ["A1"])
    assert first.shape[0] > 10
    strip = PIXELS[1]
    assert first.dtype == strip.dtype
    corner = first[2:6, 2:6]
    assert any((strip[row : row + 4, column : column + 4] == corner).all() for row in range(252) for column in range(252))


def test_a_second_run_reads_the_table_and_no_header(tmp_path: Path, files: RangeServer) -> None:
    path = written(tmp_path / "index.parquet", index(files))
    run(tmp_path / "ws", spec(path), "run-1")
    files.log.clear()
    assert action(tmp_path / "ws", spec(path)) == "refresh"
    again = run(tmp_path / "ws", spec(path), "run-2")
    assert (again.rows, len(files.log)) == (SCENES, 0)


def test_rows_that_come_change_and_go(tmp_path: Path, files: RangeServer) -> None:
    path = tmp_path / "index.parquet"
    written(path, index(files, 3))
    run(tmp_path / "ws", spec(path), "run-1")
    files.log.clear()
    written(path, index(files, 4).slice(1))
    kept = run(tmp_path / "ws", spec(path), "run-2")
    assert (kept.rows, [request.path for request in files.log]) == (4, ["/cogs/3.tif"])
    written(path, index(files, 4).slice(2))
    left = run(tmp_path / "ws", spec(path, refresh={"deleted": "drop"}), "run-3")
    assert left.rows == 2
    assert len(files.log) == 1


def test_without_headers(tmp_path: Path, files: RangeServer) -> None:
    """`enrich: false`: scenes and addresses, every header null, nothing asked, and it says so."""
    path = written(tmp_path / "index.parquet", index(files))
    workspace = str(tmp_path / "ws")
    bare = spec(path, table={"enrich": False})
    run(tmp_path / "ws", bare, "run-1")
    assert files.log == []
    made = load("t", workspace=workspace)
    assert len(made) == SCENES
    assert made.metadata["rasterloom:headers"] == "none"
    assert made.to_table(["A1_metadata"])["A1_metadata"].null_count == SCENES
    assert made.to_table(["assets"])["assets"].to_pylist()[1]["A1"] == {"href": f"{files.url}/cogs/1.tif", "band_index": 1}
    assert "t" in repr(made)
    assert made.describe()["records"] == SCENES
    copy = load(made.export(tmp_path / "copy"))
    assert copy.to_table(["id"]) == made.to_table(["id"])
    assert not verify(open_workspace(workspace), "t").findings
    with pytest.raises(Unreadable, match="no header") as caught:
        made.get_numpy(shapely.box(15.0, 45.132, 15.03, 45.152), ["A1"])
    assert "enrich: true" in caught.value.remedy
    run(tmp_path / "ws", bare, "run-2")
    assert files.log == []
    assert action(tmp_path / "ws", spec(path)) == "rebuild"
    run(tmp_path / "ws", spec(path), "run-3")
    assert len(files.log) == SCENES
    assert load("t", workspace=workspace).to_table(["A1_metadata"])["A1_metadata"].null_count == 0


def test_a_callable_builds_and_is_read_again(tmp_path: Path, files: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for unchanged is nothing: it is called each time, and the headers are remembered."""
    path = written(tmp_path / "index.parquet", index(files))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "duck_index.py").write_text(
        "import duckdb\n"
        "def clear(path, most):\n"
        "    return duckdb.sql('SELECT * FROM read_parquet($path) WHERE cloud <= $most', params={'path': path, 'most': most})\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "code")
    asked = spec(path)
    asked["table"] = {key: value for key, value in asked["table"].items() if key != "uri"}
    asked["table"] |= {"object": "duck_index:clear", "params": {"path": str(path), "most": 10}}
    assert run(tmp_path / "ws", asked, "run-1").rows == 2
    files.log.clear()
    written(path, index(files).set_column(5, "cloud", pa.array([0.0, 5.0, 7.0, 90.0])))
    assert action(tmp_path / "ws", asked) == "refresh"
    assert run(tmp_path / "ws", asked, "run-2").rows == 3
    assert [request.path for request in files.log] == ["/cogs/2.tif"]


def test_a_collection_is_a_table_too(tmp_path: Path, files: RangeServer) -> None:
    """Its tables of tiles are no properties: the scenes are the same, and so are the headers that the workspace remembers."""
    made = run(tmp_path / "ws", spec(written(tmp_path / "index.parquet", index(files))), "run-1")
    files.log.clear()
    again = {"name": "again", "table": {"uri": made.uri}, "bands": ["A0", "A2"], "band_index_map": {"A0": 0, "A2": 2}}
    run(tmp_path / "ws", again, "run-2")
    assert files.log == []
    first, second = (load(name, workspace=str(tmp_path / "ws")) for name in ("t", "again"))
    columns = ["id", "datetime", "geometry", "bbox", "cloud", "start_datetime", "A2_metadata"]
    assert second.to_table(columns).sort_by("id") == first.to_table(columns).sort_by("id")
    assert not [name for name in second.schema.names if "A1" in name]


def test_an_index_of_nothing_is_refused(tmp_path: Path, files: RangeServer) -> None:
    path = written(tmp_path / "index.parquet", index(files))
    with pytest.raises(Refused, match="no scene answers"):
        run(tmp_path / "ws", spec(path, dates="1999"), "run-1")


# --- over the network ----------------------------------------------------------------------------------------------------------------


def traffic(asked: Any) -> Traffic:
    found = tabled.pages(asked)
    return Traffic(requests=sum(page.requests for page in found), bytes=sum(page.bytes for page in found))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """20,000 rows in 40 row groups, from south to north."""
    number = np.arange(20_000)
    shapes = shapely.box(number % 20, -80 + 0.008 * number, number % 20 + 0.01, -80 + 0.008 * number + 0.01)
    made = table(20_000, geometry=pa.array(shapely.to_wkb(shapes)), bbox=edges(shapes))
    return written(tmp_path_factory.mktemp("large") / "large.parquet", made, row_group_size=500).read_bytes()


def test_a_small_table_is_one_request(tmp_path: Path) -> None:
    data = written(tmp_path / "t.parquet", table(20)).read_bytes()
    assert len(data) < 65_536
    with RangeServer({"/t.parquet": data}) as server:
        assert traffic(question(f"{server.url}/t.parquet")) == Traffic(requests=1, bytes=len(data))
        assert len(server.log) == 1


def test_a_small_area_of_a_large_table_is_a_few_requests(large: bytes) -> None:
    with RangeServer({"/t.parquet": large}) as server:
        asked = question(f"{server.url}/t.parquet", bbox=Box(west=0, south=0, east=25, north=1))
        found = tabled.scenes(asked)
        assert len(found) == 127
        server.log.clear()
        used = traffic(asked)
        assert used.requests == len(server.log)
        assert used.requests <= 6, [request.range for request in server.log]
        assert used.bytes < len(large) / 4  # half of them the footer


def test_a_rule_that_does_not_fit_spares_the_others(large: bytes) -> None:
    """The dates are in the path, and a text is compared with a number: the area still leaves row groups out."""
    with RangeServer({"/year=2024/t.parquet": large}) as server:
        found = question(
            f"{server.url}/year=2024/t.parquet",
            bbox=Box(west=0, south=0, east=25, north=1),
            dates=SUMMER,
            query='{"collection":{"lt":5}}',
            column_map=(("year", "datetime"),),
        )
        assert traffic(found).bytes < len(large) / 4


def test_columns_that_nobody_needs_are_not_fetched(tmp_path: Path) -> None:
    """Two megabytes of a description of every asset, and the footprints of what does not answer."""
    noise = np.random.default_rng(1).bytes(2_000_000).hex()
    assets = [{"red": {"href": tabled.href(number), "description": noise[number * 2000 : (number + 1) * 2000]}} for number in range(2000)]
    data = written(tmp_path / "t.parquet", table(2000, assets=pa.array(assets)), use_dictionary=False).read_bytes()
    assert len(data) > 2_000_000
    with RangeServer({"/t.parquet": data}) as server:
        assert traffic(question(f"{server.url}/t.parquet")).bytes < 500_000


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Status(404), SpecError, "there is no table"),
        (Status(403), AccessDenied, "t.parquet"),
        (Status(500), Unavailable, "t.parquet"),
        (Html(status=206), SpecError, "is no Parquet file"),
        (Html(status=200), SpecError, "is no Parquet file"),
        (Cut(100), Unavailable, "t.parquet"),
    ],
)
def test_faults_of_the_server(tmp_path: Path, fault: Any, error: type[Exception], says: str) -> None:
    data = written(tmp_path / "t.parquet", table(20)).read_bytes()
    with RangeServer({"/t.parquet": data}) as server:
        server.faults["/t.parquet"] = fault
        asked = question(f"{server.url}/t.parquet?sig=very-secret")
        with pytest.raises(error, match=says) as caught:
            tabled.items(asked, effort=effort(spec_from({**spec("x"), "build": {"retries": 1}})))
        assert "very-secret" not in str(caught.value)


def test_a_server_that_stumbles_is_asked_again(large: bytes) -> None:
    patient = effort(spec_from({**spec("x"), "build": {"retries": 3}}))
    for fault in (Status(503, times=2), Cut(1000, times=2)):
        with RangeServer({"/t.parquet": large}) as server:
            server.faults["/t.parquet"] = fault
            found = tabled.items(question(f"{server.url}/t.parquet", bbox=Box(west=0, south=0, east=25, north=1)), effort=patient)
            assert len(found) == 127


def test_directories_and_globs_of_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import obstore

    with moto() as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }.items():
            monkeypatch.setenv(name, value)
        store = obstore.store.S3Store(BUCKET, client_options={"allow_http": True}, endpoint=url)
        made = table(6).drop_columns(["datetime"])
        for number, year in enumerate((2022, 2023, 2024)):
            data = written(tmp_path / "x.parquet", made.slice(2 * number, 2)).read_bytes()
            obstore.put(store, f"index/year={year}/part-0.parquet", data)
        obstore.put(store, "index/_old/part-0.parquet", b"not read")
        how = effort(spec_from({**spec("x"), "auth": {"provider": "aws", "endpoint": url, "region": "us-east-1"}}))
        years = {"column_map": (("year", "datetime"),)}
        for uri in (f"s3://{BUCKET}/index", f"s3://{BUCKET}/index/**/*.parquet", f"s3://{BUCKET}/index/year=*/part-?.parquet"):
            found = tabled.scenes(question(uri, **years), effort=how)
            assert [scene.datetime.year for scene in found] == [2022, 2022, 2023, 2023, 2024, 2024], uri
        one = tabled.scenes(question(f"s3://{BUCKET}/index/year=2023/part-0.parquet", **years), effort=how)
        assert [scene.id for scene in one] == ["scene-2", "scene-3"]
        with pytest.raises(SpecError, match="no Parquet file"):
            tabled.items(question(f"s3://{BUCKET}/other"), effort=how)
        with pytest.raises(SpecError, match="there is no table"):
            tabled.items(question(f"s3://{BUCKET}/index/gone.parquet"), effort=how)


def test_the_web_lists_no_files() -> None:
    with pytest.raises(SpecError, match="lists no files") as caught:
        tabled.items(question("http://127.0.0.1:9/index/*.parquet"))
    assert "s3://" in caught.value.remedy


def test_json_of_the_references_of_a_table_build(tmp_path: Path, files: RangeServer) -> None:
    """Nothing of Arrow travels between the steps."""
    made = spec_from(spec(written(tmp_path / "index.parquet", index(files))))
    job = Job(workspace=str(tmp_path / "ws"), plan=make_plan(made, now=NOW), effort=effort(made), spec={}, run_id="run-1")
    (shard,) = job.plan.shards
    assert json.dumps(to_json(search_shard(job, shard)))
    assert not shard.closed


def test_a_narrower_question_reads_the_table_and_no_header(tmp_path: Path, files: RangeServer) -> None:
    """The table may have changed: its windows are never closed, so nothing is derived from what it gave before."""
    path = written(tmp_path / "index.parquet", index(files))
    run(tmp_path / "ws", spec(path), "run-1")
    files.log.clear()
    fewer = spec(path, dates=["2021-01-01", "2022-12-31"])
    written(path, index(files).slice(2))
    assert action(tmp_path / "ws", fewer) == "rebuild"
    run(tmp_path / "ws", fewer, "run-2")
    assert files.log == []
    assert load("t", workspace=str(tmp_path / "ws")).to_table(["id"])["id"].to_pylist() == ["2"]


STREAM = """
import sys
import pyarrow as pa
from tests.access.tabled import items, question
from rasterloom.specs.question import Band, Box
bands = [Band(code=f"B{n}", asset=f"b{n}") for n in range(8)]
found = items(question(sys.argv[1], bands=bands, bbox=Box(west=-81, south=-41, east=-79, north=0)))
print(len(found), pa.default_memory_pool().max_memory())
"""


@pytest.mark.slow
def test_a_large_row_group_is_streamed(tmp_path: Path, root: Path) -> None:
    """400,000 rows in one row group are 195 MB of Arrow; a process that looks for some of them holds a small part of that."""
    import subprocess
    import sys

    count = 400_000
    number = pa.array(np.arange(count)).cast(pa.string())
    asset = {f"b{n}": pa.compute.binary_join_element_wise("https://files.example.org", number, f"b{n}.tif", "/") for n in range(8)}
    structs = [pa.StructArray.from_arrays([hrefs], ["href"]) for hrefs in asset.values()]
    west, south = -120.0 + 2.0 * (np.arange(count) % 100), -40.0 + (np.arange(count) % 80)
    shapes = shapely.box(west, south, west + 1, south + 1)
    made = pa.table(
        {
            "id": number,
            "geometry": pa.array(shapely.to_wkb(shapes)),
            "bbox": edges(shapes),
            "datetime": pa.array(np.full(count, "2024-06-01", "datetime64[us]")),
            "assets": pa.StructArray.from_arrays(structs, list(asset)),
        }
    )
    assert made.nbytes > 190_000_000
    path = written(tmp_path / "t.parquet", made, row_group_size=count)
    del made
    done = subprocess.run(
        [sys.executable, "-c", STREAM, path], cwd=root, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows, most = map(int, done.stdout.split())
    assert rows == 5000
    assert most < 100_000_000, most
