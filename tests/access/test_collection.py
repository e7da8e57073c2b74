"""A collection as its user sees it: facts, filters against brute force, rows for every consumer, export and delete."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import geopandas
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rasterloom.access import export
from rasterloom.access.building.publish import publish
from rasterloom.access.collection import Collection, load
from rasterloom.access.values import CollectionRef, Scene
from rasterloom.access.versions import opening
from rasterloom.access.versions.opening import Opened, delete_collection, summary_of
from rasterloom.access.versions.table import shape_of
from rasterloom.access.versions.version import VersionWriter
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.disk import LocalWorkspace
from rasterloom.errors import SpecError, Unreadable
from tests.access.building import BANDS, START, job, opened, scene, searched, staged

SCENES = [scene(number) for number in range(0, 8000, 100)]
FIJI = [
    scene(8001, bbox=(179.2, -18.0, -179.7, -17.0)),
    scene(8002, bbox=(178.0, -18.0, 179.0, -17.0)),
    scene(8003, bbox=(-179.5, -18.0, -178.5, -17.0)),
]


def build(workspace: Path, scenes: list[Scene], run_id: str = "run-1") -> CollectionRef:
    made = job(workspace, run_id=run_id)
    return publish(made, [searched(scenes)], staged(opened(made), scenes, width=1024, tile=256))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("collections")
    build(place, [*SCENES, *FIJI])
    return place


@pytest.fixture(scope="module")
def collection(workspace: Path) -> Collection:
    return load("s2", str(workspace))


def test_what_it_is(collection: Collection) -> None:
    assert len(collection) == 83
    assert collection.bands == list(BANDS)
    assert (collection.name, collection.data_source) == ("s2", "es/s2")
    assert collection.epsg == [32610]
    assert collection.crs == ["EPSG:32610"]
    assert (collection.start_date, collection.end_date) == (datetime(2024, 6, 1), datetime(2024, 7, 31, 23, 59, 59))
    assert collection.description == "STAC collection indexed from es/s2"
    assert "records=83" in repr(collection)


def test_describe_is_a_mapping_and_a_table(collection: Collection) -> None:
    facts = collection.describe()
    assert facts["records"] == 83
    assert facts.data["bands"] == list(BANDS)
    assert "es/s2" in str(facts)
    assert all(len(line) < 140 for line in str(facts).splitlines() if "/" not in line)
    assert "<table>" in facts._repr_html_()


def test_every_way_to_open_it_gives_the_same(workspace: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sorted(collection.to_table(["id"])["id"].to_pylist())
    version = next((workspace / "s2/_versions").iterdir())
    for place in (workspace / "s2", version, workspace / "s2_stac", f"file://{version}"):
        assert sorted(load(place).to_table(["id"])["id"].to_pylist()) == expected
    monkeypatch.setenv("RASTERLOOM_WORKSPACE", str(workspace))
    assert sorted(load("s2").to_table(["id"])["id"].to_pylist()) == expected
    monkeypatch.chdir(workspace)
    assert len(load("s2")) == len(load("./s2_stac")) == 83


def test_an_open_collection_keeps_its_version(tmp_path: Path) -> None:
    build(tmp_path, SCENES[:3])
    old = load("s2", str(tmp_path))
    linked = load(tmp_path / "s2_stac")
    build(tmp_path, SCENES[:5], "run-2")
    assert [len(old), len(linked), len(load("s2", str(tmp_path)))] == [3, 3, 5]
    assert len(load(tmp_path / "s2/_versions/run-1")) == 3


def test_a_plain_directory_and_one_file_open_too(tmp_path: Path, collection: Collection) -> None:
    table = collection.to_table().drop_columns(["year", "month"])
    pq.write_table(table, tmp_path / "data.parquet")
    (tmp_path / "_hidden").mkdir()
    (tmp_path / "_hidden/x.parquet").write_bytes(b"no")
    (tmp_path / "README.md").write_text("no")
    assert len(load(tmp_path)) == len(load(tmp_path / "data.parquet")) == 83
    assert load(tmp_path).name == "s2"


@pytest.mark.parametrize("place", ["nothing", "/nowhere/at/all", "../up"])
def test_what_is_not_there_is_told(tmp_path: Path, place: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(place, str(tmp_path))
    assert caught.value.remedy


def test_a_directory_without_data_is_no_collection(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match="no Parquet file"):
        load(tmp_path / "empty")


# filters


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Brute force: any longitude interval of one meets any of the other."""
    spans = [[(w, e)] if w <= e else [(w, 180.0), (-180.0, e)] for w, _, e, _ in (a, b)]
    return a[1] <= b[3] and b[1] <= a[3] and any(w <= e2 and w2 <= e for w, e in spans[0] for w2, e2 in spans[1])


