"""Search of a STAC API: pystac-client knows the service, the paging is our own.

pystac-client's own loop never ends on a `next` that leads back, stops in silence at an empty page, and follows `next` with all headers
to any host (facts of version 0.9.1).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

from pystac import STACError
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.stac_api_io import StacApiIO

from rasterloom.access.credentials.secrets import Secrets, resolved
from rasterloom.access.items.pages import Page
from rasterloom.access.items.pushdown import ABLE, Pushdown, Skills, shared_out, skills_of, unfiltered
from rasterloom.access.network.hosts import PROCESS_GATES
from rasterloom.access.network.http import Answer, Ask, Broke, MethodRefused, NotThere, Web
from rasterloom.errors import RasterloomError, SpecError, Unavailable, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.plan import stac_datetime
from rasterloom.specs.question import Box, Question, Shard

_LOG = logging.getLogger("rasterloom.stac")
PAGE_SIZE = 250
IDS_AT_ONCE = 50
"""Ids in one search: a GET has them in its URL."""
SLACK = 10
"""Pages more than `numberMatched` explains, and empty pages in a row, before a search counts as endless."""


def search(question: Question, shard: Shard, *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """All pages of one shard. The caller drops duplicates and what does not answer the question.

    Raises `SpecError` (no such API, collection or query), `AccessDenied`, `Unavailable` (also where fewer items came than the server
    counted, twice), `Unreadable` (`paging-loop`, `foreign-host`, `not-json`, `not-stac`, ...).
    """
    service = _service(question, effort, secrets)
    boxes = _boxes(question, shard)
    seen: set[str] = set()
    for box in boxes:
        ask = _first_ask(question, shard, box, effort)
        yield from _whole(_Walk(service, ask, seen, question), single=len(boxes) == 1)


def asked_of(question: Question, *, effort: Effort, secrets: Secrets) -> Pushdown:
    """What the API is asked for of the question's conditions, by its landing page. Raises as `search`."""
    return _service(question, effort, secrets).pushdown(question)


