"""The client for hosts that nobody vouches for, over a network with public names (tests/internet.py): https, checked at every hop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.hosts import Policy
from rasterloom.access.network.translate import FOREIGN, fault_of, http_status
from rasterloom.access.network.wire import Part, RangesIgnored, StatusError, Wire
from rasterloom.errors import Unreadable
from rasterloom.specs.effort import AuthRef, Effort
from tests.internet import Authority, Internet, authority, internet
from tests.servers import Body, Cut, Drip, Fault, Gzip, Hang, NoRange, RangeServer, Redirect, Request, Response, Status

DATA = bytes(range(256)) * 400
URL = "https://files.test/a.tif"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("tls"), ["files.test", "other.test", "evil.test"])


@pytest.fixture
def server(trusted: Authority) -> Iterator[RangeServer]:
    with RangeServer({"/a.tif": DATA, "/b c+d%.tif": b"odd"}) as running:
        running.tls = trusted.context
        yield running


@pytest.fixture
def net(server: RangeServer, trusted: Authority, monkeypatch: pytest.MonkeyPatch) -> Internet:
    return internet(monkeypatch, {"files.test": server}, trusted)


@pytest.fixture
def wire(net: Internet) -> Wire:
    assert net.names
    return Wire(Policy(allow_private=False), timeout=20)


def refused(wire: Wire, href: str = URL) -> str:
    with pytest.raises(Unreadable) as caught:
        wire.range(href, 0, 100)
    return caught.value.reason


def test_ranges_over_one_connection(wire: Wire, net: Internet, server: RangeServer) -> None:
    parts = [wire.range(URL, start, start + 1000) for start in (0, 1000, 102_000)]
    assert [part.data for part in parts] == [DATA[:1000], DATA[1000:2000], DATA[102_000:]]
    assert {(part.size, part.etag is None) for part in parts} == {(len(DATA), False)}
    assert [request.range for request in server.log] == [(0, 999), (1000, 1999), (102_000, 102_999)]
    assert server.log[0].headers["accept-encoding"] == "identity"
    assert net.reached == ["8.8.8.1"]


def test_keys_of_any_kind(wire: Wire) -> None:
    assert wire.range("https://files.test/b%20c+d%25.tif", 0, 3).data == b"odd"
    assert wire.range("https://files.test/b c+d%.tif", 0, 3).data == b"odd"


def test_many_threads(wire: Wire, server: RangeServer) -> None:
    found: list[Part] = []

    def read() -> None:
        found.extend(wire.range(URL, start, start + 50) for start in range(0, 5000, 50))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(part.data for part in found) == sorted([DATA[start : start + 50] for start in range(0, 5000, 50)] * 8)
    assert len(server.log) == 800


def test_a_connection_that_the_server_closed_is_made_anew(wire: Wire, server: RangeServer) -> None:
    wire.range(URL, 0, 10)
    server.faults["/a.tif"] = _CloseAfter()
    assert wire.range(URL, 0, 10).data == DATA[:10]
    assert wire.range(URL, 10, 20).data == DATA[10:20]


class _CloseAfter(Fault):
    """A whole answer, and the end of the connection without a word about it."""

    def apply(self, request: Request, good: Response) -> Response:
        return Response(good.status, good.body, good.headers, cut_after=len(good.body))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Status(404), "missing"),
        (Status(403), "denied"),
        (Status(500), "server"),
        (Status(429), "throttled"),
        (Status(304), "http-304"),
        (NoRange(), "server-ranges"),
        (Gzip(), "server-ranges"),
        (Body(lambda body: body[:50]), "server-ranges"),
        (Body(lambda body: body + bytes(50)), "server-ranges"),
        (Cut(50), "network"),
        (Cut(0), "network"),
    ],
)
def test_faults_have_the_names_of_the_table(wire: Wire, server: RangeServer, fault: Fault, reason: str) -> None:
    server.faults["/a.tif"] = fault
    for _ in range(2):  # also over a connection that was used before
        with pytest.raises(FOREIGN) as caught:
            wire.range(URL, 0, 100)
        assert fault_of(caught.value).reason == reason
        assert http_status(caught.value) == getattr(fault, "status", None)


def test_the_wait_that_a_host_asks_for_is_in_the_error(wire: Wire, server: RangeServer) -> None:
    server.faults["/a.tif"] = Status(503, retry_after=7)
    with pytest.raises(StatusError) as caught:
        wire.range(URL, 0, 100)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("told", ["bytes 5-104/1000", "bytes 0-99/*", "bytes */1000", "bytes 0-9999999/10000000", "", "items 0-99/100"])
def test_another_range_than_the_one_asked_for(wire: Wire, server: RangeServer, told: str) -> None:
    server.faults["/a.tif"] = _Tells(told)
    with pytest.raises(RangesIgnored):
        wire.range(URL, 0, 100)


class _Tells(Fault):
    def __init__(self, told: str) -> None:
        super().__init__()
        self.told = told

    def apply(self, request: Request, good: Response) -> Response:
        return Response(206, good.body, {**good.headers, "Content-Range": self.told})


def test_a_body_of_any_size_is_not_read(wire: Wire, server: RangeServer) -> None:
    server.faults["/a.tif"] = _Chunks(4000)
    with pytest.raises(RangesIgnored, match="more than the 100 bytes"):
        wire.range(URL, 0, 100)


class _Chunks(Fault):
    """An endless body in chunks, behind an honest Content-Range."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def apply(self, request: Request, good: Response) -> Response:
        chunk = b"40\r\n" + bytes(64) + b"\r\n"
        headers = {"Content-Range": good.headers["Content-Range"], "Transfer-Encoding": "chunked"}
        return Response(206, chunk * self.count, headers, cut_after=len(chunk) * self.count)


