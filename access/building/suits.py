"""Whether a source can answer a question at all, told from its first page: a build ends there, before any bulk work, and
`validate --online` says the same things one by one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from rasterloom.access.archive.shared import shared_stores
from rasterloom.access.building.job import Job
from rasterloom.access.credentials.secrets import Secrets, resolved
from rasterloom.access.items.hrefs import chosen_href
from rasterloom.access.items.scene import scene_of
from rasterloom.access.network.http import Ask, NotThere, Web
from rasterloom.access.sources.search import search
from rasterloom.errors import AccessDenied, Problem, SpecError, Unavailable, Unreadable
from rasterloom.specs import catalog
from rasterloom.specs.effort import Effort
from rasterloom.specs.itembands import names_of
from rasterloom.specs.media import is_jpeg2000, may_be_geotiff
from rasterloom.specs.question import Band, CopySource, Question, Shard, StacSource, TableSource
from rasterloom.specs.wrong import a_list, shown

FEW = 50
"""Items of the whole question that are looked at before a band map is called wrong."""
_UNPROVEN = ("build", "extend", "rebuild")
"""What a run does where no committed version answers the same question: only then is the question itself in doubt."""
_LOCK = threading.Lock()


def check_first_page(job: Job, items: Sequence[Any], *, secrets: Secrets) -> None:
    """Raises `SpecError` where the first page of a search shows that the collection or the band map of the question is wrong.

    Costs no request where there is nothing wrong.
    """
    question = job.plan.question
    if job.action not in _UNPROVEN or isinstance(question.source, CopySource):
        return
    if not items:
        refuse_missing_collection(job, secrets=secrets)
    elif _is_suspicious(wrong_bands(question, items), question, job.effort):
        found = wrong_bands(question, [*items, *first_items(question, effort=job.effort, secrets=secrets)])
        suspicious = _is_suspicious(found, question, job.effort)
        if suspicious and (unknown := unknown_bands(found, question, effort=job.effort, secrets=secrets)):
            raise band_error(question, unknown)
    open_first_file(question, items, effort=job.effort, secrets=secrets)


def open_first_file(question: Question, items: Sequence[Any], *, effort: Effort, secrets: Secrets) -> None:
    """Fetch what opens the first file, a token say; nothing of the file. It is asked for anyway, but after the whole search.

    Raises `AccessDenied` where that is refused.
    """
    source = question.source
    if effort.auth.provider == "anonymous" or (isinstance(source, TableSource) and not source.enrich):
        return
    scenes = (scene for scene, _ in (scene_of(item, question) for item in items) if scene is not None)
    href = next((asset.href for scene in scenes for asset in scene.assets), None)
    if href is not None:
        try:
            shared_stores(effort.auth, effort=effort, secrets=secrets, source=source.address).locate(href)
        except Unreadable:
            return  # it is this file alone


def refuse_missing_collection(job: Job, *, secrets: Secrets) -> None:
    """Raises `SpecError` with the nearest collection where the API says that it has none of that name."""
    source = job.plan.question.source
    if isinstance(source, StacSource) and job.action in _UNPROVEN:
        with _LOCK:  # the searches of a build come here at once
            error = _missing_once(source, job.effort, secrets, job.run_id)
        if error is not None:
            raise error


@lru_cache(maxsize=32)
def _missing_once(source: StacSource, effort: Effort, secrets: Secrets, run_id: str) -> SpecError | None:  # noqa: ARG001  run_id: once a run
    try:
        collection_of(api(source, effort=effort, secrets=secrets), source)
    except NotThere as error:
        return SpecError(error.message, remedy=error.remedy)
    except (SpecError, AccessDenied, Unavailable, Unreadable):
        pass  # it does not tell; the search itself says what it can
    return None


def api(source: StacSource, *, effort: Effort, secrets: Secrets) -> Web:
    return Web(source.url, headers=resolved(effort.headers, secrets), retries=effort.retries, timeout=effort.timeout)


def collection_of(web: Web, source: StacSource) -> Mapping[str, Any]:
    """The document of the collection.

    Raises `NotThere` where the API has no such collection, naming the nearest one; `Unreadable` where it has none at all to show, and
    as `Web.json`.
    """
    try:
        place = f"{source.url}/collections/{quote(source.collection, safe='')}"
        document = web.json(Ask(url=place, what=f"the collection {shown(source.collection)}")).document
    except NotThere:
        raise _not_there(source, _ids(web, source)) from None
    return document if isinstance(document, Mapping) else {}


def _ids(web: Web, source: StacSource) -> list[str]:
    """Of the collections, the first page: enough for the nearest name."""
    try:
        document = web.json(Ask(url=f"{source.url}/collections", what="the list of collections")).document
    except NotThere:
        document = None
    found = document.get("collections") if isinstance(document, Mapping) else None
    if not isinstance(found, list):
        raise Unreadable(
            f"{web.origin} has no list of collections", reason="not-stac", remedy="check that stac.url is the root of a STAC API"
        )
    return [each["id"] for each in found if isinstance(each, Mapping) and isinstance(each.get("id"), str)]


def _not_there(source: StacSource, ids: Sequence[str]) -> NotThere:
    near = get_close_matches(source.collection, ids, n=1, cutoff=0.5)
    some = f"its collections are {a_list(ids)}" if ids else "it has none at all"
    return NotThere(
        f"{source.url} has no collection {shown(source.collection)}",
        remedy=f"write collection: {near[0]}" if near else f"correct it: {some}",
    )


def first_items(question: Question, *, effort: Effort, secrets: Secrets, count: int = FEW) -> list[Any]:
    """The first page of the whole question."""
    whole = Shard(index=0, dates=question.dates, cell=None, closed=False)
    pages = search(question, whole, effort=replace(effort, page_size=count), secrets=secrets)
    return next((page.items for page in pages), [])


def wrong_bands(question: Question, items: Sequence[Any]) -> tuple[Problem, ...]:
    """The bands whose asset is in none of the items, or is JPEG 2000 in all that have it.

    Items without assets say nothing; but of a table's rows only the assets of the bands are read, and one of those should be there.
    """
    found = [item["assets"] for item in items if isinstance(item, Mapping) and isinstance(item.get("assets"), Mapping)]
    assets = [each for each in found if each or isinstance(question.source, TableSource)]
    return tuple(problem for band in question.bands if assets and (problem := _wrong(band, question, assets)))


def _wrong(band: Band, question: Question, items: Sequence[Mapping[str, Any]]) -> Problem | None:
    found = [assets[band.asset] for assets in items if isinstance(assets.get(band.asset), Mapping)]
    path = f"band_map.{band.code}"
    if not found:
        near = nearest_assets(band, items[0])
        images = _images(items[0])
        others = f"use one of {a_list(images)}" if images else "see which assets the source has"
        remedy = f"write {band.code}: {near[0]}" if near else others
        return Problem(path=path, value=shown(band.asset), message=f"no item has an asset {shown(band.asset)}", remedy=remedy)
    if all(is_jpeg2000(asset.get("type"), _href(asset, question)) for asset in found):
        near = [key for key in nearest_assets(band, items[0]) if key != band.asset]
        remedy = f"write {band.code}: {near[0]}" if near else "look for the same scenes as GeoTIFFs, or leave the band out"
        return Problem(path=path, value=shown(band.asset), message=f"the asset {shown(band.asset)} is JPEG 2000, no GeoTIFF", remedy=remedy)
    return None


def _href(asset: Mapping[str, Any], question: Question) -> str:
    try:
        return chosen_href(asset, question.href)
    except Unreadable:
        return ""


def nearest_assets(band: Band, assets: Mapping[str, Any]) -> list[str]:
    """Keys of images that may be meant, best first: those that the item calls by the band's code or asset, then those of a like name."""
    images = _images(assets)
    wanted = {band.code.casefold(), band.asset.casefold()}
    called = [key for key in images if key.casefold() in wanted or wanted & {name.casefold() for name in names_of(assets[key]) if name}]
    alike = [key for word in (band.asset, band.code) for key in get_close_matches(word, images, n=2, cutoff=0.6)]
    return list(dict.fromkeys([*called, *alike]))