def search_ids(question: Question, ids: Sequence[str], *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """The items of these ids that the source still has, whatever else of them changed. Raises as `search`."""
    service = _service(question, effort, secrets)
    for start in range(0, len(ids), IDS_AT_ONCE):
        some = list(ids[start : start + IDS_AT_ONCE])
        body = {"collections": [question.source.collection], "ids": some, "limit": len(some)}
        yield from _Walk(service, body, set()).pages()


def _service(question: Question, effort: Effort, secrets: Secrets) -> Service:
    url = question.source.address
    PROCESS_GATES.keep_to(effort.limits)
    return open_service(Web(url, headers=resolved(effort.headers, secrets), retries=effort.retries, timeout=effort.timeout), url, effort)


@dataclass(slots=True)
class Service:
    """A STAC API that was found: where it searches and how it wants to be asked."""

    web: Web
    search_url: str
    method: str
    requests: int
    """Not yet accounted for: those of the landing page."""
    title: str = ""
    conforms_to: tuple[str, ...] = ()
    skills: Skills = ABLE
    counts: bool = True
    """Whether `numberMatched` is to be believed."""
    refused: bool = False
    """The filter, in this search."""

    def pushdown(self, question: Question) -> Pushdown:
        """What it is asked for of the conditions."""
        return unfiltered(question) if self.refused else shared_out(question, self.skills, self.method)

    def refuses(self, question: Question, error: RasterloomError) -> bool:
        """Ask for no filter from now on; False where that changes nothing. Another fault of the request shows again, without it."""
        if self.refused or self.pushdown(question) == unfiltered(question):
            return False
        self.refused = True
        self.requests += 1
        _tell(str(self.web.origin), error.message)
        return True


@lru_cache(maxsize=64)
def _tell(origin: str, message: str) -> None:
    """Once in a process: every shard meets it again."""
    _LOG.warning("%s does not take the filter, which is applied here alone: %s", origin, message)


class BoundedIO(StacApiIO):
    """pystac-client's door to the network, through our session."""

    def __init__(self, web: Web) -> None:
        super().__init__(timeout=None, max_retries=None)
        self.session = web.session
        self.web = web
        self.requests = 0

    def request(
        self, href: str, method: str | None = None, headers: dict[str, str] | None = None, parameters: dict[str, Any] | None = None
    ) -> str:
        ask = Ask(
            url=href,
            method=(method or "GET").upper(),
            body=parameters or None,
            headers=tuple((headers or {}).items()),
            what="the landing page",
        )
        answer = self.web.json(ask)
        self.requests += answer.requests
        return answer.text


def open_service(web: Web, url: str, effort: Effort) -> Service:
    """The API at a landing page. Raises as `Web.json`, and `SpecError` where it is no STAC API."""
    io = BoundedIO(web)
    try:
        client = Client.from_file(url, stac_io=io)
        link = client.get_search_link()
        href = urljoin(f"{url}/", link.get_absolute_href() or link.href) if link else f"{url}/search"
        links = [link for link in client.links if link.rel == "search"]
    except (STACError, ClientTypeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(
            f"{web.origin} has no STAC landing page there ({type(error).__name__})",
            remedy="give the root of the API as stac.url, not /search",
        ) from None
    methods = {str(link.extra_fields["method"]).upper() for link in links if "method" in link.extra_fields}
    method = "GET" if methods and "POST" not in methods else effort.method
    conforms_to = tuple(client.get_conforms_to())
    skills = skills_of(conforms_to, ignores_filter=effort.ignores_filter, query_knows=effort.query_knows)
    place, title = web.own(href, "the search link"), client.title or client.id
    return Service(web, place, method, io.requests, title, conforms_to, skills, effort.counts)


def _boxes(question: Question, shard: Shard) -> tuple[Box | None, ...]:
    """What to send as `bbox`: servers disagree about west > east, so it is asked in two halves."""
    box = shard.cell or question.bbox
    if box is None or box.west <= box.east:
        return (box,)
    return replace(box, east=180.0), replace(box, west=-180.0)


def _first_ask(question: Question, shard: Shard, box: Box | None, effort: Effort) -> dict[str, Any]:
    """The search as a POST body."""
    limits = [size for size in (effort.page_size or effort.max_page_size or PAGE_SIZE, effort.max_page_size) if size]
    body: dict[str, Any] = {"collections": [question.source.collection], "limit": min(limits)}
    if shard.dates.start is not None or shard.dates.end is not None:
        body["datetime"] = stac_datetime(shard.dates)
    if box is not None:
        body["bbox"] = [box.west, box.south, box.east, box.north]
    elif question.intersects is not None:
        body["intersects"] = json.loads(question.intersects)
    return body


def _as_parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same search as parameters of a GET (STAC API item search: lists with commas, objects as JSON)."""
    return {name: _parameter(value) for name, value in body.items()}


def _parameter(value: Any) -> Any:
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return json.dumps(value) if isinstance(value, dict) else value


def _whole(walk: _Walk, *, single: bool) -> Iterator[Page]:
    """The pages of one search; once more where fewer items came than the server counted: the set may have changed under the paging."""
    for page in walk.pages():
        yield page if single else replace(page, matched=None)
    if not walk.incomplete:
        return
    again = walk.again()
    for page in again.pages():
        yield page if single else replace(page, matched=None)
    if again.incomplete and again.received < (again.matched or 0):
        raise Unavailable(
            f"incomplete result: {again.service.web.origin} counts {again.matched} items and gave {len(again.found)}, twice",
            remedy="try again later; lower stac.page_size; split the dates",
        )


class _Walk:
    """One search from page to page. `seen` holds the ids of the whole shard, `found` those of this search."""

    def __init__(self, service: Service, body: dict[str, Any], seen: set[str], question: Question | None = None) -> None:
        self.service = service
        self.body = body
        self.question = question
        """Whose conditions are asked for beside the body."""
        self.seen = seen
        self.found: set[str] = set()
        self.matched: int | None = None
        self._most = 0
        self.received = 0
        self._asked: set[str] = set()
        self._sent = body
        self._page = 0
        self._page_size = 0
        self._stale = 0
        self._empty = 0

    @property
    def incomplete(self) -> bool:
        """Fewer than the server counted at any time: a set that shrinks under the paging moves items over its edges."""
        return len(self.found) < self._most

    def again(self) -> _Walk:
        return _Walk(self.service, self.body, self.seen, self.question)

    def pages(self) -> Iterator[Page]:
        ask = self._first()
        while ask is not None:
            self._page += 1
            self._refuse_repetition(ask)
            document, page = self._get(ask)
            yield page
            ask = self._next(document, ask)

    def _first(self) -> Ask:
        method = self.service.method
        asked = {} if self.question is None else self.service.pushdown(self.question).parameters(method)
        self._sent = {**self.body, **asked}
        body = self._sent if method == "POST" else _as_parameters(self._sent)
        return Ask(url=self.service.search_url, method=method, body=body)

    def _get(self, ask: Ask) -> tuple[Mapping[str, Any], Page]:
        ask = replace(ask, what=f"page {self._page} of the search")
        answer = self._begun(ask) if self._page == 1 else self.service.web.json(ask)
        items = _features(answer.document, ask.what)
        page = Page(
            items=items,
            matched=_matched(answer.document) if self.service.counts else None,
            bytes=answer.bytes,
            requests=answer.requests + self.service.requests,
            duplicates=self._take(items),
        )
        self.service.requests = 0
        self.matched = page.matched if page.matched is not None else self.matched
        self._most = max(self._most, self.matched or 0)
        self._refuse_endlessness(ask.what)
        return answer.document, page

    def _begun(self, ask: Ask) -> Answer:
        """The first page, asked for as the server wants it: by the other method, without the filter."""
        while True:
            try:
                return self.service.web.json(ask)
            except MethodRefused:
                if ask.method == "GET":
                    raise
                self.service.method = "GET"
            except NotThere:
                raise
            except (SpecError, Broke) as error:
                if self.question is None or not self.service.refuses(self.question, error):
                    raise
            ask = replace(self._first(), what=ask.what)

    def _take(self, items: list[dict[str, Any]]) -> int:
        """Note the ids of a page; returns how many the shard had already. Items without an id are new, and fail later."""
        ids = [item["id"] if isinstance(item.get("id"), str) else f"{self._page}/{at}" for at, item in enumerate(items)]
        new = set(ids) - self.found
        duplicates = len(ids) - len(set(ids) - self.seen)
        self.found |= new
        self.seen |= new
        self.received += len(items)
        self._page_size = max(self._page_size, len(items))
        self._empty = 0 if items else self._empty + 1
        self._stale = 0 if new or not items else self._stale + 1
        return duplicates

    def _refuse_repetition(self, ask: Ask) -> None:
        key = json.dumps([ask.method, ask.url, ask.body], sort_keys=True)
        if key in self._asked:
            raise _endless(f"page {self._page} of the search leads back to a page that was read")
        self._asked.add(key)

    def _refuse_endlessness(self, what: str) -> None:
        if self._stale >= 2:
            raise _endless(f"{what} and the one before brought nothing new")
        if self._empty >= SLACK:
            raise _endless(f"{what} is the {SLACK}th empty one in a row")
        if self.matched is not None and self.received > self.matched + SLACK * max(1, self._page_size):
            raise _endless(f"{what} goes on although {self.received} items came and the server counts {self.matched}")

    def _next(self, document: Mapping[str, Any], asked: Ask) -> Ask | None:
        links = document.get("links")
        found = [link for link in links if isinstance(link, dict) and link.get("rel") == "next"] if isinstance(links, list) else []
        # two links where one is meant for GET: take the one that is like the search
        link = next((link for link in found if str(link.get("method", "GET")).upper() == self.service.method), found[0] if found else None)
        if link is None or link.get("href") is None:
            return None
        href = self.service.web.own(urljoin(asked.url, str(link["href"])), f"`next` of page {self._page} of the search")
        headers = link.get("headers")
        pairs = tuple((str(name), str(value)) for name, value in headers.items()) if isinstance(headers, dict) else ()
        if str(link.get("method", "GET")).upper() != "POST":
            return Ask(url=href, headers=pairs)
        body = link.get("body")
        merged = not isinstance(body, dict) or link.get("merge") is True
        return Ask(
            url=href, method="POST", headers=pairs, body={**(self._sent if merged else {}), **(body if isinstance(body, dict) else {})}
        )


def _endless(message: str) -> Unreadable:
    return Unreadable(
        message, reason="paging-loop", remedy="the server's paging is broken: try stac.method, another page_size, or split the dates"
    )


def _features(document: Any, what: str) -> list[dict[str, Any]]:
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        raise Unreadable(f"{what} is no feature collection", reason="not-stac", remedy="check that stac.url is the root of a STAC API")
    return [feature if isinstance(feature, dict) else {"id": None, "feature": feature} for feature in features]


def _matched(document: Mapping[str, Any]) -> int | None:
    context = document.get("context")
    value = document.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
