"""Narrower copies of existing collections: no request at all, the very header rows, and never an old answer for a new source."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import shapely

from rasterloom.access.build import Job, decide
from rasterloom.access.building.derive import derive
from rasterloom.access.collection import Collection, load
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.forecast import forecast
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.sources import copies
from rasterloom.access.sources.copies import settled
from rasterloom.access.sources.search import search
from rasterloom.access.values import CollectionRef
from rasterloom.access.versions.provenance import lines_of
from rasterloom.access.versions.snapshots import rollback
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import SpecError, Unavailable, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import canonical_filter
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.question import Band, Box, CopySource, Interval, Plan, Shard, TableSource
from tests.access.world import BANDS, JULY, JUNE, NOW, World
from tests.servers import RangeServer, StacServer
from tests.torture import objects

ALWAYS = Interval(start=None, end=None)
OFFLINE = Effort(retries=0)


def copy_of(
    world: World, uri: str | Path = "s2", *, snapshot: int | None = None, bands: Sequence[str] = (), name: str = "narrow", **changes: Any
) -> Plan:
    """As a spec without dates and area asks; settled."""
    wanted = {"bbox": None, "dates": ALWAYS, "bands": tuple(Band(code=band, asset=band) for band in bands), **changes}
    asked = world.question(source=CopySource(uri=str(uri), snapshot=snapshot), **wanted)
    shard = Shard(index=0, dates=asked.dates, cell=None, closed=False)
    plan = Plan(name=name, question=asked, fingerprint=fingerprint(asked), shards=(shard,), now=NOW)
    return settled(plan, open_workspace(str(world.workspace)))


def job_of(world: World, plan: Plan, run_id: str = "copy-1", *, effort: Effort = OFFLINE) -> Job:
    decision = decide(plan, open_workspace(str(world.workspace)), force=effort.force)
    return Job(workspace=str(world.workspace), plan=plan, effort=effort, spec={"name": "narrow"}, run_id=run_id, action=decision.action)


def action(world: World, plan: Plan) -> str:
    return decide(plan, open_workspace(str(world.workspace))).action


def copied(world: World, run_id: str = "copy-1", **asked: Any) -> CollectionRef:
    return world.run(job_of(world, copy_of(world, **asked), run_id))


def rows(collection: Collection, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    return collection.to_table(columns).sort_by("id").to_pylist()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose six scenes are committed: every test begins with a copy of its workspace."""
    with StacServer() as stac, RangeServer({}) as files:
        made = World(stac, files, tmp_path_factory.mktemp("built") / "ws")
        for number in range(6):
            made.add(number, JUNE + timedelta(days=10 * number))
        properties = [item["properties"] for item in stac.items]
        properties[0] |= {
            "instruments": ["msi"],
            "many": [{"a": 1}, {"b": "x"}],
            "large": 2**60,
            "flag": True,
            "nothing": None,
            "empty": [],
        }
        properties[1] |= {"s2:deep": {"a": 1, "b": [1.5, None]}, "updated": "2024-07-01T00:00:00Z", "only": "here"}
        properties[2] |= {"mixed": 1, "start_datetime": "2024-06-20T00:00:00Z", "end_datetime": "2024-06-25T00:00:00Z", "datetime": None}
        properties[3] |= {"mixed": "one", "month": 7}
        made.run(made.job("run-1"))
        yield made


@pytest.fixture
def world(built: World, tmp_path: Path) -> Iterator[World]:
    """The same servers, with nothing built yet."""
    items, files = deepcopy(built.stac.items), dict(built.files.files)
    made = World(built.stac, built.files, tmp_path / "ws")
    made.requests()
    yield made
    built.stac.items, built.files.files = items, files


@pytest.fixture
def source(built: World, world: World) -> Collection:
    shutil.copytree(built.workspace, world.workspace, symlinks=True)
    return load(world.workspace / "s2")


def test_a_whole_copy_has_all_rows_with_all_columns(world: World, source: Collection) -> None:
    made = load(copied(world).uri)
    assert rows(made) == rows(source)
    assert made.schema.remove_metadata() == source.schema.remove_metadata()
    assert world.requests() == (0, 0)


