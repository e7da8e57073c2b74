"""Where an href lies: one store per origin or bucket, made once, used by all threads.

obstore through its sync API only (its async API can abort the interpreter at exit), and never across a fork.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from rasterloom.access.credentials.auth import keys_of, known
from rasterloom.access.credentials.aws import config_of
from rasterloom.access.credentials.keys import ANONYMOUS, BLOB_HOST, Grant, Keys, Place
from rasterloom.access.credentials.leases import Lease
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.network.hosts import PROCESS_GATES, Gate, Gates, Policy
from rasterloom.access.network.translate import summary
from rasterloom.access.network.wire import Wire
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import AuthRef, Effort

CONNECT_TIMEOUT = 10.0
_MOST_STORES = 512
"""A store holds a connection pool; hrefs with a query of their own each need one."""
_NO_RETRIES: Any = {
    "max_retries": 0,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
"""obstore ignores Retry-After and retries at once: the retries are ours (`rasterloom.access.archive.headers`)."""
_PLAIN_HREF = re.compile(r"(https?://[a-zA-Z0-9.:-]+)/((?:\w[\w.+=,-]*/)*\w[\w.+=,-]*)", re.ASCII)
"""Origin and key of a URL in which nothing needs decoding."""
Key = tuple[str, ...]
Store = ObjectStore | Wire
"""http and https are read by a client of our own: obstore follows redirects to wherever they lead, and takes twice the work for a range
(docs/decisions/016, 017 and 021)."""


@dataclass(frozen=True, slots=True)
class Located:
    """One object: `key` inside `store`; `host` names the gate that its requests pass."""

    store: Store
    key: str
    host: str
    href: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What else a client sends to the origin of `href`, and to no target of a redirect."""
    renew: Callable[[], Located] | None = field(default=None, repr=False, compare=False)
    """Where its credential runs out: the same object with a new one, to be asked for once after a refusal.

    Raises `Unavailable` or `AccessDenied` where none can be had."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A store, and how it was opened."""

    store: Store
    grant: Grant
    lease: Lease | None


