"""The real Rasteret 0.4.1 reads what we write: its own loader, filters and pixel reads, in its own interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rasterloom.access.collection import load
from rasterloom.flows.run import run
from tests.servers import free_port

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.shared]
S2_BANDS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "SCL": "scl"}
PLANES = {f"A{number:02d}": "emb" for number in range(8)}
COLLECTIONS: dict[str, tuple[str, tuple[str, str], dict[str, str], dict[str, int]]] = {
    "s2": ("sentinel-2-l2a", ("2024-06-01", "2024-07-31"), S2_BANDS, {}),
    "naip": ("naip", ("2022-01-01", "2022-12-31"), dict.fromkeys(("R", "G", "B", "NIR"), "image"), {"R": 0, "G": 1, "B": 2, "NIR": 3}),
    "dem": ("dem", ("2021-01-01", "2021-12-31"), {"DEM": "data"}, {}),
    "aef": ("aef", ("2023-01-01", "2023-12-31"), PLANES, {band: number for number, band in enumerate(PLANES)}),
}
"""Name -> STAC collection, dates, band map, band index map: two UTM zones, pixel-interleaved, geographic float, planar int8."""


@dataclass(frozen=True)
class Corpus:
    data: Path
    url: str
    python: str
    check: Path

    def expected(self, collection: str, bands: dict[str, str], samples: dict[str, int], **about: Any) -> dict[str, Any]:
        """In the words of the checker: what the collection must hold, and local files for its oracle."""
        scenes = json.loads((self.data / "manifest.json").read_text())["scenes"]
        records = [self._record(scene, bands, samples) for scene in scenes if scene["collection"] == collection]
        return {**about, "data_source": collection, "bands": list(bands), "records": records}

    def _record(self, scene: dict[str, Any], bands: dict[str, str], samples: dict[str, int]) -> dict[str, Any]:
        files = {
            band: {
                "path": str(self.data / scene["assets"][key]),
                "band_index": samples.get(band, 0),
                "href": f"{self.url}/files/{scene['assets'][key]}",
            }
            for band, key in bands.items()
            if key in scene["assets"]
        }
        moment = datetime.fromisoformat(scene["datetime"]).replace(tzinfo=None).isoformat()
        cloud = {} if scene["cloud"] is None else {"eo:cloud_cover": scene["cloud"]}
        return {"id": scene["id"], "epsg": scene["epsg"], "datetime": moment, "bbox": scene["bbox"], "props": cloud, "bands": files}


@pytest.fixture(scope="module")
def corpus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    python = os.environ.get("ACCEPTANCE_RASTERET_PYTHON")
    if not python:
        pytest.skip("ACCEPTANCE_RASTERET_PYTHON names no interpreter with rasteret 0.4.1")
    tools, data, port = shared / "tools" / "rasteret", tmp_path_factory.mktemp("corpus"), free_port()
    subprocess.run([sys.executable, str(tools / "make_cogs.py"), str(data)], check=True, capture_output=True)
    command = [sys.executable, str(tools / "stac_server.py"), str(data), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        assert "serving" in server.stdout.readline()
        yield Corpus(data, f"http://127.0.0.1:{port}", python, tools / "load_check.py")
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("name", COLLECTIONS)
def test_rasteret_reads_it_right(name: str, corpus: Corpus, tmp_path: Path) -> None:
    collection, dates, bands, samples = COLLECTIONS[name]
    stac = {"url": f"{corpus.url}/stac", "collection": collection}
    spec = {"version": 1, "name": name, "stac": stac, "dates": list(dates), "bbox": [-180, -90, 180, 90], "band_map": bands}
    built = run(spec | ({"band_index_map": samples} if samples else {}), workspace=str(tmp_path / "workspace"))
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps(corpus.expected(collection, bands, samples, name=built.name, date_range=list(dates))))
    command = [corpus.python, str(corpus.check), built.uri.removeprefix("file://"), str(expected)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "FAIL" not in checked.stdout.replace("0 FAIL", ""), checked.stdout
    assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr[-2000:]
    assert checked.stdout.strip().endswith("23 checks: 23 PASS, 0 WARN, 0 FAIL")


BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
import rstpatch, rasteret
rasteret.build_from_stac(name="real", stac_api=sys.argv[2], collection="sentinel-2-l2a", bbox=(-180, -90, 180, 90),
                         date_range=("2024-06-01", "2024-07-31"), band_map={bands}, workspace_dir=sys.argv[3])
"""


def test_a_copy_of_what_rasteret_wrote_has_the_same_rows_and_reads_right(corpus: Corpus, tmp_path: Path) -> None:
    command = [corpus.python, "-c", BUILD.format(bands=S2_BANDS), str(corpus.check.parent), f"{corpus.url}/stac", str(tmp_path / "theirs")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (theirs,) = (tmp_path / "theirs").iterdir()
    copy = run({"version": 1, "name": "real-copy", "collection": {"uri": str(theirs)}}, workspace=str(tmp_path / "workspace"))
    wanted = load(theirs)
    columns = [name for name in wanted.schema.names if name in copy.schema.names]
    assert {*columns} >= {"id", "datetime", "geometry", "bbox", "assets", "proj:epsg", "B02_metadata", "SCL_metadata", "eo:cloud_cover"}
    assert copy.to_table(columns).sort_by("id").to_pylist() == wanted.to_table(columns).sort_by("id").to_pylist()
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps(corpus.expected("sentinel-2-l2a", S2_BANDS, {}, name=copy.name, date_range=None)))
    checked = subprocess.run(
        [corpus.python, str(corpus.check), copy.uri, str(expected)], capture_output=True, text=True, timeout=300, check=False
    )
    assert checked.stdout.strip().endswith("23 checks: 23 PASS, 0 WARN, 0 FAIL"), checked.stdout[-2000:] + checked.stderr[-2000:]