def test_a_narrower_one_keeps_the_columns_that_are_null_in_it(world: World, source: Collection) -> None:
    made = load(copied(world, query='{"eo:cloud_cover":{"gte":40}}').uri)
    assert [row["id"] for row in rows(made)] == ["scene-004", "scene-005"]
    assert made.schema.remove_metadata() == source.schema.remove_metadata()
    wanted = [row for row in rows(source) if row["id"] in ("scene-004", "scene-005")]
    assert rows(made) == wanted
    assert world.requests() == (0, 0)


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"bbox": Box(west=15.0525, south=45, east=15.06, north=45.15)}, (3, 4, 5)),
        ({"intersects": shapely.to_geojson(shapely.box(15.0525, 45, 15.06, 45.15))}, (3, 4, 5)),
        ({"dates": Interval(start=JULY, end=None)}, (3, 4, 5)),
        ({"dates": Interval(start=None, end=JULY)}, (0, 1, 2)),
        ({"dates": Interval(start=datetime(2024, 6, 23, tzinfo=UTC), end=JULY)}, (2,)),  # by its time span
        ({"query": '{"only":{"eq":"here"}}'}, (1,)),
        ({"query": '{"eo:cloud_cover":{"lt":25}}', "dates": Interval(start=datetime(2024, 6, 10, tzinfo=UTC), end=None)}, (1, 2)),
    ],
)
def test_area_dates_and_query(world: World, source: Collection, asked: dict[str, Any], ids: Sequence[int]) -> None:
    found = [row["id"] for row in rows(load(copied(world, **asked).uri))]
    expected = [row["id"] for row in rows(source) if int(row["id"][-3:]) in ids]
    assert found == expected
    assert world.requests() == (0, 0)


QUERIES = [
    '{"eo:cloud_cover":{"gte":20,"lt":50}}',
    '{"eo:cloud_cover":{"eq":20.0}}',
    '{"eo:cloud_cover":{"neq":20}}',
    '{"eo:cloud_cover":{"in":[10,30]}}',
    '{"only":{"eq":"here"},"eo:cloud_cover":{"gt":5}}',
    '{"mixed":{"eq":1}}',
    '{"id":{"startsWith":"scene-00"}}',
]
FILTERS = [
    "eo:cloud_cover < 35 AND eo:cloud_cover >= 10",
    "NOT eo:cloud_cover < 35 OR only = 'here'",
    "only IS NULL AND eo:cloud_cover < 35",
    "only IS NOT NULL",
    "updated > TIMESTAMP('2024-06-30T00:00:00Z')",
    "month = 7",
    "id LIKE 'scene-00%' AND eo:cloud_cover IN (10, 20)",
    "datetime >= TIMESTAMP('2024-07-01T00:00:00Z')",
]


@pytest.mark.parametrize("asked", [*({"query": query} for query in QUERIES), *({"filter": text} for text in FILTERS)])
def test_what_arrow_leaves_out_does_not_answer(world: World, source: Collection, asked: dict[str, str], monkeypatch: Any) -> None:
    """Of the rows that are read with the conditions and without them the same answer."""
    asked = {key: canonical_filter(text) if key == "filter" else text for key, text in asked.items()}
    plan = copy_of(world, **asked)

    def answering() -> tuple[list[str], int]:
        items = [one for page in search(plan.question, plan.shards[0], effort=OFFLINE, secrets=environment_secrets) for one in page.items]
        scenes = [(scene_of(one, plan.question)[0], one) for one in items]
        return sorted(scene.id for scene, one in scenes if scene and answers(scene, one, plan.question)), len(items)

    fewer, looked_at = answering()
    monkeypatch.setattr(copies, "chosen", lambda *_: None)
    assert answering() == (fewer, 6)
    assert looked_at <= 6


def test_numbers_are_judged_before_a_row_is_read(world: World, source: Collection) -> None:
    for asked in ({"query": QUERIES[0]}, {"filter": canonical_filter(FILTERS[0])}):
        plan = copy_of(world, **asked)
        pages = search(plan.question, plan.shards[0], effort=OFFLINE, secrets=environment_secrets)
        assert sum(len(page.items) for page in pages) == 3


@pytest.mark.parametrize("asked", [{"query": '{"eo:cloud_covr":{"lt":20}}'}, {"filter": canonical_filter("eo:cloud_covr < 20")}])
def test_a_property_that_is_not_there_is_told_with_the_nearest(world: World, source: Collection, asked: dict[str, str]) -> None:
    with pytest.raises(SpecError) as caught:
        copy_of(world, **asked)
    (problem,) = caught.value.problems
    assert (problem.path, problem.remedy) == (next(iter(asked)), "write eo:cloud_cover")


