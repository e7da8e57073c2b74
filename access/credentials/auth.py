"""From `auth` of a spec to what opens places: one class per provider, secrets looked up here and now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from rasterloom.access.credentials.aws import AwsKeys
from rasterloom.access.credentials.clouds import AzureKeys, GoogleKeys
from rasterloom.access.credentials.custom import CustomKeys
from rasterloom.access.credentials.earthdata import EarthdataKeys
from rasterloom.access.credentials.keys import ANONYMOUS, Grant, Keys, Place
from rasterloom.access.credentials.sas import PlanetaryKeys
from rasterloom.access.credentials.secrets import Secrets, resolved
from rasterloom.errors import SpecError
from rasterloom.specs.auth import auth_from, open_auth
from rasterloom.specs.effort import AuthRef, Effort
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.references import substitute

PROVIDERS: dict[str, type[Keys]] = {
    "anonymous": Keys,
    "aws": AwsKeys,
    "azure": AzureKeys,
    "custom": CustomKeys,
    "earthdata": EarthdataKeys,
    "gcs": GoogleKeys,
    "planetary_computer": PlanetaryKeys,
}


def known(auth: AuthRef) -> type[Keys]:
    """Raises `SpecError` for a provider that this version does not know."""
    if auth.provider not in PROVIDERS:
        raise SpecError(f"auth.provider {auth.provider!r} is not known", remedy=f"use one of {', '.join(PROVIDERS)}")
    return PROVIDERS[auth.provider]


def keys_of(auth: AuthRef, *, effort: Effort, secrets: Secrets) -> Keys:
    """The credentials of `auth`. Raises `AccessDenied` where a reference stands for nothing."""
    params = [(name, text) for name, text in auth.options if name == "params"]
    options = resolved(tuple(pair for pair in auth.options if pair not in params), secrets)
    for name, text in params:
        options[name] = canonical_json(_looked_up(json.loads(text), secrets))
    return known(auth)(options, effort)


def environment_grant(uri: str, options: Mapping[str, str]) -> Grant:
    """What the environment and the machine give for a bucket of ours, with what `options` of `auth` say beside it.

    Raises AccessDenied where a profile that is named does not give keys.
    """
    parts = urlsplit(uri)
    match parts.scheme.lower():
        case "s3" | "s3a":
            keys = AwsKeys(options, Effort())
            grant = keys.grant(Place(kind="s3", host=parts.netloc.lower()))
            return grant if keys.found() else replace(grant, config=grant.config | ANONYMOUS.config)
        case _:
            return Grant(config=dict(options))


def reading_effort(metadata: Mapping[bytes, bytes], effort: Effort | None, auth: AuthRef | Mapping[str, Any] | None) -> Effort:
    """How the files of a collection are read: as asked, else with what anybody may have for a dataset of that name."""
    how = effort or Effort()
    if auth is not None:
        return replace(how, auth=auth if isinstance(auth, AuthRef) else auth_from(auth))
    return how if effort else replace(how, auth=open_auth(metadata.get(b"data_source", b"").decode("utf-8", "replace")))


def _looked_up(value: Any, secrets: Secrets) -> Any:
    """JSON with the references of its texts looked up: in the text of the document a quote in a secret would break it."""
    if isinstance(value, str):
        return substitute(value, secrets)
    if isinstance(value, dict):
        return {name: _looked_up(inner, secrets) for name, inner in value.items()}
    return [_looked_up(inner, secrets) for inner in value] if isinstance(value, list) else value
