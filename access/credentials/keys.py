"""What opens a place: nothing, unless the provider of the spec is for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from rasterloom.access.credentials.leases import Renewing
from rasterloom.specs.effort import Effort

BLOB_HOST = ".blob.core.windows.net"
Provider = Callable[[], Mapping[str, Any]]
"""As obstore asks for credentials: S3 `access_key_id, secret_access_key, token`; Azure `sas_token`, `access_key` or `token`; GCS `token`;
each with `expires_at`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a file lies, as far as credentials care."""

    kind: Literal["s3", "gs", "az", "web"]
    host: str
    """Bucket, storage account, or host with its port; lower case."""
    container: str = ""
    """Of an Azure account."""
    endpoint: str = ""
    """URL of an Azure account that is not at `<account>.blob.core.windows.net`."""

    @property
    def names(self) -> tuple[str, ...]:
        """What `auth.hosts` may call it."""
        match self.kind:
            case "web":
                return self.host, _bare(self.host)
            case "az":
                served = self.endpoint.partition("://")[2].partition("/")[0] or f"{self.host}{BLOB_HOST}"
                return self.host, f"{self.host}/{self.container}", f"az://{self.container}", served, _bare(served)
            case _:
                return self.host, f"{self.kind}://{self.host}"

    def within(self, patterns: tuple[str, ...]) -> bool:
        """Whether one of `patterns` is one of its names, or `*.example.org` an ending of one."""
        return any(_matches(name, pattern.strip().lower()) for pattern in patterns for name in self.names)


def _bare(netloc: str) -> str:
    host, _, port = netloc.rpartition(":")
    return host if port.isdecimal() else netloc


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """How a store of one place is made."""

    config: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Options of the obstore store."""
    provider: Provider | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For this origin alone."""
    renewing: Renewing | None = None
    """Where the credential runs out: its current lease."""


ANONYMOUS = Grant(config={"skip_signature": True})


class Keys:
    """No credentials at all; the providers build on it. `options` hold secrets, resolved: an object of this kind never travels."""

    opens_web: ClassVar[bool] = False
    """Whether there may be something for `http(s)` hrefs."""
    own: tuple[str, ...] | None = ()
    """Patterns of the places that the provider is for, where `auth.hosts` names none; None: all that it knows how to open."""

    def __init__(self, options: Mapping[str, str], effort: Effort) -> None:
        self.options = options
        self.effort = effort
        named = options.get("hosts")
        self.hosts = self.own if named is None else tuple(named.split(","))

    def grant(self, place: Place) -> Grant:
        """What opens `place`; a place that the credentials are not for is asked without any. Raises AccessDenied, Unavailable."""
        if self.hosts is None or place.within(self.hosts):
            return self._grant(place) or ANONYMOUS
        return ANONYMOUS

    def _grant(self, place: Place) -> Grant | None:  # noqa: ARG002 -- for the providers
        """What the provider has for one of its places; None: nothing for this kind of place."""
        return None

    def check(self) -> None:
        """Raises AccessDenied where the credentials are not there. Asks at most the machine's own metadata service."""

    def is_blob(self, netloc: str) -> bool:  # noqa: ARG002 -- for the providers
        """Whether web addresses there are Azure blobs that these credentials open."""
        return False


class AzureLike(Keys):
    """Credentials for Azure blobs, whether an href says `az://`, `https://<account>.blob...` or, where `auth.hosts` names a host,
    `http(s)://host/account/container/key` as emulators have it."""

    opens_web = True
    own = (f"*{BLOB_HOST}",)

    def is_blob(self, netloc: str) -> bool:
        account = netloc.removesuffix(BLOB_HOST) if netloc.endswith(BLOB_HOST) else ""
        place = Place(kind="az", host=account) if account else Place(kind="web", host=netloc)
        return self.hosts is None or place.within(self.hosts)