def test_some_bands_and_bands_by_other_names(world: World, source: Collection) -> None:
    plan = copy_of(world, bands=["B08"])
    made = load(world.run(job_of(world, plan)).uri)
    assert made.bands == ["B08"]
    assert [row["B08_metadata"] for row in rows(made)] == [row["B08_metadata"] for row in rows(source)]
    renamed = copy_of(world)
    renamed = replace(renamed, question=replace(renamed.question, bands=(Band(code="nir", asset="B08"),)))
    made = load(world.run(job_of(world, settled(renamed, open_workspace(str(world.workspace))), "copy-2")).uri)
    assert [row["nir_metadata"] for row in rows(made)] == [row["B08_metadata"] for row in rows(source)]
    assert [row["nir_ext"] for row in rows(made)] == [row["B08_ext"] for row in rows(source)]
    assert world.requests() == (0, 0)


def test_a_band_that_is_not_there_is_told_with_the_nearest(world: World, source: Collection) -> None:
    with pytest.raises(SpecError) as caught:
        copy_of(world, bands=["B04", "b8"])
    (problem,) = caught.value.problems
    assert problem.message == "the collection has no band b8: it has B04, B08"
    assert problem.remedy == "write B08"


def test_what_a_run_would_do(world: World, source: Collection) -> None:
    workspace = open_workspace(str(world.workspace))
    plan = copy_of(world, query='{"eo:cloud_cover":{"lt":45}}')
    decision = decide(plan, workspace)
    assert (decision.action, decision.pages, decision.headers) == ("build", 0, 0)
    found = forecast(job_of(world, plan), decision)
    assert (found.pages, found.headers, found.total("scenes"), found.total("new")) == (0, 0, 5, 5)
    world.run(job_of(world, plan))
    assert action(world, plan) == "reuse"
    assert action(world, copy_of(world)) == "extend"
    assert action(world, copy_of(world, query='{"eo:cloud_cover":{"lt":25}}')) == "derive"
    assert action(world, copy_of(world, bands=["B04"], query='{"eo:cloud_cover":{"lt":45}}')) == "derive"
    assert action(world, copy_of(world, query='{"eo:cloud_cover":{"gt":25}}')) == "rebuild"
    assert world.requests() == (0, 0)


@pytest.mark.parametrize("asked", [{}, {"query": '{"eo:cloud_cover":{"gt":25}}'}, {"bands": ["B08"]}])
def test_a_larger_and_another_question_after_the_first(world: World, source: Collection, asked: dict[str, Any]) -> None:
    copied(world, query='{"eo:cloud_cover":{"lt":45}}')
    made = load(copied(world, "copy-2", **asked).uri)
    wanted = [row for row in rows(source) if "query" not in asked or row["eo:cloud_cover"] > 25]
    assert rows(made, ["id", "B08_metadata", "B08_ext"]) == [
        {name: row[name] for name in ("id", "B08_metadata", "B08_ext")} for row in wanted
    ]
    assert world.requests() == (0, 0)


def test_a_part_of_a_copy_is_derived(world: World, source: Collection) -> None:
    copied(world)
    plan = copy_of(world, query='{"eo:cloud_cover":{"lt":15}}')
    made = derive(job_of(world, plan, "copy-2"))
    assert made is not None
    assert [row["id"] for row in rows(load(made.uri))] == ["scene-000", "scene-001"]
    assert world.requests() == (0, 0)


def test_a_newer_source_is_not_answered_with_the_old_copy(world: World, source: Collection) -> None:
    copied(world)
    world.add(6, JUNE + timedelta(days=3))
    world.run(world.job("run-2", closed=(False, False)))
    world.requests()
    plan = copy_of(world)
    assert action(world, plan) == "rebuild"
    made = load(world.run(job_of(world, plan, "copy-2")).uri)
    assert len(made) == 7
    assert action(world, copy_of(world)) == "reuse"
    assert world.requests() == (0, 0)


def test_a_fixed_snapshot_stays(world: World, source: Collection) -> None:
    first = copied(world, snapshot=1)
    world.add(6, JUNE + timedelta(days=3))
    world.run(world.job("run-2", closed=(False, False)))
    assert action(world, copy_of(world, snapshot=1)) == "reuse"
    assert load(first.uri).commit is not None
    with pytest.raises(SpecError, match="snapshot"):
        copy_of(world, snapshot=9)


