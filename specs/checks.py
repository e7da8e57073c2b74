"""The `checks` of a spec: conditions that a version must meet to be committed."""

from __future__ import annotations

from pydantic import Field

from rasterloom.specs.kinds import Share, Whole
from rasterloom.specs.sections import OneOf, Section


class RowsCheck(Section):
    min: Whole = Field(ge=0)
    """Fewer rows than this fail the check."""


class FailedCheck(Section):
    max: Share
    """A larger share of failed files fails the check."""


class CoverageCheck(Section):
    min: Share
    """A smaller covered share of the area fails the check."""


class DuplicatesCheck(Section):
    max: Share
    """A larger share of scenes that have the place and instant of another one fails the check."""


class DriftCheck(Section):
    max: Share
    """A larger share of scenes whose CRS, dtype, tile size or nodata the version before did not have fails the check."""


class Check(OneOf):
    """One condition for the commit."""

    one_of = ("rows", "failed", "coverage", "duplicates", "drift")

    rows: RowsCheck | None = None
    """`{min: 1}`."""
    failed: FailedCheck | None = None
    """`{max: 0.01}`."""
    coverage: CoverageCheck | None = None
    """`{min: 0.95}`."""
    duplicates: DuplicatesCheck | None = None
    """`{max: 0}`; counted always."""
    drift: DriftCheck | None = None
    """`{max: 0}`; told always."""
