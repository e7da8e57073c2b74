"""Whether a spec would build, in seconds: each thing that a run needs is tried once, with the credentials that a run has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from rasterloom.access.archive.stores import Stores
from rasterloom.access.building.onefile import are_there, error_of_file, header_text, is_handy, read_one
from rasterloom.access.building.probes import LIMIT, Line, TooLong, Tries, check_references, check_writable, within
from rasterloom.access.building.suits import api, band_error, collection_of, unknown_bands, wrong_bands
from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.exports import check_export
from rasterloom.access.items.pages import Page
from rasterloom.access.items.scene import answers, scene_of
from rasterloom.access.network.http import Web
from rasterloom.access.sources.copies import settled
from rasterloom.access.sources.search import search
from rasterloom.access.sources.stac import Service, open_service
from rasterloom.access.values import Asset, Failure
from rasterloom.access.workspace.files import Workspace
from rasterloom.access.workspace.place import open_workspace
from rasterloom.errors import RasterloomError, SpecError, Unreadable
from rasterloom.specs.effort import Effort
from rasterloom.specs.media import may_be_geotiff
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.plan import make_plan
from rasterloom.specs.question import CopySource, Interval, Question, Shard, StacSource
from rasterloom.specs.references import substitute
from rasterloom.specs.resolve import effort
from rasterloom.specs.wrong import a_list, shown

TIMEOUT = 8.0
"""Seconds for one request."""
FEW = 10
"""Items of a page."""
FILES = 2
"""Files that are tried: the first one may be gone."""
_EVER = Interval(start=None, end=None)
_NO_PAGE, _GIVEN_UP = (Page(items=[], matched=None, bytes=0, requests=0, duplicates=0) for _ in range(2))


def probe(spec: CollectionSpec, *, workspace: str | None, secrets: Secrets, now: datetime, limit: float = LIMIT) -> Iterator[Line]:
    """The lines of one spec, as they come. Raises `SpecError` where it cannot be executed at all."""
    tries = Tries(limit=limit)
    how = replace(effort(spec), retries=0, max_concurrent=4, page_size=FEW)
    how = replace(how, timeout=min(how.timeout, TIMEOUT))
    check_references(tries, _referring(spec, how, workspace), secrets)
    yield from tries.take()
    place = tries.run("workspace", "opened it", lambda: _opened(workspace or spec.workspace, secrets))
    plan = make_plan(spec, now=now)
    question = plan.question
    if isinstance(question.source, CopySource):
        copied = None if place is None else tries.run("source", f"opened {question.source.uri}", lambda: settled(plan, place))
        question = None if copied is None else copied.question
    if question is not None:
        yield from _Source(question, how, secrets, tries).lines()
    yield from tries.take()
    if place is not None:
        check_writable(tries, "workspace", place)
        yield from tries.take()
    yield from _exports(spec, secrets, tries)


def _referring(spec: CollectionSpec, how: Effort, workspace: str | None) -> list[str]:
    """The texts in which references are read."""
    place = workspace or spec.workspace or ""
    return [*(text for _, text in (*how.headers, *how.auth.options)), place, *(export.to for export in spec.export)]


def _opened(text: str | None, secrets: Secrets) -> Workspace:
    return open_workspace(substitute(text, secrets) if text else None)


def _exports(spec: CollectionSpec, secrets: Secrets, tries: Tries) -> Iterator[Line]:
    for export in spec.export:
        target = tries.run("export", f"looked at {export.to}", lambda to=export.to: _export_place(substitute(to, secrets), spec.name))
        if target is not None:
            check_writable(tries, "export", target)
        yield from tries.take()


def _export_place(to: str, name: str) -> Workspace:
    """Where a copy of the collection `name` may be written."""
    check_export(to, name)
    return open_workspace(to)


class _Source:
    """The tries of one source: each leaves its lines, and says whether the next one makes sense."""

    def __init__(self, question: Question, how: Effort, secrets: Secrets, tries: Tries) -> None:
        self._question, self._how, self._secrets, self._tries = question, how, secrets, tries

    def lines(self) -> Iterator[Line]:
        source = self._question.source
        items = self._items() if not isinstance(source, StacSource) or self._api(source) else None
        yield from self._tries.take()
        usable = bool(items) and self._bands(items)
        yield from self._tries.take()
        if items and usable:
            self._header(items)
        else:
            self._tries.skip("header", f"not tried: there is no {'band' if items else 'item'} to go by")
        yield from self._tries.take()

    # --- a STAC API

    def _api(self, source: StacSource) -> bool:
        tried = f"GET {source.url}"
        service = self._tries.run("endpoint", tried, lambda: open_service(self._web(source), source.url, self._how))
        if service is None:
            return False
        self._tries.add("endpoint", tried, f"{shown(service.title)}, a STAC API")
        self._conformance(service)
        return self._collection(source)

    def _web(self, source: StacSource) -> Web:
        return api(source, effort=self._how, secrets=self._secrets)

    def _conformance(self, service: Service) -> None:
        tried = "read what the API says it can do"
        if not any("item-search" in name for name in service.conforms_to):
            self._tries.add("conformance", tried, "it does not name item search; it is asked all the same", state="note")
            return
        conditions = [name for name in ("query", "filter") if getattr(self._question, name) is not None]
        left = service.pushdown(self._question).local
        if left or (self._question.query is not None and not service.skills.query):
            result = "it cannot apply all of the conditions: they are applied here, and it sends more than they let through"
            self._tries.add("conformance", tried, result, state="note")
        else:
            self._tries.add("conformance", tried, ", ".join(["item search", *conditions]))

    def _collection(self, source: StacSource) -> bool:
        tried = f"GET {source.url}/collections/{source.collection}"
        found = self._tries.run("collection", tried, lambda: self._document(source))
        if isinstance(found, Unreadable):
            self._tries.add("collection", tried, found.message, state="note")
        elif found is not None:
            self._tries.add("collection", tried, _described(found))
        return found is not None or self._tries.lines[-1].exit_code != SpecError.exit_code

    def _document(self, source: StacSource) -> Mapping[str, Any] | Unreadable:
        """Not every API shows its collections, and some search all the same."""
        try:
            return collection_of(self._web(source), source)
        except Unreadable as error:
            return error

    # --- any source

    def _items(self) -> list[Any] | None:
        """Some items of the question; or of the source, where the question matches none."""
        question, place = self._question, self._question.source.address
        tried = f"searched {place} for the question"
        page = self._page_of(question, tried)
        if page is None:
            return None
        answering = [item for item in page.items if _is_answer(item, question)]
        if answering:
            many = f"{page.matched:,} match" if page.matched is not None else "it matches something"
            self._tries.add("item", tried, f"{many}, e.g. {_named(answering[0])}")
            return answering
        open_question = replace(question, bbox=None, intersects=None, query=None, filter=None, dates=_EVER)
        others = self._tries.run("item", f"searched {place} for anything", lambda: self._first_page(open_question))
        if others is not None and page is not _GIVEN_UP:
            self._tries.fail("item", tried, _no_match(page, others))
        return others and others.items

    def _page_of(self, question: Question, tried: str) -> Page | None:
        """The first items of the question; none, and a note, where a catalog of files is too large to be looked through."""
        if isinstance(question.source, StacSource):
            return self._tries.run("item", tried, lambda: self._first_page(question))
        try:
            return within(self._tries.limit, tried, lambda: self._first_page(question))
        except TooLong:
            result = f"no item of the question in {self._tries.limit:g} s; a run looks further"
            self._tries.add("item", tried, result, state="note")
            return _GIVEN_UP
        except RasterloomError as error:
            self._tries.fail("item", tried, error)
            return None

    def _first_page(self, question: Question) -> Page:
        """The first page that is not empty, of the first three."""
        whole = Shard(index=0, dates=question.dates, cell=None, closed=False)
        pages = islice(search(question, whole, effort=self._how, secrets=self._secrets), 3)
        return next((page for page in pages if page.items), _NO_PAGE)

    def _bands(self, items: Sequence[Any]) -> bool:
        """Whether a header can be read: one band at least is there."""
        question, tried = self._question, f"compared the assets of {len(items)} items with the band map"
        found = wrong_bands(question, items)
        wrong = unknown_bands(found, question, effort=self._how, secrets=self._secrets) if found else ()
        if wrong:
            self._tries.fail("bands", tried, band_error(question, wrong))
        elif found:
            names = a_list(problem.path.removeprefix("band_map.") for problem in found)
            self._tries.add("bands", tried, f"these items have no {names}; others of the collection do", state="note")
        elif odd := _odd_types(items[0], question):
            self._tries.add(
                "bands", tried, f"the items do not call {a_list(odd)} GeoTIFFs", state="note", remedy="see what the header says"
            )
        else:
            self._tries.add("bands", tried, f"{len(question.bands)} bands: {a_list(f'{b.code}: {b.asset}' for b in question.bands)}")
        return len(wrong) < len(question.bands)

    def _header(self, items: Sequence[Any]) -> None:
        question, auth = self._question, self._how.auth
        if isinstance(question.source, CopySource) or not question.reads_headers:
            self._tries.skip("header", "no header is read for this source")
            return
        stores = Stores(auth, effort=self._how, secrets=self._secrets, source=question.source.address)
        tried = f"looked for credentials of {auth.provider}"
        if not self._tries.run("credentials", tried, lambda: are_there(stores)):
            return
        if auth.provider != "anonymous":
            self._tries.add("credentials", tried, "there")
        assets = [asset for asset in map(self._asset, items[:FILES]) if asset is not None]
        for number, asset in enumerate(assets):
            if self._one_header(asset, stores, last=number + 1 == len(assets)):
                return
        if not assets:
            self._tries.skip("header", "not tried: no item that was found has a usable href")

    def _asset(self, item: Any) -> Asset | None:
        """The one that asks most of its file: the highest sample."""
        scene, _ = scene_of(item, self._question)
        return max(scene.assets, key=lambda asset: asset.band_index, default=None) if scene is not None else None

    def _one_header(self, asset: Asset, stores: Stores, *, last: bool) -> bool:
        """Whether that is enough: it was read, or failed in a way that the next file would, too."""
        tried = f"read the header of {asset.href}"
        found = self._tries.run("header", tried, lambda: read_one(asset, stores, self._how))
        if isinstance(found, Failure) and found.reason == "missing" and not last:
            self._tries.add("header", tried, "there is no such file; the next item is tried", state="note")
            return False
        if isinstance(found, Failure):
            self._tries.fail("header", tried, error_of_file(found, self._how.auth))
        elif found is not None:
            self._tries.add("header", tried, header_text(found), state="ok" if is_handy(found) else "note")
        return True


def _described(document: Mapping[str, Any]) -> str:
    """What a collection says of its time and place."""
    try:
        start, end = document["extent"]["temporal"]["interval"][0]
        bbox = document["extent"]["spatial"]["bbox"][0]
        when = f", {shown(start or '..')} to {shown(end or '..')}" if start or end else ""
        return f"it is there{when}, bbox {shown(bbox)}"
    except (KeyError, IndexError, TypeError, ValueError):
        return "it is there"


def _is_answer(item: Any, question: Question) -> bool:
    scene, _ = scene_of(item, question)
    return scene is not None and answers(scene, item, question)


def _named(item: Any) -> str:
    properties = item.get("properties") if isinstance(item, Mapping) else None
    moment = properties.get("datetime") if isinstance(properties, Mapping) else None
    return shown(f"{item.get('id')} of {moment}" if moment else str(item.get("id"))) if isinstance(item, Mapping) else shown(item)


def _no_match(page: Page, others: Page) -> SpecError:
    if not others.items:
        return SpecError("the source has no items at all", remedy="name another collection, or wait until it has some")
    nothing = "the question matches nothing"
    came = f"{len(page.items)} items came, but none answers the question when it is applied again" if page.items else nothing
    remedy = "widen bbox (west, south, east, north) and dates, or loosen query and filter"
    return SpecError(f"{came}; the source has others, e.g. {_named(others.items[0])}", remedy=remedy)


def _odd_types(item: Any, question: Question) -> list[str]:
    """Bands whose asset says that it is something else."""
    assets = item.get("assets") if isinstance(item, Mapping) else None
    found = assets if isinstance(assets, Mapping) else {}
    there = {band.code: found[band.asset] for band in question.bands if isinstance(found.get(band.asset), Mapping)}
    kinds = {code: (asset.get("type"), str(asset.get("href") or "")) for code, asset in there.items()}
    return [f"{code} ({kind})" for code, (kind, href) in kinds.items() if not may_be_geotiff(kind, href)]