def test_a_refresh_that_changes_nothing_is_the_same_edition(world: World, source: Collection) -> None:
    copied(world)
    assert world.run(world.job("run-2", closed=(False, False))).version == 2
    world.requests()
    assert action(world, copy_of(world)) == "reuse"
    assert action(world, copy_of(world, snapshot=1)) == "reuse"
    assert action(world, copy_of(world, snapshot=2)) == "reuse"


def test_what_is_committed_between_plan_and_run_does_not_reach_the_copy(world: World, source: Collection) -> None:
    plan = copy_of(world)
    world.add(6, JUNE + timedelta(days=3))
    world.run(world.job("run-2", closed=(False, False)))
    assert world.run(job_of(world, plan)).rows == 6


def test_a_rollback_of_the_source_is_another_edition(world: World, source: Collection) -> None:
    world.add(6, JUNE + timedelta(days=3))
    world.run(world.job("run-2", closed=(False, False)))
    assert copied(world).rows == 7
    rollback(open_workspace(str(world.workspace)), "s2", 1)
    assert action(world, copy_of(world)) == "rebuild"
    assert copied(world, "copy-2").rows == 6


def test_headers_come_out_of_the_copied_snapshot_alone(world: World, source: Collection) -> None:
    """Files that were replaced in place, and read again since, have other headers in all caches."""
    for path in list(world.files.files):
        world.files.files[path] += b"\0" * 1000
    world.run(world.job("run-2", effort=Effort(allow_private_hosts=True, retries=0, force=True)))
    world.requests()
    made = load(copied(world, snapshot=1).uri)
    assert [row["B04_ext"] for row in rows(made)] == [row["B04_ext"] for row in rows(source)]
    newest = load(copied(world, "copy-2").uri)
    assert {row["B04_ext"]["size"] for row in rows(newest)} == {row["B04_ext"]["size"] + 1000 for row in rows(source)}
    assert world.requests() == (0, 0)


def test_where_it_comes_from(world: World, source: Collection) -> None:
    made = load(copied(world).uri)
    assert made.commit is not None
    assert made.commit.question["source"] == {
        "kind": "collection",
        "uri": str(world.workspace / "s2"),
        "snapshot": None,
        "edition": made.commit.question["source"]["edition"],
        "catalog": world.stac.url,
        "data_source": "s2",
        "enrich": True,
    }
    assert lines_of(made.commit)["copied from"] == f"{world.workspace / 's2'}, snapshot 1"
    assert made.data_source == "s2"
    (listed,) = [each for each in Collection.list_collections(world.workspace) if each.name == "narrow"]
    assert (listed.data_source, listed.version, listed.rows) == ("s2", 1, 6)
    assert made.get_numpy([15.001, 45.14, 15.002, 45.15], ["B04"]).ndim == 3  # of the same private host as the source's


@pytest.mark.parametrize("place", ["home", "version", "link", "file-url"])
def test_the_same_collection_by_other_names(world: World, source: Collection, place: str) -> None:
    home = world.workspace / "s2"
    uri = {"home": home, "version": source.uri, "link": f"{home}_stac", "file-url": f"file://{home}"}[place]
    assert copy_of(world, uri).fingerprint == copy_of(world).fingerprint


def test_of_a_copy(world: World, source: Collection) -> None:
    copied(world, query='{"eo:cloud_cover":{"lt":45}}')
    made = load(copied(world, "copy-2", uri="narrow", name="narrower").uri)
    assert len(made) == 5
    assert made.commit is not None
    assert made.commit.question["source"]["catalog"] == world.stac.url


def test_a_copy_of_itself_is_refused(world: World, source: Collection) -> None:
    copied(world)
    with pytest.raises(SpecError, match="copy of itself"):
        copy_of(world, "narrow")


@pytest.mark.parametrize("uri", ["nothing", "/nowhere/at/all", "https://example.org/c", "s3://bucket"])
def test_what_is_not_there(world: World, uri: str) -> None:
    with pytest.raises(SpecError) as caught:
        copy_of(world, uri)
    assert caught.value.remedy


def test_a_table_without_headers_is_no_collection(world: World, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "index/part.parquet")
    with pytest.raises(SpecError, match="is no collection") as caught:
        copy_of(world, tmp_path / "index")
    assert "table" in caught.value.remedy


# --- files without commits ------------------------------------------------------------------------------------------------------


