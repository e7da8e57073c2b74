"""The engine over HTTP: which requests, how often a tile is decoded, what is kept in memory, and files that are not as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window as GdalWindow

from rasterloom.access.pixels import plan as planning
from rasterloom.access.pixels.engine import Engine, Limits
from rasterloom.access.pixels.reading import FILES_AT_FIRST
from rasterloom.access.pixels.values import BandFile, WindowRead
from rasterloom.errors import RasterloomError, Unavailable, Unreadable
from rasterloom.raster.overviews import level_of
from rasterloom.raster.tiles import Window, spans_of, tiles_of, whole
from rasterloom.raster.validity import alpha_of
from tests.access.engines import EFFORT, band_file, engine
from tests.raster.corpus import pixels, write
from tests.servers import Cut, Fault, RangeServer, Request, Response, Status

SIDE = (900, 1100)
DEFLATED: dict[str, Any] = {"compress": "deflate", "predictor": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chunky file of four bands with an alpha, a planar one of 64, a COG with overviews, a sparse one."""
    root = tmp_path_factory.mktemp("engine")
    noise = np.random.default_rng(1).integers(1, 255, (4, *SIDE)).astype("uint8")
    write(root / "chunky.tif", noise, interleave="pixel", photometric="RGB", alpha="YES", **DEFLATED)
    write(root / "planes.tif", pixels(64, "int8", (130, 150)), interleave="band", compress="deflate")
    write(root / "cog.tif", noise[:1].astype("uint16") * 200, nodata=200, cog={"COMPRESS": "DEFLATE", "BLOCKSIZE": 128, "PREDICTOR": "2"})
    write(root / "large.tif", np.kron(noise[:1, :300, :400], np.ones((1, 8, 8), "uint8")), cog={"COMPRESS": "LZW", "BLOCKSIZE": 128})
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[RangeServer]:
    with RangeServer(folder) as running:
        yield running


def on(server: RangeServer, name: str, band: int = 0, *, etag: str | None = None) -> BandFile:
    assert server.root is not None
    return band_file(server.root / name, band, href=f"{server.url}/{name}", etag=etag)


def read_of(file: BandFile, window: Window | None = None, level: int = 0) -> WindowRead:
    return WindowRead(file=file, window=window or whole(level_of(file.header, level)), level=level)


def ranges(server: RangeServer, name: str) -> list[tuple[int, int]]:
    asked = [request.range for request in server.requests_of(f"/{name}")]
    return sorted((first, (last or 0) + 1) for first, last in filter(None, asked))


def gdal(path: Path, band: int, window: Window, **options: Any) -> np.ndarray:
    with rasterio.open(path, **options) as file:
        return file.read(band + 1, window=GdalWindow(window.col, window.row, window.width, window.height))  # type: ignore[call-arg]


def test_requests_are_the_planned_ranges(server: RangeServer, folder: Path) -> None:
    window = Window(col=130, row=300, width=500, height=400)
    file = on(server, "cog.tif")
    spans = spans_of(tiles_of(file.header, 0, file.header.full, window))
    (got,) = engine().read_all([read_of(file, window)])
    assert ranges(server, "cog.tif") == [(span.start, span.end) for span in spans]
    assert np.array_equal(got.data, gdal(folder / "cog.tif", 0, window))


def test_all_bands_of_a_chunky_file_are_fetched_and_decoded_once(server: RangeServer, folder: Path) -> None:
    window = Window(col=100, row=100, width=300, height=200)
    files = [on(server, "chunky.tif", band) for band in range(4)]
    reader = engine()
    got = reader.read_all([read_of(file, window) for file in files])
    tiles = tiles_of(files[0].header, 0, files[0].header.full, window)
    assert reader.decoded == len(tiles)
    assert len(ranges(server, "chunky.tif")) == len(spans_of(tiles))
    for band, found in enumerate(got):
        assert np.array_equal(found.data, gdal(folder / "chunky.tif", band, window))


def test_the_bands_of_a_file_stay_together_wherever_the_look_ahead_ends(server: RangeServer) -> None:
    """More files than are looked at before the first request, three bands each."""
    count = FILES_AT_FIRST + 8
    for number in range(count):
        server.files[f"/{number}.tif"] = (server.root / "chunky.tif").read_bytes()  # type: ignore[operator]
    bands = [on(server, "chunky.tif", band) for band in range(3)]
    window = Window(col=10, row=10, width=20, height=20)
    reads = [read_of(replace(file, href=f"{server.url}/{number}.tif"), window) for number in range(count) for file in bands]
    reader = engine()
    reader.read_all(iter(reads))
    assert reader.decoded == len(server.log) == count


