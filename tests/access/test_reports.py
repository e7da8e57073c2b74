"""What a report says of a snapshot: sums that agree with the rows, a page that stands by itself, and nothing foreign in it as markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rasterloom.access.building.publish import publish
from rasterloom.access.reports.gather import report_of
from rasterloom.access.reports.mapdrawing import draw_map
from rasterloom.access.reports.markdown import markdown
from rasterloom.access.reports.page import page
from rasterloom.access.reports.periods import MOST, timeline_of
from rasterloom.access.reports.places import map_of
from rasterloom.access.reports.scan import scan
from rasterloom.access.reports.store import keep, kept, page_of, place_of, report_key
from rasterloom.access.reports.style import STYLE
from rasterloom.access.values import Failure
from rasterloom.access.versions.commits import Commit, latest, numbered
from rasterloom.access.versions.commits import commit as append
from rasterloom.access.versions.gc import collect
from rasterloom.access.versions.opening import Opened, open_collection
from rasterloom.access.versions.verify import verify
from rasterloom.access.workspace.bucket import BucketWorkspace
from rasterloom.access.workspace.clock import SYSTEM
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import SpecError
from rasterloom.specs.freshness import Freshness
from rasterloom.specs.question import Box
from tests.access.building import job, opened, question, scene, searched, staged
from tests.access.test_commits import draft

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> | `x` [a](javascript:b)"
BAY = Box(west=-122.6, south=37.3, east=-121.8, north=38.0)
FAILURES = (
    Failure(
        stage="header",
        reason="missing",
        message=f"404 {EVIL}",
        item_id=f"id-{EVIL}",
        band="B04",
        href="https://data.example.org/a/B04.tif?X-Amz-Signature=v3ry-s3cret&q=1",
        http_status=404,
    ),
    Failure(stage="header", reason=f"odd{EVIL}", message="no", item_id="two", band="B02", href="javascript:alert(3)"),
    Failure(stage="header", reason="timeout", message="no", item_id="three", band="B03", href="s3://bucket/key with space.tif"),
)


def built(place: Path, *, rows: int = 40, **changes: Any) -> Opened:
    """Two snapshots, the second with more scenes and with failures."""
    scenes = [_scene(number) for number in range(rows)]
    asked = question(bbox=BAY, **changes)
    first, second = (job(place, asked=asked, run_id=run) for run in ("run-1", "run-2"))
    workspace = opened(first)
    publish(first, [searched(scenes[:-5])], staged(workspace, scenes[:-5]))
    again = replace(second, action="refresh", reason="because & <so>")
    publish(again, [searched(scenes)], staged(workspace, scenes, failures=FAILURES))
    return open_collection("s2", str(place))


def _scene(number: int) -> Any:
    west, south = -122.9 + (number % 4) * 0.3, 37.0 + (number % 3) * 0.4
    box = (west, south, west + 0.5, south + 0.5)
    return scene(number, bbox=box, geometry=shapely.to_wkb(shapely.box(*box)))


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return built(tmp_path_factory.mktemp("reports"))


# --- what it says ------------------------------------------------------------------------------------------------------------------


def test_it_agrees_with_the_rows_and_the_commit(collection: Opened) -> None:
    report = report_of(collection)
    table = collection.dataset.to_table()
    clouds = np.array(table["eo:cloud_cover"].to_pylist(), np.float32)
    scenes = report.scenes
    assert scenes is not None
    assert scenes.map is not None
    assert scenes.timeline is not None
    assert scenes.cloud is not None
    assert (scenes.rows, scenes.first, scenes.last) == (40, min(table["datetime"].to_pylist()), max(table["datetime"].to_pylist()))
    assert scenes.cloud.median == pytest.approx(float(np.median(clouds)))
    assert sum(each.scenes for each in scenes.map.footprints) == 40
    assert len(scenes.map.footprints) == 12
    assert sum(each.scenes for each in scenes.timeline.periods) == 40
    assert report.decision is not None
    assert (report.snapshot, report.decision.action, report.decision.reason) == (2, "refresh", "because & <so>")
    figures = {each.label: each.text for each in report.figures}
    assert (figures["scenes"], figures["headers"], figures["failed"]) == ("40", "160", "3")


def test_it_tells_what_changed_since_the_snapshot_before(collection: Opened) -> None:
    changes = report_of(collection).changes
    assert changes is not None
    assert changes.since == 1
    assert {each.label: (each.before, each.now) for each in changes.counts}["scenes"] == ("35", "40")
    assert [(each.label, each.text) for each in changes.items] == [("new", "5")]
    first = report_of(open_collection("s2", str(collection.workspace and collection.workspace.uri), snapshot=1))
    assert first.changes is None
    assert first.failures is None


def test_both_renderings_say_the_same(collection: Opened) -> None:
    report = report_of(collection)
    texts = (page(report), markdown(report))
    for said in ("s2", "refreshed", "35", "160", "id-", "37.3", "2024-06-01 00:00 UTC", "sentinel-2-l2a"):
        assert all(said in text for text in texts), said


def test_a_collection_without_history_has_a_report_too(collection: Opened) -> None:
    plain = replace(collection, commit=None, workspace=None)
    report = report_of(plain)
    assert (report.snapshot, report.decision, report.changes) == (0, None, None)
    assert report.scenes is not None
    assert report.scenes.rows == 40
    check_page(page(report))


def test_what_was_drawn_of_the_area_is_the_asked_one(collection: Opened) -> None:
    scenes = report_of(collection).scenes
    assert scenes is not None
    assert scenes.map is not None
    (ring,) = scenes.map.area
    assert {(point.x, point.y) for point in ring} == {(x, y) for x in (BAY.west, BAY.east) for y in (BAY.south, BAY.north)}


# --- the page ----------------------------------------------------------------------------------------------------------------------


@dataclass
class Seen(HTMLParser):
    """A page as a browser takes it apart."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


