"""One table of foreign errors -> ours. Whatever leaves `access/` is a `RasterloomError` whose text holds no secret."""

from __future__ import annotations

import errno
import http.client
import json
import re
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import obstore.exceptions as obs
import pyarrow as pa
import requests
import shapely
import urllib3

from rasterloom.access.network.redact import redact
from rasterloom.access.network.wire import RangesIgnored
from rasterloom.access.values import Failure
from rasterloom.errors import AccessDenied, RasterloomError, SpecError, Unavailable, Unreadable

MESSAGE_LIMIT = 500


class Kind(Enum):
    SPEC = "spec"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a foreign error means to the reader."""

    kind: Kind
    reason: str
    """Short stable class for the failures table."""
    remedy: str = ""

    @property
    def retryable(self) -> bool:
        return self.kind is Kind.UNAVAILABLE


_CREDENTIALS = "check auth in the spec (provider, region, requester_pays) and the credentials of this machine"
_SERVER = "try again later; lower build.max_concurrent if the server is busy"
_DENIED = Fault(Kind.DENIED, "denied", _CREDENTIALS)
_UNAUTHENTICATED = Fault(Kind.DENIED, "unauthenticated", _CREDENTIALS)
_MISSING = Fault(Kind.UNREADABLE, "missing")
_RANGES = Fault(Kind.UNREADABLE, "server-ranges", "the server must answer range requests; use another href of the asset")
_TIMEOUT = Fault(Kind.UNAVAILABLE, "timeout", "raise build.timeout, or try again later")
_NETWORK = Fault(Kind.UNAVAILABLE, "network", "check the network and the host's name")
_THROTTLED = Fault(Kind.UNAVAILABLE, "throttled", "lower build.max_concurrent")
_ENCODING = Fault(Kind.UNREADABLE, "bad-encoding", "the body is not encoded as it says: look for a proxy between here and the server")
_DISK_FULL = Fault(Kind.UNAVAILABLE, "disk-full", "free some space on the disk")
_DISK = Fault(Kind.UNAVAILABLE, "disk", "check the disk and its permissions")

TABLE: tuple[tuple[type[BaseException], Fault], ...] = (
    # obstore; of its classes some stand for several things, which the status and the text tell apart
    (obs.AlreadyExistsError, Fault(Kind.UNAVAILABLE, "conflict")),
    (obs.PreconditionError, Fault(Kind.UNREADABLE, "changed", "the file was replaced while it was read: run again")),
    (obs.NotModifiedError, Fault(Kind.UNREADABLE, "not-modified")),
    (obs.NotFoundError, _MISSING),  # pyright: ignore[reportDeprecated]
    (obs.PermissionDeniedError, _DENIED),
    (obs.UnauthenticatedError, _UNAUTHENTICATED),
    (obs.NotSupportedError, _RANGES),
    (obs.InvalidPathError, Fault(Kind.UNREADABLE, "bad-href")),
    (obs.JoinError, Fault(Kind.UNAVAILABLE, "network")),
    (obs.UnknownConfigurationKeyError, Fault(Kind.SPEC, "bad-option", "correct the options of auth in the spec")),
    (obs.GenericError, Fault(Kind.UNAVAILABLE, "network", _SERVER)),
    (obs.BaseError, Fault(Kind.UNAVAILABLE, "network", _SERVER)),
    # requests and urllib3, the transport of the STAC client
    (requests.Timeout, _TIMEOUT),
    (requests.exceptions.SSLError, Fault(Kind.UNAVAILABLE, "tls", "check the server's certificate and the clock of this machine")),
    (requests.exceptions.InvalidURL, Fault(Kind.SPEC, "bad-url", "correct the URL")),
    (requests.exceptions.InvalidSchema, Fault(Kind.SPEC, "bad-url", "use an http(s) URL")),
    (requests.exceptions.MissingSchema, Fault(Kind.SPEC, "bad-url", "use an http(s) URL")),
    (requests.exceptions.InvalidHeader, Fault(Kind.SPEC, "bad-header", "correct stac.headers")),
    (requests.exceptions.JSONDecodeError, Fault(Kind.UNREADABLE, "not-json")),
    (requests.exceptions.ContentDecodingError, _ENCODING),
    (requests.TooManyRedirects, Fault(Kind.UNREADABLE, "redirect-loop")),
    (requests.RequestException, _NETWORK),
    (urllib3.exceptions.TimeoutError, _TIMEOUT),
    (urllib3.exceptions.DecodeError, _ENCODING),
    (urllib3.exceptions.HTTPError, _NETWORK),
    # our own client for files (rasterloom.access.network.wire); of a StatusError the status decides
    (RangesIgnored, _RANGES),
    (http.client.HTTPException, _NETWORK),
    # texts
    (json.JSONDecodeError, Fault(Kind.UNREADABLE, "not-json")),
    (UnicodeError, Fault(Kind.UNREADABLE, "not-utf8")),
    (RecursionError, Fault(Kind.UNREADABLE, "too-deep")),
    # Arrow and geometry
    (pa.ArrowException, Fault(Kind.UNREADABLE, "not-parquet")),
    (shapely.errors.ShapelyError, Fault(Kind.UNREADABLE, "bad-geometry")),
    # operating system; the errno tells more, see ERRNO
    (FileNotFoundError, _MISSING),
    (NotADirectoryError, _MISSING),
    (IsADirectoryError, _MISSING),
    (PermissionError, Fault(Kind.DENIED, "denied", "check the permissions of the file")),
    (socket.gaierror, Fault(Kind.UNAVAILABLE, "unresolved-host", "check the name of the host and the network")),
    (ssl.SSLError, Fault(Kind.UNAVAILABLE, "tls", "check the server's certificate and the clock of this machine")),
    (TimeoutError, _TIMEOUT),
    (ConnectionError, _NETWORK),
    (OSError, _DISK),
)
"""Ordered: the first class that the error is an instance of decides, unless STATUS or ERRNO knows more."""

STATUS: dict[int, Fault] = {
    400: Fault(Kind.UNREADABLE, "bad-request"),
    401: _UNAUTHENTICATED,
    403: _DENIED,
    404: _MISSING,
    408: _TIMEOUT,
    410: _MISSING,
    412: Fault(Kind.UNREADABLE, "changed", "the file was replaced while it was read: run again"),
    416: _RANGES,
    425: Fault(Kind.UNAVAILABLE, "server", _SERVER),
    429: _THROTTLED,
    503: Fault(Kind.UNAVAILABLE, "server", _SERVER),
}

ERRNO: dict[int, Fault] = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EROFS: Fault(Kind.DENIED, "read-only", "the file system is mounted read-only"),
    errno.ENETUNREACH: _NETWORK,
    errno.EHOSTUNREACH: _NETWORK,
    errno.ENAMETOOLONG: Fault(Kind.UNREADABLE, "bad-href"),
}

FOREIGN = tuple(foreign for foreign, _ in TABLE)

_PROVIDER_IN_TEXT = re.compile(r"External \w+ credential provider: ([\w.]+).*", re.DOTALL)
"""What the code of a credential provider raises may show what it knows: only the kind of error is told."""
_POOL_IN_TEXT = re.compile(
    r"^\w+\(host=[^()]*\): (?:Max retries exceeded with url: .*\(Caused by \w+\([\"'](?:\w+\([^()]*\): )?(.*)[\"']\)\)$)?", re.DOTALL
)
"""urllib3 names its own objects first, the cause last."""
_REGION_IN_TEXT = re.compile(r"incorrectly configured region", re.IGNORECASE)
_STATUS_IN_TEXT = re.compile(r"non-2xx status code: (\d{3})|\bstatus: (\d{3})\b")
_TIMEOUT_IN_TEXT = re.compile(r"operation timed out|kind: Timeout|timed out", re.IGNORECASE)
_RANGES_IN_TEXT = re.compile(
    r"non-partial response|Content-Range|InvalidRange|Range(?: request)? not supported|content[- ]length|requested range", re.IGNORECASE
)


def http_status(error: BaseException) -> int | None:
    """The HTTP status that a foreign error speaks of, or None."""
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status
    if isinstance(error, (obs.BaseError, FileNotFoundError)) and (found := _STATUS_IN_TEXT.search(str(error))):
        return int(found[1] or found[2])
    return None


def fault_of_status(status: int) -> Fault:
    """What an HTTP answer that is no success means."""
    if status in STATUS:
        return STATUS[status]
    return Fault(Kind.UNAVAILABLE, "server", _SERVER) if status >= 500 else Fault(Kind.UNREADABLE, f"http-{status}")


def fault_of(error: BaseException) -> Fault:
    """What `error`, one of FOREIGN, means."""
    status = http_status(error)
    if status is not None:
        return fault_of_status(status)
    if isinstance(error, OSError) and error.errno in ERRNO:
        return ERRNO[error.errno]
    if isinstance(error, obs.GenericError):
        return _generic(str(error))
    return next(fault for foreign, fault in TABLE if isinstance(error, foreign))


def _generic(text: str) -> Fault:
    """obstore throws one class for time-outs, broken connections and answers that do not fit the range."""
    if _TIMEOUT_IN_TEXT.search(text):
        return _TIMEOUT
    if _RANGES_IN_TEXT.search(text):
        return _RANGES
    if _REGION_IN_TEXT.search(text):
        return Fault(Kind.SPEC, "bad-region", "set auth.region to the region of the bucket")
    return Fault(Kind.UNAVAILABLE, "network", _SERVER)


def summary(error: BaseException) -> str:
    """One redacted line of at most 500 characters: obstore's debug dump and the server's page are left out."""
    text = str(error).partition("\n\nDebug source")[0].strip() or type(error).__name__
    if pool := _POOL_IN_TEXT.match(text):
        text = pool[1] or text[pool.end() :]
    return shorten(_PROVIDER_IN_TEXT.sub(r"its credential provider raised \1", text))


def shorten(text: str) -> str:
    line = " ".join(redact(text).split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def error_of(what: str, error: BaseException) -> RasterloomError:
    """Our error for a foreign one, e.g. `error_of("read the header of x", error)`; ours pass through."""
    if isinstance(error, RasterloomError):
        return error
    fault = fault_of(error)
    message = shorten(f"could not {what}: {summary(error)}")
    return raised(fault, message)


def raised(fault: Fault, message: str, *, retry_after: float | None = None) -> RasterloomError:
    """The error of ours that stands for `fault`."""
    match fault.kind:
        case Kind.SPEC:
            return SpecError(message, remedy=fault.remedy)
        case Kind.DENIED:
            return AccessDenied(message, remedy=fault.remedy)
        case Kind.UNAVAILABLE:
            return Unavailable(message, remedy=fault.remedy, retry_after=retry_after)
        case Kind.UNREADABLE:
            return Unreadable(message, reason=fault.reason, remedy=fault.remedy)


@contextmanager
def translated(what: str) -> Generator[None]:
    """`with translated("list the workspace"):` foreign errors leave as ours. The foreign text, which may hold a secret, is cut off."""
    try:
        yield
    except FOREIGN as error:
        raise error_of(what, error) from None


def failure_of(
    error: BaseException,
    *,
    stage: str,
    item_id: str = "",
    band: str = "",
    href: str = "",
    attempts: int = 1,
    first_seen: datetime | None = None,
    last_seen: datetime | None = None,
) -> Failure:
    """A row of the failures table for `error`: one of FOREIGN or of ours. The message is redacted and cut."""
    fault = _fault_of_ours(error) if isinstance(error, RasterloomError) else fault_of(error)
    message = shorten(error.message) if isinstance(error, RasterloomError) else summary(error)
    return Failure(
        stage=stage,
        reason=fault.reason,
        message=message,
        item_id=item_id,
        band=band,
        href=redact(href),
        http_status=http_status(error),
        attempts=attempts,
        retryable=fault.retryable,
        first_seen=first_seen,
        last_seen=last_seen,
    )


def _fault_of_ours(error: RasterloomError) -> Fault:
    match error:
        case Unreadable():
            return Fault(Kind.UNREADABLE, error.reason)
        case AccessDenied():
            return _DENIED
        case Unavailable():
            return Fault(Kind.UNAVAILABLE, "unavailable")
        case _:
            return Fault(Kind.SPEC, "bad-option")
