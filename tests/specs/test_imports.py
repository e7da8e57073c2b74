"""What asking costs: `rasterloom.specs` is light, and reading a spec imports nothing of the network or of Prefect."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("prefect", "pyarrow", "obstore", "requests", "pystac_client", "numpy", "shapely", "rasterio")


def loaded(statement: str) -> set[str]:
    script = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_room_itself_imports_no_library() -> None:
    assert not loaded("import rasterloom.specs") & {*HEAVY, "yaml", "pydantic"}


def test_planning_a_spec_imports_nothing_heavy() -> None:
    statement = (
        "import datetime\n"
        "from rasterloom.specs.loader import parse_specs\n"
        "from rasterloom.specs.plan import make_plan\n"
        "from rasterloom.specs.resolve import effort\n"
        "(spec,) = parse_specs('name: a\\ndataset: earthsearch/naip\\ndates: 2022')\n"
        "make_plan(spec, now=datetime.datetime.now(datetime.UTC)), effort(spec)"
    )
    modules = loaded(statement)
    assert "rasterloom.specs.plan" in modules
    assert not modules & set(HEAVY)
