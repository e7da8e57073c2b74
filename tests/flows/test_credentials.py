"""Whole builds with credentials, against servers that check them: Azurite behind SAS tokens, and an S3 API with signatures."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from shapely.geometry import box, mapping

from rasterloom.access.collection import load
from rasterloom.cli.main import main
from rasterloom.errors import AccessDenied, Unreadable
from rasterloom.flows.run import run
from rasterloom.specs.writer import to_yaml
from tests.flows.archive import Archive, opened
from tests.flows.places import places_with
from tests.servers import RangeServer
from tests.tokens import Azurite, BlobServer, TokenServer, azurite
from tests.torture.objects import BUCKET, Proxy, moto

pytestmark = pytest.mark.usefixtures("prefect_server")

PLANTED = "planted-subscription-key-0123456789"
KEY, SECRET = "AKIAPLANTED0EXAMPLE0", "planted/secret+key/0123456789"
CONTAINER = "scenes"
SQUARE = [9.0, 45.1, 9.02, 45.2]
"""Where the pixels of the archive really lie, and a part of them."""
WITHIN = (9.002, 45.149, 9.004, 45.151)


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    return str(tmp_path / "workspace")


@pytest.fixture
def archive() -> Iterator[Archive]:
    with opened(44) as made:
        yield made


def moved(archive: Archive, base: str) -> None:
    """The items say that the files lie at `base`."""
    for item in archive.stac.items:
        for asset in item["assets"].values():
            asset["href"] = base + asset["href"].removeprefix(archive.files.url)


# --- SAS --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulator() -> Iterator[Azurite]:
    with azurite() as made:
        made.put_container(CONTAINER)
        yield made


def blobs_of(archive: Archive) -> BlobServer:
    """Its files as blobs of the account `acct`."""
    return BlobServer({f"/acct/{CONTAINER}{path}": data for path, data in archive.files.files.items()})


def planetary(tokens: TokenServer, host: str) -> dict[str, Any]:
    return {"provider": "planetary_computer", "endpoint": f"{tokens.url}/token", "hosts": [host], "subscription_key": "${PC_KEY}"}


def hidden(found: set[str], workspace: str, *texts: str) -> bool:
    return not [text for text in found if any(text in told for told in texts) or places_with(text, workspace)]


@pytest.mark.slow
def test_tokens_that_end_in_the_middle_of_a_build(
    archive: Archive,
    emulator: Azurite,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An emulator that checks signatures; each token lives for eight seconds, and the build for longer: 44 times a quarter of one.
    Nothing of them is left behind."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PC_KEY", PLANTED)
    for path, data in archive.files.files.items():
        emulator.put(CONTAINER + path, data)
    with Proxy(url_behind=emulator.url.rpartition("/")[0]) as proxy, TokenServer(emulator.key, emulator.account, life=8.0) as tokens:
        tokens.subscription, proxy.latency = PLANTED, 0.25
        moved(archive, f"{proxy.url}/{emulator.account}/{CONTAINER}")
        build = {"max_concurrent": 2, "max_error_rate": 0.0}
        collection = run(archive.spec(auth=planetary(tokens, proxy.host), build=build), workspace=workspace)
        assert len(collection) == archive.scenes
        assert len(tokens.tokens) >= 2, "the build was over before the first token was"
        assert all("sig=" in request.target for request in proxy.log)
        assert PLANTED not in str([request.headers for request in proxy.log])
        found = tokens.signatures | {PLANTED, emulator.key}
    hrefs = {asset["href"] for row in collection.to_table(["assets"]).to_pylist() for asset in row["assets"].values() if asset}
    assert len(hrefs) == 2 * archive.scenes
    assert not [href for href in hrefs if "?" in href]
    told = capfd.readouterr()
    assert hidden(found, workspace, caplog.text, told.out, told.err)
    assert any(".db" in place for place in places_with("${PC_KEY}", workspace)), "the database was not looked at"


def test_pixels_behind_a_token(archive: Archive, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `run` hands back reads with the credentials of its spec."""
    monkeypatch.setenv("PC_KEY", PLANTED)
    with blobs_of(archive) as blobs, TokenServer(blobs.key, "acct") as tokens:
        moved(archive, f"{blobs.url}/acct/{CONTAINER}")
        for item in archive.stac.items:
            item["bbox"], item["geometry"] = SQUARE, mapping(box(*SQUARE))
        built = run(archive.spec(auth=planetary(tokens, blobs.host)), workspace=workspace)
        asked = len(blobs.log)
        pixels = built.get_numpy(WITHIN, ["B02"])
        assert len(blobs.log) > asked
        again = load("small", workspace, auth=planetary(tokens, blobs.host)).subset(bands=["B02"]).get_numpy(WITHIN, ["B02"])
        with pytest.raises((AccessDenied, Unreadable)):
            load("small", workspace).get_numpy(WITHIN, ["B02"])
    assert pixels.shape[0] == archive.scenes
    assert (pixels == again).all()
    assert len(tokens.tokens) == 1


