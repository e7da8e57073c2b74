"""The main job from end to end on a provider of our own: build, build again, read back, draw, make images.

Imports Prefect: `home.settle` first.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from rasterloom.access.collection import Collection
from rasterloom.access.reads.outputs import OutputRef, existing_output, ref_of
from rasterloom.access.versions.opening import failures_of
from rasterloom.access.workspace.place import open_workspace
from rasterloom.demo.home import NAME, READ, Home
from rasterloom.demo.landscape import BANDS, Field
from rasterloom.demo.pictures import Footprint, draw_footprints, draw_scene
from rasterloom.demo.scenes import AREA
from rasterloom.demo.server import Count, Provider
from rasterloom.flows.progress import Listener, Progress
from rasterloom.flows.run import run

SCENE = "S2_31TGH_20240604"
"""The scene that is read back: a day without clouds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One build of the demo's spec, as the provider saw it."""

    collection: Collection
    action: str
    reason: str
    headers: int
    """Headers that were read."""
    asked: Count
    seconds: float
    starting: float
    """Seconds of those until Prefect had started and the flow began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What reading one scene back cost."""

    asked: Count
    pixels: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What the read job of the spec made."""

    output: OutputRef
    asked: Count
    seconds: float


def build(home: Home, provider: Provider, listener: Listener | None) -> Run:
    """Runs the spec file of the home as `rasterloom run` does."""
    watch = _Watch(listener)
    before, start = provider.count, time.monotonic()
    collection = run(home.spec, workspace=str(home.workspace), on_progress=watch)
    return Run(
        collection=collection,
        action=watch.last.action,
        reason=watch.last.reason,
        headers=watch.last.headers,
        asked=provider.count - before,
        seconds=time.monotonic() - start,
        starting=watch.began - start,
    )


def failures(home: Home) -> list[dict[str, Any]]:
    """Rows of the failures table."""
    found = failures_of(NAME, str(home.workspace))
    return found.to_pylist() if found is not None else []


def draw(home: Home, collection: Collection, provider: Provider) -> Reading:
    """Both pictures; the second one from pixels that are read through the collection."""
    table = collection.to_table(["id", "datetime", "geometry", "crs"])
    footprints = [
        Footprint(id=row["id"], day=f"{row['datetime']:%Y-%m-%d}", zone=row["crs"], outline=row["geometry"]) for row in table.to_pylist()
    ]
    draw_footprints(home.footprints, footprints, AREA, title=f"{NAME}: {len(footprints)} scenes of an invented coast, two UTM zones")
    before, start = provider.count, time.monotonic()
    bands = {code: _reflectance(collection, code) for code in BANDS}
    seconds = time.monotonic() - start
    draw_scene(home.scene, bands, title=f"{SCENE}, the part in the bbox, read back through the collection", pixel=20.0)
    return Reading(asked=provider.count - before, pixels=sum(band.size for band in bands.values()), seconds=seconds)


def make_images(home: Home, provider: Provider, listener: Listener | None) -> Images:
    """Gives the spec a read job and runs it again."""
    home.add_read()
    before, start = provider.count, time.monotonic()
    run(home.spec, workspace=str(home.workspace), on_progress=listener)
    workspace = open_workspace(str(home.workspace))
    output = ref_of(workspace, existing_output(workspace, NAME, READ), changed=True)
    shutil.copy(output.picture, home.greenness)
    return Images(output=output, asked=provider.count - before, seconds=time.monotonic() - start)


def _reflectance(collection: Collection, band: str) -> Field:
    """0..1, shape (height, width), NaN outside of the area."""
    area = (AREA.west, AREA.south, AREA.east, AREA.north)
    (counts,) = collection.where(pc.field("id") == SCENE).get_numpy(area, [band])
    return np.where(counts > 0, counts / 10_000, np.nan)


class _Watch:
    """Keeps what a build told last and when it told first, and passes it on."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener
        self._told: list[tuple[float, Progress]] = []

    def __call__(self, progress: Progress) -> None:
        self._told.append((time.monotonic(), progress))
        if self._listener is not None:
            self._listener(progress)

    @property
    def began(self) -> float:
        """Instant of `time.monotonic` at which the flow had begun."""
        return self._told[0][0]

    @property
    def last(self) -> Progress:
        return self._told[-1][1]