class Stores:
    """The stores that the hrefs of one source need. Thread-safe.

    `source` is the catalog that gave the hrefs (URL or path): where it is on this machine or in a private network, its hrefs may
    point there too. Raises `SpecError` for an auth provider that this version does not know.
    """

    def __init__(self, auth: AuthRef, *, effort: Effort, secrets: Secrets, source: str | None = None, gates: Gates = PROCESS_GATES) -> None:
        self._opens_web = known(auth).opens_web
        self._auth = auth
        self._effort = effort
        self._secrets = secrets
        self._policy = Policy(allow_private=effort.allow_private_hosts, source=source)
        self._wire = Wire(self._policy, timeout=effort.timeout)
        self._gates = gates
        gates.keep_to(effort.limits)
        self._lock = threading.RLock()
        self._stores: dict[Key, _Open] = {}
        self._origins: dict[str, Located] = {}
        self._keys: Keys | None = None

    def gate(self, host: str) -> Gate:
        return self._gates.of(host)

    def check(self) -> None:
        """That the credentials of `auth` are there, before any work. Raises `AccessDenied`, `SpecError`, `Unavailable`."""
        self.keys.check()

    @property
    def keys(self) -> Keys:
        """Raises `AccessDenied` where a reference of `auth` stands for nothing."""
        if self._keys is None:
            with self._lock:
                self._keys = self._keys or keys_of(self._auth, effort=self._effort, secrets=self._secrets)
        return self._keys

    def locate(self, href: str) -> Located:
        """The store and key of an absolute href or local path.

        Raises `Unreadable` (`forbidden-host`, `bad-href`); `SpecError` or `AccessDenied` where the store cannot be set up; and
        `Unavailable` where a token for it cannot be had.
        """
        return self.known(href) or self._located(href)

    def known(self, href: str) -> Located | None:
        """The same, where that needs no more than a look: most hrefs are plain and of an origin that was checked before."""
        plain = _PLAIN_HREF.fullmatch(href)
        known = self._origins.get(plain[1]) if plain else None
        return Located(known.store, plain[2], known.host, href, known.headers) if plain and known else None

    def _located(self, href: str) -> Located:
        try:
            parts = urlsplit(href)
            _ = parts.port
        except ValueError as error:
            raise _bad_href(str(error)) from None
        self._policy.check(parts)
        match parts.scheme.lower():
            case "http" | "https":
                return self._web(parts, href)
            case "s3" | "gs":
                return self._bucket(parts, href)
            case "az" | "abfs" | "abfss":
                return self._container(parts, href)
            case _:
                return self._file(parts, href)

    def _object(self, place: Place, key: str, href: str, *, host: str) -> Located:
        """`key` in the store of `place`, made once."""
        name = (place.kind, place.host, place.container, place.endpoint)
        found = self._stores.get(name)
        if found is None:
            found = self._opened(name, place)
        if found.grant.renewing is None or found.lease is None:
            return Located(found.store, key, host, href, found.grant.headers)
        lease = found.grant.renewing.current()  # here, in the thread that waits for it, and not in one of obstore's
        if place.kind == "web" and lease.number != found.lease.number:
            # its header stands in the store
            self._forget(name, found)
            return self._object(place, key, href, host=host)
        return Located(found.store, key, host, href, found.grant.headers, partial(self._renewed, name, found, lease, href))

    def _opened(self, name: Key, place: Place) -> _Open:
        # most providers have nothing for web hosts, and what they need may be missing here
        grant = self.keys.grant(place) if self._opens_web or place.kind != "web" else ANONYMOUS
        lease = grant.renewing.current() if grant.renewing else None
        with self._lock:
            # asked again under the lock: making a store reads the machine's certificates (4 ms), and all threads come here at once
            found = self._stores.get(name)
            if found is None:
                if len(self._stores) >= _MOST_STORES:
                    self._stores.clear()
                found = self._stores[name] = _Open(self._made(place, grant), grant, lease)
        return found

    def _forget(self, name: Key, opened: _Open) -> None:
        with self._lock:
            if self._stores.get(name) is opened:
                del self._stores[name]

    def _renewed(self, name: Key, opened: _Open, refused: Lease, href: str) -> Located:
        """A store has its own memory of a token: a new token needs a new store."""
        if opened.grant.renewing is not None:
            opened.grant.renewing.drop(refused.number)
        self._forget(name, opened)
        return self._located(href)

    def _made(self, place: Place, grant: Grant) -> Store:
        """No request yet: what fails here are the options."""
        try:
            return self._store(place, grant)
        except (BaseError, ValueError, TypeError) as error:
            where = place.host or place.container
            raise SpecError(f"access to {where} cannot be set up: {summary(error)}", remedy="correct auth in the spec") from None

    def _store(self, place: Place, grant: Grant) -> Store:
        match place.kind:
            case "s3":
                return self._s3(place, grant)
            case "gs":
                return self._gcs(place, grant)
            case "az":
                return self._azure(place, grant)
            case "web":
                return self._wire

    def _web(self, parts: SplitResult, href: str) -> Located:
        if not parts.hostname:
            raise _bad_href("it names no host")
        netloc = parts.netloc.rpartition("@")[2]
        if self._opens_web and self.keys.is_blob(netloc.lower()):
            return self._blob(parts, href)
        key = _plain_key(parts.path)
        located = self._object(Place(kind="web", host=netloc.lower()), key, href, host=netloc)
        if key and not parts.query and located.renew is None:
            self._origins[f"{parts.scheme}://{parts.netloc}"] = located
        return located

    def _blob(self, parts: SplitResult, href: str) -> Located:
        """`https://<account>.blob.core.windows.net/container/key`, or `http(s)://host/account/container/key` as emulators have it."""
        netloc = parts.netloc.rpartition("@")[2].lower()
        path = unquote(parts.path).lstrip("/")
        if netloc.endswith(BLOB_HOST):
            account, endpoint = netloc.removesuffix(BLOB_HOST), ""
        else:
            account, _, path = path.partition("/")
            endpoint = f"{parts.scheme}://{netloc}/{account}"
        container, _, key = path.partition("/")
        return self._in_container(Place(kind="az", host=account, container=container, endpoint=endpoint), key, href)

    def _bucket(self, parts: SplitResult, href: str) -> Located:
        key = _after_bucket(href)
        if not parts.netloc:
            raise _bad_href("it names no bucket")
        kind = "s3" if parts.scheme.lower() == "s3" else "gs"
        return self._object(Place(kind=kind, host=parts.netloc), key, href, host=f"{kind}://{parts.netloc}")

    def _container(self, parts: SplitResult, href: str) -> Located:
        container, _, host = parts.netloc.rpartition("@")
        if not container:
            container, host = host, ""
        options = self.keys.options
        account = host.partition(".")[0] or options.get("account_name", "") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
        if not account:
            raise SpecError(f"the storage account of container {container!r} is not known", remedy="add account_name to auth in the spec")
        endpoint = options.get("endpoint", "") if self._auth.provider == "azure" else ""
        return self._in_container(Place(kind="az", host=account, container=container, endpoint=endpoint), _after_bucket(href), href)

    def _in_container(self, place: Place, key: str, href: str) -> Located:
        if not place.container:
            raise _bad_href("it names no container")
        served = urlsplit(place.endpoint).netloc or f"{place.host}{BLOB_HOST}"
        return self._object(place, _whole(key), href, host=served)

    def _file(self, parts: SplitResult, href: str) -> Located:
        path = unquote(parts.path) if parts.scheme else href
        return Located(_DISK, os.path.abspath(path).lstrip("/"), "this machine", href)

    def _client(self, url: str) -> Any:
        return {
            "http1_only": True,  # one core of client: HTTP/2 cost 20 % more CPU per header and 30 % less throughput
            "pool_max_idle_per_host": "256",
            "connect_timeout": timedelta(seconds=min(CONNECT_TIMEOUT, self._effort.timeout)),
            "timeout": timedelta(seconds=self._effort.timeout),
            "allow_http": url.startswith("http:"),
            "user_agent": "rasterloom",
        }

    def _s3(self, place: Place, grant: Grant) -> ObjectStore:
        # a bucket that is read without credentials lies at the same endpoint and in the same region
        options = {} if self._auth.provider in _ENDPOINT_IS_A_SERVICE else self.keys.options
        config: Any = config_of(options) | grant.config
        client = self._client(config.get("endpoint", ""))
        return S3Store(place.host, config=config, client_options=client, retry_config=_NO_RETRIES, credential_provider=_any(grant.provider))

    def _gcs(self, place: Place, grant: Grant) -> ObjectStore:
        endpoint = self.keys.options.get("endpoint", "") if self._auth.provider in ("gcs", "anonymous") else ""
        config: Any = ({"base_url": endpoint} if endpoint else {}) | grant.config
        client = self._client(endpoint)
        return GCSStore(
            place.host, config=config, client_options=client, retry_config=_NO_RETRIES, credential_provider=_any(grant.provider)
        )

    def _azure(self, place: Place, grant: Grant) -> ObjectStore:
        endpoint = place.endpoint
        if self._auth.provider != "azure":
            # an endpoint of the environment is that of the user's own account, and would be sent the tokens of others
            endpoint = endpoint or f"https://{place.host}{BLOB_HOST}"
        config: Any = {"account_name": place.host, **({"endpoint": endpoint} if endpoint else {}), **grant.config}
        return AzureStore(
            place.container,
            config=config,
            client_options=self._client(place.endpoint),
            retry_config=_NO_RETRIES,
            credential_provider=_any(grant.provider),
        )