def test_windows_of_one_tile_share_it_and_a_file_that_is_read_again_keeps_it(server: RangeServer) -> None:
    file, reader = on(server, "cog.tif"), engine()
    corners = [read_of(file, Window(col=col, row=row, width=9, height=7)) for col in (1, 50, 99) for row in (3, 60, 110)]
    for times in (1, 2, 2, 2):
        reader.read_all(corners)
        assert reader.decoded == times
        assert len(ranges(server, "cog.tif")) == times


def test_planes_that_follow_each_other_are_one_range(server: RangeServer, folder: Path) -> None:
    files = [on(server, "planes.tif", band) for band in range(64)]
    got = engine().read_all([read_of(file) for file in files])
    spans = spans_of(tile for file in files for tile in tiles_of(file.header, file.band_index, file.header.full, whole(file.header.full)))
    assert ranges(server, "planes.tif") == [(span.start, span.end) for span in spans]
    assert len(spans) < 5
    for band, found in enumerate(got):
        assert np.array_equal(found.data, gdal(folder / "planes.tif", band, whole(files[0].header.full)))


def test_an_overview_whose_table_stayed_in_the_file_costs_one_header(server: RangeServer, folder: Path) -> None:
    file, reader = on(server, "large.tif"), engine()
    assert not file.header.overviews[0].stored
    window = Window(col=5, row=9, width=100, height=90)
    (first,) = reader.read_all([read_of(file, window, 1)])
    before = len(server.log)
    reader.read_all([read_of(file, Window(col=900, row=700, width=50, height=60), 1)])
    assert before == 2
    assert len(server.log) == 3
    assert np.array_equal(first.data, gdal(folder / "large.tif", 0, window, overview_level=0))


@settings(max_examples=40)
@given(st.data())
def test_any_window_of_any_level(server_of_module: RangeServer, data: st.DataObject) -> None:
    folder = server_of_module.root
    assert folder is not None
    name = data.draw(st.sampled_from(["cog.tif", "chunky.tif", "planes.tif"]))
    file = on(server_of_module, name, data.draw(st.integers(0, 3)))
    number = data.draw(st.integers(0, len(file.header.overviews)))
    level = level_of(file.header, number)
    col, row = data.draw(st.integers(0, level.width - 1)), data.draw(st.integers(0, level.height - 1))
    window = Window(
        col=col, row=row, width=data.draw(st.integers(1, level.width - col)), height=data.draw(st.integers(1, level.height - row))
    )
    (got,) = engine().read_all([read_of(file, window, number)])
    options = {"overview_level": number - 1} if number else {}
    assert np.array_equal(got.data, gdal(folder / name, file.band_index, window, **options))


@pytest.fixture(scope="module")
def server_of_module(folder: Path) -> Iterator[RangeServer]:
    with RangeServer(folder) as running:
        yield running


@pytest.mark.parametrize(
    "window",
    [Window(col=0, row=0, width=0, height=5), Window(col=-1, row=0, width=5, height=5), Window(col=1098, row=0, width=5, height=5)],
)
def test_a_window_outside_is_refused_and_not_filled_with_anything(server: RangeServer, window: Window) -> None:
    file = on(server, "cog.tif")
    good = read_of(file, Window(col=0, row=0, width=5, height=5))
    answers = {answer.index: answer.read for answer in engine().read([read_of(file, window), good, replace(good, level=9)])}
    assert {getattr(answers[index], "reason", None) for index in (0, 2)} == {"window", "overview"}
    assert not isinstance(answers[1], RasterloomError)


# --- files that changed -----------------------------------------------------------------------------------------------------------


def test_a_file_that_was_replaced_is_told_and_its_neighbours_are_read(server: RangeServer) -> None:
    old = on(server, "cog.tif", etag='"another"')
    answers = {answer.index: answer.read for answer in engine().read([read_of(old), read_of(on(server, "chunky.tif"))])}
    assert isinstance(answers[0], Unreadable)
    assert answers[0].reason == "changed"
    assert "--force" in answers[0].remedy
    assert not isinstance(answers[1], RasterloomError)


def test_another_size_is_another_file(server: RangeServer) -> None:
    file = on(server, "cog.tif")
    server.files["/cog.tif"] = (server.root / "cog.tif").read_bytes() + b"more"  # type: ignore[operator]
    with pytest.raises(Unreadable, match="was replaced after it was indexed"):
        engine().read_all([read_of(file)])


