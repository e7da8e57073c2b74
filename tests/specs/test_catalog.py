"""The built-in datasets: all of them, with the facts that decide whether a build works."""

from __future__ import annotations

import pytest

from rasterloom.errors import SpecError
from rasterloom.specs import catalog
from rasterloom.specs.dates import parse_dates
from rasterloom.specs.loader import spec_from
from rasterloom.specs.resolve import effort, resolve

RASTERET = [
    "earthsearch/sentinel-2-l2a",
    "earthsearch/landsat-c2-l2",
    "earthsearch/naip",
    "earthsearch/cop-dem-glo-30",
    "earthsearch/cop-dem-glo-90",
    "pc/sentinel-2-l2a",
    "pc/io-lulc-annual-v02",
    "pc/alos-dem",
    "pc/nasadem",
    "pc/esa-worldcover",
    "pc/usda-cdl",
    "aef/v1-annual",
]
"""The datasets of Rasteret 0.4.1."""
OURS = [
    "earthsearch/sentinel-2-l2a",
    "earthsearch/sentinel-2-c1-l2a",
    "earthsearch/sentinel-2-pre-c1-l2a",
    "earthsearch/landsat-c2-l2",
    "earthsearch/naip",
    "earthsearch/cop-dem-glo-30",
    "earthsearch/cop-dem-glo-90",
    "earthsearch/sentinel-1-grd",
    "pc/sentinel-2-l2a",
    "pc/landsat-c2-l2",
    "pc/naip",
    "pc/sentinel-1-rtc",
    "pc/hls2-l30",
    "pc/hls2-s30",
    "pc/cop-dem-glo-30",
    "pc/alos-dem",
    "pc/nasadem",
    "pc/esa-worldcover",
    "pc/io-lulc-annual-v02",
    "pc/usda-cdl",
    "pc/modis-13Q1-061",
    "pc/jrc-gsw",
    "cmr/hls-l30",
    "cmr/hls-s30",
    "usgs/landsat-c2l2-sr",
    "usgs/landsat-c2l2-st",
    "cdse/sentinel-2-global-mosaics",
    "cdse/sentinel-2-l2a",
    "deafrica/s2_l2a",
    "deafrica/s2_l2a_c1",
    "deafrica/ls8_sr",
    "deafrica/ls9_sr",
    "deafrica/s1_rtc",
    "deafrica/gm_s2_annual",
    "dea/ga_ls8c_ard_3",
    "dea/ga_ls9c_ard_3",
    "dea/ga_s2am_ard_3",
    "dea/ga_s2bm_ard_3",
    "dea/ga_ls_fc_3",
    "source/aef-v1-annual",
    "source/maxar-opendata",
]
UNSUPPORTED = {
    "earthsearch/sentinel-1-grd": "ground control points",
    "cdse/sentinel-2-l2a": "JPEG2000",
    "source/maxar-opendata": "table",
}


def test_all_ids() -> None:
    assert sorted(OURS) == [one.id for one in catalog.datasets()]


@pytest.mark.parametrize("name", [*RASTERET, *OURS])
def test_a_dataset_is_found_by_its_id(name: str) -> None:
    found = catalog.dataset(name)
    assert name in (found.id, *found.aliases)
    assert found.title
    assert found.provider
    assert found.verified


@pytest.mark.parametrize("dataset", catalog.datasets(), ids=lambda one: one.id)
def test_a_supported_dataset_resolves_and_another_says_why_not(dataset: catalog.Dataset) -> None:
    spec = spec_from({"name": "a", "dataset": dataset.id})
    if reason := UNSUPPORTED.get(dataset.id):
        with pytest.raises(SpecError, match=reason):
            resolve(spec)
        return
    question = resolve(spec)
    assert dataset.supported
    assert question.source.address.startswith(("https://", "s3://"))
    assert {band.code: (band.asset, band.index) for band in question.bands} == {
        code: (band.asset, band.index) for code, band in dataset.bands.items()
    }
    assert len({(band.asset, band.index) for band in question.bands}) == len(question.bands)
    assert effort(spec).auth == dataset.auth