_ENDPOINT_IS_A_SERVICE = ("planetary_computer", "earthdata", "azure", "gcs")
"""Providers whose `endpoint` is no S3 endpoint."""
_DISK = LocalStore()


def _any(provider: Any) -> Any:
    """obstore types a provider by its store."""
    return provider


def _bad_href(why: str) -> Unreadable:
    return Unreadable(f"the href cannot be read: {why}", reason="bad-href", remedy="correct the href in the catalog")


def _plain_key(path: str) -> str:
    """The object key that obstore encodes to exactly this URL path; an empty text where there is none."""
    try:
        key = unquote(path.removeprefix("/"), errors="strict")
    except UnicodeDecodeError:
        return ""
    return "" if "%2f" in path.lower() or not _is_key(key) else key


def _after_bucket(href: str) -> str:
    """The key of an `s3://` or `az://` href: not a URL path, so `%`, `?`, `#` and `+` stand for themselves."""
    return _whole(href.partition("://")[2].partition("/")[2])


def _whole(key: str) -> str:
    """`key`, if obstore takes it. Raises `Unreadable` (`bad-href`)."""
    if not _is_key(key):
        raise _bad_href("its key is empty, or has an empty or a dot segment, or control characters")
    return key


def _is_key(key: str) -> bool:
    """Whether obstore takes it as it is."""
    return key.isprintable() and not any(segment in ("", ".", "..") for segment in key.split("/"))