@pytest.fixture
def export(source: Collection, tmp_path: Path) -> Path:
    return Path(source.export(tmp_path / "shared/s2"))


def test_of_an_export(world: World, source: Collection, export: Path) -> None:
    plan = copy_of(world, export)
    made = load(world.run(job_of(world, plan)).uri)
    assert rows(made) == rows(source)
    assert made.schema.remove_metadata() == source.schema.remove_metadata()
    assert action(world, copy_of(world, export)) == "reuse"
    assert made.commit is not None
    assert made.commit.question["source"]["catalog"] is None  # a stranger's files are not believed in what they may lead to


def test_an_export_that_changes_is_another_edition(world: World, source: Collection, export: Path) -> None:
    plan = copy_of(world, export)
    world.run(job_of(world, plan))
    file = next(export.rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(1), file)
    with pytest.raises(Unavailable, match="was changed since this run was planned"):
        world.run(job_of(world, replace(plan, question=replace(plan.question, query='{"only":{"eq":"x"}}')), "copy-2"))
    newer = copy_of(world, export)
    assert action(world, newer) == "rebuild"
    assert world.run(job_of(world, newer, "copy-3")).rows == 5


def as_rasteret_writes(source: Collection, path: Path, *, odd: bool = False) -> Path:
    """Rasteret's columns: no `_ext`, no `crs`, list items by other names; `odd`: as other tools would save them again."""
    table = source.to_table()
    table = table.drop_columns([name for name in table.schema.names if name.endswith("_ext") or name in ("crs", "year", "month")])
    for band in BANDS:
        column = table[f"{band}_metadata"].combine_chunks()
        kinds = [pa.field(field.name, pa.list_(field.type.value_type)) if pa.types.is_list(field.type) else field for field in column.type]
        members = [values.cast(field.type) for values, field in zip(column.flatten(), kinds, strict=True)]
        struct = pa.StructArray.from_arrays(members, fields=kinds, mask=column.is_null())
        table = table.set_column(table.schema.get_field_index(f"{band}_metadata"), f"{band}_metadata", struct)
    if odd:
        at = table.schema.get_field_index("datetime")
        table = table.set_column(at, "datetime", table["datetime"].cast(pa.timestamp("ns", "UTC")))
        table = table.set_column(0, "id", table["id"].cast(pa.large_string()))
        table = table.append_column("platform", pa.array(["a"] * len(table)).dictionary_encode())
        table = table.append_column("seen", pa.array([datetime(2024, 7, 1)] * len(table), pa.timestamp("ns")))
    (path / "year=2024").mkdir(parents=True)
    pq.write_table(table, path / "year=2024/part-0.parquet")
    return path


@pytest.mark.parametrize("odd", [False, True])
def test_of_a_collection_that_rasteret_wrote(world: World, source: Collection, tmp_path: Path, odd: bool) -> None:
    path = as_rasteret_writes(source, tmp_path / "x_202406-07_s2_stac", odd=odd)
    made = load(world.run(job_of(world, copy_of(world, path, query='{"eo:cloud_cover":{"lt":45}}'))).uri)
    columns = ["id", "datetime", "geometry", "bbox", "assets", "proj:epsg", "eo:cloud_cover", "B04_metadata", "B08_metadata", "crs"]
    assert rows(made, columns) == rows(source.where(pc.field("eo:cloud_cover") < 45), columns)
    assert {row["B04_ext"] is None for row in rows(made, ["id", "B04_ext"])} == {True}
    assert "year" not in pq.read_schema(next(Path(made.uri).rglob("*.parquet"))).names
    assert world.requests() == (0, 0)
    how, area = Effort(allow_private_hosts=True, retries=0), [15.001, 45.14, 15.002, 45.15]
    with pytest.raises(Unreadable, match="http: hrefs are read only"):  # nobody who can be believed says where they may lead
        made.get_numpy(area, ["B04"])
    pixels = load(made.uri, effort=how).get_numpy(area, ["B04"])
    assert np.array_equal(pixels, source.where(pc.field("eo:cloud_cover") < 45).get_numpy(area, ["B04"]))
    if odd:
        assert {(row["platform"], row["seen"]) for row in rows(made, ["id", "platform", "seen"])} == {("a", "2024-07-01T00:00:00Z")}


