"""A literal secret is refused wherever it stands, and no message, error or repr repeats it."""

from __future__ import annotations

import traceback

import pytest
from pydantic import ValidationError

from rasterloom.errors import SpecError
from rasterloom.specs.loader import parse_specs, spec_from, with_overrides
from rasterloom.specs.model import CollectionSpec

AWS = "AKIA" + "IOSFODNN7EXAMPLE"
PLACES = {
    "url with a signature": 'stac: {url: "https://h.example/v1?sig=SECRETabc123", collection: c}',
    "url with user info": 'stac: {url: "https://me:SECRETabc123@h.example/v1", collection: c}',
    "header": "stac: {url: 'https://h.example', collection: c, headers: {Authorization: Bearer SECRETabc123}}",
    "header of any name": "stac: {url: 'https://h.example', collection: c, headers: {X-Thing: SECRETabc123SECRETabc123x9}}",
    "api key header": "stac: {url: 'https://h.example', collection: c, headers: {X-Api-Key: SECRETabc123}}",
    "cookie": "stac: {url: 'https://h.example', collection: c, headers: {Cookie: SECRETabc123}}",
    "auth key": "auth: {provider: aws, secret_access_key: SECRETabc123}",
    "auth default": "auth: {provider: aws, secret_access_key: '${KEY:-SECRETabc123}'}",
    "auth profile": "auth: {provider: aws, profile: SECRETabc123SECRETabc123x9}",
    "unknown key": "password: SECRETabc123",
    "nested unknown key": "build: {token: SECRETabc123}",
    "parameter of a callable": "table: {object: 'm:f', params: {db: {password: SECRETabc123}}}",
    "azure connection": "workspace: 'az://c/AccountKey=SECRETabc123'",
    "export with a sas": "export: [{to: 's3://b/p?X-Amz-Signature=SECRETabc123'}]",
    "query": "query: {a: {eq: 'https://x.example/?sig=SECRETabc123'}}",
    "operator": "query: {a: {sigh: 'https://x.example/?sig=SECRETabc123'}}",
    "wrong type": "build: 'https://x.example/?sig=SECRETabc123'",
    "private key": "workspace: '-----BEGIN RSA PRIVATE KEY-----SECRETabc123'",
    "web token": "workspace: eyJhbGciOiJI.SECRETabc123",
    "name": "name: 'Bearer SECRETabc123'",
    "long url": f"stac: {{url: 'https://h.example/{'a' * 70}?sig=SECRETabc123', collection: c}}",
}  # fmt: skip


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES.keys())
def test_it_is_refused_and_not_repeated(text: str) -> None:
    whole = text if text.startswith("name") else f"name: a\n{text}"
    with pytest.raises(SpecError) as caught:
        parse_specs(whole)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)
    assert "SECRETabc123" not in told
    literal = [problem for problem in caught.value.problems if "literal secret" in problem.message]
    assert literal
    assert all("${" in problem.remedy or ":-default" in problem.remedy for problem in literal)


@pytest.mark.parametrize("key", ["workspace", "name", "dataset", "filter"])
def test_an_access_key_is_known_by_its_shape(key: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_from({"name": "a", "dataset": "earthsearch/naip", key: f"x {AWS} y"})
    assert "literal secret" in str(caught.value)
    assert AWS not in "".join(traceback.format_exception(caught.value))


def test_overrides_are_judged_too() -> None:
    with pytest.raises(SpecError) as caught:
        with_overrides(spec_from({"name": "a", "dataset": "earthsearch/naip"}), {"workspace": f"s3://{AWS}/x"})
    assert AWS not in str(caught.value)


def test_the_error_of_the_model_itself_hides_its_input() -> None:
    with pytest.raises(ValidationError) as caught:
        CollectionSpec.model_validate({"name": "a", "dataset": "earthsearch/naip", "auth": {"secret_access_key": "hunter2hunter2"}})
    assert "hunter2" not in str(caught.value)


REFERENCES = {
    "auth": "auth: {provider: aws, access_key_id: '${ID}', secret_access_key: '${secret.aws-key}', region: '${REGION:-eu-west-1}'}",
    "headers": "stac: {url: 'https://earth-search.aws.element84.com/v1', collection: naip, headers: {Authorization: 'Bearer ${TOKEN}'}}",
    "workspace": "workspace: ${HOME}/collections",
    "export": "export: [{to: 's3://${BUCKET}/sf-bay'}]",
}


@pytest.mark.parametrize("text", REFERENCES.values(), ids=REFERENCES.keys())
def test_a_reference_is_kept_as_it_is(text: str) -> None:
    source = "" if text.startswith("stac") else "dataset: earthsearch/naip\n"
    (spec,) = parse_specs(f"name: a\n{source}{text}")
    assert "${" in spec.model_dump_json()


@pytest.mark.parametrize(
    "text",
    [
        "query: {'s2:product_uri': {eq: S2A_MSIL2A_20240601T184921_N0510_R113_T10SEG_20240602T000000}}",
        "query: {token: {eq: abc}, 'sas:password': {lt: 3}}",
        "band_map: {key: secret-of-the-band}",
        "workspace: s3://my-long-bucket-name-0123456789-abcdefgh/path",
        "filter: \"name = 'basic research'\"",
    ],
)
def test_ordinary_text_is_no_secret(text: str) -> None:
    (spec,) = parse_specs(f"name: a\ndataset: earthsearch/naip\n{text}")
    assert spec.name == "a"
