"""Every example spec runs: against servers of this machine, through the flow, as `rasterloom run` runs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
import rioxarray  # noqa: F401  the accessor `rio`
import xarray
from prefect.testing.utilities import prefect_test_harness
from rasterio.features import geometry_mask
from rasterio.transform import Affine, rowcol

import rasterloom as rl
from rasterloom.flows.progress import Progress
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.tasks.settings import local_settings
from tests.guide.local import SPECS, at_a_folder, at_a_server, at_a_table, at_an_index, example, near_market_street, tiff
from tests.servers import RangeServer, StacServer
from tests.tokens import BlobServer, TokenServer

pytestmark = pytest.mark.slow

AT_SERVERS = ("sf-bay", "madrid", "landsat", "naip", "filtered", "large-area", "planetary-computer")
ELSEWHERE = (
    "narrower",
    "team",
    "table",
    "embeddings",
    "embeddings-query",
    "static-catalog",
    "points",
    "zonal",
    "composite",
    "chips",
    "stack",
)


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> Iterator[None]:
    with local_settings(), prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def files() -> Iterator[RangeServer]:
    with RangeServer({}) as server:
        yield server


@pytest.fixture
def stac() -> Iterator[StacServer]:
    with StacServer() as server:
        yield server


def run(spec: CollectionSpec, workspace: Path | str | None) -> tuple[rl.Collection, Progress]:
    told: list[Progress] = []
    collection = rl.run(spec, workspace=None if workspace is None else str(workspace), on_progress=told.append)
    return collection, told[-1]


def ids(collection: rl.Collection) -> list[str]:
    return sorted(collection.to_table(["id"])["id"].to_pylist())


def test_there_is_a_test_for_every_example() -> None:
    assert {*AT_SERVERS, *ELSEWHERE} == {path.stem for path in SPECS.glob("*.yaml")}


@pytest.mark.parametrize("name", AT_SERVERS)
def test_an_api_is_searched(name: str, files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    asked = example(name)
    spec = at_a_server(asked, files, stac)
    collection, told = run(spec, tmp_path / "ws")
    clear = ["scene-0", "scene-1"] if asked.query or asked.filter else ["cloudy", "scene-0", "scene-1"]
    assert ids(collection) == clear
    assert told.failures == 0
    assert collection.bands == list(spec.bands or ())
    for band in collection.bands:
        assert pc.all(collection.to_table([f"{band}_metadata"])[f"{band}_metadata"].is_valid()).as_py()
    assert run(spec, tmp_path / "ws")[1].header_requests == 0


def test_an_authenticated_build_and_read(stac: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the Planetary Computer with its own `auth`, but for the address of the token service; the blobs check signatures."""
    asked, key = example("planetary-computer"), "planted-subscription-key"
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", key)
    with BlobServer({}) as blobs, TokenServer(blobs.key, "acct") as tokens:
        tokens.subscription = key
        spec = at_a_server(asked, blobs, stac)
        blobs.files = {f"/acct/scenes{path}": tiff(1, west=552_500, north=4_184_000) for path in blobs.files}
        for asset in (asset for item in stac.items for asset in item["assets"].values()):
            asset["href"] = asset["href"].replace(blobs.url, f"{blobs.url}/acct/scenes")
        assert asked.auth is not None
        auth = asked.auth.model_dump(exclude_none=True) | {"endpoint": f"{tokens.url}/token", "hosts": [blobs.host]}
        collection, told = run(spec_from(spec.model_dump(mode="json", exclude_none=True) | {"auth": auth}), tmp_path / "ws")
        assert (ids(collection), told.failures) == (["cloudy", "scene-0", "scene-1"], 0)
        pixels = collection.get_numpy((-122.401, 37.7995, -122.4005, 37.8), ["B08"])
        assert pixels.shape[0] == 3
        assert len(tokens.tokens) == 1
        assert blobs.refused == 0
    hrefs = [asset["href"] for row in collection.to_table(["assets"]).to_pylist() for asset in row["assets"].values()]
    assert not [href for href in hrefs if "?" in href]


