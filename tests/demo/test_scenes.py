"""The demo's archive and its server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from rasterloom.demo.scenes import ASSETS, COLLECTION, Archive, make_archive
from rasterloom.demo.server import PAGE, Provider, serving

SIZE = 192


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"), size=SIZE)


@pytest.fixture
def provider(archive: Archive):
    with serving(archive) as running:
        yield running


def post(provider: Provider, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(f"{provider.url}/search", json.dumps({"collections": [COLLECTION], **body}).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_the_archive_spans_two_zones_and_lacks_one_file(archive: Archive) -> None:
    promised = {asset["href"] for item in archive.items for asset in item["assets"].values()}
    assert {item["properties"]["proj:epsg"] for item in archive.items} == {32631, 32632}
    assert [href for href in sorted(promised) if not (archive.directory / href).exists()] == ["S2_32TKN_20240709/B08.tif"]
    assert archive.files == len(promised) - 1


def test_items_say_where_their_files_are(archive: Archive) -> None:
    for item in archive.items:
        with rasterio.open(archive.directory / item["assets"]["red"]["href"]) as source:
            assert source.shape == (SIZE, SIZE)
            west, south, east, north = source.bounds
            lon, lat = transform(source.crs, 4326, [west, west, east, east], [north, south, south, north])
            assert [min(lon), min(lat), max(lon), max(lat)] == pytest.approx(item["bbox"], abs=2e-6)
            assert source.read(1).min() > 0, "no pixel is taken for nodata"


def test_neighbours_show_the_same_ground(archive: Archive) -> None:
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.linspace(5.99, 6.02, 30), np.linspace(43.06, 43.10, 30)))
    west, east = (values_at(archive.directory / f"S2_{tile}_20240604" / "B08.tif", lon, lat) for tile in ("31TGH", "32TKN"))
    assert np.corrcoef(west, east)[0, 1] > 0.7


def values_at(path: Path, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    with rasterio.open(path) as source:
        x, y = transform(4326, source.crs, lon, lat)
        return np.array([value[0] for value in source.sample(zip(x, y, strict=True))])


def test_search_filters_and_pages(archive: Archive, provider: Provider) -> None:
    page = post(provider, query={"eo:cloud_cover": {"lt": 60}}, datetime="2024-06-01T00:00:00Z/2024-07-15T23:59:59Z")
    following = next(link for link in page["links"] if link["rel"] == "next")
    rest = post(provider, **following["body"])
    ids = [item["id"] for item in (*page["features"], *rest["features"])]
    assert len(page["features"]) == PAGE
    assert ids == [item["id"] for item in archive.items if item["properties"]["eo:cloud_cover"] < 60]
    assert provider.count.searches == 2


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"bbox": [6.15, 43.0, 6.3, 43.1], "datetime": "2024-06-04T00:00:00Z/2024-06-04T23:59:59Z"}, {"S2_32TKN_20240604"}),
        ({"bbox": [7.0, 43.0, 7.3, 43.1]}, set()),
        ({"datetime": "2024-07-01T00:00:00Z/.."}, {"S2_31TGH_20240709", "S2_32TKN_20240709"}),
        ({"collections": ["other"]}, set()),
    ],
)
def test_search_answers_what_is_asked(provider: Provider, asked: dict[str, Any], ids: set[str]) -> None:
    assert {item["id"] for item in post(provider, **asked)["features"]} == ids


def test_files_are_served_in_ranges_and_counted(archive: Archive, provider: Provider) -> None:
    href = post(provider)["features"][0]["assets"]["blue"]["href"]
    request = urllib.request.Request(href, headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body, whole = answer.read(), Path(archive.directory / "S2_31TGH_20240604/B02.tif").read_bytes()
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 10-19/{len(whole)}"
    assert body == whole[10:20]
    assert (provider.count.ranges, provider.count.bytes) == (1, 10)


@pytest.mark.parametrize("path", ["S2_32TKN_20240709/B08.tif", "../secret", "S2_32TKN_20240709/%2e%2e/x"])
def test_what_is_not_there_is_not_found(provider: Provider, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{provider.url.removesuffix('/stac')}/files/{path}", timeout=10)
    assert caught.value.code == 404
    caught.value.close()


def test_the_server_is_gone_afterwards(archive: Archive) -> None:
    with serving(archive) as running:
        url = running.url
        assert set(ASSETS.values()) == {"blue", "green", "red", "nir"}
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=2)
