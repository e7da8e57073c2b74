"""Where an href lies: one obstore store per origin or bucket, made once, used by all threads.

obstore through its sync API only (its async API can abort the interpreter at exit), and never across a fork.
"""

from __future__ import annotations

import configparser
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, ObjectStore, S3Store

from rasterloom.access.hosts import PROCESS_GATES, Gate, Gates, Policy
from rasterloom.access.secrets import Secrets, resolved
from rasterloom.access.translate import summary
from rasterloom.errors import AccessDenied, SpecError, Unreadable
from rasterloom.specs.effort import AuthRef, Effort

CONNECT_TIMEOUT = 10.0
PROVIDERS = ("anonymous", "aws", "azure", "gcs")
_MOST_STORES = 512
"""A store holds a connection pool; hrefs with a query of their own each need one."""
_NO_RETRIES: Any = {
    "max_retries": 0,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
"""obstore ignores Retry-After and retries at once: the retries are ours (`rasterloom.access.headers`)."""
_PLAIN_HREF = re.compile(r"(https?://[a-zA-Z0-9.:-]+)/((?:\w[\w.+=,-]*/)*\w[\w.+=,-]*)", re.ASCII)
"""Origin and key of a URL in which nothing needs decoding."""
_BLOB_HOST = ".blob.core.windows.net"
_AWS_CREDENTIALS = ("access_key_id", "secret_access_key", "session_token")


@dataclass(frozen=True, slots=True)
class Located:
    """One object: `key` inside `store`; `host` names the gate that its requests pass."""

    store: ObjectStore
    key: str
    host: str
    href: str


class Stores:
    """The stores that the hrefs of one source need. Thread-safe.

    `source` is the catalog that gave the hrefs (URL or path): where it is on this machine or in a private network, its hrefs may
    point there too. Raises `SpecError` for an auth provider that this version does not know.
    """

    def __init__(self, auth: AuthRef, *, effort: Effort, secrets: Secrets, source: str | None = None, gates: Gates = PROCESS_GATES) -> None:
        if auth.provider not in PROVIDERS:
            raise SpecError(
                f"auth.provider {auth.provider!r} is not supported by this version",
                remedy=f"use one of {', '.join(PROVIDERS)}, or a dataset whose files are public",
            )
        self._auth = auth
        self._effort = effort
        self._secrets = secrets
        self._policy = Policy(allow_private=effort.allow_private_hosts, source=source)
        self._gates = gates
        self._lock = threading.Lock()
        self._stores: dict[tuple[str, ...], ObjectStore] = {}
        self._origins: dict[str, Located] = {}

    def gate(self, host: str) -> Gate:
        return self._gates.of(host)

    def locate(self, href: str) -> Located:
        """The store and key of an absolute href or local path.

        Raises `Unreadable` (`forbidden-host`, `bad-href`), and `SpecError` or `AccessDenied` where the store cannot be set up.
        """
        # most hrefs are plain and of an origin that was checked before: parsing them in full would cost a sixth of the whole header
        plain = _PLAIN_HREF.fullmatch(href)
        known = self._origins.get(plain[1]) if plain else None
        if plain and known:
            return Located(known.store, plain[2], known.host, href)
        return self._located(href)

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

    def _store(self, key: tuple[str, ...], make: Callable[[], ObjectStore]) -> ObjectStore:
        store = self._stores.get(key)
        if store is None:
            with self._lock:
                # asked again under the lock: making a store reads the machine's certificates (4 ms), and all threads come here at once
                store = self._stores.get(key)
                if store is None:
                    if len(self._stores) >= _MOST_STORES:
                        self._stores.clear()
                    store = self._stores[key] = self._made(key[1], make)
        return store

    def _made(self, place: str, make: Callable[[], ObjectStore]) -> ObjectStore:
        """No request yet: what fails here are the options."""
        try:
            return make()
        except (BaseError, ValueError, TypeError) as error:
            raise SpecError(f"access to {place} cannot be set up: {summary(error)}", remedy="correct auth in the spec") from None

    def _web(self, parts: SplitResult, href: str) -> Located:
        if not parts.hostname:
            raise _bad_href("it names no host")
        if self._auth.provider == "azure" and parts.hostname.endswith(_BLOB_HOST):
            return self._blob(parts, href)
        netloc = parts.netloc.rpartition("@")[2]
        key = _plain_key(parts.path)
        # obstore encodes the key segment by segment; a path that would not survive that goes whole into the URL of the store
        base = urlunsplit((parts.scheme, netloc, "" if key else parts.path, parts.query, ""))
        store = self._store(("web", base), lambda: HTTPStore.from_url(base, client_options=self._client(base), retry_config=_NO_RETRIES))
        located = Located(store, key, netloc, href)
        if key and not parts.query:
            self._origins[f"{parts.scheme}://{parts.netloc}"] = located
        return located

    def _blob(self, parts: SplitResult, href: str) -> Located:
        container, _, key = unquote(parts.path).lstrip("/").partition("/")
        return self._azure(container, (parts.hostname or "").removesuffix(_BLOB_HOST), _whole(key), href)

    def _bucket(self, parts: SplitResult, href: str) -> Located:
        key = _after_bucket(href)
        if not parts.netloc:
            raise _bad_href("it names no bucket")
        make = self._s3 if parts.scheme.lower() == "s3" else self._gcs
        store = self._store((parts.scheme.lower(), parts.netloc), lambda: make(parts.netloc))
        return Located(store, key, f"{parts.scheme}://{parts.netloc}", href)

    def _container(self, parts: SplitResult, href: str) -> Located:
        container, _, host = parts.netloc.rpartition("@")
        if not container:
            container, host = host, ""
        return self._azure(container, host.partition(".")[0], _after_bucket(href), href)

    def _azure(self, container: str, account: str, key: str, href: str) -> Located:
        if not container:
            raise _bad_href("it names no container")
        store = self._store(("az", account, container), lambda: self._azure_store(container, account))
        return Located(store, key, f"az://{account}/{container}", href)

    def _file(self, parts: SplitResult, href: str) -> Located:
        path = unquote(parts.path) if parts.scheme else href
        return Located(self._store(("file", "this machine"), LocalStore), os.path.abspath(path).lstrip("/"), "this machine", href)

    def _client(self, url: str) -> Any:
        return {
            "http1_only": True,  # one core of client: HTTP/2 cost 20 % more CPU per header and 30 % less throughput
            "pool_max_idle_per_host": "256",
            "connect_timeout": timedelta(seconds=min(CONNECT_TIMEOUT, self._effort.timeout)),
            "timeout": timedelta(seconds=self._effort.timeout),
            "allow_http": url.startswith("http:"),
            "user_agent": "rasterloom",
        }

    def _options(self) -> dict[str, str]:
        return resolved(self._auth.options, self._secrets)

    def _s3(self, bucket: str) -> ObjectStore:
        options = self._options()
        config: Any = {name: options[name] for name in ("region", "endpoint") if name in options}
        if _truth(options.get("requester_pays")):
            config["request_payer"] = True
        if self._auth.provider == "aws":
            config |= {name: options[name] for name in _AWS_CREDENTIALS if name in options}
            config |= _profile(options["profile"]) if "profile" in options else {}
        else:
            config["skip_signature"] = True
        return S3Store(bucket, config=config, client_options=self._client(options.get("endpoint", "")), retry_config=_NO_RETRIES)

    def _gcs(self, bucket: str) -> ObjectStore:
        options = self._options()
        config: Any = {name: options[name] for name in ("service_account", "service_account_key") if name in options}
        if self._auth.provider != "gcs":
            config["skip_signature"] = True
        return GCSStore(bucket, config=config, client_options=self._client(""), retry_config=_NO_RETRIES)

    def _azure_store(self, container: str, account: str) -> ObjectStore:
        options = self._options()
        names = ("account_key", "sas_key", "client_id", "client_secret", "tenant_id", "endpoint")
        config: Any = {name: options[name] for name in names if name in options}
        account = account or options.get("account_name", "")
        if not account:
            raise SpecError(f"the storage account of container {container!r} is not known", remedy="add account_name to auth in the spec")
        if self._auth.provider != "azure":
            config["skip_signature"] = True
        config["account_name"] = account
        return AzureStore(container, config=config, client_options=self._client(options.get("endpoint", "")), retry_config=_NO_RETRIES)


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


def _truth(text: str | None) -> bool:
    return (text or "").strip().lower() in ("true", "1", "yes", "requester")


def _profile(name: str) -> dict[str, str]:
    """Static keys of a profile in the shared credentials file. Raises `AccessDenied` where there are none."""
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(file)
    found = {key: value for key in _AWS_CREDENTIALS if (value := parser.get(name, f"aws_{key}", fallback=None))}
    if "access_key_id" not in found:
        raise AccessDenied(f"the AWS profile {name!r} has no keys in {file}", remedy="correct auth.profile, or use AWS_* variables")
    return found
