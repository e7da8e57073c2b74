"""From one item to a spec: real items of many providers, and made ones for what those do not have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.cli.template import item_text
from rasterloom.errors import SpecError
from rasterloom.specs.catalog import BandSource
from rasterloom.specs.fromitem import Draft, draft
from rasterloom.specs.loader import parse_specs
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import resolve

ADDRESS = "https://stac.example.org/v1/collections/c/items/i"
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def item(**changes: Any) -> dict[str, Any]:
    """An item of an API whose assets are two bands; `changes` replace its members, `...` takes one away."""
    whole: dict[str, Any] = {
        "type": "Feature",
        "id": "i",
        "collection": "c",
        "bbox": [10, 50, 11, 51],
        "geometry": None,
        "properties": {"datetime": "2024-06-15T10:00:00Z"},
        "links": [{"rel": "self", "href": ADDRESS}],
        "assets": {"red": {"href": "red.tif", "type": COG}, "nir": {"href": "nir.tif", "type": COG}},
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not ...}


def spec_of(found: Draft) -> CollectionSpec:
    """The spec that is written, read again; resolved too."""
    (spec,) = parse_specs(item_text(found), file="written.yaml")
    if spec.catalog is None:
        resolve(spec)
    return spec


def test_an_item_of_an_api_names_its_source_place_and_time() -> None:
    spec = spec_of(draft(item(), ADDRESS))
    assert spec.stac is not None
    assert (spec.name, spec.stac.url, spec.stac.collection) == ("c", "https://stac.example.org/v1", "c")
    assert (spec.bbox, spec.dates) == ((10, 50, 11, 51), ("2024-05-31", "2024-06-30"))
    assert spec.band_map == {"red": "red", "nir": "nir"}
    assert spec.band_index_map is None


@pytest.mark.parametrize(
    ("links", "address", "collection"),
    [
        ([], ADDRESS, "c"),
        ([{"rel": "collection", "href": "https://stac.example.org/v1/collections/c"}], "/data/i.json", "c"),
        ([{"rel": "parent", "href": "https://stac.example.org/v1//collections/other/"}], "/data/i.json", "c"),
        ([{"rel": "self", "href": ADDRESS}], "/data/i.json", ...),
    ],
)
def test_every_link_of_an_api_will_do(links: list[dict[str, str]], address: str, collection: Any) -> None:
    spec = spec_of(draft(item(links=links, collection=collection), address))
    assert spec.stac is not None
    assert (spec.stac.url, spec.stac.collection) == ("https://stac.example.org/v1", "c")


def test_a_built_in_dataset_is_named_as_one() -> None:
    links = [{"rel": "self", "href": "https://earth-search.aws.element84.com/v1/collections/sentinel-2-l2a/items/x"}]
    found = draft(item(links=links, collection="sentinel-2-l2a"), "/data/x.json")
    spec = spec_of(found)
    assert (spec.dataset, spec.band_map, spec.name) == ("earthsearch/sentinel-2-l2a", None, "sentinel-2-l2a")
    assert spec.bands == ("B04", "B08"), "the dataset's codes of the two assets that the item has"


@pytest.mark.parametrize(
    ("links", "address", "path"),
    [
        ([{"rel": "root", "href": "../../catalog.json"}], "/data/c/i/i.json", "/data/catalog.json"),
        ([{"rel": "root", "href": "../catalog.json"}], "https://files.example.org/x/i/i.json", "https://files.example.org/x/catalog.json"),
        (
            [{"rel": "collection", "href": "./collection.json"}],
            "https://files.example.org/i.json",
            "https://files.example.org/collection.json",
        ),
        (
            [{"rel": "root", "href": "../catalog.json"}, {"rel": "self", "href": "s3://bucket/a/b/i.json"}],
            "/data/i.json",
            "s3://bucket/a/catalog.json",
        ),
    ],
)
def test_an_item_of_files_names_its_catalog(links: list[dict[str, str]], address: str, path: str) -> None:
    found = draft(item(links=links), address)
    assert (found.dataset, found.stac, found.catalog) == (None, None, (path, "c"))
    (spec,) = parse_specs(item_text(found), file="written.yaml")
    assert spec.catalog is not None
    assert (spec.catalog.path, spec.catalog.collection) == (path, "c")


def test_links_that_are_no_addresses_lead_nowhere() -> None:
    links = [{"rel": relation, "href": href} for relation, href in (("root", "http://[/c.json"), ("self", "http://]"), ("parent", 1))]
    with pytest.raises(SpecError, match="no link to its API or catalog"):
        draft(item(links=links), "/data/i.json")


def test_samples_of_one_file_get_indexes() -> None:
    names = [{"name": "Red"}, {"name": "Green"}, {"eo:common_name": "blue"}]
    for said in ({"bands": names}, {"eo:bands": names}, {"eo:bands": names, "raster:bands": [{}, {}, {}]}):
        spec = spec_of(draft(item(assets={"image": {"href": "a.tif", "type": COG, **said}}), ADDRESS))
        assert spec.band_map == {"Red": "image", "Green": "image", "blue": "image"}
        assert spec.band_index_map == {"Red": 0, "Green": 1, "blue": 2}


def test_the_raster_extension_knows_the_number_of_samples() -> None:
    said = {"eo:bands": [{"name": "a"}, {"name": "b"}], "raster:bands": [{}, {}, {}]}
    found = draft(item(assets={"data": {"href": "a.tif", "type": COG, **said}}), ADDRESS)
    assert found.bands.found == {f"data_{number + 1}": BandSource(asset="data", index=number) for number in range(3)}


def test_names_that_several_assets_give_are_no_codes() -> None:
    """Sentinel-2 of the Polish node: B02 in 10 m and in 20 m."""
    assets = {key: {"href": f"{key}.tif", "type": COG, "bands": [{"name": "B02"}]} for key in ("B02_10m", "B02_20m")}
    assert set(draft(item(assets=assets), ADDRESS).bands.found) == {"B02_10m", "B02_20m"}


def test_what_is_no_band_is_left_out_and_said() -> None:
    assets = {
        "B04": {"href": "a.tif", "type": COG, "eo:bands": [{"name": "B04"}], "roles": ["data"]},
        "B03": {"href": "c.tif", "eo:bands": [{"name": "B03"}], "roles": ["data"]},
        "B04-jp2": {"href": "a.jp2", "type": "image/jp2"},
        "tci": {"href": "tci.tif", "type": COG, "eo:bands": [{"name": "B04"}, {"name": "B03"}], "roles": ["data"]},
        "visual": {"href": "v.tif", "type": COG, "roles": ["visual"]},
        "quality": {"href": "q.tif", "type": COG, "roles": ["metadata"]},
        "hdf": {"href": "a.hdf", "type": "application/x-hdf"},
        "thumbnail": {"href": "a.png"},
        "odd": {"type": COG},
        "ugly\nname: x": {"href": "a.tif", "type": COG},
    }
    found = draft(item(assets=assets), ADDRESS)
    assert found.bands.found == {"B04": BandSource(asset="B04"), "B03": BandSource(asset="B03")}
    why = {each.asset: each.why for each in found.bands.left_out}
    assert why == {
        "B04-jp2": "JPEG 2000",
        "tci": "its bands stand alone in other assets",
        "visual": "a picture of the data",
        "quality": "metadata",
        "hdf": "application/x-hdf, no GeoTIFF",
        "thumbnail": "no GeoTIFF by its name",
        "odd": "it has no href",
        "ugly\nname: x": "its key is no plain text",
    }
    text = item_text(found)
    assert "#   B04-jp2: JPEG 2000\n" in text
    assert spec_of(found).name == "c", "a line break in a key ends no comment"


def test_a_picture_is_taken_where_there_is_nothing_else() -> None:
    assets = {"visual": {"href": "v.tif", "type": COG, "roles": ["visual"]}}
    assert set(draft(item(assets=assets), ADDRESS).bands.found) == {"visual"}


@pytest.mark.parametrize(
    ("changes", "bbox"),
    [
        ({"bbox": [10, 50, -3, 11, 51, 900]}, (10, 50, 11, 51)),
        ({"bbox": [-181.5, -90.001, -179.5, -89]}, (-180, -90, -179.5, -89)),
        ({"bbox": [170.00000009, 1, -170, 2.0000002]}, (170, 1, -170, 2.000001)),
        ({"bbox": ..., "geometry": {"type": "Point", "coordinates": [3, 4]}}, None),
        ({"bbox": ..., "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, 2], [3, 4], [1, 2]]]}}, (1, 2, 3, 4)),
        (
            {"bbox": [-180, 1, 180, 2], "geometry": {"type": "Polygon", "coordinates": [[[179, 1], [-179, 1], [-179, 2], [179, 1]]]}},
            (179, 1, -179, 2),
        ),
        ({"bbox": ["west", 1, 2, 3]}, None),
        ({"bbox": None}, None),
    ],
)
def test_the_area_is_that_of_the_item(changes: dict[str, Any], bbox: tuple[float, ...] | None) -> None:
    assert spec_of(draft(item(**changes), ADDRESS)).bbox == bbox


@pytest.mark.parametrize(
    ("properties", "dates"),
    [
        (
            {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-12-31T23:59:59Z"},
            ("2020-01-01", "2020-12-31"),
        ),
        ({"datetime": "2024-06-15T23:30:00-02:00"}, ("2024-06-01", "2024-07-01")),
        ({"datetime": "0001-01-02T00:00:00Z"}, None),
        ({"datetime": "soon"}, None),
        ({}, None),
    ],
)
def test_the_dates_are_around_the_item(properties: dict[str, Any], dates: tuple[str, str] | None) -> None:
    assert spec_of(draft(item(properties=properties), ADDRESS)).dates == dates


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"type": "Catalog", "id": "x"}, "Catalog, not a STAC item"),
        ({"type": "Collection", "id": "x"}, "one of its items"),
        ({"type": "FeatureCollection", "features": []}, "several items"),
        ({"type": "Feature", "geometry": None, "properties": {}}, "not a STAC item"),
        ([], "not a STAC item"),
        ({"id": 1}, "without a `type`"),
        (item(links=[], collection=...), "no link to its API or catalog"),
        (item(assets={}), "the item has no GeoTIFF"),
        (item(assets={"a": {"href": "a.jp2"}}), "JPEG 2000 (a)"),
    ],
)
def test_what_is_no_item_is_refused_with_a_remedy(document: Any, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        draft(document, "/data/i.json" if "links" in str(document) else ADDRESS)
    assert said in str(refused.value)
    assert refused.value.remedy


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_NAMED = st.lists(st.fixed_dictionaries({"name": st.text(max_size=5)}), max_size=3)
_ASSET = st.fixed_dictionaries(
    {"href": st.sampled_from(["a.tif", "b.jp2", ""])},
    optional={"type": st.just(COG) | _VALUES, "roles": _VALUES, "bands": _VALUES, "eo:bands": _NAMED, "raster:bands": _VALUES},
)
_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("bbox", "geometry", "properties", "links", "collection"), _VALUES),
        "id": st.text(max_size=8),
        "assets": st.dictionaries(st.text(max_size=8), _ASSET | _VALUES, max_size=4),
    },
)


@given(_CHANGES)
def test_whatever_stands_in_an_item_the_spec_is_valid_or_refused(changes: dict[str, Any]) -> None:
    try:
        found = draft(item(**changes), ADDRESS)
        spec = spec_of(found)
    except SpecError:
        return
    assert spec.band_map
    assert {(code, asset) for code, asset in spec.band_map.items()} == {(code, band.asset) for code, band in found.bands.found.items()}


def _recorded(folder: Path) -> Iterator[tuple[str, Any]]:
    for path in sorted((folder / "data/stac").glob("*.json")):
        document = json.loads(path.read_text())
        features = document.get("features", [document]) if isinstance(document, dict) else document
        yield from ((path.name, each) for each in features if isinstance(each, dict) and each.get("type") == "Feature")


def test_recorded_items_of_real_providers_become_specs(shared: Path) -> None:
    """Each one, or a refusal that is right: there is nothing but JPEG 2000, HDF or NetCDF, or nothing to search."""
    built, refused = 0, list[str]()
    datasets: set[str] = set()
    for name, each in _recorded(shared):
        try:
            found = draft(each, f"/data/{name}")
        except SpecError as error:
            refused.append(error.message)
            continue
        spec = spec_of(found)
        built += 1
        datasets |= {spec.dataset} if spec.dataset else set()
        assets = {band.asset for band in found.bands.found.values()}
        assert spec.dataset or all(not each["assets"][asset]["href"].lower().endswith(".jp2") for asset in assets)
        assert spec.dataset or assets <= set(each["assets"])
    assert all("no GeoTIFF" in message or "no link" in message for message in refused)
    assert (built > 250, len(refused) < 30) == (True, True)
    assert {"earthsearch/sentinel-2-l2a", "pc/naip", "usgs/landsat-c2l2-sr", "pc/landsat-c2-l2", "deafrica/s2_l2a_c1"} <= datasets
