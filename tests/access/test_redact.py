"""No secret survives in an href or in a text."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasterloom.access.network.redact import canonical_href, redact

SECRET = "S3cr3tXYZ"
NAMES = (
    "sig", "se", "sp", "sv", "X-Amz-Signature", "x-amz-security-token", "X-Amz-Credential", "X-Goog-Signature", "token", "access_token",
    "AWSAccessKeyId", "Signature", "Policy", "api_key", "apikey", "subscription-key", "password", "jwt", "SIG", "s%69g", "my_secret",
)  # fmt: skip
secrets = st.builds(lambda tail: SECRET + tail, st.text("abcXYZ0189._~-", max_size=20))
words = st.text("abcdefgh0123-_", min_size=1, max_size=8)


@given(words, secrets, st.sampled_from(NAMES), st.lists(words, max_size=3), st.booleans())
def test_a_planted_secret_never_leaves_canonical_href(host: str, secret: str, name: str, path: list[str], first: bool) -> None:
    query = f"{name}={quote(secret)}&item=1" if first else f"item=1&{name}={secret}"
    href = f"https://user:{secret}@{host}.org/{'/'.join(path)}?{query}#{secret}"
    assert SECRET not in canonical_href(href)
    assert "item=1" in canonical_href(href)
    assert SECRET not in redact(href.partition("#")[0])


@given(secrets, st.sampled_from(NAMES))
def test_a_signed_url_inside_the_query_goes_too(secret: str, name: str) -> None:
    inner = quote(f"https://h.org/x.tif?{name}={secret}", safe="")
    assert SECRET not in canonical_href(f"https://tiler.org/cog?url={inner}")
    assert SECRET not in canonical_href(f"https://tiler.org/cog?url={quote(inner, safe='')}")


@given(st.text(max_size=200))
def test_any_text_can_be_redacted_and_twice_is_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)
    canonical_href(text)


@given(st.text(max_size=80))
def test_canonical_is_a_fixed_point(text: str) -> None:
    once = canonical_href(f"https://h.org/{text}")
    assert canonical_href(once) == once


@pytest.mark.parametrize(
    "href",
    [
        "https://h.org/a%20b/%C3%A9+c.tif",
        "https://h.org/x?collection=a&item=b&assets=VNIR&asset_bidx=VNIR%7C2%2C3%2C1",
        "https://h.org:8443/x?key=folder/file.tif",
        "s3://bucket/a#b%20c d.tif",
        "abfs://container@account.dfs.core.windows.net/x.tif",
        "/data/a#b.tif",
        "relative/path.tif",
    ],
)
def test_a_harmless_href_stays_as_it_is_spelled(href: str) -> None:
    assert canonical_href(href) == href


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://u:p{SECRET}@h/x failed",
        f"https://u:p@{SECRET}@h/x",
        f"Authorization: Bearer {SECRET}",
        f"authorization: basic {SECRET}",
        f'{{"Authorization": "Bearer {SECRET}", "a": 1}}',
        f"{{'Ocp-Apim-Subscription-Key': '{SECRET}'}}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"aws_session_token = {SECRET}",
        f"AccountKey={SECRET};EndpointSuffix=core.windows.net",
        f"?sv=1&sig={SECRET}",
        f"url%3Fsig%3D{SECRET}%26a%3D1",
        f"Set-Cookie: {SECRET}",
        f"password: {SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"eyJ{SECRET}.{SECRET}.{SECRET}",
    ],
)
def test_secrets_are_masked_in_texts(text: str) -> None:
    assert SECRET not in redact(text)


def test_access_key_ids_are_masked() -> None:
    key_id = "AKIA" + "ABCDEFGHIJKLMNOP"
    assert key_id not in redact(f"InvalidAccessKeyId: {key_id} does not exist")


def test_ordinary_texts_are_left_alone() -> None:
    text = "could not read https://h.org/a/b.tif: 404 Not Found, page 3 of the search (numberMatched: 12)"
    assert redact(text) == text
