"""The server and the sides as processes of their own, and how they are called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import scenes

HERE = Path(__file__).resolve().parent
BBOX = (5.0, 40.0, 30.0, 60.0)
"""west, south, east, north in degrees: all scenes."""
DATES = ("2024-01-01", "2024-12-31")


@dataclass(frozen=True)
class Rig:
    """What all sections need to know."""

    folder: Path
    """Templates, kept between runs."""
    python: str
    rasteret_python: str | None
    rasterio_python: str | None
    """Of a second version of rasterio, beside that of `python`."""
    concurrency: tuple[int, ...]
    """Requests at once, the same for every side: all of them for the header stage, the first one for builds."""
    repeats: int
    pin: bool
    others_python: str | None = None
    """With async-geotiff and odc-stac."""
    errors: list[str] = field(default_factory=list)
    """Errors of sides, for the report."""

    def side(self, name: str, phase: str, **order: Any) -> dict[str, Any]:
        """Run one phase in a fresh process. An error is noted and gives an empty answer: the other sides still count."""
        others = {"rasteret": self.rasteret_python, "rasterio-other": self.rasterio_python}
        others |= {"asyncgeotiff": self.others_python, "odc": self.others_python}
        python = others.get(name, self.python)
        if python is None:
            return {}
        order = {"phase": phase, "concurrency": self.concurrency[0], "cpu": client_core() if self.pin else None, **order}
        command = [python, str(HERE / f"side_{name.removesuffix('-other')}.py")]
        done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, check=False)
        if done.returncode:
            self.errors.append(f"{name} {phase}: {done.stderr.strip()[-2000:]}")
            print(f"  {name} {phase} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return {}
        return json.loads(done.stdout.strip().splitlines()[-1])


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def client_core() -> int | None:
    return cores()[-1] if len(cores()) > 1 else None


class Server:
    """The running `server.py`."""

    def __init__(self, process: subprocess.Popen[str], scenes_served: int) -> None:
        assert process.stdout is not None
        self.base = process.stdout.readline().strip()
        self.scenes = scenes_served

    def control(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.base}/_/{what}", timeout=30) as answer:
            return json.load(answer)

    def latency(self, milliseconds: float) -> None:
        self.control(f"latency/{milliseconds}")

    def urls(self, count: int, bands: int = 4) -> list[str]:
        """`count` files, none of them twice."""
        codes = list(scenes.BANDS)[:bands]
        first = scenes.REAL_SCENES
        names = [f"{scenes.scene_id(n)}/{code}.tif" for n in range(first, first + -(-count // bands)) for code in codes]
        return [f"{self.base}/files/{name}" for name in names[:count]]

    def question(self, workspace: Path, bands: int) -> dict[str, Any]:
        """What a build of all scenes is asked."""
        source = {"stac": f"{self.base}/stac", "collection": scenes.COLLECTION, "bbox": BBOX, "dates": DATES}
        return source | {"bands": dict(list(scenes.BANDS.items())[:bands]), "workspace": str(workspace)}


@contextmanager
def serving(rig: Rig, *, scenes_served: int, bands: int = 4, corpus: Path | None = None, more: tuple[str, ...] = ()) -> Generator[Server]:
    """`more`: further options of `server.py`."""
    command = [sys.executable, str(HERE / "server.py"), str(rig.folder), "--scenes", str(scenes_served), "--bands", str(bands)]
    command += ["--corpus", str(corpus)] if corpus else []
    command += more
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if rig.pin and len(cores()) > 1:
            os.sched_setaffinity(process.pid, set(cores()[:-1]))
        yield Server(process, scenes_served)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def workspace() -> Generator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rasterloom-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def parquet_bytes(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
