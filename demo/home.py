"""The demo's directory: what stands in it, whose it is, and a Prefect of its own. Imports no Prefect."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rasterloom.demo.scenes import AREA, ASSETS, CLOUDIEST, COLLECTION, DATES
from rasterloom.errors import SpecError

NAME = "demo-coast"
READ = "greenness"
_MARK = ".rasterloom-demo.json"
_SPEC = """\
# What `rasterloom demo` built. Look at it:  rasterloom plan {spec}
# Its provider runs while the demo runs, and again with:  rasterloom demo --serve --output {directory}
version: 1
name: {name}
stac: {{url: "{url}", collection: {collection}}}
band_map: {{{bands}}}
bbox: [{box}]
dates: [{start}, {end}]
query: {{"eo:cloud_cover": {{lt: {clouds}}}}}
build: {{max_error_rate: 0.05}}    # one missing file of 24 is within it
workspace: {workspace}
"""
_READS = f"""\
reads:
  {READ}:    # an image a month: the median of the days without clouds, as cloud-optimized GeoTIFFs of a STAC catalog
    kind: composite
    period: P1M
    expressions: {{ndvi: "(B08 - B04) / (B08 + B04)"}}
    resolution: 20
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one directory."""

    directory: Path
    """Absolute."""

    @property
    def archive(self) -> Path:
        return self.directory / "archive"

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    @property
    def spec(self) -> Path:
        return self.directory / "spec.yaml"

    @property
    def footprints(self) -> Path:
        return self.directory / "footprints.png"

    @property
    def scene(self) -> Path:
        return self.directory / "scene.png"

    @property
    def greenness(self) -> Path:
        return self.directory / "greenness.png"

    def write_spec(self, url: str, port: int) -> None:
        """The spec of the demo for the provider at `url`, and a note of its `port` for a later `--serve`."""
        values = {
            "spec": self.spec,
            "directory": self.directory,
            "name": NAME,
            "url": url,
            "collection": COLLECTION,
            "bands": ", ".join(f"{band}: {key}" for band, key in ASSETS.items()),
            "box": f"{AREA.west}, {AREA.south}, {AREA.east}, {AREA.north}",
            "start": DATES[0],
            "end": DATES[1],
            "clouds": CLOUDIEST,
            "workspace": json.dumps(str(self.workspace)),
        }
        self.spec.write_text(_SPEC.format(**values), encoding="utf-8")
        (self.directory / _MARK).write_text(json.dumps({"port": port}))

    def add_read(self) -> None:
        """The spec declares an image to be made of the collection, from now on."""
        with self.spec.open("a", encoding="utf-8") as spec:
            spec.write(_READS)

    def port(self) -> int:
        """Of the provider that the spec names. Raises SpecError where no demo was made here."""
        try:
            return int(json.loads((self.directory / _MARK).read_text())["port"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpecError(
                f"no demo was made in {self.directory}", remedy="make it with `rasterloom demo`, or name its directory with --output"
            ) from error


def claim(directory: Path) -> Home:
    """An empty home, whatever an earlier demo left there. Raises SpecError for a directory that is somebody else's."""
    home = Home(directory.absolute())
    if directory.exists() and not directory.is_dir():
        raise SpecError(f"{directory} is a file", remedy="name a directory with --output")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / _MARK).is_file():
        raise SpecError(f"{directory} is not empty and was not made by a demo", remedy="name another directory with --output")
    try:
        home.directory.mkdir(parents=True, exist_ok=True)
        (home.directory / _MARK).write_text("{}")
        for old in (home.workspace, home.archive):
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise SpecError(f"cannot write to {directory}: {error.strerror}", remedy="name another directory with --output") from error
    return home


def settle(home: Home) -> None:
    """Environment of the demo: a Prefect home of its own unless a server is named, and no proxy before 127.0.0.1.

    Prefect reads its settings when it is imported: call this before.
    """
    if not os.environ.get("PREFECT_API_URL"):
        os.environ["PREFECT_HOME"] = str(home.directory / "prefect")
        os.environ.pop("PREFECT_PROFILE", None)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
