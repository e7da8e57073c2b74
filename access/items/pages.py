"""What a source gives at a time, whatever kind of source it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rasterloom.access.values import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a search as the server gave it."""

    items: list[dict[str, Any]]
    matched: int | None
    """`numberMatched` of the whole search, where the server says it and one search covers the shard."""
    bytes: int
    requests: int
    """Requests that it took, retries included; the landing page counts to the first."""
    duplicates: int
    """Items of this page whose id an earlier item of the shard had."""
    failures: tuple[Failure, ...] = ()
    """Documents of items that could not be read: each is an item that was received."""
    types: dict[str, Any] = field(default_factory=dict[str, Any])
    """Types of properties (`rasterloom.raster.properties`) that the source declares, beside those that the items show."""