LONGITUDE = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 179.0, -179.0, 0.0]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(west=LONGITUDE, east=LONGITUDE, south=st.floats(-90, 80), height=st.floats(0, 60))
def test_a_box_finds_what_it_meets_over_the_antimeridian_too(
    collection: Collection, west: float, east: float, south: float, height: float
) -> None:
    box = (west, south, east, min(90.0, south + height))
    expected = {one.id for one in [*SCENES, *FIJI] if overlap(one.bbox, box)}
    assert set(collection.subset(bbox=box).to_table(["id"])["id"].to_pylist()) == expected


def test_dates_include_both_days_to_the_last_instant(collection: Collection) -> None:
    def count(*ends: object) -> int:
        return len(collection.subset(date_range=ends))

    def between(first: datetime, last: datetime) -> int:
        return sum(first <= one.datetime.replace(tzinfo=None) < last for one in [*SCENES, *FIJI])

    day = datetime(2024, 6, 5)
    assert count("2024-06-05", "2024-06-05") == between(day, day + timedelta(days=1)) > 0
    assert count(date(2024, 6, 5), date(2024, 6, 6)) == between(day, day + timedelta(days=2))
    assert count("2024-06-05T00:00:00Z", "2024-06-05T12:00:00+00:00") == between(day, day + timedelta(hours=12))
    assert count(None, "2024-06-05") + count("2024-06-06", "..") == 83
    assert len(collection.subset(date_range="2024-06-05/2024-06-06")) == count("2024-06-05", "2024-06-06")
    exact = SCENES[7].datetime
    assert count(exact, exact) == 1


def test_criteria_add_up(collection: Collection) -> None:
    expected = [one for one in [*SCENES, *FIJI] if one.properties["eo:cloud_cover"] < 30 and one.datetime < START + timedelta(days=10)]
    view = collection.subset(cloud_cover_lt=30, date_range=("2024-06-01", "2024-06-10"))
    assert sorted(view.to_table(["id"])["id"].to_pylist()) == sorted(one.id for one in expected)
    assert len(view.where(pc.field("id") == expected[0].id)) == 1
    assert len(view.where(pc.field("id") == "none")) == 0
    assert len(collection) == 83, "a view never changes what it was made from"


def test_geometries_of_every_kind(collection: Collection) -> None:
    box = SCENES[3].bbox
    polygon = shapely.box(*box)
    count = len(collection.subset(bbox=box))
    kinds = (box, polygon, shapely.to_wkb(polygon), shapely.to_geojson(polygon), shapely.geometry.mapping(polygon), [polygon, polygon])
    for kind in (
        *kinds,
        {"type": "Feature", "geometry": shapely.geometry.mapping(polygon), "properties": {}},
        pa.array([shapely.to_wkb(polygon)]),
    ):
        assert len(collection.subset(geometries=kind)) == count > 0
    assert len(collection.subset(geometries=(179.0, -18.0, -179.0, -17.0))) == 3


def test_chosen_bands_drop_the_columns_of_the_others(collection: Collection) -> None:
    view = collection.subset(bands=["B03"])
    assert view.bands == ["B03"]
    names = view.to_table().column_names
    assert {"B03_metadata", "B03_ext"} <= set(names)
    assert not any(name.startswith(("B02_", "B04_")) for name in names)


@pytest.mark.parametrize(
    "arguments",
    [
        {"bbox": (1, 2, 3)},
        {"bbox": (0, 10, 1, 5)},
        {"bbox": (0, 0, 400, 1)},
        {"bbox": (float("nan"), 0, 1, 1)},
        {"date_range": ("yesterday", "today")},
        {"date_range": ("2024-01-01", "2024-01-02", "2024-01-03")},
        {"geometries": "{}"},
        {"geometries": []},
        {"bands": ["B99"]},
    ],
)
def test_a_wrong_criterion_is_told(collection: Collection, arguments: dict[str, object]) -> None:
    with pytest.raises(SpecError) as caught:
        collection.subset(**arguments)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_a_wrong_expression_or_column_is_told(collection: Collection) -> None:
    with pytest.raises(SpecError, match="does not fit"):
        collection.where(pc.field("no such column") == 1)
    with pytest.raises(SpecError, match="no column"):
        collection.to_table(["no such column"])


def test_a_collection_without_clouds_says_so(tmp_path: Path, collection: Collection) -> None:
    pq.write_table(collection.to_table(["id", "datetime", "bbox"]), tmp_path / "x.parquet")
    with pytest.raises(SpecError, match="eo:cloud_cover"):
        load(tmp_path).subset(cloud_cover_lt=10)


# bounds


