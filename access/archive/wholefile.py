"""A file that a spec names by an http(s) address, as a whole: zones, points, an area. Bounded, and never from where it may not lead."""

from __future__ import annotations

from rasterloom.access.archive.documents import GZIP, unpacked
from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.archive.transfer import Transfer
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.network.redact import redact
from rasterloom.access.network.translate import translated
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import Effort

LARGEST = 64 << 20
"""Bytes."""


def is_web(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))


def whole_file(address: str, *, effort: Effort, secrets: Secrets) -> bytes:
    """What stands there, with the credentials of `effort.auth` where they are for its host, as of any href.

    The address is the spec's own, and may be of a private host; a redirect of a public one may not lead to such. Raises SpecError where
    there is no such file, `AccessDenied`, `Unavailable`.
    """
    shown = redact(address)
    try:
        stores = shared_stores(effort.auth, effort=effort, secrets=secrets, source=address)
        located = stores.locate(address)
        with translated(f"read {shown}"):
            part = Transfer(located, stores.gate(located.host), effort=effort).first(LARGEST, whole=LARGEST)
        data = unpacked(bytes(part.data), shown) if bytes(part.data[:2]) == GZIP else bytes(part.data)
    except Unreadable as error:
        message = error.message if shown in error.message else f"{shown} cannot be read: {error.message}"
        raise SpecError(message, remedy=_remedy(error)) from None
    if part.size > LARGEST:
        raise SpecError(f"{shown} has {part.size >> 20} MiB, the most are {LARGEST >> 20}", remedy="download it, and give its path")
    return data


def _remedy(error: Unreadable) -> str:
    match error.reason:
        case "missing":
            return "correct its address"
        case "forbidden-host":
            return error.remedy or "give the address where it stands"
        case "server-ranges":
            return "the server tells no length and answers no ranges: download the file, and give its path"
        case _:
            return "download the file, and give its path"
