"""What a kind has at hand while it makes a unit: the rows of its scenes, the engine, and words for what fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rasterloom.access.credentials.secrets import Secrets
from rasterloom.access.network.redact import redact
from rasterloom.access.pixels.engine import Engine
from rasterloom.access.pixels.files import band_file
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.reads.job import ReadJob
from rasterloom.access.values import Failure
from rasterloom.errors import AccessDenied, RasterloomError, Unavailable, Unreadable
from rasterloom.specs.reads import Read

_LONGEST = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Making:
    """Shared by all units of one task."""

    job: ReadJob
    read: Read
    """The job's read as the spec's model."""
    bands: tuple[str, ...]
    """All bands of the collection."""
    engine: Engine
    secrets: Secrets
    rows: Mapping[str, Mapping[str, Any]]
    """Id of a scene -> its row, with the columns that `band_file` needs."""

    def file(self, scene: str, band: str) -> BandFile:
        """Raises `Unreadable` where the collection has no header of it: a failure of the unit (`failed`)."""
        row = self.rows.get(scene)
        if row is None:
            raise Unreadable(f"{scene} is not in the collection", reason="gone", remedy="run again")
        return band_file(row, band)


def failed(scene: str, band: str, error: RasterloomError, *, href: str = "") -> Failure:
    """A row of the output's failures table. The next run asks again for what was unavailable, and for what other credentials or settings
    would open; a file that is broken stays so until the collection knows another one."""
    reason = error.reason if isinstance(error, Unreadable) else "denied" if isinstance(error, AccessDenied) else "unavailable"
    return Failure(
        stage="pixels",
        reason=reason,
        message=redact(str(error))[:_LONGEST],
        item_id=scene,
        band=band,
        href=redact(href),
        retryable=isinstance(error, Unavailable | AccessDenied) or reason == "forbidden-host",
    )
