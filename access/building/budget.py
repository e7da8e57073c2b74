"""Whether a build may be committed: the error budget and the checks of the spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rasterloom.access.values import BatchRef, Failure, SearchRef, Traffic
from rasterloom.errors import Refused
from rasterloom.specs.effort import Effort

MISSING_BAND = "band-missing"
"""Reason of an item without the asset of a band. A fact of the scene, not a fault: it is recorded, and no part of the rate."""
_ITEM_STAGES = ("search", "item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Everything that the searches and batches of one build say, summed."""

    matched: int | None
    received: int
    kept: int
    disagreeing: int
    duplicates: int
    headers: int
    failures: tuple[Failure, ...]
    traffic: Traffic

    @property
    def by_reason(self) -> dict[str, int]:
        return dict(sorted(Counter(failure.reason for failure in self.failures).items()))


def totals(searches: Sequence[SearchRef], batches: Sequence[BatchRef]) -> Totals:
    matched = [search.matched for search in searches]
    return Totals(
        matched=sum(count for count in matched if count is not None) if None not in matched else None,
        received=sum(search.received for search in searches),
        kept=sum(search.kept for search in searches),
        disagreeing=sum(search.disagreeing for search in searches),
        duplicates=sum(search.duplicates for search in searches),
        headers=sum(batch.headers for batch in batches),
        failures=tuple(failure for part in (*searches, *batches) for failure in part.failures),
        traffic=sum((part.traffic for part in (*searches, *batches)), Traffic()),
    )


def check_budget(found: Totals, effort: Effort) -> None:
    """Raises Refused where too much failed, too little was found, or nothing at all: an empty collection is never committed."""
    _check_rows(found, effort)
    faults = [failure for failure in found.failures if failure.reason != MISSING_BAND]
    if faults and effort.on_error == "fail":
        raise Refused(
            f"{_count(faults)} failed and build.on_error is 'fail'; the first: {_named(faults[0])}",
            remedy="correct the source, or set build.on_error to quarantine",
        )
    items = [failure for failure in faults if failure.stage in _ITEM_STAGES]
    assets = [failure for failure in faults if failure.stage not in _ITEM_STAGES]
    _check_share("items", items, found.received, effort)
    _check_share("assets", assets, found.headers + len(assets), effort)


def _check_rows(found: Totals, effort: Effort) -> None:
    if found.kept == 0:
        said = "" if found.matched is None else f"the server matched {found.matched}, "
        raise Refused(
            f"no scene answers the question: {said}sent {found.received} items, {found.disagreeing} of them outside of the question, "
            f"{len(found.failures)} unusable ({_reasons(found.failures)})",
            remedy="widen bbox, dates or query; `rasterloom validate --online` tries the source. An empty collection is never committed",
        )
    check_rows(found.kept, effort)


def check_rows(rows: int, effort: Effort) -> None:
    """Raises Refused where there are fewer rows than `checks.rows` wants."""
    if effort.min_rows is not None and rows < effort.min_rows:
        raise Refused(
            f"{rows} scenes were found and checks.rows.min is {effort.min_rows}",
            remedy="widen the question, or lower checks.rows.min",
        )


def _check_share(what: str, faults: Sequence[Failure], asked: int, effort: Effort) -> None:
    share = len(faults) / asked if asked else 0.0
    for name, limit in (("build.max_error_rate", effort.max_error_rate), ("checks.failed.max", effort.max_failed)):
        if limit is not None and share > limit:
            raise Refused(
                f"{len(faults)} of {asked} {what} failed ({share:.1%}) and {name} is {limit:.1%}: {_reasons(faults)}; "
                f"the first: {_named(faults[0])}",
                remedy=f"correct the source, or raise {name}; what was read stays staged: another run asks only for what may still succeed",
            )


def _count(faults: Sequence[Failure]) -> str:
    return "1 item or asset" if len(faults) == 1 else f"{len(faults)} items or assets"


def _named(failure: Failure) -> str:
    where = " ".join(part for part in (failure.item_id, failure.band, failure.href) if part)
    return f"{where}: {failure.reason}: {failure.message}"


def _reasons(faults: Iterable[Failure]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in Counter(fault.reason for fault in faults).most_common(5)) or "none"