VOID = ("meta", "link", "br", "img", "input", "hr")
ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "footer",
        "section",
        "h1",
        "h2",
        "h3",
        "p",
        "a",
        "span",
        "strong",
    ),
    *("dl", "div", "dt", "dd", "ul", "li", "code", "details", "summary", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("figure", "figcaption", "svg", "g", "path", "rect", "text", "circle"),
}


def check_page(text: str) -> Seen:
    """What holds for every page: well formed, by itself, accessible."""
    seen = Seen()
    seen.feed(text)
    seen.close()
    assert not seen.open
    assert {tag for tag, _ in seen.tags} <= ALLOWED
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    assert seen.of("html") == [{"lang": "en"}]
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    for link in seen.of("a"):
        assert re.match(r"#|file://|https?://", link["href"] or "")
        if (link["href"] or "").startswith("http"):
            assert {"noreferrer", "noopener"} <= set((link["rel"] or "").split())
    headings = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert len(seen.of("caption")) == len(seen.of("table"))
    assert all(cell.get("scope") in ("row", "col") for cell in seen.of("th"))
    for drawing in seen.of("svg"):
        assert drawing["role"] == "img"
        assert {"id": drawing["aria-labelledby"]} in seen.of("title")
    ids = [attributes["id"] for _, attributes in seen.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    return seen


def test_the_page_stands_by_itself_and_foreign_text_is_text(collection: Opened) -> None:
    seen = check_page(page(report_of(collection)))
    assert f"id-{EVIL}" in seen.text
    assert f"odd{EVIL}" in seen.text
    assert [link["href"] for link in seen.of("a") if (link["href"] or "").startswith("http")] == [
        "https://data.example.org/a/B04.tif?X-Amz-Signature=REDACTED&q=1"
    ]


@pytest.mark.parametrize(("state", "word"), [("fresh", "Fresh"), ("warn", "Warning"), ("error", "Stale")])
def test_the_state_of_freshness_is_said_in_words_and_not_by_colour_alone(collection: Opened, state: Any, word: str) -> None:
    now = datetime(2024, 7, 1, tzinfo=UTC)
    report = report_of(collection, freshness=Freshness(state=state, cause="", message=f"because {EVIL}", newest=now, looked=now))
    seen = check_page(page(report))
    assert f"{word}:" in seen.text
    assert f" because {EVIL}." in seen.text
    assert f"**{state}**: because" in markdown(report)


def test_nothing_secret_is_in_either(collection: Opened) -> None:
    report = report_of(collection)
    assert "s3cret" not in page(report) + markdown(report) + repr(report)


def test_foreign_text_is_text_in_markdown(collection: Opened) -> None:
    text = markdown(report_of(collection))
    plain = re.sub(r"\\.", "", re.sub(r"`[^`]*`", "", text))
    assert not re.search(r"<(?!https)", plain), "only addresses of links are in angle brackets"
    assert re.findall(r"\]\(<?(\w+):", plain) == ["data", "data", "https"]
    (row,) = [line for line in text.splitlines() if "id-" in line]
    assert len(re.findall(r"(?<!\\)\|", row)) == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(scheme: str) -> None:
    """WCAG 2.1, success criterion 1.4.3: 4.5 to 1; of what a drawing shows, 1.4.11: 3 to 1."""
    light, dark = re.findall(r":root\{(.*?)\}", STYLE, re.DOTALL)[:2]
    colours = dict(re.findall(r"--(\w+):(#\w+)", light if scheme == "light" else dark))
    texts = [("ink", "paper"), ("ink", "panel"), ("soft", "paper"), ("soft", "panel"), ("link", "paper"), ("good", "goodback"),
             ("warn", "warnback"), ("bad", "badback")]  # fmt: skip
    assert all(contrast(colours[a], colours[b]) >= 4.5 for a, b in texts)
    assert all(contrast(colours[a], colours[b]) >= 3 for a in ("foot", "area", "ink") for b in ("paper", "panel"))


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * each for each in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- the map -----------------------------------------------------------------------------------------------------------------------


def boxed(*boxes: tuple[float, float, float, float]) -> np.ndarray[Any, Any]:
    return np.array(boxes, np.float32)


def test_scenes_on_both_sides_of_the_antimeridian_are_near_each_other() -> None:
    boxes = [(178.0, -18.0, 179.0, -17.0), (179.5, -18.0, -179.5, -17.0), (-179.0, -18.0, -178.0, -17.0)]
    shapes = [(shapely.box(178, -18, 179, -17), 1), (shapely.box(-180, -18, -179.5, -17), 1), (shapely.box(-179, -18, -178, -17), 2)]
    area = shapely.multipolygons([shapely.box(177, -19, 180, -16), shapely.box(-180, -19, -177, -16)])
    for found in (map_of(boxed(*boxes), shapes, area), map_of(boxed(*boxes), None, area)):
        assert found is not None
        assert found.frame.east - found.frame.west < 8
        assert len(found.area) == 1, "the two halves are one again"
        assert all(found.frame.west <= point.x <= found.frame.east for each in found.footprints for ring in each.rings for point in ring)
        drawing = draw_map(found, 4)
        assert "°W" in "".join(drawing.body)
        assert "°E" in "".join(drawing.body)


def test_a_footprint_that_is_wide_because_it_crosses_is_closed_up() -> None:
    wide = shapely.Polygon([(179.5, 0), (-179.5, 0), (-179.5, 1), (179.5, 1)])
    found = map_of(boxed((179.5, 0, -179.5, 1)), [(wide, 1)], None)
    assert found is not None
    (ring,) = found.footprints[0].rings
    assert max(point.x for point in ring) - min(point.x for point in ring) == pytest.approx(1)


def test_a_continent_as_area_does_not_shrink_the_scenes_to_a_dot() -> None:
    found = map_of(boxed((10, 45, 10.1, 45.1)), [(shapely.box(10, 45, 10.1, 45.1), 1)], shapely.box(-60, -60, 60, 60))
    assert found is not None
    assert found.frame.east - found.frame.west < 1


boxes = st.lists(
    st.tuples(st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 9), st.integers(1, 9)).map(
        lambda each: (each[0], each[1], each[0] + each[2], each[1] + each[3])
    ),
    min_size=1,
    max_size=30,
)