def test_a_header_that_the_source_lacks_is_a_failure_and_nobody_is_asked(world: World) -> None:
    del world.files.files["/2/B04.tif"]
    world.run(world.job("run-1", effort=Effort(allow_private_hosts=True, retries=0, max_error_rate=0.5)))
    world.requests()
    made = world.run(job_of(world, copy_of(world), effort=Effort(max_error_rate=0.5)))
    assert (made.rows, made.failed) == (6, 1)
    (failure,) = [row for row in load(made.uri).to_table(["id", "B04_metadata"]).to_pylist() if row["B04_metadata"] is None]
    assert failure["id"] == "scene-002"
    assert world.requests() == (0, 0)


def test_files_that_go_while_they_are_copied(world: World, source: Collection) -> None:
    """A garbage collection of the source."""
    plan = copy_of(world)
    pages = search(plan.question, plan.shards[0], effort=OFFLINE, secrets=environment_secrets)
    assert next(pages).items
    files = sorted(Path(source.uri).rglob("*.parquet"))
    files[-1].unlink()
    with pytest.raises(Unavailable, match="run again"):
        list(search(plan.question, plan.shards[0], effort=OFFLINE, secrets=environment_secrets))


def test_of_a_collection_whose_headers_were_never_read(world: World, tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": ["a", "b"],
            "datetime": pa.array([datetime(2024, 6, 1), datetime(2024, 6, 2)], pa.timestamp("us")),
            "geometry": [shapely.to_wkb(shapely.box(15, 45, 16, 46))] * 2,
            "B04": ["https://files.example.org/a.tif", "https://files.example.org/b.tif"],
        }
    )
    pq.write_table(table, tmp_path / "index.parquet")
    source = TableSource(
        uri=str(tmp_path / "index.parquet"),
        object=None,
        params=None,
        collection="c",
        column_map=(),
        href_column="B04",
        url_rewrite=(),
        enrich=False,
    )
    made = world.run(world.job("run-1", source=source, bands=(Band(code="B04", asset="B04"),)))
    assert (made.rows, made.failed) == (2, 0)
    narrow = world.run(job_of(world, copy_of(world, dates=Interval(start=None, end=datetime(2024, 6, 2, tzinfo=UTC)))))
    assert (narrow.rows, narrow.failed) == (1, 0)
    again = world.run(job_of(world, copy_of(world, narrow.uri, name="narrower"), "copy-2"))
    assert (again.rows, again.failed) == (1, 0)
    assert world.requests() == (0, 0)


def test_scenes_over_the_antimeridian_and_beyond_180(world: World) -> None:
    for number, (west, east) in enumerate([(179.5, -179.5), (180.2, 180.8), (-179.9, -179.2), (170.0, 171.0)]):
        item = world.stac.items[number]
        item["bbox"] = [west, 45.1, east, 45.2]
        halves = [(west, 180.0), (-180.0, east)] if west > east else [(west, east)]
        item["geometry"] = shapely.geometry.mapping(shapely.multipolygons([shapely.box(a, 45.1, b, 45.2) for a, b in halves]))
    world.run(world.job("run-1", bbox=None))
    world.requests()
    made = load(copied(world, bbox=Box(west=179, south=44, east=-179, north=46)).uri)
    assert [row["id"] for row in rows(made, ["id"])] == ["scene-000", "scene-001", "scene-002"]
    assert world.requests() == (0, 0)


@pytest.mark.slow
def test_in_a_bucket_and_out_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workspace, export and source behind a real S3 API; the archive is asked for nothing."""
    with objects.moto() as url:
        for name, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y", "REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        remote = World(world.stac, world.files, cast(Path, f"s3://{objects.BUCKET}/ws"))
        made = load(remote.run(remote.job("run-1")).uri)
        export = made.export(f"s3://{objects.BUCKET}/shared/s2")
        world.requests()
        assert rows(load(copied(remote).uri)) == rows(made)
        assert action(remote, copy_of(remote)) == "reuse"
        assert rows(load(copied(remote, "copy-2", uri=export, name="of-export").uri)) == rows(made)
        assert action(remote, copy_of(remote, export, name="of-export")) == "reuse"
        assert rows(load(copied(world, "copy-3", uri=f"s3://{objects.BUCKET}/ws/s2").uri)) == rows(made)
        assert world.requests() == (0, 0)


def test_a_copy_leaves_no_scene_of_the_source_behind(world: World, source: Collection) -> None:
    """A plan of another source is as it was."""
    plan = world.plan()
    assert settled(plan, open_workspace(str(world.workspace))) is plan
