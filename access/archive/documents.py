"""One JSON document of a catalog, on this machine, behind http(s) or in an object store: bounded, and never where it may not lead."""

from __future__ import annotations

import json
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from rasterloom.access.archive.stores import Stores
from rasterloom.access.archive.transfer import Transfer
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.network.hosts import Policy
from rasterloom.access.network.http import DEEPEST_JSON, LARGEST_BODY, Ask, Web, depth_of
from rasterloom.access.network.redact import redact
from rasterloom.access.network.translate import shorten, translated
from rasterloom.access.values import Traffic
from rasterloom.errors import RasterloomError, SpecError, Unreadable
from rasterloom.specs.effort import Effort

_LOCAL = ("", "file")
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    value: Any
    address: str
    """Where it was found, after redirects: what its relative hrefs mean."""
    traffic: Traffic = field(default_factory=Traffic)
    """None for a file of this machine."""


class Documents:
    """The documents of one catalog. Thread-safe.

    A catalog on the network leads to its own host and to public ones, never to files of this machine or into a private network; a
    local one leads to local files and to public hosts. `allow_private_hosts` opens private hosts to both, files to neither.
    """

    def __init__(self, root: str, *, effort: Effort, secrets: Secrets) -> None:
        self._root = urlsplit(root)
        self._is_local = self._root.scheme.lower() in _LOCAL
        self._effort = effort
        self._policy = Policy(allow_private=effort.allow_private_hosts, source=None if self._is_local else root)
        self._stores = Stores(effort.auth, effort=effort, secrets=secrets, source=None if self._is_local else root)
        self._thread = threading.local()

    @property
    def is_local(self) -> bool:
        return self._is_local

    def read(self, address: str, what: str) -> Document:
        """The document at an absolute address; `what` names it in messages.

        Raises `SpecError` (there is none), `Unreadable` (`forbidden-host`, `not-json`, `too-large`, `too-deep`, ...), `AccessDenied`,
        `Unavailable`.
        """
        try:
            return self._read(address, urlsplit(address), what)
        except ValueError:
            raise Unreadable(f"{what} is no URL and no path: {redact(address)[:200]!r}", reason="bad-href") from None
        except RasterloomError as error:
            raise _for_catalogs(error) from None

    def _read(self, address: str, parts: SplitResult, what: str) -> Document:
        scheme = parts.scheme.lower()
        self._check(parts, what)
        if scheme in _LOCAL:
            return Document(value=parsed(_file(address, parts, what), what), address=address)
        # other hosts are asked by the client that checks every address; and that one has the credentials, where there are some
        if scheme in ("http", "https") and self._is_own(parts) and self._effort.auth.provider == "anonymous":
            answer = self._web().json(Ask(url=address, what=what))
            return Document(value=answer.document, address=answer.url, traffic=Traffic(requests=answer.requests, bytes=answer.bytes))
        located = self._stores.locate(address)
        transfer = Transfer(located, self._stores.gate(located.host), effort=self._effort)
        with translated(f"read {what}"):
            part = transfer.first(LARGEST_BODY)
        if part.size > LARGEST_BODY:
            raise _too_large(what)
        traffic = Traffic(requests=transfer.requests, bytes=transfer.bytes)
        return Document(value=parsed(bytes(part.data), what), address=address, traffic=traffic)

    def _check(self, parts: SplitResult, what: str) -> None:
        scheme = parts.scheme.lower()
        if scheme in _LOCAL and self._is_local:
            return
        if scheme in _LOCAL:
            raise Unreadable(f"{what} is a file of this machine, and the catalog is not", reason="forbidden-host")
        if self._is_own(parts):
            return
        try:
            self._policy.check(parts)
        except Unreadable as error:
            raise Unreadable(f"{what}: {error.message}", reason=error.reason, remedy=error.remedy) from None

    def _is_own(self, parts: SplitResult) -> bool:
        """Whether an address is of the origin or bucket of the catalog."""
        return (parts.scheme.lower(), parts.netloc.lower()) == (self._root.scheme.lower(), self._root.netloc.lower())

    def _web(self) -> Web:
        """The session of this thread with the origin of the catalog."""
        web: Web | None = getattr(self._thread, "web", None)
        if web is None:
            web = self._thread.web = Web(self._root.geturl(), headers={}, retries=self._effort.retries, timeout=self._effort.timeout)
        return web


def parsed(data: bytes, what: str) -> Any:
    """The JSON value of a document; `NaN` and infinities, which JSON does not have, are null. Raises `Unreadable`."""
    if data.startswith(GZIP):
        data = unpacked(data, what)
    if depth_of(data) > DEEPEST_JSON:
        raise Unreadable(f"{what} is nested more than {DEEPEST_JSON} levels deep", reason="too-deep")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)
    except ValueError as error:
        beginning = shorten(repr(data[:60]))
        raise Unreadable(f"{what} is not JSON (begins with {beginning}): {shorten(str(error))}", reason="not-json") from None


def unpacked(data: bytes, what: str) -> bytes:
    """Of a document that lies compressed in its bucket; no more of it than may be."""
    try:
        found = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, LARGEST_BODY + 1)
    except zlib.error as error:
        raise Unreadable(f"{what} is broken gzip: {error}", reason="bad-encoding") from None
    if len(found) > LARGEST_BODY:
        raise _too_large(what)
    return found


def _file(address: str, parts: SplitResult, what: str) -> bytes:
    """A path as it is spelled; where there is none of that name, as an href, in which a blank is `%20`."""
    spelled = [unquote(parts.path)] if parts.scheme else [address, unquote(address)]
    with translated(f"read {what}"):
        found = next((path for path in map(Path, spelled) if path.is_file()), None)
        if found is None:
            raise SpecError(f"{what} is not there: {spelled[0]} is no file")
        with found.open("rb") as file:
            data = file.read(LARGEST_BODY + 1)
    if len(data) > LARGEST_BODY:
        raise _too_large(what)
    return data


def _too_large(what: str) -> Unreadable:
    return Unreadable(f"{what} is larger than {LARGEST_BODY >> 20} MiB", reason="too-large")


def _for_catalogs(error: RasterloomError) -> RasterloomError:
    """The same error with a remedy for somebody who wrote `catalog.path`. A document that is not there is the spec's or the catalog's."""
    remedy = "correct catalog.path, or the catalog; or name a part of it that is whole"
    match error:
        case Unreadable(reason="missing"):
            return SpecError(error.message, remedy=remedy)
        case Unreadable():
            return Unreadable(error.message, reason=error.reason, remedy=remedy)
        case SpecError():
            return SpecError(error.message, problems=error.problems, remedy=remedy)
        case _:
            return error
