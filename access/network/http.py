"""HTTP for STAC: bounded in time, in bytes and in depth, retried with care, and never talking to anybody but its one origin."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import numpy as np
import requests

from rasterloom.access.network.governor import Ticket
from rasterloom.access.network.hosts import DEADLINE, LONGEST_WAIT, PROCESS_GATES, Gates, backoff_seconds, retry_after_seconds
from rasterloom.access.network.redact import REDACTED, redact
from rasterloom.access.network.translate import Fault, Kind, error_of, fault_of_status, raised, shorten
from rasterloom.access.network.watched import WatchedAdapter
from rasterloom.errors import RasterloomError, SpecError, Unavailable, Unreadable

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 30.0
LARGEST_BODY = 64 << 20
"""Bytes of one answer, after decompression."""
DEEPEST_JSON = 64
"""Levels of nesting; GeoJSON needs about ten."""
MOST_REDIRECTS = 5
SEARCHES = 8
"""Searches at once that a busy service is thought to have got from us."""
SECRET = 8
"""Letters from which on the value of a header may be a secret, and is no word that a message has of its own."""
_CHUNK = 1 << 16
_ENCODINGS = ("gzip", "deflate")
"""At most a thousand times larger when decoded: a piece of such a body fits into memory, of others it may not."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[{]}")))


class MethodRefused(SpecError):
    """The server knows the place but not the method (405, 501): ask with the other one."""


class NotThere(SpecError):
    """The server has nothing at that address (404, 410)."""


class Broke(Unavailable):
    """The server failed at the request (500), more often than it is tried: where it is asked for less it may not."""