def test_a_subscription_key_that_is_refused(archive: Archive, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PC_KEY", PLANTED)
    with BlobServer({}) as blobs, TokenServer(blobs.key, "acct") as tokens:
        tokens.subscription = "another"
        moved(archive, f"{blobs.url}/acct/{CONTAINER}")
        with pytest.raises(AccessDenied) as caught:
            run(archive.spec(auth=planetary(tokens, blobs.host)), workspace=workspace)
        assert not blobs.log
        assert len(tokens.log) <= 2, "refused, and asked again and again"
    assert hidden({PLANTED}, workspace, str(caught.value))


def test_a_reference_to_nothing_is_told_before_any_work(archive: Archive, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PC_KEY", raising=False)
    with BlobServer({}) as blobs, TokenServer(blobs.key, "acct") as tokens, pytest.raises(AccessDenied, match="PC_KEY"):
        run(archive.spec(auth=planetary(tokens, blobs.host)), workspace=workspace)
    assert not archive.stac.log


# --- S3 ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[Proxy]:
    with moto() as url, Proxy(url_behind=url) as made:
        yield made


@contextmanager
def signatures_checked(s3: Proxy) -> Iterator[dict[str, str]]:
    """A user who may read, and a server that from here on checks who asks; yields the user's keys by reference."""
    user = "reader"
    iam(s3.url_behind, "CreateUser", UserName=user)
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}]}
    iam(s3.url_behind, "PutUserPolicy", UserName=user, PolicyName="read", PolicyDocument=json.dumps(allow))
    answer = iam(s3.url_behind, "CreateAccessKey", UserName=user)
    requests.post(f"{s3.url_behind}/moto-api/reset-auth", data="0", timeout=60).raise_for_status()
    try:
        yield {name: answer.partition(f"<{name}>")[2].partition("<")[0] for name in ("AccessKeyId", "SecretAccessKey")}
    finally:
        requests.post(f"{s3.url_behind}/moto-api/reset-auth", data="inf", timeout=60).raise_for_status()


def iam(url: str, action: str, **parameters: str) -> str:
    scope = "AWS4-HMAC-SHA256 Credential=admin/20240101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=x"
    body = urlencode({"Action": action, "Version": "2010-05-08", **parameters})
    headers = {"Authorization": scope, "Content-Type": "application/x-www-form-urlencoded", "Host": "iam.amazonaws.com"}
    answer = requests.post(f"{url}/", data=body, headers=headers, timeout=60)
    assert answer.status_code == 200 or "EntityAlreadyExists" in answer.text, answer.text
    return answer.text


def stored(archive: Archive, s3: Proxy, prefix: str) -> None:
    for path, data in archive.files.files.items():
        requests.put(f"{s3.url_behind}/{BUCKET}/{prefix}{path}", data=data, headers={"Content-Type": "image/tiff"}, timeout=60)
    moved(archive, f"s3://{BUCKET}/{prefix}")
    s3.log.clear()


