"""Engines of this machine, and files for them as the rows of a collection give them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rasterloom.access.archive.stores import Stores
from rasterloom.access.credentials.secrets import environment_secrets
from rasterloom.access.pixels.engine import Engine, Limits
from rasterloom.access.pixels.values import BandFile
from rasterloom.raster.arrow import ext_array, metadata_array
from rasterloom.raster.header import Header
from rasterloom.raster.rows import header_from_row
from rasterloom.specs.effort import AuthRef, Effort
from tests.raster.corpus import CountingFile

EFFORT = Effort(allow_private_hosts=True, retries=1)


def engine(*, limits: Limits | None = None, effort: Effort = EFFORT) -> Engine:
    return Engine(Stores(AuthRef(), effort=effort, secrets=environment_secrets), effort=effort, limits=limits)


def header_of(path: Path, *, etag: str | None = None) -> Header:
    return replace(CountingFile(path.read_bytes()).header(), etag=etag)


def row_of(header: Header, band: int) -> Header:
    """Through the columns of a collection and back."""
    return header_from_row(metadata_array([header], [band])[0].as_py(), ext_array([header], [band])[0].as_py())


def band_file(path: Path, band: int, *, href: str | None = None, etag: str | None = None) -> BandFile:
    """`band` counts from 0, or from the last one backwards. The href is the path, unless there is another one."""
    header = header_of(path, etag=etag)
    index = band % header.samples_per_pixel
    return BandFile(
        scene=path.stem, band=f"B{index}", href=href or str(path), band_index=index, header=row_of(header, index), crs=header.crs or ""
    )