class NotJson(Unreadable):
    """The body is no JSON: worth one more try, a transport may have cut it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a header with a secret is bound to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of a STAC API."""

    url: str
    method: str = "GET"
    body: Mapping[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    what: str = "the answer"
    """How messages name it, e.g. `page 3 of the search`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    document: Any
    """The JSON value; `NaN` and infinities, which JSON does not have, are null."""
    text: str
    url: str
    """After redirects."""
    requests: int
    """Requests that it took, retries and redirects included."""
    bytes: int


def origin_of(url: str) -> Origin:
    """Raises `SpecError` where the URL is not http(s)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise SpecError(f"{redact(url)!r} is not the http(s) URL of a STAC API", remedy="correct stac.url")
    return Origin(scheme, parts.hostname.lower(), port or _DEFAULT_PORTS[scheme])


class Web:
    """A session with one origin. `headers` go nowhere else. Not for use by several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        retries: int,
        timeout: float = READ_TIMEOUT,
        deadline: float = DEADLINE,
        gates: Gates = PROCESS_GATES,
    ) -> None:
        self.origin = origin_of(url)
        self.retries = retries
        self.timeout = timeout
        self.deadline = deadline
        self.gate = gates.of(urlsplit(url).netloc.rpartition("@")[2])
        self.session = requests.Session()
        self._transport = WatchedAdapter()
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, self._transport)
        # without an auth of its own a session takes the one of ~/.netrc and overwrites our Authorization with it
        self.session.auth = _leave_alone
        accepted = {"Accept": "application/geo+json, application/json", "Accept-Encoding": ", ".join(_ENCODINGS)}
        self.session.headers.update({"User-Agent": "rasterloom", **accepted, **headers})
        said = {part for value in headers.values() for part in (value, *value.split()) if len(part) >= SECRET}
        self._secrets = sorted(said, key=len, reverse=True)

    def own(self, url: str, what: str) -> str:
        """`url` if it is of this origin. A mere downgrade to http of the same host is lifted again: proxies cause it.

        Raises `Unreadable` (`foreign-host`).
        """
        try:
            found = origin_of(url)
        except SpecError:
            found = None
        if found == self.origin:
            return url
        if found is not None and self._is_downgrade(found):
            return urlunsplit((self.origin.scheme, str(self.origin).partition("://")[2], *urlsplit(url)[2:]))
        raise Unreadable(
            f"{what} points away from {self.origin}, to {redact(url)[:200]!r}",
            reason="foreign-host",
            remedy="if that is the right service, name it in stac.url",
        )

    def _is_downgrade(self, found: Origin) -> bool:
        secure = self.origin.scheme == "https" and self.origin.port == 443
        return secure and found.host == self.origin.host and found.scheme == "http" and found.port in (80, 443)

    def json(self, ask: Ask) -> Answer:
        """The answer as JSON. A body that is none is asked for once more.

        Raises `AccessDenied`, `Unavailable` (after retries), `SpecError` (the server refuses the request; its own words are in the
        message), `MethodRefused`, `Unreadable` (`not-json`, `too-large`, `too-deep`, `foreign-host`, `redirect-loop`).
        """
        try:
            return self._json(ask)
        except NotJson:
            return self._json(ask)

    def _json(self, ask: Ask) -> Answer:
        url = self.own(ask.url, ask.what)
        spent = _Spending(self.deadline)
        for _ in range(MOST_REDIRECTS + 1):
            status, headers, body = self._retried(ask, url, spent)
            if status not in (301, 302, 303, 307, 308):
                text = _text(body, headers.get("Content-Type"), ask.what)
                return Answer(document=_document(text, body, ask.what), text=text, url=url, requests=spent.requests, bytes=spent.bytes)
            url = self.own(urljoin(url, headers.get("Location", "")), f"the redirect of {ask.what}")
        raise Unreadable(f"{ask.what} is redirected without end", reason="redirect-loop", remedy="correct stac.url")

    def _retried(self, ask: Ask, url: str, spent: _Spending) -> tuple[int, Mapping[str, str], bytes]:
        while True:
            ticket = self._entered(spent)
            spent.requests += 1
            spent.tries += 1
            pause = None
            try:
                status, headers, body = self._send(ask, url, spent)
            except requests.RequestException as failure:
                error = error_of(f"get {ask.what} from {self.origin}", failure)
            else:
                spent.bytes += len(body)
                if status < 400:
                    self.gate.answered()
                    return status, headers, body
                if status in (429, 503):
                    self.gate.throttled(ticket, most=SEARCHES)
                pause = retry_after_seconds(headers.get("Retry-After"))
                error = _refusal(status, self._masked(_words(body)), ask, self.origin)
            finally:
                self.gate.leave(ticket)
            self._again(error, pause, spent)

    def _masked(self, words: str) -> str:
        """Some servers repeat the key that they refuse."""
        return reduce(lambda text, secret: text.replace(secret, REDACTED), self._secrets, words)

    def _send(self, ask: Ask, url: str, spent: _Spending) -> tuple[int, Mapping[str, str], bytes]:
        with (
            self._transport.within(spent.left),
            self.session.request(
                ask.method,
                url,
                json=ask.body if ask.method == "POST" else None,
                params=ask.body if ask.method == "GET" else None,
                headers={name: value for name, value in ask.headers if name.lower() not in ("host", "authorization", "cookie")},
                timeout=(min(CONNECT_TIMEOUT, self.timeout), self.timeout),
                stream=True,
                allow_redirects=False,
            ) as response,
        ):
            return response.status_code, response.headers, _body(response, ask.what, spent)

    def _entered(self, spent: _Spending) -> Ticket:
        before = time.monotonic()
        ticket = self.gate.enter()
        spent.waited += time.monotonic() - before
        return ticket

    def _again(self, error: RasterloomError, pause: float | None, spent: _Spending) -> None:
        """Sleep before the next try, or raise `error`, or that the host is down."""
        if not isinstance(error, Unavailable):
            self.gate.answered()
            raise error
        if pause is None:
            self.gate.stumbled(error.message)
        if spent.tries > self.retries or spent.over or not self.gate.may_retry():
            self.gate.failed(error.message)
            raise error
        if pause:
            self.gate.close_for(pause)
        else:
            time.sleep(backoff_seconds(spent.tries))


class _Spending:
    """What one answer has cost so far."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.requests = 0
        self.tries = 0
        self.bytes = 0
        self.waited = 0.0
        self.started = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - (time.monotonic() - self.started - self.waited))

    @property
    def over(self) -> bool:
        return self.waited > LONGEST_WAIT or self.left == 0


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _body(response: requests.Response, what: str, spent: _Spending) -> bytes:
    """The body, read in a stream so that neither its size nor its slowness is the server's choice."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in (*_ENCODINGS, "identity"):
        raise Unreadable(f"{what} is encoded as {encoding}", reason="bad-encoding", remedy="look for a proxy between here and the server")
    parts: list[bytes] = []
    total = 0
    for part in response.iter_content(_CHUNK):
        parts.append(part)
        total += len(part)
        if total > LARGEST_BODY:
            raise Unreadable(f"{what} is larger than {LARGEST_BODY >> 20} MiB", reason="too-large", remedy="lower stac.page_size")
        if spent.over:
            raise Unavailable(f"{what} took longer than {spent.deadline:.0f} s", remedy="try again later, or lower stac.page_size")
    return b"".join(parts)


def _refusal(status: int, words: str, ask: Ask, origin: Origin) -> RasterloomError:
    message = shorten(f"{origin} answered {status} to {ask.what}{': ' + words if words else ''}")
    if status in (405, 501):
        return MethodRefused(message, remedy="set stac.method to the other method")
    remedy = "correct stac.url, the collection or the query in the spec"
    if status in (404, 410):
        return NotThere(message, remedy=remedy)
    fault = fault_of_status(status)
    if status == 500:
        return Broke(message, remedy=fault.remedy)
    if fault.kind is Kind.UNREADABLE:
        fault = Fault(Kind.SPEC, fault.reason, remedy)
    return raised(fault, message)


def _words(body: bytes) -> str:
    """What the server says about it, where it says it in JSON."""
    try:
        document = json.loads(body[:100_000])
    except (ValueError, RecursionError):
        return ""
    found = [document.get(name) for name in ("description", "detail", "message", "title")] if isinstance(document, dict) else []
    return next((words if isinstance(words, str) else json.dumps(words) for words in found if words), "")


def _text(body: bytes, content_type: str | None, what: str) -> str:
    kind = (content_type or "").partition(";")[0].strip().lower()
    beginning = shorten(repr(bytes(body[:60])))
    if kind in ("text/html", "application/xhtml+xml") or body[:256].lstrip().startswith(b"<"):
        raise _not_json(f"{what} is a web page, not JSON (begins with {beginning})")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _not_json(f"{what} is not UTF-8 (begins with {beginning})") from None


def _document(text: str, body: bytes, what: str) -> Any:
    if depth_of(body) > DEEPEST_JSON:
        raise Unreadable(f"{what} is nested more than {DEEPEST_JSON} levels deep", reason="too-deep", remedy="correct stac.url")
    try:
        return json.loads(text, parse_constant=_null)
    except ValueError as error:
        raise _not_json(f"{what} is not JSON (begins with {shorten(text[:60])!r}): {shorten(str(error))}") from None


def _null(_: str) -> None:
    return None


def _not_json(message: str) -> NotJson:
    return NotJson(message, reason="not-json", remedy="check that stac.url is a STAC API and that it needs no login")


def depth_of(body: bytes) -> int:
    """Levels of nesting of a JSON text, without parsing it."""
    steps = _STRINGS.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    return int(np.cumsum(np.frombuffer(steps, dtype=np.int8), dtype=np.int64).max(initial=0))
