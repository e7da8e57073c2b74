"""The headers of one batch: what is staged, what is asked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rasterloom.access.files import Workspace
from rasterloom.access.headers import fetch_headers
from rasterloom.access.job import Job
from rasterloom.access.secrets import Secrets
from rasterloom.access.staging import read_records
from rasterloom.access.stores import Stores
from rasterloom.access.values import Asset, BatchRef, Failure, Scene, Traffic
from rasterloom.errors import Unreadable
from rasterloom.raster.arrow import header_from_row
from rasterloom.raster.header import Header

Place = tuple[int, str]
"""(position of the scene in its batch, band code)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Headers and failures of a batch, by place."""

    headers: dict[Place, Header] = field(default_factory=dict[Place, Header])
    failures: dict[Place, Failure] = field(default_factory=dict[Place, Failure])
    traffic: Traffic = field(default_factory=Traffic)
    first_range: dict[str, int] = field(default_factory=dict[str, int])

    def beside(self, known: Outcome) -> Outcome:
        """This outcome together with what was known before; the traffic is this one's."""
        return replace(self, headers={**known.headers, **self.headers}, failures={**known.failures, **self.failures})


def staged_outcome(workspace: Workspace, staged: BatchRef, scenes: Sequence[Scene]) -> Outcome:
    """What an earlier run read, without the failures that another attempt may cure."""
    table = read_records(workspace, staged)
    rows = {(scene.id, asset.band): (row, asset.band) for row, scene in enumerate(scenes) for asset in scene.assets}
    failed = {(failure.item_id, failure.band): failure for failure in staged.failures}
    bands = {asset.band for scene in scenes for asset in scene.assets}
    headers: dict[Place, Header] = {}
    for band in bands:
        pairs = zip(table[f"{band}_metadata"].to_pylist(), table[f"{band}_ext"].to_pylist(), strict=True)
        headers.update({(row, band): header_from_row(metadata, ext) for row, (metadata, ext) in enumerate(pairs) if metadata is not None})
    permanent = {rows[key]: failure for key, failure in failed.items() if key in rows and not failure.retryable}
    return Outcome(headers=headers, failures=permanent)


def fetched_outcome(scenes: Sequence[Scene], known: Outcome, job: Job, first_range: Mapping[str, int], secrets: Secrets) -> Outcome:
    """Ask for the header of every asset that is not known."""
    places: dict[Place, Asset] = {(row, asset.band): asset for row, scene in enumerate(scenes) for asset in scene.assets}
    wanted = {place: asset for place, asset in places.items() if place not in known.headers and place not in known.failures}
    stores = Stores(job.effort.auth, effort=job.effort, secrets=secrets, source=job.plan.question.source.url)
    got = fetch_headers(list(wanted.values()), stores, effort=job.effort, first_range=first_range)
    results = {place: _result(scenes[place[0]], wanted[place], result) for place, result in zip(wanted, got.results, strict=True)}
    return Outcome(
        headers={place: result for place, result in results.items() if isinstance(result, Header)},
        failures={place: result for place, result in results.items() if isinstance(result, Failure)},
        traffic=got.traffic,
        first_range=got.first_range,
    )


def _result(scene: Scene, asset: Asset, result: Header | Failure) -> Header | Failure:
    if isinstance(result, Failure):
        return replace(result, item_id=scene.id, band=asset.band)
    try:
        result.band_tiles(asset.band_index)
    except Unreadable as error:
        return Failure(
            stage="header", reason=error.reason, message=error.message, item_id=scene.id, band=asset.band, href=asset.href, retryable=False
        )
    return result