@given(boxes)
@settings(max_examples=15)
def test_a_cell_counts_the_scenes_that_meet_it(found_boxes: list[tuple[int, int, int, int]]) -> None:
    found = map_of(np.array(found_boxes, np.float32), None, None)
    assert found is not None
    assert found.is_grid
    for each in found.footprints:
        xs, ys = zip(*((point.x, point.y) for point in each.rings[0]), strict=True)
        cell = shapely.box(min(xs), min(ys), max(xs), max(ys))
        inside = sum(shapely.relate_pattern(cell, shapely.box(*box), "T********") for box in found_boxes)
        touching = sum(cell.intersects(shapely.box(*box).buffer(1e-4)) for box in found_boxes)
        assert inside <= each.scenes <= touching
    assert max(each.scenes for each in found.footprints) <= len(found_boxes)


def test_the_whole_world_is_drawn() -> None:
    drawing = draw_map(there(map_of(boxed((-180, -90, 0, 90), (0, -90, 180, 90)), None, None)), 2)
    assert drawing.height < 600
    assert "180°" in "".join(drawing.body)


def there(value: Any) -> Any:
    assert value is not None
    return value


# --- the timeline ------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2600, 1, 1)), min_size=1, max_size=50), st.integers(0, 10_000))
def test_every_scene_is_in_one_step(instants: list[datetime], days: int) -> None:
    near = [instants[0] + timedelta(days=(days * number) / 50) for number in range(50) if instants[0].year < 2400]
    for each in (instants, near or instants):
        found = timeline_of(np.array(each, "datetime64[us]"), np.full(len(each), np.nan, np.float32))
        assert found is not None
        assert len(found.periods) <= MOST
        assert sum(period.scenes for period in found.periods) == len(each)
        starts = [period.start for period in found.periods]
        assert starts == sorted(set(starts))
        assert starts[-1] <= max(each)


