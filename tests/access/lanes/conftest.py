"""A client, and a server of files that it asks over http and https."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rasterloom.access.network.hosts import Policy
from rasterloom.access.network.wire import Wire
from tests.access.lanes.asking import DATA
from tests.internet import Authority, authority, internet
from tests.servers import RangeServer


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"), ["files.test"])


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer({f"/{name}.tif": DATA for name in "abcdefgh"}) as running:
        yield running


@pytest.fixture(params=["http", "https"])
def base(request: pytest.FixtureRequest, server: RangeServer, trusted: Authority, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "http":
        return server.url
    server.tls = trusted.context
    internet(monkeypatch, {"files.test": server}, trusted)
    return "https://files.test"


@pytest.fixture
def wire() -> Wire:
    return Wire(Policy(allow_private=True), timeout=20)
