"""The header stage against real files and a real server that fails in every known way. Requests are counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile

from rasterloom.access.archive.headers import FIRST_RANGE, Headers, fetch_headers
from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.hosts import Gates
from rasterloom.access.values import Asset, Failure
from rasterloom.errors import AccessDenied, SpecError, Unavailable
from rasterloom.raster.header import Header
from rasterloom.specs.effort import AuthRef, Effort
from tests.servers import Body, Cut, Gzip, Hang, Html, NoRange, RangeServer, Redirect, Request, Response, Status, free_port

EFFORT = Effort(max_concurrent=8, retries=2, timeout=5)


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """2048 x 1024 uint16 in 256-pixel tiles, written by GDAL with two overviews; larger than the first range."""
    path = tmp_path_factory.mktemp("cog") / "a.tif"
    pixels = np.random.default_rng(1).integers(0, 4000, (1, 1024, 2048), dtype=np.uint16)
    profile = {"driver": "COG", "width": 2048, "height": 1024, "count": 1, "dtype": "uint16", "crs": "EPSG:32632", "nodata": 0}
    with rasterio.open(path, "w", **profile, transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), blocksize=256) as file:
        file.write(pixels)
    return path.read_bytes()


@pytest.fixture
def server(cog: bytes) -> Iterator[RangeServer]:
    with RangeServer({f"/{name}.tif": cog for name in "abcdefgh"}) as running:
        yield running


def assets_of(server: RangeServer, names: str) -> list[Asset]:
    return [Asset(band=name.upper(), key=name, href=f"{server.url}/{name}.tif", band_index=0) for name in names]


def fetched(server: RangeServer, names: str, effort: Effort = EFFORT, first_range: dict[str, int] | None = None) -> Headers:
    stores = Stores(effort.auth, effort=effort, secrets=environment_secrets, source=server.url, gates=Gates())
    return fetch_headers(assets_of(server, names), stores, effort=effort, first_range=first_range or {})


def failure_among_good(server: RangeServer, effort: Effort = EFFORT) -> Failure:
    """What became of `b.tif`, with good files at its sides."""
    results = fetched(server, "abc", effort).results
    assert isinstance(results[0], Header)
    assert isinstance(results[2], Header)
    failure = results[1]
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.band, failure.href) == ("header", "B", f"{server.url}/b.tif")
    assert failure.first_seen is not None
    assert failure.last_seen is not None
    assert failure.first_seen <= failure.last_seen
    return failure


def test_one_request_per_header(server: RangeServer, cog: bytes) -> None:
    got = fetched(server, "abc")
    for header in got.results:
        assert isinstance(header, Header)
        assert (header.full.width, header.full.height, header.epsg, header.size) == (2048, 1024, 32632, len(cog))
        assert header.etag is not None
    assert [request.range for request in server.log] == [(0, FIRST_RANGE - 1)] * 3
    assert [request.method for request in server.log] == ["GET"] * 3
    assert (got.traffic.requests, got.traffic.bytes) == (3, 3 * FIRST_RANGE)
    assert set(got.first_range) == {"a", "b", "c"}
    assert 500 < got.first_range["a"] < 4096


def test_the_first_range_adapts_to_the_asset_key(server: RangeServer) -> None:
    fetched(server, "a", first_range={"a": 700})
    fetched(server, "b", first_range={"b": 50_000})
    fetched(server, "c", first_range={"c": 900_000})
    assert [request.range for request in server.log] == [(0, 4095), (0, 53_247), (0, 262_143)]


def test_the_same_href_is_asked_once(server: RangeServer) -> None:
    twice = assets_of(server, "aab")
    stores = Stores(AuthRef(), effort=EFFORT, secrets=environment_secrets, source=server.url)
    got = fetch_headers(twice, stores, effort=EFFORT, first_range={})
    assert len(server.log) == 2
    assert got.results[0] is got.results[1]


def test_nothing_to_do() -> None:
    stores = Stores(AuthRef(), effort=EFFORT, secrets=environment_secrets)
    assert fetch_headers([], stores, effort=EFFORT, first_range={}).results == []


def test_tables_behind_the_first_range_are_one_more_request(server: RangeServer, tmp_path: Path) -> None:
    path = tmp_path / "late.tif"
    tifffile.imwrite(path, np.zeros((1024, 1024), np.uint8), tile=(16, 16), compression="zlib")
    late = path.read_bytes()
    server.files["/l.tif"] = late
    got = fetched(server, "l")
    assert isinstance(got.results[0], Header)
    assert len(server.log) == 2
    assert got.traffic.bytes == sum(len(range(*_span(request))) for request in server.log)


def _span(request: Request) -> tuple[int, int]:
    assert request.range is not None
    first, last = request.range
    assert last is not None
    return first, last + 1


def test_a_band_that_the_file_does_not_have(server: RangeServer) -> None:
    stores = Stores(AuthRef(), effort=EFFORT, secrets=environment_secrets, source=server.url)
    assets = [replace(asset, band_index=index) for index, asset in enumerate(assets_of(server, "aa"))]
    good, bad = fetch_headers(assets, stores, effort=EFFORT, first_range={}).results
    assert isinstance(good, Header)
    assert isinstance(bad, Failure)
    assert bad.reason == "band-index"


@pytest.mark.parametrize(
    ("fault", "reason", "status", "attempts"),
    [
        (Status(404), "missing", 404, 1),
        (Status(410), "missing", 410, 1),
        (Status(403), "denied", 403, 1),
        (Status(401), "unauthenticated", 401, 1),
        (Status(400), "bad-request", 400, 1),
        (Status(500), "server", 500, 3),
        (Status(504), "server", 504, 3),
        (Status(408), "timeout", 408, 3),
        (Html(), "html", None, 1),
        (Body(lambda _: b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(FIRST_RANGE - 12)), "jpeg2000", None, 1),
        (Body(lambda body: body[:100]), "server-ranges", None, 1),
        (Body(lambda _: b""), "server-ranges", None, 1),
        (Body(lambda body: b"XX" + body[2:]), "not-a-tiff", None, 1),
        (Cut(1000), "network", None, 3),
        (Hang(2), "timeout", None, 3),
    ],
    ids=lambda value: (
        type(value).__name__ + (str(value.status) if isinstance(value, Status) else "") if hasattr(value, "apply") else str(value)
    ),
)
def test_one_bad_file_among_good_ones(server: RangeServer, fault: Status, reason: str, status: int | None, attempts: int) -> None:
    server.faults["/b.tif"] = fault
    failure = failure_among_good(server, replace(EFFORT, timeout=0.5))
    assert (failure.reason, failure.http_status, failure.attempts) == (reason, status, attempts)
    assert failure.retryable is (reason in ("server", "timeout", "network"))
    assert len(server.requests_of("/b.tif")) == attempts


def test_a_truncated_and_an_empty_file(server: RangeServer, cog: bytes) -> None:
    server.files["/b.tif"] = cog[: len(cog) // 2]
    assert failure_among_good(server).reason == "truncated"
    server.files["/b.tif"] = cog[:300]
    assert failure_among_good(server).reason == "truncated"
    server.files["/b.tif"] = b""
    assert failure_among_good(server).reason == "empty"


def test_a_compressed_body_is_no_tiff(server: RangeServer) -> None:
    server.faults["/b.tif"] = Gzip()
    assert failure_among_good(server).reason in ("gzip", "server-ranges")


def test_a_small_file_of_a_server_without_ranges_is_read_whole(server: RangeServer, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((64, 64), np.uint8), tile=(16, 16))
    server.files["/b.tif"] = (tmp_path / "s.tif").read_bytes()
    server.faults["/b.tif"] = NoRange()
    assert isinstance(fetched(server, "b").results[0], Header)
    assert [request.range is None for request in server.log] == [False, True]


def test_a_large_file_of_a_server_without_ranges_is_not_read(server: RangeServer, cog: bytes) -> None:
    assert len(cog) > 1 << 20
    server.faults["/b.tif"] = NoRange()
    failure = failure_among_good(server)
    assert (failure.reason, failure.attempts) == ("server-ranges", 2)


def test_hiccups_are_overcome(server: RangeServer) -> None:
    server.faults["/a.tif"] = Status(503, times=1)
    server.faults["/b.tif"] = Cut(50, times=2)
    server.faults["/c.tif"] = Status(500, times=1)
    got = fetched(server, "abc")
    assert all(isinstance(result, Header) for result in got.results)
    assert [len(server.requests_of(f"/{name}.tif")) for name in "bc"] == [3, 2]


def test_a_pause_that_the_host_asks_for_holds_for_all_threads(server: RangeServer) -> None:
    server.faults["*"] = Status(429, retry_after=1, times=4)
    got = fetched(server, "abcdefgh", replace(EFFORT, max_concurrent=2))
    assert all(isinstance(result, Header) for result in got.results)
    times = sorted(request.at for request in server.log)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) > 0.9
    quiet = gaps.index(max(gaps))
    # before the pause: at most one request of each thread, one question how long, and what was on its way
    assert quiet < 6
    assert len(server.log) <= 8 + 5


def test_two_batches_share_the_pause_of_a_host(server: RangeServer) -> None:
    gates = Gates()
    gates.of(server.host).close_for(0.7)
    started = time.monotonic()
    stores = [Stores(AuthRef(), effort=EFFORT, secrets=environment_secrets, source=server.url, gates=gates) for _ in range(2)]
    jobs = [
        threading.Thread(target=fetch_headers, args=(assets_of(server, name), one), kwargs={"effort": EFFORT, "first_range": {}})
        for name, one in zip("ab", stores, strict=True)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(server.log) == 2
    assert min(request.at for request in server.log) - started >= 0.69


def test_a_pause_that_is_too_long_ends_the_batch(server: RangeServer) -> None:
    server.faults["*"] = Status(503, retry_after=3600)
    with pytest.raises(Unavailable) as caught:
        fetched(server, "abcdefgh")
    assert caught.value.retry_after == 3600
    assert server.host in caught.value.message


def test_a_host_that_is_down_ends_the_batch(server: RangeServer, cog: bytes) -> None:
    names = [f"x{number}" for number in range(60)]
    server.files.update({f"/{name}.tif": cog for name in names})
    assets = [Asset(band="B", key="k", href=f"{server.url}/{name}.tif", band_index=0) for name in ["a", *names]]
    server.faults.update({f"/{name}.tif": Status(500) for name in names})
    effort, gates = replace(EFFORT, retries=0), Gates()
    gates.of(server.host).answered()
    with pytest.raises(Unavailable, match="20 requests in a row"):
        fetch_headers(
            assets,
            Stores(AuthRef(), effort=effort, secrets=environment_secrets, source=server.url, gates=gates),
            effort=effort,
            first_range={},
        )
    assert len(server.log) < 60


def test_a_host_that_refuses_everything_ends_the_batch(server: RangeServer) -> None:
    server.faults["*"] = Status(403)
    with pytest.raises(AccessDenied):
        fetched(server, "abcdefgh")


@pytest.mark.parametrize(("fault", "expected"), [(Status(403), AccessDenied), (Status(503), Unavailable)])
def test_a_batch_of_which_nothing_came(server: RangeServer, fault: Status, expected: type[Exception]) -> None:
    server.faults["*"] = fault
    with pytest.raises(expected, match="not one of 2 files"):
        fetched(server, "ab", replace(EFFORT, retries=0))


def test_a_batch_of_missing_files_is_no_fault_of_the_host(server: RangeServer) -> None:
    server.faults["*"] = Status(404)
    assert all(isinstance(result, Failure) and result.reason == "missing" for result in fetched(server, "abcdefgh").results)


def test_nobody_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    effort = replace(EFFORT, retries=0)
    stores = Stores(AuthRef(), effort=effort, secrets=environment_secrets, source=url, gates=Gates())
    with pytest.raises(Unavailable):
        fetch_headers([Asset(band="B", key="k", href=f"{url}/a.tif", band_index=0)], stores, effort=effort, first_range={})


def test_auth_that_is_incomplete_ends_the_batch(server: RangeServer) -> None:
    assets = [*assets_of(server, "a"), Asset(band="B", key="k", href="az://container/a.tif", band_index=0)]
    stores = Stores(AuthRef(), effort=EFFORT, secrets=environment_secrets, source=server.url)
    with pytest.raises(SpecError, match="account"):
        fetch_headers(assets, stores, effort=EFFORT, first_range={})


def test_a_slow_file_does_not_delay_the_others(server: RangeServer) -> None:
    server.faults["/a.tif"] = Hang(1.5, times=1)
    got = fetched(server, "abcdefgh", replace(EFFORT, max_concurrent=2))
    assert all(isinstance(result, Header) for result in got.results)
    others = [request.at for request in server.log if request.path != "/a.tif"]
    assert max(others) - min(others) < 1


def test_a_file_replaced_between_two_requests(server: RangeServer, tmp_path: Path) -> None:
    late = _late(tmp_path, 1)
    server.files["/b.tif"] = late
    server.faults["/b.tif"] = _Replace(server, lambda number: _late(tmp_path, 2) if number == 1 else None)
    assert isinstance(fetched(server, "b").results[0], Header)
    server.faults["/b.tif"] = _Replace(server, lambda number: _late(tmp_path, number + 2))
    assert failure_among_good(server).reason == "changed"


def _late(folder: Path, seed: int) -> bytes:
    """A file whose tables end behind the first range; another ETag for each seed."""
    path = folder / "late.tif"
    tifffile.imwrite(path, np.full((1024, 1024), seed, np.uint8), tile=(16, 16), compression="zlib", description=f"version {seed:03}")
    return path.read_bytes()


class _Replace(Status):
    """After each request the file is what `following` says."""

    def __init__(self, server: RangeServer, following: Callable[[int], bytes | None]) -> None:
        super().__init__(200)
        self.server, self.following, self.number = server, following, 0

    def apply(self, request: Request, good: Response) -> Response:
        self.number += 1
        self.server.files[request.path] = self.following(self.number) or self.server.files[request.path]
        return good


def test_hrefs_into_a_private_network_are_rows_too(server: RangeServer) -> None:
    effort = EFFORT
    stores = Stores(AuthRef(), effort=effort, secrets=environment_secrets, source="https://8.8.8.8/v1")
    got = fetch_headers(assets_of(server, "ab"), stores, effort=effort, first_range={})
    assert [result.reason for result in got.results if isinstance(result, Failure)] == ["forbidden-host"] * 2
    assert server.log == []
    assert got.traffic.requests == 0


def test_redirects_are_followed_by_obstore(server: RangeServer) -> None:
    server.faults["/b.tif"] = Redirect("/a.tif")
    assert isinstance(fetched(server, "b").results[0], Header)


def test_messages_hold_no_secret(server: RangeServer) -> None:
    server.faults["/b.tif"] = Status(500, body=b"<Error>X-Amz-Signature=S3cr3tXYZ&token=S3cr3tXYZ</Error> ?sig=S3cr3tXYZ")
    failure = failure_among_good(server)
    assert "S3cr3tXYZ" not in repr(failure)
    assert len(failure.message) <= 500


def test_every_real_cog_in_two_requests_at_most(shared: Path) -> None:
    files = sorted((shared / "data" / "cogs").rglob("*.tif*"))
    with RangeServer(shared / "data" / "cogs") as server:
        effort = replace(EFFORT, max_concurrent=16)
        stores = Stores(AuthRef(), effort=effort, secrets=environment_secrets, source=server.url)
        paths = [str(file.relative_to(shared / "data" / "cogs")) for file in files]
        assets = [Asset(band="B", key="k", href=f"{server.url}/{path}", band_index=0) for path in paths]
        got = fetch_headers(assets, stores, effort=effort, first_range={})
        counts = [len(server.requests_of(f"/{path}")) for path in paths]
    assert max(counts) <= 2
    assert sum(counts) == got.traffic.requests
    # one file of the corpus is broken on purpose: its tiles end behind the file
    assert [result.href.rpartition("/")[2] for result in got.results if isinstance(result, Failure)] == ["corrupt.tif"]