@pytest.mark.parametrize("fault", [Hang(60), Drip(0.05)], ids=["hang", "drip"])
def test_an_answer_has_a_deadline_as_a_whole(net: Internet, server: RangeServer, fault: Fault) -> None:
    """Each byte of the one that drips comes well within the time-out, the whole answer would take a minute."""
    server.files["/a.tif"] = DATA[:1000]
    server.faults["/a.tif"] = fault
    with pytest.raises(TimeoutError):
        Wire(Policy(allow_private=False), timeout=0.5).range(URL, 0, 1000)
    assert net.reached == ["8.8.8.1"]


def test_a_small_file_whole(wire: Wire, server: RangeServer) -> None:
    part = wire.whole("https://files.test/b%20c+d%25.tif", 100)
    assert part is not None
    assert (part.data, part.size) == (b"odd", 3)
    assert server.log[0].range is None
    assert wire.whole(URL, 1000) is None
    assert wire.range(URL, 0, 10).data == DATA[:10]


# --- redirects --------------------------------------------------------------------------------------------------------------------


def test_a_redirect_to_another_public_host(wire: Wire, net: Internet, server: RangeServer, trusted: Authority) -> None:
    with RangeServer({"/signed.tif": DATA}) as other:
        other.tls = trusted.context
        net.add("other.test", other)
        server.faults["/a.tif"] = Redirect("https://other.test/signed.tif?sig=x", status=307)
        part = wire.range(URL, 5, 50, headers=(("Authorization", "Bearer S3cr3t"),))
        assert part.data == DATA[5:50]
        assert [request.headers.get("authorization") for request in server.log] == ["Bearer S3cr3t"]
        (second,) = other.log
    assert "authorization" not in second.headers
    assert second.range == (5, 49)
    assert second.query == {"sig": "x"}


def test_a_redirect_back_does_not_bring_the_credential_back(wire: Wire, net: Internet, server: RangeServer, trusted: Authority) -> None:
    with RangeServer({}) as other:
        other.tls = trusted.context
        net.add("other.test", other)
        server.files["/b.tif"] = DATA
        server.faults["/a.tif"] = Redirect("https://other.test/a.tif")
        other.faults["/a.tif"] = Redirect("https://files.test/b.tif")
        assert wire.range(URL, 0, 9, headers=(("Authorization", "Bearer S3cr3t"),)).data == DATA[:9]
    assert ["authorization" in request.headers for request in server.log] == [True, False]


