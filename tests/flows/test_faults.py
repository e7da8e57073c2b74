"""Some of the faults of tests/access/test_faults_*.py through the whole flow: class, exit code, few requests, and the old version stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rasterloom
from rasterloom.errors import AccessDenied, RasterloomError, Refused, SpecError, Unavailable, Unreadable
from rasterloom.flows.run import run
from tests.flows.archive import Archive, opened
from tests.servers import Fault, Hang, Html, Status

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
BUILD = {"retries": 1, "max_concurrent": 10}


@pytest.fixture
def archive() -> Iterator[Archive]:
    with opened(44) as made:
        yield made


def requests_of(archive: Archive) -> int:
    return len(archive.stac.log) + len(archive.files.log)


def search(fault: Callable[[], Fault]) -> Callable[[Archive], None]:
    return lambda archive: archive.stac.faults.update({"/search": fault()})


def files(fault: Callable[[], Fault]) -> Callable[[Archive], None]:
    return lambda archive: archive.files.faults.update({"*": fault()})


@pytest.mark.parametrize(
    ("hurt", "error", "code", "requests"),
    [
        (search(lambda: Status(400, body=b'{"description": "silly"}')), SpecError, 2, 6),
        (search(lambda: Status(403)), AccessDenied, 3, 3),
        (search(lambda: Status(503)), Unavailable, 4, 12),
        (search(lambda: Status(429, retry_after=7200)), Unavailable, 4, 3),
        (search(lambda: Html(status=200)), Unreadable, 4, 9),
        (search(lambda: Hang(60)), Unavailable, 4, 12),
        (files(lambda: Status(403)), AccessDenied, 3, 40),
        (files(lambda: Status(502)), Unavailable, 4, 80),
        (files(lambda: Status(404)), Refused, 5, 100),
    ],
    ids=["400", "403", "503", "wait", "html", "hang", "files-403", "files-502", "files-404"],
)
def test_what_ends_a_build(
    archive: Archive, tmp_path: Path, hurt: Callable[[Archive], None], error: type[RasterloomError], code: int, requests: int
) -> None:
    workspace = str(tmp_path)
    run(archive.spec(build=BUILD, bbox=[9.0, 44.0, 9.1, 46.0]), workspace=workspace)
    before = len(rasterloom.load("small", workspace=workspace))
    asked = requests_of(archive)
    hurt(archive)
    impatient = isinstance(archive.stac.faults.get("/search"), Hang)
    with pytest.raises(error) as caught:
        run(archive.spec(build=BUILD | ({"timeout": "2s"} if impatient else {})), workspace=workspace)
    assert caught.value.exit_code == code
    assert caught.value.remedy
    assert requests_of(archive) - asked <= requests
    assert len(rasterloom.load("small", workspace=workspace)) == before > 0


def test_a_busy_host_is_waited_for(archive: Archive, tmp_path: Path) -> None:
    archive.files.faults["*"] = Status(429, retry_after=1, times=3)
    archive.stac.faults["/search"] = Status(503, retry_after=1, times=1)
    spec = archive.spec(run={"limits": {archive.files.host: 2}})
    assert len(run(spec, workspace=str(tmp_path))) == 44
    assert len(archive.files.log) <= 88 + 6
