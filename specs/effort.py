"""How hard to try: everything of a spec that changes no byte of the answer and is never fingerprinted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRef:
    """Which credentials, by reference only: live clients and secrets never travel.

    Values may hold `${ENV}`, `${ENV:-default}` and `${secret.block-name}`; they are resolved where the work runs.
    """

    provider: str = "anonymous"
    options: tuple[tuple[str, str], ...] = ()
    """Sorted `(key, text)` pairs such as `region`, `endpoint`, `requester_pays`, `profile`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Resolved `auth`, `build`, `split`, `refresh`, `storage` and transport settings of a spec."""

    max_concurrent: int = 100
    """Requests under way at once, per process."""
    runner: Literal["threads", "processes", "dask", "ray"] = "threads"
    """Where tasks run (`run.runner`)."""
    runner_address: str | None = None
    """Of a Dask or Ray cluster (`run.address`); None: one that the run starts for itself."""
    limits: tuple[tuple[str, int], ...] = ()
    """Requests under way at once by host (`run.limits`), sorted."""
    retries: int = 3
    timeout: float = 30.0
    """Seconds for one request."""
    on_error: Literal["quarantine", "fail"] = "quarantine"
    max_error_rate: float = 0.05
    """Share of the assets (0..1) that may fail before nothing is committed."""
    force: bool = False
    """Read nothing from caches; caches are written all the same."""
    page_size: int | None = None
    """Items asked for per page; None: the provider's maximum, else 250."""
    max_page_size: int | None = None
    """The provider's limit (dataset catalog)."""
    method: Literal["POST", "GET"] = "POST"
    counts: bool = True
    """Whether the provider's `numberMatched` is exact (dataset catalog)."""
    ignores_filter: bool = False
    """The provider takes `filter` and does not heed it (dataset catalog)."""
    query_knows: tuple[str, ...] | None = None
    """The only properties that the provider's `query` heeds (dataset catalog); None: all."""
    headers: tuple[tuple[str, str], ...] = ()
    """Extra HTTP headers for the STAC API alone, values by reference."""
    auth: AuthRef = AuthRef()
    allow_private_hosts: bool = False
    """Whether hrefs may point to loopback, private or link-local addresses, and plain http."""
    partition_by: tuple[str, ...] = ("year", "month")
    compression: str = "zstd"
    min_rows: int | None = None
    """`checks: rows.min`."""
    max_failed: float | None = None
    """`checks: failed.max`."""
    min_coverage: float | None = None
    """`checks: coverage.min`: share of the asked area (0..1)."""
    max_duplicates: float | None = None
    """`checks: duplicates.max`: share of the rows (0..1)."""
    max_drift: float | None = None
    """`checks: drift.max`: share of the rows (0..1)."""
    deleted: Literal["keep", "drop"] = "keep"
    """`refresh.deleted`: what becomes of rows that the source no longer has."""
    keep_snapshots: int = 10
    retry_failed: bool = False
    """Ask every asset of the failures table once more, whatever failed. Not from a spec: `rasterloom failures NAME --retry`."""
