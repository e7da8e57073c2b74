"""What opens the files: each provider against a server that checks, and where credentials never go."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest

from rasterloom.access.archive.stores import Located, Stores
from rasterloom.access.archive.transfer import Transfer
from rasterloom.access.credentials.aws import endpoint_of, profile
from rasterloom.access.credentials.keys import Place
from rasterloom.access.credentials.leases import Lease, Renewing, lease
from rasterloom.access.credentials.machine import extra
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.network.hosts import Gates
from rasterloom.access.network.translate import error_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable
from rasterloom.specs.effort import AuthRef, Effort
from tests.access.world import World
from tests.servers import RangeServer, Response, free_port
from tests.tokens import BlobServer, DatedServer, Login, TokenServer, sas

EFFORT = Effort(retries=1, timeout=30.0, allow_private_hosts=True)


def opened(provider: str, **options: str) -> Stores:
    auth = AuthRef(provider=provider, options=tuple(sorted(options.items())))
    return Stores(auth, effort=EFFORT, secrets=environment_secrets, gates=Gates())


def read(located: Located, made: Stores) -> bytes:
    return Transfer(located, made.gate(located.host), effort=EFFORT, sleep=lambda _: None).range(0, 100).data


@pytest.fixture
def blobs() -> Iterator[BlobServer]:
    with BlobServer({"/acct/c/a b.tif": b"data", "/acct/d/x.tif": b"other", "/public/c/x.tif": b"open"}) as server:
        server.public.add("public/c")
        yield server


@pytest.fixture
def tokens(blobs: BlobServer) -> Iterator[TokenServer]:
    with TokenServer(blobs.key, "acct") as server:
        yield server


def planetary(blobs: BlobServer, tokens: TokenServer, **options: str) -> Stores:
    return opened("planetary_computer", endpoint=f"{tokens.url}/token", hosts=blobs.host, **options)


# --- Planetary Computer -----------------------------------------------------------------------------------------------------------


def test_one_token_per_container_for_all_threads_and_stores(blobs: BlobServer, tokens: TokenServer) -> None:
    made = [planetary(blobs, tokens) for _ in range(3)]
    hrefs = [f"{blobs.url}/acct/c/a%20b.tif", f"{blobs.url}/acct/d/x.tif"]

    def once(number: int) -> bytes:
        stores = made[number % 3]
        return read(stores.locate(hrefs[number % 2]), stores)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(once, range(60))) == {b"data", b"other"}
    assert sorted(request.path for request in tokens.log) == ["/token/acct/c", "/token/acct/d"]
    assert all("sig=" in request.target for request in blobs.log)


def test_a_token_is_renewed_before_it_ends(blobs: BlobServer, tokens: TokenServer) -> None:
    tokens.life = 6.0
    made, href = planetary(blobs, tokens), f"{blobs.url}/acct/c/a%20b.tif"
    while len(tokens.tokens) < 2:
        assert read(made.locate(href), made) == b"data"
        time.sleep(0.02)
    assert blobs.refused <= 1, "a stalled machine may be late once"


def test_a_token_that_is_refused_is_renewed_once(blobs: BlobServer, tokens: TokenServer) -> None:
    tokens.life, tokens.said_life = -60.0, 3600.0
    made = planetary(blobs, tokens)
    located = made.locate(f"{blobs.url}/acct/c/a%20b.tif")
    tokens.life = 3600.0
    assert read(located, made) == b"data"
    assert (len(tokens.tokens), blobs.refused) == (2, 1)
    assert read(made.locate(f"{blobs.url}/acct/c/a%20b.tif"), made) == b"data"
    assert (len(tokens.tokens), blobs.refused) == (2, 1)


def test_a_second_refusal_counts(blobs: BlobServer, tokens: TokenServer) -> None:
    tokens.life, tokens.said_life = -60.0, 3600.0
    made = planetary(blobs, tokens)
    with pytest.raises(obstore.exceptions.PermissionDeniedError) as caught:
        read(made.locate(f"{blobs.url}/acct/c/a%20b.tif"), made)
    assert (len(tokens.tokens), blobs.refused) == (2, 2)
    told = str(error_of("read it", caught.value))
    assert not [text for text in tokens.signatures if text in told]


def test_files_that_are_always_refused_ask_for_two_tokens_and_no_more(blobs: BlobServer, tokens: TokenServer) -> None:
    tokens.life, tokens.said_life = -60.0, 3600.0
    made, href = planetary(blobs, tokens), f"{blobs.url}/acct/c/a%20b.tif"
    for _ in range(5):
        with pytest.raises(obstore.exceptions.PermissionDeniedError):
            read(made.locate(href), made)
    assert len(tokens.tokens) <= 2


def test_a_token_that_replaced_another_is_renewed_too(blobs: BlobServer, tokens: TokenServer) -> None:
    """The store was made for the first token, and it is the second one that is refused."""
    tokens.life = 4.0
    made, href = planetary(blobs, tokens), f"{blobs.url}/acct/c/a%20b.tif"
    assert read(made.locate(href), made) == b"data"
    tokens.life, tokens.said_life = -60.0, 3600.0
    while len(tokens.tokens) < 2:
        located = made.locate(href)
        time.sleep(0.02)
    tokens.life = 3600.0
    assert read(located, made) == b"data"
    assert len(tokens.tokens) == 3


def test_an_endpoint_of_the_environment_sees_no_token_of_theirs(monkeypatch: pytest.MonkeyPatch, tokens: TokenServer) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/mine")
    made = opened("planetary_computer", endpoint=f"{tokens.url}/token")
    located = made.locate("https://acct.blob.core.windows.net/c/x.tif")
    assert located.store.config["endpoint"] == "https://acct.blob.core.windows.net"
    assert located.host == "acct.blob.core.windows.net", "as run.limits calls it"


def test_a_container_that_is_not_theirs(blobs: BlobServer, tokens: TokenServer) -> None:
    made = planetary(blobs, tokens)
    with pytest.raises(AccessDenied, match="404"):
        made.locate(f"{blobs.url}/public/c/x.tif")


def test_a_foreign_host_gets_no_token(blobs: BlobServer, tokens: TokenServer) -> None:
    with RangeServer({"/acct/c/x.tif": b"data"}) as foreign:
        made = planetary(blobs, tokens)
        assert read(made.locate(f"{foreign.url}/acct/c/x.tif"), made) == b"data"
        assert [request.target for request in foreign.log] == ["/acct/c/x.tif"]
    assert not tokens.log


@pytest.mark.parametrize("bad", [Response(200, b"<html>", {"Content-Type": "text/html"}), Response(200, b"{}"), Response(503, b"busy")])
def test_a_token_service_in_trouble_is_unavailable(blobs: BlobServer, tokens: TokenServer, bad: Response) -> None:
    tokens.answers = [bad] * 5
    with pytest.raises(Unavailable):
        planetary(blobs, tokens).locate(f"{blobs.url}/acct/c/a%20b.tif")


def test_the_subscription_key_goes_to_the_token_service_alone(
    blobs: BlobServer, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens.subscription = "planted-subscription-0123"
    monkeypatch.setenv("PC_KEY", tokens.subscription)
    made = planetary(blobs, tokens, subscription_key="${PC_KEY}")
    assert read(made.locate(f"{blobs.url}/acct/c/a%20b.tif"), made) == b"data"
    assert tokens.subscription not in str([request.headers for request in blobs.log])
    with pytest.raises(AccessDenied):
        planetary(blobs, tokens).locate(f"{blobs.url}/acct/d/x.tif")


# --- leases -----------------------------------------------------------------------------------------------------------------------


def test_a_lease_that_cannot_be_renewed_serves_to_its_end() -> None:
    answers: list[Lease | Exception] = [lease("first", datetime.now(UTC) + timedelta(hours=1)), Unavailable("busy"), Unavailable("busy")]

    def fetch() -> Lease:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    renewing = Renewing(fetch)
    first = renewing.current()
    object.__setattr__(first, "renew_at", time.time() - 1)
    assert renewing.current().value == "first"
    assert renewing.current().value == "first", "no new try at once"
    assert len(answers) == 1
    now = renewing.current()
    object.__setattr__(now, "renew_at", time.time() - 1)
    object.__setattr__(now, "ends", time.time() - 1)
    with pytest.raises(Unavailable):
        renewing.current()


def test_a_wrong_clock_does_not_ask_without_end() -> None:
    asked: list[int] = []

    def fetch() -> Lease:
        asked.append(1)
        return lease("x", datetime(2001, 1, 1, tzinfo=UTC))

    renewing = Renewing(fetch)
    for _ in range(100):
        renewing.current()
    assert len(asked) <= 3
    assert "x" not in repr(renewing.current())


# --- Earthdata --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def data() -> Iterator[RangeServer]:
    with RangeServer({"/a.tif": b"data"}) as server:
        yield server


@pytest.fixture
def login(data: RangeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Login]:
    with Login(data.url) as server:
        monkeypatch.setenv("EARTHDATA_HOST", server.url)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        yield server


def earthdata(login: Login, **options: str) -> Stores:
    return opened("earthdata", hosts=login.host, **options)


def test_the_bearer_goes_to_its_host_and_to_no_target_of_a_redirect(
    login: Login, data: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDL", login.token)
    made = earthdata(login, token="${EDL}")
    assert read(made.locate(f"{login.url}/protected/a.tif"), made) == b"data"
    assert "authorization" not in data.log[0].headers
    assert login.token not in str(data.log)
    assert read(made.locate(f"{data.url}/a.tif"), made) == b"data"
    assert "authorization" not in data.log[1].headers


def test_user_and_password_of_netrc_become_a_token_once(login: Login, data: RangeServer, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login {login.user} password {login.password}\n")
    for _ in range(2):
        made = earthdata(login)
        made.check()
        assert read(made.locate(f"{login.url}/protected/a.tif"), made) == b"data"
    assert [request.path for request in login.log].count("/api/users/find_or_create_token") == 1
    assert login.password not in str(data.log)


def test_a_wrong_password_is_told_before_any_file(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_USERNAME", login.user)
    monkeypatch.setenv("EARTHDATA_PASSWORD", "wr0ng-planted")
    with pytest.raises(AccessDenied) as caught:
        earthdata(login).check()
    assert "wr0ng-planted" not in str(caught.value)
    assert len(login.log) == 1


def test_no_login_at_all(login: Login) -> None:
    with pytest.raises(AccessDenied, match="no Earthdata login"):
        earthdata(login).check()
    assert not login.log


def test_temporary_s3_keys(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket's server is an endpoint of the environment; the keys are asked for once, with the bearer."""
    monkeypatch.setenv("EARTHDATA_TOKEN", login.token)
    with RangeServer({"/lp-protected/a.tif": b"data"}) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        made = opened("earthdata", endpoint=f"{login.url}/s3credentials")
        for _ in range(3):
            assert read(made.locate("s3://lp-protected/a.tif"), made) == b"data"
        sent = s3.log[0].headers
    assert sent["authorization"].startswith("AWS4-HMAC-SHA256 Credential=TMPKEY/")
    assert "/us-west-2/" in sent["authorization"]
    assert sent["x-amz-security-token"] == "tmp-session"
    assert [request.path for request in login.log] == ["/s3credentials"]


