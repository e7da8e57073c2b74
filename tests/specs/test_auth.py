"""What `auth` says, as it travels, and which href it chooses."""

from __future__ import annotations

import pytest

from rasterloom.errors import SpecError
from rasterloom.specs.auth import auth_from
from rasterloom.specs.identity import fingerprint
from rasterloom.specs.loader import spec_from
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.resolve import effort, resolve

API = {"stac": {"url": "https://example.org/v1", "collection": "c"}, "band_map": {"B04": "red"}}


def spec(**keys: object) -> CollectionSpec:
    source = {} if "dataset" in keys else API
    return spec_from({"version": 1, "name": "x", "bbox": [0, 0, 1, 1], "dates": "2024", **source, **keys})


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        ({}, "href"),
        ({"auth": {"provider": "aws", "profile": "work"}}, "s3"),
        ({"auth": {"provider": "earthdata"}}, "href"),
        ({"auth": {"provider": "earthdata", "endpoint": "https://data.example.org/s3credentials"}}, "s3"),
        ({"auth": {"provider": "planetary_computer"}}, "href"),
        ({"dataset": "earthsearch/landsat-c2-l2"}, "s3"),
        ({"dataset": "earthsearch/sentinel-2-l2a"}, "href"),
        ({"dataset": "earthsearch/sentinel-2-l2a", "auth": {"provider": "aws", "profile": "work"}}, "href"),
        ({"dataset": "cmr/hls-l30"}, "href"),
        ({"dataset": "cmr/hls-l30", "auth": {"provider": "earthdata", "endpoint": "https://data.example.org/s3credentials"}}, "s3"),
        ({"dataset": "usgs/landsat-c2l2-sr"}, "alternate.s3.href"),
        ({"dataset": "usgs/landsat-c2l2-sr", "auth": {"provider": "anonymous"}}, "alternate.s3.href"),
    ],
)
def test_the_href_follows_the_credentials(keys: dict[str, object], rule: str) -> None:
    assert resolve(spec(**keys)).href == rule


def test_credentials_change_the_question_only_where_they_change_the_href() -> None:
    one, other = spec(auth={"provider": "aws", "profile": "a"}), spec(auth={"provider": "aws", "profile": "b"})
    assert fingerprint(resolve(one)) == fingerprint(resolve(other)) != fingerprint(resolve(spec()))


def test_what_the_dataset_knows_of_its_bucket_stays() -> None:
    given = effort(spec(dataset="earthsearch/naip", auth={"provider": "aws", "profile": "work"})).auth
    assert dict(given.options) == {"profile": "work", "region": "us-west-2", "requester_pays": "true"}


def test_a_section_on_its_own() -> None:
    given = auth_from({"provider": "custom", "hosts": ["b", "c"], "custom": {"object": "pkg.keys:Keys", "params": {"a": "${A}"}}})
    assert given.provider == "custom"
    assert dict(given.options) == {"hosts": "b,c", "object": "pkg.keys:Keys", "params": '{"a":"${A}"}'}
    assert auth_from({}).provider == "anonymous"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"provider": "nobody"}, "auth.provider"),
        ({"provider": "aws", "secret_access_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY1"}, "literal secret"),
        ({"provider": "aws", "proflie": "x"}, "auth.proflie"),
    ],
)
def test_a_wrong_section(section: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        auth_from(section)
    assert "wJalr" not in str(caught.value)


@pytest.mark.parametrize("auth", [{"access_key_id": "${A}", "secret_access_key": "${B}"}, {"provider": "azure", "token": "${T}"}])
def test_a_credential_that_nobody_would_use(auth: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=r"is for the provider (aws|earthdata)"):
        effort(spec(auth=auth))


def test_half_of_a_login_is_no_valid_spec() -> None:
    with pytest.raises(SpecError, match="secret_access_key stands without access_key_id"):
        effort(spec(auth={"provider": "aws", "secret_access_key": "${X}"}))