def _images(assets: Mapping[str, Any]) -> list[str]:
    return [
        key
        for key, asset in assets.items()
        if isinstance(asset, Mapping) and may_be_geotiff(asset.get("type"), str(asset.get("href") or ""))
    ]


def built_in_assets(question: Question) -> frozenset[str]:
    """Asset keys that the source is known to have by the built-in catalog."""
    source = question.source
    dataset = catalog.match(source.url, source.collection) if isinstance(source, StacSource) else None
    return frozenset(band.asset for band in dataset.bands.values()) if dataset else frozenset()


def declared_assets(question: Question, *, effort: Effort, secrets: Secrets) -> frozenset[str]:
    """Asset keys that the collection says its items may have, whatever its first ones have: `item_assets`."""
    source = question.source
    if not isinstance(source, StacSource):
        return frozenset()
    try:
        declared = collection_of(api(source, effort=effort, secrets=secrets), source).get("item_assets")
    except (SpecError, AccessDenied, Unavailable, Unreadable):
        return frozenset()
    return frozenset(str(key) for key in declared) if isinstance(declared, Mapping) else frozenset()


def _is_suspicious(found: Sequence[Problem], question: Question, effort: Effort) -> bool:
    """Whether so much of the map is wrong that it is a mistake rather than an odd scene."""
    return len(found) > effort.max_error_rate * len(question.bands)


def unknown_bands(found: Sequence[Problem], question: Question, *, effort: Effort, secrets: Secrets) -> Sequence[Problem]:
    """What is wrong of `found`. An archive of several instruments has bands that whole years lack; who gets none at all means another."""
    if len(found) == len(question.bands):
        return found
    assets = {f"band_map.{band.code}": band.asset for band in question.bands}
    doubtful = [problem for problem in found if assets[problem.path] not in built_in_assets(question)]
    declared = declared_assets(question, effort=effort, secrets=secrets) if doubtful else frozenset[str]()
    return [problem for problem in doubtful if assets[problem.path] not in declared]


def band_error(question: Question, found: Sequence[Problem]) -> SpecError:
    return SpecError(f"the band map does not fit the source: {len(found)} of {len(question.bands)} bands cannot be found", problems=found)
