"""Where the scenes of a question come from, resolved from a spec: one value per kind of source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from rasterloom.errors import SpecError
from rasterloom.specs import catalog
from rasterloom.specs.identity import canonical_json
from rasterloom.specs.kinds import NAME
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.question import CatalogSource, CopySource, Source, StacSource, TableSource
from rasterloom.specs.sections import TableSpec


def source_of(spec: CollectionSpec, entry: catalog.Dataset | None) -> Source:
    """The source of a spec. Raises `SpecError` where the spec names none."""
    if spec.catalog is not None:
        return CatalogSource(path=_place(spec.catalog.path), collection=spec.catalog.collection)
    if spec.table is not None:
        return _table(spec.table, entry)
    if entry is not None and entry.table is not None:
        return _table(_indexed(entry), entry)
    if spec.collection is not None:
        return CopySource(uri=_named(spec.collection.uri), snapshot=spec.collection.snapshot)
    url, collection = (spec.stac.url, spec.stac.collection) if spec.stac else (entry and entry.url, entry and entry.collection)
    if not url or not collection:
        raise SpecError("the spec names no source", remedy="use `dataset`, `stac`, `catalog`, `table` or `collection`")
    if entry is not None and entry.collection and collection in entry.former_collections:
        collection = entry.collection
    return StacSource(url=landing_page(url), collection=collection)


def landing_page(url: str) -> str:
    """One spelling for one address: scheme and host in lower case, no slash at the end."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def _indexed(entry: catalog.Dataset) -> TableSpec:
    """The table of a dataset, as a spec would write it."""
    return TableSpec(uri=entry.table, column_map=dict(entry.column_map) or None, href_column=entry.href_column, data_source=entry.id)


def _table(table: TableSpec, entry: catalog.Dataset | None) -> TableSource:
    return TableSource(
        uri=None if table.uri is None else _place(table.uri),
        object=table.object,
        params=None if table.params is None else canonical_json(table.params),
        collection=table.data_source if entry is None else entry.collection or entry.id.rpartition("/")[2],
        column_map=_pairs(table.column_map),
        href_column=table.href_column,
        url_rewrite=_pairs(table.url_rewrite),
        enrich=table.enrich,
    )


def _pairs(mapping: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((mapping or {}).items()))


def _named(uri: str) -> str:
    """A plain name is that of a collection in the workspace; a path has a slash."""
    return uri if NAME.fullmatch(uri) else _place(uri)


def _place(text: str) -> str:
    """One spelling for one place, whatever directory it was written in."""
    return text.rstrip("/") if "://" in text else os.path.abspath(os.path.expanduser(text))