def test_weeks_begin_on_mondays_and_clouds_are_those_of_their_scenes() -> None:
    first = datetime(2024, 6, 5)
    instants = [first + timedelta(days=day) for day in range(100)]
    clouds = np.arange(100, dtype=np.float32)
    clouds[3] = np.nan
    found = timeline_of(np.array(instants, "datetime64[us]"), clouds)
    assert found is not None
    assert found.unit == "week"
    assert found.periods[0].start == datetime(2024, 6, 3)
    assert [period.scenes for period in found.periods[:2]] == [5, 7]
    cloud = found.periods[0].cloud
    assert cloud is not None
    assert cloud.median == np.median([0, 1, 2, 4])


# --- many, odd and none ------------------------------------------------------------------------------------------------------------


def table_of(rows: int, **columns: Any) -> pa.Table:
    rng = np.random.default_rng(1)
    west, south = rng.uniform(-120, 100, rows), rng.uniform(-50, 50, rows)
    box = {"xmin": west, "ymin": south, "xmax": west + 1, "ymax": south + 1}
    geometry = shapely.to_wkb(shapely.box(west, south, west + 1, south + 1))
    instants = np.datetime64("2015-01-01", "us") + rng.integers(0, 3_000, rows).astype("timedelta64[D]")
    plain = {
        "datetime": pa.array(instants),
        "bbox": pa.StructArray.from_arrays([pa.array(values) for values in box.values()], list(box)),
        "geometry": pa.array(geometry),
        "eo:cloud_cover": pa.array(rng.uniform(0, 100, rows)),
    }
    return pa.table(plain | columns)


def test_a_hundred_thousand_scenes_are_sums() -> None:
    scenes = scan(ds.dataset(table_of(100_000)), "memory", None)
    assert scenes.map is not None
    assert scenes.timeline is not None
    assert scenes.map.is_grid
    assert len(scenes.map.footprints) <= 36 * 36
    assert len(scenes.timeline.periods) <= MOST
    assert scenes.rows == sum(each.scenes for each in scenes.timeline.periods) == 100_000