def aws(s3: Proxy, **more: Any) -> dict[str, Any]:
    keys = {"access_key_id": "${MY_KEY}", "secret_access_key": "${MY_SECRET}"}
    return {"provider": "aws", "endpoint": s3.url, "region": "us-east-1", "requester_pays": True, **keys, **more}


@pytest.mark.slow
def test_a_signed_build_that_agrees_to_pay(archive: Archive, s3: Proxy, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(archive, s3, "signed")
    with signatures_checked(s3) as keys:
        monkeypatch.setenv("MY_KEY", keys["AccessKeyId"])
        monkeypatch.setenv("MY_SECRET", keys["SecretAccessKey"])
        collection = run(archive.spec(auth=aws(s3), build={"max_error_rate": 0.0}), workspace=workspace)
    assert len(collection) == archive.scenes
    assert len(s3.log) == 2 * archive.scenes
    assert {request.headers.get("x-amz-request-payer") for request in s3.log} == {"requester"}
    assert all(f"Credential={keys['AccessKeyId']}/" in request.headers["authorization"] for request in s3.log)
    assert hidden({keys["SecretAccessKey"]}, workspace)


@pytest.mark.slow
def test_a_wrong_key_ends_with_3_and_a_remedy_and_is_not_tried_again(
    archive: Archive, s3: Proxy, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(archive, s3, "wrong")
    spec = tmp_path / "wrong.yaml"
    spec.write_text(to_yaml(archive.spec(auth=aws(s3))))
    with signatures_checked(s3) as keys:
        monkeypatch.setenv("MY_KEY", keys["AccessKeyId"])
        monkeypatch.setenv("MY_SECRET", SECRET)
        assert main(["run", str(spec), "--workspace", workspace]) == 3
    told = capsys.readouterr().err
    assert "remedy: check auth in the spec" in told
    paths = [request.path for request in s3.log]
    assert len(paths) == len(set(paths)), "a refused file was asked for again"
    assert hidden({SECRET}, workspace, told)


@pytest.mark.slow
def test_a_public_prefix_is_read_without_keys(archive: Archive, s3: Proxy, workspace: str) -> None:
    """The policy of the bucket opens one prefix for everybody; the other one stays shut."""
    rules = [
        {"Effect": effect, "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/{prefix}/*"}
        for effect, prefix in (("Allow", "public"), ("Deny", "private"))
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": rules})
    requests.put(f"{s3.url_behind}/{BUCKET}?policy", data=policy, timeout=60).raise_for_status()
    auth = {"provider": "anonymous", "endpoint": s3.url, "region": "us-east-1"}
    stored(archive, s3, "public")
    assert len(run(archive.spec(auth=auth, build={"max_error_rate": 0.0}), workspace=workspace)) == archive.scenes
    assert not [request for request in s3.log if "authorization" in request.headers]
    for path, data in archive.files.files.items():
        requests.put(f"{s3.url_behind}/{BUCKET}/private{path}", data=data, timeout=60)
    for item in archive.stac.items:
        for asset in item["assets"].values():
            asset["href"] = asset["href"].replace("/public/", "/private/")
    with pytest.raises(AccessDenied, match="refused"):
        run(archive.spec(auth=auth), workspace=f"{workspace}-2")


def test_credentials_stay_with_their_hosts(archive: Archive, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of one catalog that lie on two hosts: the one that `auth.hosts` does not name sees no token."""
    monkeypatch.setenv("PC_KEY", PLANTED)
    with blobs_of(archive) as blobs, TokenServer(blobs.key, "acct") as tokens, RangeServer(dict(archive.files.files)) as foreign:
        for number, item in enumerate(archive.stac.items):
            base = foreign.url if number % 2 else f"{blobs.url}/acct/{CONTAINER}"
            for asset in item["assets"].values():
                asset["href"] = base + asset["href"].removeprefix(archive.files.url)
        collection = run(archive.spec(auth=planetary(tokens, blobs.host), build={"max_error_rate": 0.0}), workspace=workspace)
        assert len(collection) == archive.scenes
        assert len(foreign.log) == archive.scenes
        assert not [request for request in foreign.log if "?" in request.target or "authorization" in request.headers]
