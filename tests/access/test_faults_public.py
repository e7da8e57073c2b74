"""A catalog on the internet whose items lead where they must not, over https and public names (tests/internet.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.versions.opening import failures_of
from rasterloom.errors import Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import StacSource
from tests.access.world import JUNE, World
from tests.internet import Authority, Internet, authority, internet
from tests.servers import RangeServer, Redirect, StacServer

NUMBERS = count()
HURT = "/2/B04.tif"
EFFORT = Effort(retries=1, timeout=20, page_size=4, max_error_rate=1.0, max_concurrent=4)


@dataclass
class Public:
    """Three scenes on one public host, found through another; `inside` is a server behind the firewall."""

    world: World
    net: Internet
    inside: RangeServer
    catalog: str
    files: str
    """Names of the two hosts."""

    def build(self) -> tuple[int, tuple[str, ...]]:
        """Rows, and the reasons of the failures."""
        source = StacSource(url=f"https://{self.catalog}", collection="s2")
        ref = self.world.run(self.world.job("run", effort=EFFORT, source=source))
        found = failures_of("s2", str(self.world.workspace))
        return ref.rows, tuple(found["reason"].to_pylist() if found else ())

    def lead(self, href: str) -> None:
        self.world.stac.items[-1]["assets"]["b04"]["href"] = href


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"), ["*.public.test"])


@pytest.fixture
def public(trusted: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Public]:
    with StacServer() as stac, RangeServer({}) as files, RangeServer({"/secret.tif": b"II*\0"}) as inside:
        stac.tls = files.tls = trusted.context
        # stores and gates outlive a test: each has hosts of its own
        names = [f"{name}{next(NUMBERS)}.public.test" for name in ("catalog", "files")]
        stac.public_url = f"https://{names[0]}"
        world = World(stac, files, tmp_path / "ws")
        for number in range(3):
            world.add(number, JUNE + timedelta(days=number))
        for item in stac.items:
            for asset in item["assets"].values():
                asset["href"] = asset["href"].replace(files.url, f"https://{names[1]}")
        net = internet(monkeypatch, dict(zip(names, (stac, files), strict=True)), trusted)
        net.names |= {"intranet.test": "127.0.0.1", "cloud.test": "169.254.169.254"}
        yield Public(world, net, inside, *names)


def test_a_build_from_the_internet(public: Public) -> None:
    assert public.build() == (3, ())
    assert set(public.net.reached) == {"8.8.8.1", "8.8.8.2"}


@pytest.mark.parametrize(
    "href",
    [
        "http://127.0.0.1:{port}/secret.tif",
        "https://127.0.0.1:{port}/secret.tif",
        "https://localhost:{port}/secret.tif",
        "https://2130706433:{port}/secret.tif",
        "https://0x7f.1:{port}/secret.tif",
        "https://0:{port}/secret.tif",
        "https://[::1]:{port}/secret.tif",
        "https://[::ffff:127.0.0.1]:{port}/secret.tif",
        "https://[64:ff9b::7f00:1]:{port}/secret.tif",
        "https://files.public.test@127.0.0.1:{port}/secret.tif",
        "https://intranet.test:{port}/secret.tif",
        "https://cloud.test/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3/secret.tif",
        "https://172.16.0.1/secret.tif",
        "https://192.168.1.1/secret.tif",
        "https://100.64.0.1/secret.tif",
        "https://[fe80::1]/secret.tif",
        "https://[fd00::1]/secret.tif",
        "https://224.0.0.1/secret.tif",
        "http://files.public.test/2/B04.tif",
        "file:///etc/passwd",
        "/etc/passwd",
        "FILE:///etc/passwd",
        "ftp://files.public.test/x.tif",
    ],
)
def test_an_href_that_leads_inside_is_a_row(public: Public, href: str) -> None:
    public.lead(href.format(port=public.inside.host.rpartition(":")[2]))
    rows, reasons = public.build()
    assert rows == 3
    assert reasons in (("forbidden-host",), ("missing",)), "a path is one of the catalog's own host"
    assert public.inside.log == []


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/secret.tif", "https://intranet.test:{port}/secret.tif", "file:///etc/passwd"])
def test_a_redirect_that_leads_inside_is_a_row(public: Public, target: str) -> None:
    public.world.files.faults[HURT] = Redirect(target.format(port=public.inside.host.rpartition(":")[2]))
    assert public.build() == (3, ("forbidden-host",))
    assert public.inside.log == []


def test_a_redirect_to_another_public_host_is_followed(public: Public, trusted: Authority) -> None:
    with RangeServer(dict(public.world.files.files)) as mirror:
        mirror.tls = trusted.context
        public.net.add("mirror.public.test", mirror)
        public.world.files.faults[HURT] = Redirect(f"https://mirror.public.test{HURT}")
        assert public.build() == (3, ())
        assert len(mirror.log) == 1


def test_a_name_that_turns_inside_between_two_requests_is_a_row(public: Public) -> None:
    """DNS rebinding: the name is public when it is checked, and another address when it is connected to."""
    public.lead("https://mirror.public.test/2/B04.tif")
    public.net.names["mirror.public.test"] = "8.8.8.2"
    answers = iter(["8.8.8.2"])

    class Rebinding(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            return next(answers, "127.0.0.1") if name == "mirror.public.test" else super().get(name, default)

    public.net.names = Rebinding(public.net.names)
    assert public.build() == (3, ("forbidden-host",))
    assert public.net.asked.count("mirror.public.test") >= 2


@pytest.mark.parametrize("target", ["https://intranet.test/", "http://127.0.0.1:9/", "file:///etc/passwd"])
def test_a_catalog_that_redirects_inside_ends_the_build(public: Public, target: str) -> None:
    public.world.stac.faults["/search"] = Redirect(target)
    with pytest.raises(Unreadable) as caught:
        public.build()
    assert caught.value.reason == "foreign-host"