def test_the_same_etag_is_the_same_file_also_where_it_is_weak(server: RangeServer) -> None:
    engine().read_all([read_of(on(server, "cog.tif"))])
    etag = server.respond(server.log[0]).headers["ETag"]
    for told in (etag, f"W/{etag}"):
        engine().read_all([read_of(on(server, "cog.tif", etag=told))])


class Shortened(Fault):
    """Answers the range with fewer bytes, as if the file ended there."""

    def apply(self, request: Request, good: Response) -> Response:
        first = (request.range or (0, 0))[0]
        body = good.body[: len(good.body) // 2]
        return replace(
            good, body=body, headers={**good.headers, "Content-Range": f"bytes {first}-{first + len(body) - 1}/{first + len(body)}"}
        )


def test_a_short_answer_is_never_pixels(server: RangeServer) -> None:
    server.faults["/cog.tif"] = Shortened()
    for size in (None, 10**6):
        file = on(server, "cog.tif")
        with pytest.raises(Unreadable):
            engine().read_all([read_of(replace(file, header=replace(file.header, size=size)))])


# --- hosts that fail --------------------------------------------------------------------------------------------------------------


def test_what_fails_for_a_while_is_asked_again(server: RangeServer, folder: Path) -> None:
    server.faults["/cog.tif"] = Status(503, times=1)
    server.faults["/chunky.tif"] = Cut(10, times=1)
    files = [on(server, name) for name in ("cog.tif", "chunky.tif")]
    got = engine().read_all([read_of(file) for file in files])
    for file, found in zip(files, got, strict=True):
        assert np.array_equal(found.data, gdal(folder / file.href.rpartition("/")[2], 0, whole(file.header.full)))


def test_one_missing_file_is_one_error(server: RangeServer) -> None:
    missing = replace(on(server, "cog.tif"), href=f"{server.url}/nowhere.tif")
    answers = {answer.index: answer.read for answer in engine().read([read_of(missing), read_of(on(server, "cog.tif"))])}
    assert getattr(answers[0], "reason", None) == "missing"
    assert not isinstance(answers[1], RasterloomError)


def test_a_host_that_is_down_ends(server: RangeServer) -> None:
    server.faults["*"] = Status(500)
    reads = [read_of(on(server, "cog.tif"), Window(col=0, row=0, width=5, height=5))] * 3
    answers = list(engine(effort=replace(EFFORT, retries=0)).read(reads))
    assert {type(answer.read) for answer in answers} == {Unavailable}


# --- memory -----------------------------------------------------------------------------------------------------------------------

SMALL = Limits(arrays=4 << 20, compressed=1 << 20, cached=1 << 20)
"""Of two whole reads of the COG."""


def test_reads_are_taken_as_answers_are(server: RangeServer) -> None:
    """A job of any length: the reads are asked for while the answers are consumed."""
    file = on(server, "cog.tif")
    taken: list[int] = []

    def reads() -> Iterator[WindowRead]:
        for number in range(5000):
            taken.append(number)
            yield read_of(file)

    with closing(engine(limits=SMALL).read(reads())) as answers:
        next(answers)
        assert len(taken) < 1100
        next(answers)
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("pixels")]
    assert threads == []


def test_a_slow_reader_of_answers_holds_the_requests_back(server: RangeServer) -> None:
    for number in range(40):
        server.files[f"/{number}.tif"] = (server.root / "cog.tif").read_bytes()  # type: ignore[operator]
    file = on(server, "cog.tif")
    reads = [read_of(replace(file, href=f"{server.url}/{number}.tif")) for number in range(40)]
    each = len(spans_of(tiles_of(file.header, 0, file.header.full, whole(file.header.full))))
    most = SMALL.arrays // planning.bytes_of(reads[0])
    with closing(engine(limits=SMALL).read(reads)) as answers:
        for count, _ in enumerate(answers, 1):
            asked = len({request.path for request in server.log})
            assert asked <= count + most
    assert len(server.log) == 40 * each


def test_a_read_larger_than_the_limits_goes_alone(server: RangeServer, folder: Path) -> None:
    file = on(server, "large.tif")
    (got,) = Engine.read_all(engine(limits=Limits(arrays=1000, compressed=1000, cached=0)), [read_of(file)])
    assert np.array_equal(got.data, gdal(folder / "large.tif", 0, whole(file.header.full)))


# --- what the tests themselves rest on --------------------------------------------------------------------------------------------


def test_the_alpha_is_that_of_the_last_sample(server: RangeServer) -> None:
    header = on(server, "chunky.tif").header
    assert [alpha_of(header, band) for band in range(4)] == [3, 3, 3, None]
