"""Where an href leads, and where none may lead."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rasterloom.access.archive.stores import Stores
from rasterloom.access.archive.transfer import ranged
from rasterloom.access.credentials.aws import profile
from rasterloom.access.credentials.secrets import environment_secrets, resolved
from rasterloom.access.network.hosts import is_private_place, private_address
from rasterloom.access.network.wire import StatusError
from rasterloom.errors import AccessDenied, SpecError, Unreadable
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.references import Reference
from tests.servers import RangeServer

LOCAL = "http://127.0.0.1:1"


def stores(source: str = LOCAL, provider: str = "anonymous", **options: str) -> Stores:
    auth = AuthRef(provider=provider, options=tuple(sorted(options.items())))
    return Stores(auth, effort=Effort(), secrets=environment_secrets, source=source)


def reason_of(href: str, source: str) -> str:
    with pytest.raises(Unreadable) as caught:
        stores(source).locate(href)
    return caught.value.reason


def read(href: str, made: Stores) -> bytes:
    return bytes(ranged(made.locate(href), 0, 100).data)


@pytest.mark.parametrize(
    "path",
    [
        "/a.tif",
        "/a/b/c-d_e.f+g.tif",
        "/a%20b/c.tif",
        "/%C3%A4/%C3%B6.tif",
        "/100%25.tif",
        "/a%2520b.tif",
        "/a%23b.tif",
        "/a%3Fb.tif",
        "/a+b=c,d;e@f!$&'().tif",
        "/a//b.tif",
        "/a/%2e/b%2Fc.tif",
        "/a%0Ab.tif",
        "/a.tif?x=1&y=a%20b",
        "/a%20b/c.tif?x=1",
        "/dir/",
        "/%E4.tif",
    ],
)
def test_the_path_on_the_wire_is_the_path_of_the_href(path: str) -> None:
    with RangeServer({}) as server:
        made = stores(server.url)
        with pytest.raises(StatusError):
            read(server.url + path, made)
        assert _same(server.log[0].target, path)


def _same(sent: str, wanted: str) -> bool:
    """Equal up to what RFC 3986 6.2.2 calls equivalent: unreserved characters may stand decoded, hexadecimal in either case."""

    def plain(path: str) -> str:
        return path.lower().replace("%27", "'").replace("%2e", ".").replace("/./", "/")

    return plain(sent) == plain(wanted)


def test_raw_spaces_and_letters_are_encoded() -> None:
    with RangeServer({"/a b/ä.tif": b"data"}) as server:
        assert read(f"{server.url}/a b/ä.tif", stores(server.url)) == b"data"


def test_local_files(tmp_path: Path) -> None:
    for name in ("plain.tif", "a b#c?d%20e.tif", "ä.tif"):
        (tmp_path / name).write_bytes(name.encode())
        assert read(str(tmp_path / name), stores("/catalog")) == name.encode()
        assert read((tmp_path / name).as_uri(), stores("/catalog")) == name.encode()
    assert read(f"{tmp_path}/x/../plain.tif", stores("/catalog")) == b"plain.tif"


def test_one_store_per_bucket_for_all_threads() -> None:
    made = stores()
    barrier = threading.Barrier(16)

    def locate(number: int) -> int:
        barrier.wait()
        return id(made.locate(f"s3://bucket/{number}.tif").store)

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(locate, range(16)))) == 1
    assert made.locate("s3://a/x").store is made.locate("s3://a/y").store
    assert made.locate("s3://a/x").store is not made.locate("s3://b/x").store


@pytest.mark.parametrize(
    ("href", "key"),
    [
        ("s3://bucket/a/b c#d%20?e+.tif", "a/b c#d%20?e+.tif"),
        ("gs://bucket/a.tif", "a.tif"),
        ("az://container/a.tif", "a.tif"),
        ("abfs://container@account.dfs.core.windows.net/a/b.tif", "a/b.tif"),
        ("https://account.blob.core.windows.net/container/a%20b.tif", "a b.tif"),
    ],
)
def test_keys_of_buckets(href: str, key: str) -> None:
    assert stores("https://example.org", "azure", account_name="account", account_key="a2V5").locate(href).key == key


def test_options_of_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "S3cr3tXYZ")
    made = stores(provider="aws", region="eu-central-1", requester_pays="true", access_key_id="me", secret_access_key="${MY_SECRET}")
    store = made.locate("s3://bucket/x").store
    assert store.config["region"] == "eu-central-1"
    assert str(store.config["request_payer"]).lower() == "true"
    assert "skip_signature" not in store.config
    assert "S3cr3tXYZ" not in repr(store.config) + repr(store)
    assert str(stores().locate("s3://bucket/x").store.config["skip_signature"]).lower() == "true"


def test_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = me\naws_secret_access_key = a%b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    assert profile("work").provider()["secret_access_key"] == "a%b"
    with pytest.raises(AccessDenied, match="none"):
        stores(provider="aws", profile="none").locate("s3://bucket/x")


def test_an_unknown_provider() -> None:
    with pytest.raises(SpecError, match="nobody"):
        stores(provider="nobody")


def test_half_of_a_key_pair_is_an_error_of_the_spec() -> None:
    with pytest.raises(SpecError, match="half of"):
        stores(provider="aws", secret_access_key="x").locate("s3://bucket/x")


def test_an_unknown_account() -> None:
    with pytest.raises(SpecError, match="account"):
        stores().locate("az://container/a.tif")


@pytest.mark.parametrize(
    "href",
    [
        "https://",
        "https:///x.tif",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3://b/a//c",
        "s3://b/../c",
        "https://[::1",
        "https://h:99999/x",
        "s3://b/a\x00",
    ],
)
def test_hrefs_that_nobody_can_read(href: str) -> None:
    assert reason_of(href, "https://example.org") == "bad-href"


@pytest.mark.parametrize(
    "href",
    [
        "http://example.org/x.tif",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.org/x.tif",
        "javascript:alert(1)",
        "https://127.0.0.1/x.tif",
        "https://2130706433/x.tif",
        "https://0x7f.1/x.tif",
        "https://localhost/x.tif",
        "https://[::1]/x.tif",
        "https://[::ffff:127.0.0.1]/x.tif",
        "https://[64:ff9b::7f00:1]/x.tif",
        "https://10.1.2.3/x.tif",
        "https://192.168.1.1:8443/x.tif",
        "https://172.16.0.1/x.tif",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/x.tif",
        "https://[fe80::1]/x.tif",
        "https://[fd00::1]/x.tif",
        "https://224.0.0.1/x.tif",
        "https://0.0.0.0/x.tif",
        "https://user:pw@127.0.0.1/x.tif",
    ],
)
def test_a_public_catalog_leads_to_no_private_place(href: str) -> None:
    assert reason_of(href, "https://8.8.8.8/v1") == "forbidden-host"


def test_a_local_catalog_may() -> None:
    for source in ("/data/catalog.json", "file:///data/catalog.json", "http://localhost:8080", "https://10.0.0.1/stac"):
        assert is_private_place(source)
        assert stores(source).locate("http://127.0.0.1:9/x.tif").host == "127.0.0.1:9"
    assert stores("http://127.0.0.1:8080").locate("/data/x.tif").host == "this machine"
    assert not is_private_place("https://8.8.8.8")
    assert not is_private_place("s3://bucket/catalog.json")


def test_a_catalog_of_the_neighbours_may_not_read_our_files() -> None:
    for href in ("/etc/passwd", "file:///etc/passwd"):
        with pytest.raises(Unreadable):
            stores("http://10.0.0.1/stac").locate(href)


def test_no_source_is_a_public_one_unless_effort_allows() -> None:
    auth, effort = AuthRef(), Effort(allow_private_hosts=True)
    Stores(auth, effort=effort, secrets=environment_secrets).locate("http://127.0.0.1:9/x.tif")
    with pytest.raises(Unreadable):
        Stores(auth, effort=Effort(), secrets=environment_secrets).locate("http://127.0.0.1:9/x.tif")


def test_addresses() -> None:
    assert private_address("8.8.8.8") is None
    assert private_address("2001:4860:4860::8888") is None
    assert private_address("no-such-host.invalid") is None
    assert private_address("127.0.0.1") == "127.0.0.1"


def test_secrets_by_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RL_X", raising=False)
    assert resolved((("a", "x-${RL_X:-y}"),), environment_secrets) == {"a": "x-y"}
    with pytest.raises(AccessDenied, match="RL_X"):
        resolved((("a", "${RL_X}"),), environment_secrets)
    with pytest.raises(AccessDenied, match="block"):
        environment_secrets(Reference(kind="block", name="token"))


def test_a_bucket_behind_an_endpoint() -> None:
    """The requests themselves, as an S3-compatible service sees them: path style, signed only where credentials are given."""
    with RangeServer({"/bucket/a b+c.tif": b"data"}) as server:
        anonymous = stores("https://8.8.8.8", endpoint=server.url, region="us-west-2")
        keys = {"access_key_id": "me", "secret_access_key": "x", "requester_pays": "true"}
        signed = stores("https://8.8.8.8", "aws", endpoint=server.url, region="us-west-2", **keys)
        assert read("s3://bucket/a b+c.tif", anonymous) == read("s3://bucket/a b+c.tif", signed) == b"data"
        first, second = server.log
    assert "authorization" not in first.headers
    assert second.headers["x-amz-request-payer"] == "requester"
    assert second.headers["authorization"].startswith("AWS4-HMAC-SHA256")
