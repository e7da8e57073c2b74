"""What a file server does wrong, one fault at a time, and what comes of it (see tests/access/faults.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.archive.headers import FIRST_RANGE
from rasterloom.errors import AccessDenied, Refused, Unavailable
from tests.access.faults import Aborted, Built, Case, check, newest
from tests.access.world import World, cog
from tests.servers import (
    Body,
    Cut,
    Drip,
    Fault,
    Gzip,
    Hang,
    Html,
    NoRange,
    RangeServer,
    Redirect,
    Request,
    Response,
    StacServer,
    Status,
    free_port,
)

Hurt = Callable[[World], None]
HURT = "/4/B04.tif"
"""The one file that is hurt; beside it three others are new."""
ALL = Built()


def one(fault: Callable[[], Fault]) -> Hurt:
    return lambda world: world.files.faults.update({HURT: fault()})


def every(fault: Callable[[], Fault]) -> Hurt:
    return lambda world: world.files.faults.update({"*": fault()})


def holding(content: bytes) -> Hurt:
    return lambda world: world.files.files.update({HURT: content})


def leading(href: Callable[[], str]) -> Hurt:
    def hurt(world: World) -> None:
        newest(world)["assets"]["b04"]["href"] = href()

    return hurt


class Head(Fault):
    """Another head in front of the right body."""

    def __init__(self, *, status: int = 206, **headers: str | None) -> None:
        super().__init__()
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}

    def apply(self, request: Request, good: Response) -> Response:
        headers = {**good.headers, **{name: value for name, value in self.headers.items() if value is not None}}
        dropped = [name for name, value in self.headers.items() if value is None]
        return Response(self.status, good.body, {name: value for name, value in headers.items() if name not in dropped})


class Multipart(Fault):
    def apply(self, request: Request, good: Response) -> Response:
        part = b"--b\r\nContent-Range: " + good.headers.get("Content-Range", "").encode() + b"\r\n\r\n" + good.body + b"\r\n--b--"
        return Response(206, part, {"Content-Type": "multipart/byteranges; boundary=b"})


class Replaced(Fault):
    """The file is another one at every request."""

    def __init__(self, server: RangeServer) -> None:
        super().__init__()
        self.server, self.number = server, 0

    def apply(self, request: Request, good: Response) -> Response:
        self.number += 1
        self.server.files[request.path] = late(self.number)
        return good


def late(number: int) -> bytes:
    """A header whose directory lies behind the first range."""
    good = bytearray(cog(4))
    offset = int.from_bytes(good[4:8], "little")
    end = len(good) + 2 * FIRST_RANGE
    directory = good[offset:]
    shifted = bytes(good) + bytes(end - len(good)) + bytes(directory)
    return shifted[:4] + end.to_bytes(4, "little") + shifted[8:] + number.to_bytes(4, "little")


def large_without_ranges(world: World) -> None:
    holding(TIFF + bytes(1 << 20))(world)
    one(NoRange)(world)


def replaced(world: World) -> None:
    world.files.files[HURT] = late(0)
    world.files.faults[HURT] = Replaced(world.files)


TIFF = cog(4)
CASES = [
    # --- statuses of one file among good ones
    *(
        Case(f"{status} for one file", one(lambda status=status: Status(status)), Built(failures=(reason,)), requests=requests + 8)
        for status, reason, requests in [
            (400, "bad-request", 1),
            (401, "unauthenticated", 1),
            (402, "http-402", 1),
            (403, "denied", 1),
            (404, "missing", 1),
            (405, "http-405", 1),
            (408, "timeout", 2),
            (409, "http-409", 1),
            (410, "missing", 1),
            (416, "server-ranges", 2),
            (418, "http-418", 1),
            (425, "server", 2),
            (451, "http-451", 1),
            (500, "server", 2),
            (501, "server", 2),
            (502, "server", 2),
            (504, "server", 2),
            (520, "server", 2),
        ]
    ),
    Case("500 once", one(lambda: Status(500, times=1)), ALL, requests=10),
    Case("503 once", one(lambda: Status(503, times=1)), ALL, requests=11),
    Case("429 once", one(lambda: Status(429, times=1)), ALL, requests=11),
    Case("429 with a pause for all", every(lambda: Status(429, retry_after=1, times=3)), ALL, requests=20),
    # --- all files
    Case("401 for all", every(lambda: Status(401)), Aborted(AccessDenied, "not one of 4 files"), requests=12),
    Case("403 for all", every(lambda: Status(403)), Aborted(AccessDenied, "not one of 4 files"), requests=12),
    Case("404 for all", every(lambda: Status(404)), Aborted(Refused, "max_error_rate"), effort={"max_error_rate": 0.05}, requests=12),
    Case("500 for all", every(lambda: Status(500)), Aborted(Unavailable, "not one of 4 files"), requests=16),
    Case("503 for all", every(lambda: Status(503)), Aborted(Unavailable), requests=24),
    Case("503 for an hour", every(lambda: Status(503, retry_after=3600)), Aborted(Unavailable, "left alone for 3600 s"), requests=14),
    Case("429 for a day", every(lambda: Status(429, retry_after=86400)), Aborted(Unavailable, "left alone for 86400 s"), requests=14),
    Case("one of four is missing, and the budget is 5 %", one(lambda: Status(404)), Aborted(Refused), effort={"max_error_rate": 0.05}),
    Case("one is missing, and nothing may be", one(lambda: Status(404)), Aborted(Refused), effort={"on_error": "fail"}),
    # --- transport
    Case("cut off once", one(lambda: Cut(500, times=1)), ALL, requests=10),
    Case("cut off for ever", one(lambda: Cut(500)), Built(failures=("network",)), requests=10),
    Case("closed without a word", one(lambda: Cut(0)), Built(failures=("network",)), requests=10),
    Case("hangs once", one(lambda: Hang(60, times=1)), ALL, effort={"timeout": 3.0}, requests=12),
    Case("hangs", one(lambda: Hang(60)), Built(failures=("timeout",)), effort={"timeout": 3.0}, requests=12),
    Case("drips", one(lambda: Drip(0.05)), Built(failures=("timeout",)), effort={"timeout": 3.0}, requests=12),
    Case("nobody listens", leading(lambda: f"http://127.0.0.1:{free_port()}/x.tif"), Built(failures=("network",))),
    Case("no such host", leading(lambda: "https://no-such-host.invalid/x.tif"), Built(failures=("unresolved-host",))),
    # --- answers that do not fit
    Case("a small file without ranges", one(NoRange), ALL, requests=10),
    Case(
        "a large file without ranges",
        large_without_ranges,
        Built(failures=("server-ranges",)),
        requests=10,
    ),
    Case("another range", one(lambda: Head(Content_Range="bytes 7-106/4000")), Built(failures=("server-ranges",))),
    Case("a small file and a range of unknown size", one(lambda: Head(Content_Range="bytes 0-99/*")), ALL),
    Case("a small file and no Content-Range", one(lambda: Head(Content_Range=None)), ALL),
    Case("several parts", one(Multipart), Built(failures=("not-a-tiff",))),
    Case("a short body, honestly", one(lambda: Body(lambda body: body[:100])), Built(failures=("server-ranges",))),
    Case("an empty body", one(lambda: Body(lambda _: b"")), Built(failures=("server-ranges",))),
    Case("gzip", one(Gzip), Built(failures=("gzip",))),
    Case("a redirect", one(lambda: Redirect("/4/B08.tif")), ALL),
    Case("a redirect without end", one(lambda: Redirect(HURT)), Built(failures=("redirect-loop",)), requests=14),
    # --- no COG
    Case("a login page", one(Html), Built(failures=("html",))),
    Case("a login page, status 200", one(lambda: Html(status=200)), Built(failures=("html",))),
    Case("an empty file", holding(b""), Built(failures=("empty",))),
    Case("a file cut short", holding(TIFF[: len(TIFF) // 2]), Built(failures=("truncated",))),
    Case("a directory cut short", holding(TIFF[:100]), Built(failures=("truncated",))),
    Case("JPEG 2000", holding(b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(200)), Built(failures=("jpeg2000",))),
    Case("zeros", holding(bytes(5000)), Built(failures=("not-a-tiff",))),
    Case("text", holding(b"hello world, this is no image" * 20), Built(failures=("not-a-tiff",))),
    Case("a directory that is its own next", holding(b"II*\0\x08\0\0\0\0\0\x08\0\0\0" + bytes(100)), Built(failures=("entry-count",))),
    Case("replaced at every request", replaced, Built(failures=("changed",))),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with StacServer() as stac, RangeServer({}) as files:
        yield World(stac, files, tmp_path / "ws")


def marked(case: Case) -> Any:
    """Statuses that are treated like others can wait, and so can what takes two time-outs to tell."""
    alike = ("hangs once", "drips", "402", "405", "409", "410", "418", "425", "451", "501", "502", "504", "520")
    return pytest.param(case, id=case.name.replace(" ", "-"), marks=[pytest.mark.slow] if case.name.startswith(alike) else [])


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_a_file_that_goes_wrong(world: World, case: Case) -> None:
    check(world, case)