@pytest.mark.parametrize(
    "columns",
    [
        {"eo:cloud_cover": pa.array(["cloudy"] * 3)},
        {"eo:cloud_cover": pa.array([None, 12, -1])},
        {"eo:cloud_cover": pa.array([float("nan"), float("inf"), 1e300])},
        {"datetime": pa.array([None] * 3, pa.timestamp("us"))},
        {"datetime": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("ns", "UTC"))},
        {"geometry": pa.array([None, b"not wkb", shapely.to_wkb(shapely.Polygon())])},
        {"geometry": pa.array([shapely.to_wkb(shapely.Point(1, 2))] * 3)},
        {"bbox": pa.nulls(3, pa.struct({name: pa.float64() for name in ("xmin", "ymin", "xmax", "ymax")}))},
    ],
    ids=lambda value: f"{next(iter(value))}-{next(iter(value.values())).type}",
)
def test_odd_values_are_left_out(columns: Mapping[str, pa.Array], collection: Opened) -> None:
    odd = replace(collection, dataset=ds.dataset(table_of(3, **columns)))
    report = report_of(odd)
    assert report.scenes is not None
    assert report.scenes.rows == 3
    check_page(page(report))
    markdown(report)


def test_no_rows_and_foreign_columns(collection: Opened) -> None:
    for table in (table_of(0), pa.table({"id": ["a"], "year": [2024]})):
        report = report_of(replace(collection, dataset=ds.dataset(table)))
        assert report.scenes is not None
        assert report.scenes.map is None
        check_page(page(report))


# --- where it lies -----------------------------------------------------------------------------------------------------------------


def test_a_page_is_kept_beside_the_snapshot_and_never_in_it(tmp_path: Path) -> None:
    found = built(tmp_path)
    workspace, entry = there(found.workspace), there(found.commit)
    before = sorted(path.name for path in (tmp_path / "s2" / "_versions").rglob("*"))
    uri = place_of(found)
    assert uri == str(tmp_path / "s2" / "_reports" / "00000000000000000002.html")
    assert Path(uri).read_text() == page_of(found)
    assert sorted(path.name for path in (tmp_path / "s2" / "_versions").rglob("*")) == before
    assert not verify(workspace, "s2").findings
    Path(uri).write_text("as it was")
    assert page_of(found) == "as it was", "what was written at its time stands"
    assert kept(workspace, "s2", entry)


def test_a_collection_elsewhere_keeps_none(collection: Opened) -> None:
    with pytest.raises(SpecError, match="--html FILE"):
        place_of(replace(collection, commit=None, workspace=None))


def test_an_object_store_keeps_pages_too(collection: Opened) -> None:
    bucket: Workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    uri = keep(bucket, report_of(collection))
    assert uri == "s3://bucket/ws/s2/_reports/00000000000000000002.html"
    check_page((bucket.read(report_key("s2", 2)) or b"").decode())


def test_garbage_collection_takes_a_page_with_its_snapshot(collection: Opened) -> None:
    bucket: Workspace = BucketWorkspace(MemoryStore(), "s3://bucket/ws")
    for number in range(3):
        made = replace(draft(f"run-{number}"), keep_snapshots=1)
        append(bucket, "s2", numbered(made, latest(bucket, "s2")))
        keep(bucket, replace(report_of(collection), snapshot=number + 1))
    later = replace(SYSTEM, now=lambda: datetime.now(UTC) + timedelta(days=3))
    assert [key[-6:] for key in collect(bucket, "s2", clock=later).others] == ["1.html", "2.html"]
    assert [entry.key for entry in bucket.list("s2/_reports")] == [report_key("s2", 3)]


def test_a_report_of_a_commit_without_a_reason_still_says_why(tmp_path: Path) -> None:
    found = built(tmp_path)
    entry: Commit = replace(there(found.commit), reason="")
    report = report_of(replace(found, commit=entry))
    assert report.decision is not None
    assert report.decision.reason == "the same question was asked again"


def test_a_missing_parent_or_failures_table_is_no_error(tmp_path: Path) -> None:
    found = built(tmp_path)
    (tmp_path / "s2" / "_commits" / "00000000000000000001.json").write_bytes(b"{")
    for path in (tmp_path / "s2" / "_failures").iterdir():
        path.unlink()
    report = report_of(found)
    assert report.changes is None
    assert report.failures is not None
    assert (report.failures.total, report.failures.shown) == (3, ())
    check_page(page(report))


def test_the_newest_commit_knows_its_newest_scene(collection: Opened) -> None:
    entry = there(collection.commit)
    assert entry.newest == max(collection.dataset.to_table()["datetime"].to_pylist()).replace(tzinfo=UTC)
    assert latest(there(collection.workspace), "s2") == entry