def test_a_narrower_copy_asks_nothing(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    whole, _ = run(at_a_server(example("sf-bay"), files, stac), tmp_path / "ws")
    files.log.clear()
    stac.log.clear()
    copy, _ = run(example("narrower"), tmp_path / "ws")
    assert ids(whole) == ["cloudy", "scene-0", "scene-1"]
    assert ids(copy) == ["scene-0", "scene-1"]
    assert copy.bands == ["B04", "B03", "B02"]
    assert not [*files.log, *stac.log]


def test_a_team_finds_workspace_and_copies(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    spec = at_a_server(example("team"), files, stac)
    moved = {"workspace": spec.workspace, "export": [copy.model_dump() for copy in spec.export]}
    local = {key: _moved(value, tmp_path) for key, value in moved.items()}
    collection, _ = run(CollectionSpec.model_validate(spec.model_dump(exclude_none=True) | local), None)
    assert Path(collection.uri).is_relative_to(tmp_path / "collections")
    assert [each.name for each in rl.Collection.list_collections(str(tmp_path / "collections"))] == ["sf-bay-team"]
    assert ids(rl.load(tmp_path / "shared" / "sf-bay")) == ids(collection) == ["cloudy", "scene-0", "scene-1"]
    assert list((tmp_path / "shared" / "sf-bay-items").rglob("*.parquet"))


def _moved(value: object, folder: Path) -> object:
    if isinstance(value, str):
        return value.replace("s3://${TEAM_BUCKET:-example-team}", str(folder))
    if isinstance(value, list):
        return [_moved(each, folder) for each in value]
    return {key: _moved(each, folder) for key, each in value.items()} if isinstance(value, dict) else value


def test_a_table_of_items_is_read(files: RangeServer, tmp_path: Path) -> None:
    collection, told = run(at_a_table(example("table"), files, tmp_path), tmp_path / "ws")
    assert ids(collection) == ["cloudy", "scene-0", "scene-1"]
    assert collection.bands == ["B02", "B03", "B04", "B08"]
    assert told.header_requests == 3 * 4


@pytest.mark.parametrize("name", ["embeddings", "embeddings-query"])
def test_an_index_with_columns_of_its_own_is_read(name: str, files: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SPECS.parent / "docs" / "examples"))
    spec, _ = at_an_index(example(name), files, tmp_path)
    collection, told = run(spec, tmp_path / "ws")
    assert ids(collection) == ["wanted"]
    assert told.header_requests == 1, "64 bands of one file are one header"
    sys.modules.pop("aef_index", None)


def test_a_static_catalog_is_crawled(files: RangeServer, tmp_path: Path) -> None:
    collection, _ = run(at_a_folder(example("static-catalog"), files, tmp_path / "catalog"), tmp_path / "ws")
    assert ids(collection) == ["cloudy", "scene-0", "scene-1"]
    assert collection.bands == ["B", "G", "MS", "R"]


def vegetation(bands: dict[str, Any], transform: Affine) -> tuple[dict[str, Any], Affine]:
    """What the examples of points and zones read, by hand: NaN where there is nodata or a cloud."""
    red, nir = (np.where(bands[band] == 0, np.nan, bands[band]) for band in ("B04", "B08"))
    cloud = np.kron(bands["SCL"], np.ones((2, 2))) == 9
    ndvi = ((nir - red) / (nir + red)).astype(np.float32)
    return {name: np.where(cloud, np.nan, data) for name, data in {"B04": red, "B08": nir, "ndvi": ndvi}.items()}, transform


MARKET_STREET = Affine(10, 0, 552_500, 0, -10, 4_183_900)


def test_points_are_read_through_time(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    spec = at_a_server(example("points"), files, stac)
    pixels = near_market_street(files)
    run(spec, tmp_path / "ws")
    (output,) = (tmp_path / "ws" / "sf-plots" / "_reads" / "plots").rglob("points.parquet")
    table = geopandas.read_parquet(output)
    assert set(table["record_id"]) == {"cloudy", "scene-0", "scene-1"}
    assert (output.parent / "picture.png").stat().st_size > 5000
    places = table.to_crs("EPSG:32610").geometry
    for row, place in zip(table.to_dict("records"), places, strict=True):
        layers, transform = vegetation(pixels[row["record_id"]], MARKET_STREET)
        line, col = rowcol(transform, place.x, place.y)
        for name in ("B04", "B08", "ndvi"):
            np.testing.assert_allclose(row[name], layers[name][line, col], rtol=1e-6)
    assert table.groupby("plot").size().tolist() == [3, 3]
    files.log.clear()
    run(spec, tmp_path / "ws")
    assert not files.log, "nothing has changed"


def test_statistics_of_zones(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    spec = at_a_server(example("zonal"), files, stac)
    pixels = near_market_street(files)
    run(spec, tmp_path / "ws")
    (output,) = (tmp_path / "ws" / "sf-fields" / "_reads" / "fields").rglob("zonal.parquet")
    zones = geopandas.read_parquet(output.parent / "zones.parquet").to_crs("EPSG:32610")
    rows = pq.read_table(output).to_pylist()
    assert len(rows) == 3 * 2 * 2, "scenes, fields, and band and expression"
    for row in rows:
        layers, transform = vegetation(pixels[row["record_id"]], MARKET_STREET)
        inside = geometry_mask([zones.geometry.iloc[row["zone_index"]]], (32, 32), transform, invert=True)
        values = layers[row["band"]][inside & np.isfinite(layers[row["band"]])].astype(float)
        assert (row["field"], row["count"], row["valid"]) == (zones["field"].iloc[row["zone_index"]], inside.sum(), len(values))
        assert len(values) > 10
        for name in ("mean", "std", "min", "max", "median"):
            np.testing.assert_allclose(row[name], getattr(np, name)(values), rtol=1e-6)
        np.testing.assert_allclose(row["p90"], np.percentile(values, 90), rtol=1e-6)


def near(bands: dict[str, Any], name: str, transform: Affine, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A layer of `vegetation` on the grid of an output: NaN where it has nothing."""
    made = np.full(shape, np.nan, np.float64)
    row, col = rowcol(transform, MARKET_STREET.c + 5, MARKET_STREET.f - 5)
    made[row : row + 32, col : col + 32] = vegetation(bands, MARKET_STREET)[0][name]
    return made


def test_months_are_composed(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    spec = at_a_server(example("composite"), files, stac)
    pixels = near_market_street(files)
    run(spec, tmp_path / "ws")
    (catalog,) = (tmp_path / "ws" / "sf-months" / "_reads" / "months").rglob("catalog.json")
    assert (catalog.parent / "picture.png").stat().st_size > 5000
    for month, scenes in (("2024-06", ("scene-0", "cloudy")), ("2024-07", ("scene-1",))):
        for name in ("B04", "B08", "ndvi"):
            with rasterio.open(catalog.parent / month / f"{name}.tif") as image:
                layers = [near(pixels[scene], name, image.transform, image.shape) for scene in scenes]
                expected = np.ma.median(np.ma.masked_invalid(layers), axis=0).filled(np.nan)
                assert (image.crs.to_epsg(), image.res) == (32610, (10.0, 10.0))
                np.testing.assert_allclose(image.read(1), expected, rtol=1e-6, atol=1e-7)
                assert np.isfinite(expected).sum() > 400
    files.log.clear()
    run(spec, tmp_path / "ws")
    assert not files.log, "nothing has changed"


def test_chips_are_cut(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    spec = at_a_server(example("chips"), files, stac)
    pixels = near_market_street(files)
    run(spec, tmp_path / "ws")
    (output,) = (tmp_path / "ws" / "sf-chips" / "_reads" / "train").rglob("chips.parquet")
    manifest = geopandas.read_parquet(output)
    assert set(manifest["scene"]) == {"cloudy", "scene-0", "scene-1"}
    for row in manifest.to_dict("records"):
        with rasterio.open(output.parent / row["path"]) as chip:
            line, col = rowcol(MARKET_STREET, chip.transform.c + 5, chip.transform.f - 5)
            layers = [
                np.pad(vegetation(pixels[row["scene"]], MARKET_STREET)[0][band], 16, constant_values=np.nan) for band in ("B04", "B08")
            ]
            expected = np.stack([layer[line + 16 : line + 32, col + 16 : col + 32] for layer in layers])
            valid = np.isfinite(expected).all(axis=0)
            np.testing.assert_array_equal(chip.dataset_mask() > 0, valid)
            np.testing.assert_array_equal(chip.read(), np.where(valid, expected, 0))
        assert row["valid"] == valid.mean() >= 0.5
    files.log.clear()
    run(spec, tmp_path / "ws")
    assert not files.log, "nothing has changed"


def test_scenes_are_stacked(files: RangeServer, stac: StacServer, tmp_path: Path) -> None:
    spec = at_a_server(example("stack"), files, stac)
    pixels = near_market_street(files)
    run(spec, tmp_path / "ws")
    (output,) = (tmp_path / "ws" / "sf-cube" / "_reads" / "cube").rglob("stack.zarr")
    assert (output.parent / "picture.png").stat().st_size > 5000
    with xarray.open_zarr(output) as cube:
        assert (cube.rio.crs.to_epsg(), cube.rio.resolution()) == (32610, (10.0, -10.0))
        assert sorted(cube.scene.values) == ["cloudy", "scene-0", "scene-1"]
        for name in ("B04", "B08", "ndvi"):
            for layer in cube[name]:
                expected = near(pixels[str(layer.scene.values)], name, cube.rio.transform(), layer.shape)
                np.testing.assert_allclose(layer.values, expected, rtol=1e-6, atol=1e-7)
                assert np.isfinite(expected).sum() > 400
    files.log.clear()
    run(spec, tmp_path / "ws")
    assert not files.log, "nothing has changed"