@pytest.mark.parametrize(
    ("boxes", "bounds"),
    [
        ([(1.0, 0.0, 2.0, 1.0), (5.0, -3.0, 6.0, 2.0)], (1.0, -3.0, 6.0, 2.0)),
        ([(-120.0, 0.0, -119.0, 1.0), (140.0, 0.0, 141.0, 1.0)], (-120.0, 0.0, 141.0, 1.0)),
        ([(179.0, 0.0, -179.0, 1.0)], (179.0, 0.0, -179.0, 1.0)),
        ([(179.0, 0.0, -179.0, 1.0), (170.0, 0.0, 171.0, 2.0)], (170.0, 0.0, -179.0, 2.0)),
        ([(179.0, 0.0, 180.0, 1.0), (-180.0, 0.0, -179.5, 1.0)], (179.0, 0.0, -179.5, 1.0)),
        ([(-180.0, -90.0, 180.0, 90.0)], (-180.0, -90.0, 180.0, 90.0)),
        ([(170.0, 0.0, -160.0, 1.0), (-178.0, 0.0, -176.0, 1.0), (-150.0, 0.0, -140.0, 1.0)], (170.0, 0.0, -140.0, 1.0)),
    ],
)
def test_bounds_are_the_smallest_box_on_the_globe(
    tmp_path: Path, boxes: list[tuple[float, float, float, float]], bounds: tuple[float, ...]
) -> None:
    scenes = [scene(number, bbox=box) for number, box in enumerate(boxes)]
    ref = build(tmp_path, scenes)
    assert load(ref.uri).bounds == bounds


def test_an_empty_view_has_no_bounds(collection: Collection) -> None:
    empty = collection.where(pc.field("id") == "none")
    assert (len(empty), empty.bounds, empty.epsg, empty.to_table().num_rows) == (0, None, [], 0)
    assert "records=0" in repr(empty)


# rows


def test_rows_keep_the_schema_metadata(collection: Collection) -> None:
    table = collection.to_table()
    assert table.schema.metadata[b"name"] == b"s2"
    assert b"geo" in table.schema.metadata
    assert table.num_rows == sum(batch.num_rows for batch in collection.to_batches()) == 83
    assert collection.head(3).num_rows == 3
    assert collection.head(1, ["id"]).column_names == ["id"]
    assert table.schema.equals(collection.schema)


def test_any_arrow_consumer_takes_it(collection: Collection) -> None:
    view = collection.subset(cloud_cover_lt=50)
    assert pa.table(view).num_rows == len(view)
    frame = geopandas.GeoDataFrame.from_arrow(view)
    assert len(frame) == len(view)
    assert frame.crs is not None
    assert frame.crs.to_string() == "OGC:CRS84"
    assert duckdb.from_arrow(pa.RecordBatchReader.from_stream(view)).count("*").fetchall() == [(len(view),)]


# workspaces


def test_the_listing_has_what_is_committed(workspace: Path) -> None:
    (workspace / "no-collection").mkdir(exist_ok=True)
    (summary,) = Collection.list_collections(workspace)
    assert (summary.name, summary.rows, summary.version, summary.bands, summary.data_source) == ("s2", 83, 1, BANDS, "es/s2")
    assert summary.bytes == sum(path.stat().st_size for path in Path(summary.uri).rglob("*.parquet"))
    assert summary_of("s2", str(workspace)) == summary
    assert Collection.list_collections(workspace / "none") == []


def test_delete_takes_one_collection_and_nothing_else(tmp_path: Path) -> None:
    build(tmp_path, SCENES[:2])
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("keep")
    assert delete_collection(opened(job(tmp_path)), "s2") >= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_cache", "other"]
    for name in ("s2", "other", "../elsewhere", "_cache"):
        with pytest.raises(SpecError):
            delete_collection(str(tmp_path), name)
    assert (other / "file").read_text() == "keep"


# export


def test_an_export_is_a_plain_collection_of_the_view(tmp_path: Path, collection: Collection) -> None:
    view = collection.subset(cloud_cover_lt=50)
    place = view.export(tmp_path / "shared" / "clear")
    copy = load(place)
    assert copy.to_table().sort_by("id").to_pylist() == view.to_table().sort_by("id").to_pylist()
    assert (copy.name, copy.bands, copy.bounds) == (view.name, view.bands, view.bounds)
    assert ds.dataset(place, partitioning="hive").count_rows() == len(view)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["clear"]
    (tmp_path / "empty").mkdir()
    assert len(load(collection.export(tmp_path / "empty"))) == 83


def test_an_export_never_writes_over_anything(tmp_path: Path, workspace: Path, collection: Collection) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("keep")
    (tmp_path / "link").symlink_to(workspace / "s2_stac")
    version = next((workspace / "s2/_versions").iterdir())
    for place in (tmp_path / "full", workspace / "s2", workspace / "s2/new", version / "more", tmp_path / "link", tmp_path / "link/more"):
        with pytest.raises(SpecError, match=r"not empty|inside the stored collection"):
            collection.export(place)
    with pytest.raises(SpecError, match="is not known"):
        collection.export(tmp_path / "x", format="shapefile")
    assert (tmp_path / "full/file").read_text() == "keep"
    assert len(load("s2", str(workspace))) == 83


