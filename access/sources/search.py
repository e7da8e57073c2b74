"""One search, whatever the source: STAC items page by page. What a source pushes down is never the truth: callers check every item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.items.pages import Page
from rasterloom.access.sources import catalogs, copies, stac, tables
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import CatalogSource, CopySource, Question, Shard, StacSource, TableSource


def search(question: Question, shard: Shard, *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """All pages of one shard. Raises as the source's own search."""
    match question.source:
        case StacSource():
            return stac.search(question, shard, effort=effort, secrets=secrets)
        case CatalogSource():
            return catalogs.search(question, shard, effort=effort, secrets=secrets)
        case TableSource():
            return tables.search(question, shard, effort=effort, secrets=secrets)
        case CopySource():
            return copies.search(question, shard, effort=effort, secrets=secrets)


def search_ids(question: Question, ids: Sequence[str], *, effort: Effort, secrets: Secrets) -> Iterator[Page]:
    """The items of these ids that the source still has, whatever else of them changed. Raises as `search`."""
    match question.source:
        case StacSource():
            return stac.search_ids(question, ids, effort=effort, secrets=secrets)
        case CatalogSource():
            return catalogs.search_ids(question, ids, effort=effort, secrets=secrets)
        case TableSource():
            return tables.search_ids(question, ids, effort=effort, secrets=secrets)
        case CopySource():
            return copies.search_ids(question, ids, effort=effort, secrets=secrets)
