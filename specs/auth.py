"""From the `auth` section to the reference that travels, and what it means for the choice of an href."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rasterloom.errors import Problem, SpecError
from rasterloom.specs import catalog
from rasterloom.specs.effort import AuthRef
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.leaks import leaks
from rasterloom.specs.sections import AuthSpec
from rasterloom.specs.wrong import a_list

S3_FIRST: Mapping[str, tuple[str, ...]] = {"aws": (), "earthdata": ("endpoint",)}
"""Provider -> options that must be given: with these credentials the S3 address of an asset is the one that can be read."""


def auth_ref(given: AuthSpec | None, entry: catalog.Dataset | None) -> AuthRef:
    """The spec's, with what the dataset knows of its bucket; else the dataset's."""
    known = entry.auth if entry else AuthRef()
    if given is None:
        return known
    _refuse_unused(given)
    _refuse_halves(given)
    texts = given.model_dump(mode="json", exclude_none=True, exclude={"provider", "custom"})
    options = {key: catalog.option_text(value) for key, value in texts.items()}
    if given.custom:
        options |= {"object": given.custom.object, "params": canonical_json(given.custom.params or {})}
    kept = {key: value for key, value in known.options if key == "region" or given.provider == known.provider}
    return AuthRef(provider=given.provider, options=tuple(sorted((kept | options).items())))


TOGETHER = (("access_key_id", "secret_access_key"), ("client_id", "client_secret", "tenant_id"), ("username", "password"))


OF = {
    "requester_pays": "aws", "profile": "aws", "access_key_id": "aws", "secret_access_key": "aws", "session_token": "aws",
    "account_key": "azure", "sas_key": "azure", "client_id": "azure", "client_secret": "azure", "tenant_id": "azure",
    "username": "earthdata", "password": "earthdata", "token": "earthdata",
    "service_account": "gcs", "subscription_key": "planetary_computer",
}  # fmt: skip
"""Key -> the one provider that reads it."""


def _refuse_unused(given: AuthSpec) -> None:
    """Raises `SpecError` for a credential that nobody would use: the files would be asked without it, in silence."""
    for name, provider in OF.items():
        if getattr(given, name) not in (None, False) and given.provider != provider:
            message = f"{name} is for the provider {provider}, and this one is {given.provider}"
            problem = Problem(path=f"auth.{name}", message=message, remedy=f"write provider: {provider}, or remove {name}")
            raise SpecError("auth does not fit together", problems=[problem])


def _refuse_halves(given: AuthSpec) -> None:
    """Raises `SpecError` for half of a login."""
    for names in TOGETHER:
        missing = [name for name in names if getattr(given, name) is None]
        if missing and len(missing) < len(names):
            there = next(name for name in names if name not in missing)
            problem = Problem(path=f"auth.{there}", message=f"{there} stands without {a_list(missing)}", remedy="give both, or none")
            raise SpecError("auth is not whole", problems=[problem])


def auth_from(mapping: Mapping[str, Any]) -> AuthRef:
    """The reference of an `auth` section on its own, e.g. `{"provider": "aws", "profile": "work"}`. Raises `SpecError`."""
    written = {"auth": dict(mapping)}
    problems = [Problem(path=".".join(map(str, leak.path)), message=leak.message, remedy=leak.remedy) for leak in leaks(written)]
    try:
        section = AuthSpec.model_validate(dict(mapping))
    except ValidationError as error:
        problems += [
            Problem(path=".".join(("auth", *map(str, one["loc"]))), message=str(one["msg"])) for one in error.errors(include_input=False)
        ]
        section = None
    if section is None or problems:
        raise SpecError("auth is wrong", problems=problems, remedy="see `auth` in the reference of the spec")
    return auth_ref(section, None)


def open_auth(data_source: str) -> AuthRef:
    """What opens the files of a dataset of that id without any secret: a collection may come from anybody, and must not be able to say
    which credentials of ours are sent where."""
    entry = catalog.find(data_source) if data_source else None
    return entry.auth if entry is not None and entry.auth.provider == "planetary_computer" else AuthRef()


def href_rule(auth: AuthRef, entry: catalog.Dataset | None) -> str:
    """What the catalog entry says; else `s3` where the credentials are for buckets, and `href`.

    Of a dataset we know which address its own credentials open: whose keys a spec brings changes nothing of the question. Earthdata
    alone has two ways in, and `endpoint` takes the one of the buckets.
    """
    if entry is not None and entry.href != "href":
        return entry.href
    deciding = auth if entry is None or entry.auth.provider == auth.provider else entry.auth
    needed, options = S3_FIRST.get(deciding.provider), dict(deciding.options)
    return "href" if needed is None or any(name not in options for name in needed) else "s3"
