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