@pytest.mark.parametrize("dataset", [one for one in catalog.datasets() if one.example_bbox], ids=lambda one: one.id)
def test_an_example_is_a_spec(dataset: catalog.Dataset) -> None:
    spec = spec_from({"name": "a", "dataset": dataset.id, "bbox": dataset.example_bbox, "dates": dataset.example_dates})
    assert spec.dates == dataset.example_dates
    assert dataset.example_dates is not None
    assert parse_dates(dataset.example_dates).end is not None


def test_the_facts_that_others_got_wrong() -> None:
    assert catalog.dataset("pc/usda-cdl").bands["CDL"].asset == "cropland"
    assert catalog.dataset("deafrica/gm_s2_annual").bands["B12"].asset == "B12"
    assert [catalog.dataset("pc/naip").bands[code].index for code in ("R", "G", "B", "NIR")] == [0, 1, 2, 3]
    embeddings = catalog.dataset("aef/v1-annual").bands
    assert [(code, band.index) for code, band in embeddings.items()] == [(f"A{n:02d}", n) for n in range(64)]


def test_no_band_is_mapped_to_jpeg2000() -> None:
    assert not [one.id for one in catalog.datasets() for band in one.bands.values() if band.asset.endswith("-jp2")]


@pytest.mark.parametrize(
    ("name", "provider", "options"),
    [
        ("earthsearch/sentinel-2-l2a", "anonymous", {"region": "us-west-2"}),
        ("earthsearch/naip", "aws", {"region": "us-west-2", "requester_pays": "true"}),
        ("pc/naip", "planetary_computer", {}),
        ("cmr/hls-l30", "earthdata", {}),
        ("usgs/landsat-c2l2-sr", "aws", {"region": "us-west-2", "requester_pays": "true"}),
        ("cdse/sentinel-2-global-mosaics", "aws", {"endpoint": "https://eodata.dataspace.copernicus.eu", "region": "default"}),
        ("deafrica/s2_l2a", "anonymous", {"region": "af-south-1"}),
    ],
)
def test_credentials_travel_by_reference(name: str, provider: str, options: dict[str, str]) -> None:
    auth = catalog.dataset(name).auth
    assert (auth.provider, dict(auth.options)) == (provider, options)


def test_a_source_written_out_has_what_the_catalog_knows() -> None:
    stac = {"url": "https://landsatlook.usgs.gov/stac-server/", "collection": "landsat-c2l2-sr"}
    spec = spec_from({"name": "a", "stac": stac, "band_map": {"red": "red"}})
    assert resolve(spec).href == "alternate.s3.href"
    assert effort(spec).max_page_size == 500
    assert effort(spec).auth.provider == "aws"


def test_a_rule_against_reprocessed_scenes_is_offered_and_not_applied() -> None:
    assert catalog.dataset("earthsearch/sentinel-2-l2a").dedupe is not None
    assert resolve(spec_from({"name": "a", "dataset": "earthsearch/sentinel-2-l2a"})).dedupe is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("earthsearch/sentinel2-l2a", "earthsearch/sentinel-2-l2a"),
        ("pc/napi", "pc/naip"),
        ("hls-l30", "cmr/hls-l30"),
        ("", "datasets list"),
    ],
)
def test_the_nearest_id_is_told(name: str, near: str) -> None:
    with pytest.raises(SpecError) as caught:
        catalog.dataset(name)
    assert near in caught.value.remedy


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("pc/sentinel-2-l2a", "pc/sentinel-2-l2a"),
        ("aef/v1-annual", "source/aef-v1-annual"),
        ("sentinel-2-l2a", "earthsearch/sentinel-2-l2a"),
        ("ga_ls8c_ard_3", "dea/ga_ls8c_ard_3"),
        ("my own", None),
    ],
)
def test_what_a_data_source_means(label: str, meant: str | None) -> None:
    found = catalog.described(label)
    assert (found and found.id) == meant
