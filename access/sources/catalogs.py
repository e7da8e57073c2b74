"""A static STAC catalog as a source of items: its documents are read side by side, and handed on in the order of the catalog.

Extents of collections decide what need not be read, never what answers: callers check every item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from hashlib import blake2b
from itertools import islice
from typing import Any

from rasterloom.access.archive.documents import Document, Documents
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.items.extents import Reach
from rasterloom.access.items.hrefs import absolute_href, self_address
from rasterloom.access.items.pages import Page
from rasterloom.access.network.redact import redact
from rasterloom.access.network.translate import failure_of, shorten
from rasterloom.access.values import Failure, Traffic
from rasterloom.errors import SpecError, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import CatalogSource, Question, Shard

PAGE_SIZE = 250
MOST_AT_ONCE = 32
"""Documents that are read at once: more bring nothing, parsing them is work of one core."""
LOCAL_AT_ONCE = 8
MOST_DOCUMENTS = 1_000_000
DEEPEST = 32
"""Catalogs within catalogs."""
_RELS = {"child": "child", "item": "item", "items": "items", "next": "next page"}


def search(question: Question, shard: Shard, *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """The items of a catalog, or of one collection of it, page by page.

    Raises `SpecError` (no catalog there, no such collection, a link that leads nowhere), `AccessDenied`, `Unavailable`, `Unreadable`
    (a document that is none; that of an item is a failure of the page).
    """
    crawl = _Crawl(_source_of(question), effort, secrets, Reach.of(question, shard))
    yield from _paged(crawl, effort.page_size or PAGE_SIZE)
    crawl.check_collection()


def search_ids(question: Question, ids: Sequence[str], *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """The items of these ids that the catalog still has, wherever they lie by now. Raises as `search`."""
    left = set(ids)
    for page in _paged(_Crawl(_source_of(question), effort, secrets, Reach()), effort.page_size or PAGE_SIZE):
        items = [item for item in page.items if item.get("id") in left]
        left -= {item["id"] for item in items}
        yield Page(items=items, matched=None, bytes=page.bytes, requests=page.requests, duplicates=0)
        if not left:
            return


def _source_of(question: Question) -> CatalogSource:
    if not isinstance(question.source, CatalogSource):
        raise TypeError(f"a source of kind {question.source.kind} is no catalog")
    return question.source


def _paged(crawl: _Crawl, size: int) -> Iterator[Page]:
    """So many items at a time; documents that brought none count to the next page."""
    seen: set[str] = set()
    rest = _Finds()
    with closing(crawl.documents_in_order()) as documents:
        for found in documents:
            rest.add(found)
            while len(rest.items) >= size:
                yield rest.page(size, seen)
    if rest != _Finds():
        yield rest.page(size, seen)


@dataclass(slots=True)
class _Finds:
    """What waits for its page."""

    items: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failures: list[Failure] = field(default_factory=list[Failure])
    traffic: Traffic = field(default_factory=Traffic)

    def add(self, found: _Found) -> None:
        self.items.extend(found.items)
        self.failures.extend(found.failures)
        self.traffic += found.traffic

    def page(self, size: int, seen: set[str]) -> Page:
        items, self.items = self.items[:size], self.items[size:]
        ids = [str(item.get("id")) for item in items]
        new = set(ids) - seen
        seen |= new
        made = Page(
            items=items,
            matched=None,
            bytes=self.traffic.bytes,
            requests=self.traffic.requests,
            duplicates=len(ids) - len(new),
            failures=tuple(self.failures),
        )
        self.failures, self.traffic = [], Traffic()
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What is known of the way down to a document."""

    address: str = ""
    depth: int = 0
    collection: str | None = None
    """Id of the nearest collection."""
    is_chosen: bool = False
    """Below the collection that is asked for, or all is asked for."""


