"""A workspace with one real collection, built by what the tasks call, on the demo's provider: no Prefect, so it takes a second."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rasterloom.demo.home import NAME, Home, claim
from rasterloom.demo.scenes import make_archive
from rasterloom.demo.server import Provider, serving

SPEC = """\
version: 1
name: {name}
stac: {{url: "http://127.0.0.1:9/stac", collection: c}}
band_map: {{B02: blue}}
bbox: [5, 43, 6, 44]
dates: [2024-06-01, 2024-06-30]
"""
"""A good spec whose API does not answer."""


def spec_file(directory: Path, *names: str, more: str = "") -> str:
    """A file with one document for each name; `more` is added to each."""
    path = directory / f"{'-'.join(names)}.yaml"
    path.write_text("---\n".join(SPEC.format(name=name) + more for name in names))
    return str(path)


@dataclass(frozen=True)
class Stand:
    home: Home
    provider: Provider


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The demo's provider with small scenes, and its spec; nothing is built."""
    home = claim(tmp_path_factory.mktemp("stand"))
    with serving(make_archive(home.archive, size=128)) as provider:
        home.write_spec(provider.url, provider.port)
        yield Stand(home, provider)


@pytest.fixture(scope="session")
def built(stand: Stand) -> Stand:
    """The collection of the demo's spec stands in the home's workspace."""
    from rasterloom.access.build import Job, index_batch, publish, search_shard
    from rasterloom.specs.loader import load_specs
    from rasterloom.specs.plan import make_plan
    from rasterloom.specs.resolve import effort

    (spec,) = load_specs(stand.home.spec)
    plan = make_plan(spec, now=datetime.now(UTC))
    job = Job(workspace=str(stand.home.workspace), plan=plan, effort=effort(spec), spec=spec.model_dump(mode="json"), run_id="run-1")
    searches = [search_shard(job, shard) for shard in plan.shards]
    publish(job, searches, [index_batch(job, items) for search in searches for items in search.batches])
    return stand


@pytest.fixture
def workspace(built: Stand, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    place = tmp_path / "workspace"
    shutil.copytree(built.home.workspace, place, symlinks=True)
    assert (place / NAME).is_dir()
    return place