def test_a_redirect_on_the_same_host_keeps_the_credential(wire: Wire, server: RangeServer) -> None:
    server.files["/b.tif"] = DATA
    server.faults["/a.tif"] = Redirect("/b.tif")
    assert wire.range(URL, 0, 9, headers=(("Authorization", "Bearer S3cr3t"),)).data == DATA[:9]
    assert ["authorization" in request.headers for request in server.log] == [True, True]


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://2130706433/x",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.7/x",
        "https://100.64.0.1/x",
        "https://[fd00::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://inside.test/x",
        "http://files.test/a.tif",
        "file:///etc/passwd",
        "s3://bucket/key",
        "ftp://files.test/a",
    ],
)
def test_a_redirect_to_where_it_may_not_lead(wire: Wire, net: Internet, server: RangeServer, target: str) -> None:
    net.names["inside.test"] = "127.0.0.1"
    server.faults["/a.tif"] = Redirect(target)
    assert refused(wire) == "forbidden-host"
    assert len(server.log) == 1
    assert net.reached == ["8.8.8.1"]


def test_a_redirect_to_itself(wire: Wire, server: RangeServer) -> None:
    server.faults["/a.tif"] = Redirect("/a.tif")
    assert refused(wire) == "redirect-loop"
    assert len(server.log) == 6


def test_a_name_that_changes_its_address_after_the_check(wire: Wire, net: Internet, server: RangeServer) -> None:
    """DNS rebinding: the check by name is remembered, so the address is checked again where it is connected to."""
    server.faults["/a.tif"] = _CloseAfter(times=1)
    wire.range(URL, 0, 10)
    net.names["files.test"] = "127.0.0.1"
    assert refused(wire) == "forbidden-host"
    assert len(server.log) == 1


def test_the_certificate_is_that_of_the_name(net: Internet, server: RangeServer) -> None:
    net.add("unknown.test", server)
    wire = Wire(Policy(allow_private=False), timeout=20)
    with pytest.raises(FOREIGN) as caught:
        wire.range("https://unknown.test/a.tif", 0, 10)
    assert fault_of(caught.value).reason == "tls"
    assert server.log == []


def test_nobody_there(wire: Wire, net: Internet) -> None:
    net.names |= {"files.test": "8.8.4.4"}
    with pytest.raises(FOREIGN) as caught:
        wire.range(URL, 0, 10)
    assert fault_of(caught.value).reason == "network"
    with pytest.raises(FOREIGN) as caught:
        wire.range("https://no-such-host.invalid/a.tif", 0, 10)
    assert fault_of(caught.value).reason == "unresolved-host"


# --- who is read by it ------------------------------------------------------------------------------------------------------------


def test_hrefs_of_the_web_go_over_the_wire_whoever_the_host_is(net: Internet) -> None:
    assert net.names
    stores = Stores(AuthRef(), effort=Effort(), secrets=environment_secrets, source="https://files.test")
    for href in ("https://files.test/a.tif", "https://bucket.s3.us-west-2.amazonaws.com/a.tif"):
        assert isinstance(stores.locate(href).store, Wire)
    assert not isinstance(stores.locate("s3://bucket/a.tif").store, Wire)


def test_plain_http_is_for_catalogs_of_plain_http(net: Internet) -> None:
    assert net.names
    policy = Policy(allow_private=False, source="http://files.test")
    policy.check(urlsplit("http://files.test/a.tif"))
    with pytest.raises(Unreadable):
        policy.check(urlsplit("http://127.0.0.1/a.tif"))
    with pytest.raises(Unreadable):
        Policy(allow_private=False, source="https://files.test").check(urlsplit("http://files.test/a.tif"))


def test_a_proxy_of_the_machine_is_used(server: RangeServer, net: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    with _Proxy(server) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        wire = Wire(Policy(allow_private=False), timeout=20)
        assert wire.range(URL, 0, 10).data == DATA[:10]
        assert refused(wire, "https://127.0.0.1/x") == "forbidden-host"
    assert proxy.heard.startswith(b"CONNECT files.test:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.heard
    assert net.reached == []


class _Proxy:
    """Takes one CONNECT and joins the two ends."""

    def __init__(self, server: RangeServer) -> None:
        self._target = server.host.partition(":")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard = b""

    def __enter__(self) -> _Proxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        while b"\r\n\r\n" not in self.heard:
            self.heard += client.recv(4096)
        upstream = socket.create_connection((self._target[0], int(self._target[2])))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, sink in ((client, upstream), (upstream, client)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        return