def test_a_token_that_is_not_accepted_for_s3_keys(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "EDL-wrong-planted")
    with pytest.raises(AccessDenied, match="redirect") as caught:
        opened("earthdata", endpoint=f"{login.url}/s3credentials").locate("s3://lp-protected/a.tif")
    assert "EDL-wrong-planted" not in str(caught.value)


def test_a_build_through_a_login(world: World, login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is behind the bearer, and every one is redirected to where it really lies."""
    monkeypatch.setenv("EARTHDATA_TOKEN", login.token)
    login.elsewhere = world.files.url
    for item in world.stac.items:
        for asset in item["assets"].values():
            asset["href"] = f"{login.url}/protected{asset['href'].removeprefix(world.files.url)}"
    how = replace(EFFORT, auth=AuthRef(provider="earthdata", options=(("hosts", login.host),)), max_error_rate=0.0)
    made = world.run(world.job("r1", effort=how))
    assert made.rows == len(world.stac.items)
    assert len(login.log) == len(world.files.log) == 2 * made.rows
    assert not [request for request in world.files.log if "authorization" in request.headers]


# --- AWS --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def test_keys_of_the_spec_are_not_mixed_with_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-key")
    with RangeServer({"/b/x": b"data"}) as s3:
        made = opened("aws", endpoint=s3.url, access_key_id="me", secret_access_key="x", region="eu-west-1")
        assert read(made.locate("s3://b/x"), made) == b"data"
        assert "x-amz-security-token" not in s3.log[0].headers
        assert "Credential=me/" in s3.log[0].headers["authorization"]


def test_a_foreign_bucket_is_asked_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with RangeServer({"/mine/x": b"data", "/theirs/x": b"data"}) as s3:
        made = opened("aws", endpoint=s3.url, hosts="mine,*.mine.org")
        for bucket in ("mine", "theirs"):
            assert read(made.locate(f"s3://{bucket}/x"), made) == b"data"
        assert "authorization" in s3.log[0].headers
        assert "authorization" not in s3.log[1].headers


def test_the_profile_of_the_files_with_its_region(aws_files: Path) -> None:
    (aws_files / "config").write_text("[profile work]\nregion = eu-north-1\naws_access_key_id = old\naws_secret_access_key = old\n")
    (aws_files / "credentials").write_text("[work]\naws_access_key_id = new\naws_secret_access_key = s\naws_session_token = t\n")
    found = profile("work")
    assert (found.region, found.provider()["access_key_id"], found.provider()["token"]) == ("eu-north-1", "new", "t")
    assert opened("aws", profile="work").locate("s3://b/x").store.config["region"] == "eu-north-1"
    assert opened("aws", profile="work", region="us-east-2").locate("s3://b/x").store.config["region"] == "us-east-2"


def test_the_default_profile_is_found_without_being_named(aws_files: Path) -> None:
    (aws_files / "credentials").write_text("[default]\naws_access_key_id = me\naws_secret_access_key = s\n")
    opened("aws").check()
    with RangeServer({"/b/x": b"data"}) as s3:
        made = opened("aws", endpoint=s3.url)
        read(made.locate("s3://b/x"), made)
        assert "Credential=me/" in s3.log[0].headers["authorization"]


def test_a_profile_with_a_process_is_boto3s_business(aws_files: Path) -> None:
    pytest.importorskip("boto3")
    answer = json.dumps({"Version": 1, "AccessKeyId": "of-a-process", "SecretAccessKey": "s"})
    (aws_files / "answer.json").write_text(answer)
    (aws_files / "config").write_text(f"[profile p]\nregion = us-west-1\ncredential_process = cat {aws_files}/answer.json\n")
    with RangeServer({"/b/x": b"data"}) as s3:
        made = opened("aws", endpoint=s3.url, profile="p")
        made.check()
        assert read(made.locate("s3://b/x"), made) == b"data"
        assert "Credential=of-a-process/" in s3.log[0].headers["authorization"]
        assert "/us-west-1/" in s3.log[0].headers["authorization"]


def test_a_profile_that_gives_nothing(aws_files: Path) -> None:
    """With boto3 its session has ended; without it the message names the extra."""
    lines = ["[profile sso]", "sso_start_url = https://x.invalid", "sso_region = us-west-2", "sso_account_id = 1", "sso_role_name = r"]
    (aws_files / "config").write_text("\n".join(lines))
    with pytest.raises(AccessDenied, match=r"aws sso login|rasterloom\[aws\]"):
        opened("aws", profile="sso").check()


def test_an_extra() -> None:
    assert extra("json", "none", "this") is json
    with pytest.raises(AccessDenied, match=r"pip install 'rasterloom\[aws\]'"):
        extra("no_such_module_of_anybody", "aws", "this")


def test_no_aws_credentials_are_found_before_any_file(aws_files: Path) -> None:
    with pytest.raises(AccessDenied, match="no AWS credentials were found"):
        opened("aws").check()


def test_an_instance_is_asked_once_and_briefly(aws_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with RangeServer({}) as metadata:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", metadata.url)
        opened("aws").check()
        assert [(request.method, request.path) for request in metadata.log] == [("PUT", "/latest/api/token")]
        opened("aws").check()
        assert len(metadata.log) == 1
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(AccessDenied):
        opened("aws").check()


def test_the_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoint_of({}) == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://general")
    assert endpoint_of({}) == "http://general"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3")
    assert (endpoint_of({}), endpoint_of({"endpoint": "http://spec"})) == ("http://s3", "http://spec")


def test_a_workspace_in_a_bucket_knows_profiles(aws_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aws_files / "credentials").write_text("[team]\naws_access_key_id = of-the-team\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    with RangeServer({"/b/ws/x": b"data"}) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        assert open_workspace("s3://b/ws").read("x") == b"data"
        assert "Credential=of-the-team/" in s3.log[0].headers["authorization"]
        monkeypatch.delenv("AWS_PROFILE")
        assert open_workspace("s3://b/ws").read("x") == b"data", "a public bucket"
        assert "authorization" not in s3.log[1].headers
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessDenied, match="nobody"):
        open_workspace("s3://b/ws")


# --- Azure, Google ----------------------------------------------------------------------------------------------------------------


def test_a_sas_of_the_spec_opens_its_account_alone(blobs: BlobServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SAS", "?" + sas("acct", "c", blobs.key, life=60))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "b3RoZXI=")
    made = opened("azure", account_name="acct", sas_key="${MY_SAS}", endpoint=f"{blobs.url}/acct")
    assert read(made.locate("az://c/a b.tif"), made) == b"data"
    other = made.locate("https://other.blob.core.windows.net/c/x.tif")
    assert "Azure" not in type(other.store).__name__


def test_an_account_key(blobs: BlobServer) -> None:
    made = opened("azure", account_name="acct", account_key="c2VjcmV0", endpoint=f"{blobs.url}/acct")
    with pytest.raises(obstore.exceptions.PermissionDeniedError):
        read(made.locate("az://c/a b.tif"), made)
    assert blobs.log[0].headers["authorization"].startswith("SharedKey acct:")


def test_missing_google_file(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match=r"none\.json is not there"):
        opened("gcs", service_account=str(tmp_path / "none.json")).check()


def test_google_as_far_as_it_goes_without_google(tmp_path: Path) -> None:
    """A file of keys that says where the service is and that it wants no login, and a public bucket."""
    file = tmp_path / "gcs.json"
    with DatedServer({"/b/x": b"data"}) as gcs:
        keys = {"gcs_base_url": gcs.url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        file.write_text(json.dumps(keys))
        made = opened("gcs", service_account=str(file), endpoint=gcs.url)
        made.check()
        assert read(made.locate("gs://b/x"), made) == b"data"
        anonymous = opened("anonymous", endpoint=gcs.url)
        assert read(anonymous.locate("gs://b/x"), anonymous) == b"data"
        assert "authorization" not in gcs.log[1].headers


# --- custom -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_keys.py").write_text(
        "class Keys:\n"
        "    def __init__(self, **params):\n"
        "        self.params, self.config = params, {'region': 'eu-west-3'}\n"
        "    def __call__(self):\n"
        "        if self.params.get('broken'):\n"
        "            raise RuntimeError('it is ' + self.params['secret'])\n"
        "        secret = self.params['secret']\n"
        "        return {'access_key_id': self.params['user'], 'secret_access_key': secret, 'token': None, 'expires_at': None}\n"
        "async def later():\n    return {}\n"
        "def coroutine():\n    return later\n"
        "def fails(**params):\n    raise KeyError(params['secret'])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_keys"
    sys.modules.pop("my_keys", None)


def custom(name: str, params: dict[str, Any], **options: str) -> Stores:
    return opened("custom", object=name, params=json.dumps(params), **options)


def test_a_provider_of_ones_own(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", 'a "quoted" \\ secret')
    with RangeServer({"/b/x": b"data"}) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        made = custom("my_keys:Keys", {"user": "me", "secret": "${MY_SECRET}"})
        made.check()
        assert read(made.locate("s3://b/x"), made) == b"data"
        assert "Credential=me/" in s3.log[0].headers["authorization"]
        assert "/eu-west-3/" in s3.log[0].headers["authorization"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("no_such_module:x", SpecError, "cannot be imported"),
        ("my_keys:none", SpecError, "cannot be imported"),
        ("my_keys:coroutine", SpecError, "synchronous"),
        ("os.path:join", SpecError, "Python's own library"),
        ("my_keys:fails", AccessDenied, "raised KeyError"),
    ],
)
def test_code_that_gives_no_provider(plugin: str, name: str, error: type[RasterloomError], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        custom(name, {"secret": "planted-custom-secret"} if name.endswith("fails") else {}).check()
    assert "planted" not in str(caught.value)


def test_what_a_provider_raises_is_not_told(plugin: str) -> None:
    made = custom("my_keys:Keys", {"broken": True, "secret": "planted-custom-secret"})
    with pytest.raises(obstore.exceptions.UnauthenticatedError) as caught:
        read(made.locate("s3://b/x"), made)
    told = error_of("read it", caught.value)
    assert isinstance(told, AccessDenied)
    assert "planted" not in str(told)
    assert "RuntimeError" in str(told)


# --- where credentials go ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "pattern", "within"),
    [
        (Place(kind="web", host="data.lpdaac.earthdatacloud.nasa.gov"), "*.earthdatacloud.nasa.gov", True),
        (Place(kind="web", host="earthdatacloud.nasa.gov.evil.org"), "*.earthdatacloud.nasa.gov", False),
        (Place(kind="web", host="evil-earthdatacloud.nasa.gov"), "*.earthdatacloud.nasa.gov", False),
        (Place(kind="web", host="h:8443"), "h", True),
        (Place(kind="web", host="h:8443"), "h:1", False),
        (Place(kind="s3", host="bucket"), "s3://bucket", True),
        (Place(kind="gs", host="bucket"), "s3://bucket", False),
        (Place(kind="az", host="acct", container="c"), "acct/c", True),
        (Place(kind="az", host="acct", container="c"), "acct/d", False),
        (Place(kind="az", host="acct", container="c"), "*.blob.core.windows.net", True),
        (Place(kind="az", host="acct", container="c", endpoint="http://h:1/acct"), "*.blob.core.windows.net", False),
        (Place(kind="az", host="acct", container="c", endpoint="http://h:1/acct"), "H", True),
    ],
)
def test_names_of_places(place: Place, pattern: str, within: bool) -> None:
    assert place.within((pattern.lower(),)) is within