@dataclass(slots=True)
class _Link:
    """A document that is still to be handed on."""

    href: str
    rel: str
    parent: _Place
    future: Future[_Found] | None = None

    @property
    def what(self) -> str:
        named = f"the {self.rel} {shorten(self.href)}"
        return f"{named} of {shorten(self.parent.address)}" if self.parent.address else named


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One document, reduced to what the crawl needs of it."""

    items: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failures: tuple[Failure, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """(rel, href as it is spelled)."""
    place: _Place = field(default_factory=_Place)
    """For what is below it."""
    collection: str | None = None
    """Its id, where it is a collection."""
    traffic: Traffic = field(default_factory=Traffic)


class _Crawl:
    """One walk through a catalog, for one use. The order is that of the links, depth first, whatever comes first over the network."""

    def __init__(self, source: CatalogSource, effort: Effort, secrets: Secrets, reach: Reach) -> None:
        self._source, self._reach = source, reach
        self._documents = Documents(source.path, effort=effort, secrets=secrets)
        self._at_once = min(effort.max_concurrent, LOCAL_AT_ONCE if self._documents.is_local else MOST_AT_ONCE)
        self._seen: set[bytes] = set()
        self._collections: list[str] = []
        self._is_found = False
        self._skipped = False

    def documents_in_order(self) -> Generator[_Found]:
        root = _Place(is_chosen=self._source.collection is None)
        left = deque(self._unseen([_Link(self._source.path, "catalog", root)]))
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="catalog")
        try:
            while left:
                for link in islice(left, self._at_once):
                    link.future = link.future or pool.submit(self._visit, link)
                future = left.popleft().future
                found = future.result() if future else _Found()
                self._note(found)
                left.extendleft(reversed(self._unseen(self._links_of(found))))
                yield found
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def check_collection(self) -> None:
        """Raises `SpecError` where the collection that is asked for was nowhere."""
        wanted = self._source.collection
        if wanted is None or self._is_found or self._skipped:
            return
        near = get_close_matches(wanted, self._collections, n=1, cutoff=0.3)
        there = f"it has {', '.join(self._collections[:12])}" if self._collections else "it has none"
        raise SpecError(
            f"{redact(self._source.path)} has no collection {wanted!r}: {there}",
            remedy=f"write catalog.collection: {near[0]}" if near else "correct catalog.collection, or leave it out",
        )

    def _note(self, found: _Found) -> None:
        if found.collection is not None:
            self._collections.append(found.collection)
        self._is_found = self._is_found or found.collection == self._source.collection or bool(found.items)

    def _unseen(self, links: Sequence[_Link]) -> list[_Link]:
        """Links to documents that no link before leads to: what leads back is no way on."""
        kept: list[_Link] = []
        for link in links:
            key = blake2b(link.href.encode(errors="surrogatepass"), digest_size=16).digest()
            if key not in self._seen:
                self._seen.add(key)
                kept.append(link)
        if len(self._seen) > MOST_DOCUMENTS:
            raise _too_much(f"{redact(self._source.path)} has more than {MOST_DOCUMENTS:,} documents", "too-large")
        return kept

    def _links_of(self, found: _Found) -> list[_Link]:
        place = found.place
        if found.links and place.depth > DEEPEST:
            raise _too_much(f"{redact(place.address)} is more than {DEEPEST} catalogs deep", "too-deep")
        return [_Link(absolute_href(href, place.address), _RELS[rel], place) for rel, href in found.links]

    def _visit(self, link: _Link) -> _Found:
        """In a thread of the pool."""
        try:
            return self._read(link)
        except Unreadable as error:
            if link.rel != "item":
                raise
            failure = failure_of(error, stage="item", item_id=shorten(link.href), href=link.href)
            return _Found(failures=(failure,))

    def _read(self, link: _Link) -> _Found:
        document = self._documents.read(link.href, link.what)
        value = document.value
        match _kind_of(value):
            case "Feature":
                return _Found(items=self._belonging([value], document.address, link.parent), traffic=document.traffic)
            case "FeatureCollection":
                items = self._belonging(_features(value), document.address, link.parent)
                _refuse_api(value, link)
                place = replace(link.parent, address=document.address)
                return _Found(items=items, links=_links(value, ("next",), link), place=place, traffic=document.traffic)
            case "Catalog" | "Collection" as kind:
                return self._container(kind, document, link)
            case _:
                raise Unreadable(
                    f"{link.what} is no STAC catalog, collection or item",
                    reason="not-stac",
                    remedy="correct catalog.path, or the catalog",
                )

    def _container(self, kind: str, document: Document, link: _Link) -> _Found:
        value: Mapping[str, Any] = document.value
        _refuse_api(value, link)
        name = str(value.get("id")) if kind == "Collection" else None
        parent = link.parent
        is_chosen = parent.is_chosen or (name is not None and name == self._source.collection)
        place = _Place(address=document.address, depth=parent.depth + 1, collection=name or parent.collection, is_chosen=is_chosen)
        if kind == "Collection" and not self._reach.may_meet(value):
            self._skipped = True
            return _Found(place=place, collection=name, traffic=document.traffic)
        # In another collection there may be a nested one that is asked for, but no item that is.
        rels = ("child", "item", "items") if is_chosen or place.collection is None else ("child",)
        return _Found(links=_links(value, rels, link), place=place, collection=name, traffic=document.traffic)

    def _belonging(self, items: Sequence[Any], address: str, parent: _Place) -> list[dict[str, Any]]:
        """Items of what is asked for, each with the place that its relative hrefs start from."""
        placed = [_placed(item, address, parent.collection, is_alone=len(items) == 1) for item in items]
        return placed if parent.is_chosen else [item for item in placed if item.get("collection") == self._source.collection]


def _too_much(message: str, reason: str) -> Unreadable:
    return Unreadable(message, reason=reason, remedy="name a part of the catalog in catalog.path")


def _kind_of(value: Any) -> str | None:
    """STAC before 1.0 gave catalogs and collections no type."""
    if not isinstance(value, dict):
        return None
    kind = value.get("type")
    if kind in ("Feature", "FeatureCollection", "Catalog", "Collection"):
        return kind
    if kind is None and isinstance(value.get("links"), list) and "id" in value:
        return "Collection" if "extent" in value else "Catalog"
    return None


def _features(value: Mapping[str, Any]) -> list[Any]:
    features = value.get("features")
    return features if isinstance(features, list) else []


def _links(value: Mapping[str, Any], rels: Sequence[str], link: _Link) -> tuple[tuple[str, str], ...]:
    links = value.get("links")
    found = [one for one in links if isinstance(one, dict) and one.get("rel") in rels] if isinstance(links, list) else []
    broken = next((one for one in found if not isinstance(one.get("href"), str) or not one["href"].strip()), None)
    if broken is not None:
        raise Unreadable(f"a link {broken['rel']!r} of {link.what} has no href", reason="bad-href", remedy="correct the catalog")
    return tuple((one["rel"], one["href"].strip()) for one in found)


def _placed(item: Any, address: str, collection: str | None, *, is_alone: bool) -> dict[str, Any]:
    """The item with a self link that says what its relative hrefs mean: the document that holds it; of many in one document each may
    come from a place of its own."""
    if not isinstance(item, dict):
        return {"id": None, "feature": item}
    own = None if is_alone else self_address(item)
    placed = {**item, "links": [{"rel": "self", "href": own or address}]}
    return placed if isinstance(item.get("collection"), str) or collection is None else {**placed, "collection": collection}


_OF_A_PAGE = ("numberMatched", "numberReturned", "context")


def _refuse_api(value: Mapping[str, Any], link: _Link) -> None:
    """The landing page of an API has the look of a catalog, and a page of a search that of an item collection: both have no end."""
    links = value.get("links")
    known = [one for one in links if isinstance(one, dict)] if isinstance(links, list) else []
    if "conformsTo" in value and any(one.get("rel") == "search" for one in known):
        raise SpecError(f"{link.what} is a STAC API, no static catalog", remedy="write stac: {url: ..., collection: ...}")
    following = [one for one in known if one.get("rel") == "next"]
    is_counted = any(name in value for name in _OF_A_PAGE)
    if any(is_counted or "?" in str(one.get("href")) or "method" in one or "body" in one for one in following):
        message = f"{link.what} is one page of what a STAC API answered, and says where the next one is"
        raise SpecError(message, remedy="write stac: {url: ..., collection: ...}, or save all items of the search")