def test_a_broken_export_leaves_nothing(tmp_path: Path, workspace: Path) -> None:
    ref = build(tmp_path / "ws", SCENES[:40])
    broken = load(ref.uri)
    for path in Path(ref.uri).rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(Unreadable, match="read"):
        broken.export(tmp_path / "out" / "x")
    assert not list(tmp_path.glob("out/*"))


# object stores


def test_a_collection_in_an_object_store(collection: Collection) -> None:
    """The same code over obstore: streamed writing, listing, and range reads through our file system."""
    workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    shape = shape_of(BANDS, [])
    table = collection.to_table().select(shape.schema.names)
    with VersionWriter(workspace, "c/_versions/r", "r", schema=shape.schema, metadata={"name": "far"}) as writer:
        writer.add(table)
    assert [entry.size for entry in workspace.list("c")] == [file.size for file in sorted(writer.files, key=lambda file: file.path)]
    dataset = opening._dataset(workspace, "c/_versions/r")
    far = Collection(Opened(dataset, "s3://bucket/ws/c/_versions/r", "c", None))
    assert (len(far), far.name, far.bands) == (83, "far", list(BANDS))
    assert set(far.to_table(["month"])["month"].to_pylist()) == {6, 7}
    assert far.to_table().select(shape.schema.names).sort_by("id").to_pylist() == table.sort_by("id").to_pylist()


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ("s3://bucket/ws/c/copy", True),
        ("s3://bucket/ws/c/_versions/r/x", True),
        ("s3://bucket/ws/c", True),
        ("s3://bucket", True),
        ("s3://bucket/ws/copy", False),
        ("s3://bucket/c2/copy", False),
    ],
)
def test_no_export_lands_in_a_stored_collection_of_a_bucket(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, refused: bool
) -> None:
    """The bucket is a directory here; what is asked of it is the same."""

    def opened_at(uri: str) -> LocalWorkspace:
        return LocalWorkspace(tmp_path / uri.removeprefix("s3://"))

    monkeypatch.setattr(export, "open_workspace", opened_at)
    opened_at("s3://bucket").write("ws/c/_commits/00000000000000000001.json", b"{}")
    if refused:
        with pytest.raises(SpecError, match=r"inside the stored collection s3://bucket/ws/c|no place"):
            collection.export(target)
    else:
        assert collection.export(target) == target
    written = {entry.key for entry in opened_at("s3://bucket").list("")}
    assert (written == {"ws/c/_commits/00000000000000000001.json"}) == refused


def test_loading_imports_neither_prefect_nor_a_stac_client() -> None:
    code = "import sys, rasterloom.access.collection; print([name for name in ('prefect', 'pystac_client') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("criteria", "said"),
    [
        ({"cloud_cover_lt": "20"}, "wanted is a number"),
        ({"cloud_cover_lt": float("nan")}, "wanted is a number"),
        ({"date_range": ("2024-06-30", "2024-06-01")}, "lies behind the end"),
        ({"geometries": 5}, "not a geometry: 5"),
        ({"geometries": (1, 2)}, "not a geometry: 1"),
        ({"bands": "B02"}, "wanted is a list"),
    ],
)
def test_criteria_that_mean_nothing_are_told_before_any_row_is_read(collection: Collection, criteria: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said) as told:
        collection.subset(**criteria)  # type: ignore[arg-type]
    assert told.value.remedy


def test_a_range_may_end_on_the_day_that_it_begins(collection: Collection) -> None:
    assert len(collection.subset(date_range=("2024-06-01T12:00:00", "2024-06-01"))) <= len(collection)


@pytest.mark.parametrize("form", ["collection", "stac-geoparquet"])
def test_a_view_without_scenes_is_not_exported(collection: Collection, tmp_path: Path, form: str) -> None:
    with pytest.raises(SpecError, match="no scene to export"):
        collection.subset(cloud_cover_lt=-1).export(tmp_path / "copy", format=form)
    assert list(tmp_path.iterdir()) == []


def test_what_a_workspace_has_is_what_was_committed(workspace: Path) -> None:
    (workspace / "begun" / "_inflight").mkdir(parents=True, exist_ok=True)
    with pytest.raises(SpecError, match=r"no collection named 'begun' in .*: it has s2\n") as told:
        load("begun", str(workspace))
    assert "write s2" not in told.value.remedy
    with pytest.raises(SpecError) as near:
        load("s22", str(workspace))
    assert near.value.remedy.startswith("write s2, ")
