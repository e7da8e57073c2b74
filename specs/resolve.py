"""From a spec to the two values that run: the question that is asked, and the effort it is worth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from rasterloom.errors import Problem, SpecError
from rasterloom.specs import catalog
from rasterloom.specs.auth import auth_ref, href_rule
from rasterloom.specs.dates import parse_dates
from rasterloom.specs.durations import parse_duration
from rasterloom.specs.effort import Effort
from rasterloom.specs.filters import canonical_filter
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.question import Band, Box, Dedupe, Interval, Question
from rasterloom.specs.sections import TableSpec
from rasterloom.specs.sources import landing_page, source_of


def resolve(spec: CollectionSpec) -> Question:
    """The whole question, datasets looked up and defaults spelled out.

    Raises `SpecError` where the spec asks for something that this version cannot execute.
    """
    _refuse(_unexecutable_question(spec))
    entry = _entry(spec)
    return Question(
        source=source_of(spec, entry),
        bbox=None if spec.bbox is None else Box(**dict(zip(("west", "south", "east", "north"), spec.bbox, strict=True))),
        intersects=None if spec.intersects is None else canonical_json(spec.intersects),
        dates=Interval(start=None, end=None) if spec.dates is None else parse_dates(spec.dates),
        query=None if spec.query is None else canonical_json(spec.query),
        filter=None if spec.filter is None else canonical_filter(spec.filter),
        bands=_bands(spec, entry),
        dedupe=None if spec.dedupe is None else Dedupe(key=spec.dedupe.key, order_by=spec.dedupe.order_by),
        href=href_rule(auth_ref(spec.auth, entry), entry),
    )


def effort(spec: CollectionSpec) -> Effort:
    """How hard to try."""
    entry, stac, build = _entry(spec), spec.stac, spec.build
    return Effort(
        max_concurrent=build.max_concurrent,
        runner=spec.run.runner,
        runner_address=spec.run.address,
        limits=tuple(sorted((host.lower(), count) for host, count in (spec.run.limits or {}).items())),
        retries=build.retries,
        timeout=parse_duration(build.timeout).seconds,
        on_error=build.on_error,
        max_error_rate=build.max_error_rate,
        force=build.force,
        page_size=stac.page_size if stac else None,
        max_page_size=entry.max_page_size if entry else None,
        counts=entry.counts if entry else True,
        ignores_filter=entry.ignores_filter if entry else False,
        query_knows=entry.query_knows if entry else None,
        method=stac.method if stac else "POST",
        headers=tuple(sorted((stac.headers or {}).items())) if stac else (),
        auth=auth_ref(spec.auth, entry),
        allow_private_hosts=build.allow_private_hosts or any(map(_is_private, _webs(spec))),
        partition_by=spec.storage.partition_by,
        compression=spec.storage.compression,
        min_rows=max((check.rows.min for check in spec.checks if check.rows), default=None),
        max_failed=min((check.failed.max for check in spec.checks if check.failed), default=None),
        min_coverage=max((check.coverage.min for check in spec.checks if check.coverage), default=None),
        max_duplicates=min((check.duplicates.max for check in spec.checks if check.duplicates), default=None),
        max_drift=min((check.drift.max for check in spec.checks if check.drift), default=None),
        deleted=spec.refresh.deleted,
        keep_snapshots=spec.storage.keep_snapshots,
    )


def _refuse(found: Iterator[Problem]) -> None:
    problems = tuple(found)
    if problems:
        raise SpecError("the spec asks for what this version cannot do", problems=problems)


def _unexecutable_question(spec: CollectionSpec) -> Iterator[Problem]:
    if spec.catalog is not None and not spec.bands and not spec.band_map:
        message = "nothing says which assets of a static catalog are the bands"
        yield Problem(path="catalog", message=message, remedy="write band_map: {B04: red, ...}, or bands: [...] of asset keys")
    if spec.table is not None:
        yield from _unmapped(spec, spec.table)
    entry = catalog.find(spec.dataset) if spec.dataset else None
    yield from _refused_assets(spec)
    if entry is not None and not entry.supported:
        message = f"{entry.id} cannot be built: {entry.status}"
        yield Problem(path="dataset", value=entry.id, message=message, remedy="see `rasterloom datasets list` for others")


def _refused_assets(spec: CollectionSpec) -> Iterator[Problem]:
    """Assets that the provider is known to keep in another format: not one of their files could be read."""
    entry = _entry(spec)
    for code, asset in (spec.band_map or {}).items() if entry else ():
        if entry and (why := entry.refusal(asset)):
            near = next((known for known, band in entry.bands.items() if band.asset == asset.partition("-")[0]), None)
            remedy = f"write {code}: {entry.bands[near].asset}" if near else "map the band to a GeoTIFF asset"
            yield Problem(path=f"band_map.{code}", value=asset, message=f"{asset} cannot be a band: {why}", remedy=remedy)


def _unmapped(spec: CollectionSpec, table: TableSpec) -> Iterator[Problem]:
    """A table says nothing of bands itself; what the spec says must fit how it names files."""
    bands = _bands(spec, _entry(spec))
    if not bands:
        remedy = "write band_map: {B04: red, ...}, bands: [...] of asset keys, or table.data_source: the id of a dataset"
        remedy = "write band_index_map: {B1: 0, B2: 1, ...}, or bands" if table.href_column else remedy
        yield Problem(path="table", message="nothing says which bands the files hold", remedy=remedy)
    elif table.href_column and len({band.asset for band in bands}) > 1:
        message = "href_column is one file a row, and the bands are those of several assets"
        yield Problem(path="table.href_column", message=message, remedy="write band_index_map: {B1: 0, ...}, or remove href_column")
    elif table.href_column and len({band.index for band in bands}) < len(bands):
        message = "several bands are the same sample of a row's file"
        yield Problem(path="band_index_map", message=message, remedy="write band_index_map: {B1: 0, B2: 1, ...}")


def _entry(spec: CollectionSpec) -> catalog.Dataset | None:
    if spec.dataset is not None:
        return catalog.dataset(spec.dataset)
    if spec.table is not None:
        return catalog.described(spec.table.data_source) if spec.table.data_source else None
    return catalog.match(landing_page(spec.stac.url), spec.stac.collection) if spec.stac else None


def _bands(spec: CollectionSpec, entry: catalog.Dataset | None) -> tuple[Band, ...]:
    """In the order of `bands`, which is part of the question; without it sorted by code, so that the order in which a
    mapping is written decides nothing."""
    indexes: Mapping[str, int] = spec.band_index_map or {}
    file = spec.table.href_column if spec.table else None
    if spec.band_map is not None:
        known = {code: catalog.BandSource(asset=asset, index=indexes.get(code, 0)) for code, asset in spec.band_map.items()}
    elif file and (spec.band_index_map or entry is None):
        known = {code: catalog.BandSource(asset=file, index=indexes.get(code, 0)) for code in spec.band_index_map or spec.bands or ()}
    elif entry is not None:
        known = {code: catalog.BandSource(asset=band.asset, index=indexes.get(code, band.index)) for code, band in entry.bands.items()}
    else:
        known = {code: catalog.BandSource(asset=code, index=indexes.get(code, 0)) for code in spec.bands or ()}
    codes = spec.bands or sorted(known, key=_by_code)
    return tuple(Band(code=code, asset=known[code].asset, index=known[code].index) for code in codes)


def _by_code(code: str) -> tuple[list[tuple[int, str]], str]:
    """B2 before B10, B8A between B08 and B09."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", code)], code


def _webs(spec: CollectionSpec) -> Iterator[str]:
    """URLs of the source."""
    if spec.stac is not None:
        yield spec.stac.url
    if spec.catalog is not None and urlsplit(spec.catalog.path).scheme.lower() in ("http", "https"):
        yield spec.catalog.path


def _is_private(url: str) -> bool:
    """Whether the API itself is on a private address, as far as its name tells: then its scenes may be, too."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ip_address(host).is_global
    except ValueError:
        return False
