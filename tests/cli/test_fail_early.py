"""A run that cannot end well ends at once: `rasterloom run` as users start it, and what it asked of each server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.questions import many
from tests.servers import RangeServer, StacServer

SPEC = """\
version: 1
name: {name}
stac: {{url: "{url}", collection: {collection}}}
band_map: {{B04: {asset}}}
bbox: [9, 49, 12, 52]
dates: [2024-05-01, 2024-06-30]
{more}
"""


@pytest.fixture
def apis() -> Iterator[list[StacServer]]:
    """Four of 2,000 items each, in pages of 100: what a whole search would take is seen in their logs."""
    with StacServer(many(2000)) as one, StacServer(many(2000)) as two, StacServer(many(2000)) as three, StacServer(many(2000)) as four:
        yield [one, two, three, four]


def test_run_ends_within_a_handful_of_requests(apis: list[StacServer], tmp_path: Path) -> None:
    """Four specs in one file, each wrong in its own way: each is tried, and said."""
    with RangeServer({}) as files:
        for api in apis:
            api.page_cap = 100
            for each in api.items:
                each["assets"]["red"]["href"] = f"{files.url}/{each['id']}.tif"
        gone, wrong, unmapped, locked = (api.url for api in apis)
        key = "auth: {provider: aws, access_key_id: '${RASTERLOOM_ID}', secret_access_key: '${RASTERLOOM_KEY}'}"
        path = tmp_path / "specs.yaml"
        path.write_text(
            "---\n".join(
                [
                    SPEC.format(name="gone", url=f"{gone}/v9", collection="c", asset="red", more=""),
                    SPEC.format(name="wrong", url=wrong, collection="cc", asset="red", more=""),
                    SPEC.format(name="unmapped", url=unmapped, collection="c", asset="rde", more=""),
                    SPEC.format(name="locked", url=locked, collection="c", asset="red", more=key),
                ]
            )
        )
        words = ["run", str(path), "--workspace", str(tmp_path / "workspace"), "--json"]
        home = {"PREFECT_HOME": str(tmp_path / "prefect")}
        done = subprocess.run(
            [sys.executable, "-m", "rasterloom.cli.main", *words], capture_output=True, text=True, timeout=300, env={**os.environ, **home}
        )
        assert done.returncode == 2, done.stderr
        assert "Prefect" not in done.stderr, "it takes longer to start than this whole test"
        errors = {each["name"]: each["error"] for each in json.loads(done.stdout)["collections"]}
        assert "answered 404 to the landing page" in errors["gone"]["message"]
        assert (errors["wrong"]["exit_code"], errors["wrong"]["remedy"]) == (2, "write collection: c")
        assert [each["remedy"] for each in errors["unmapped"]["problems"]] == ["write B04: red"]
        assert (errors["locked"]["exit_code"], "RASTERLOOM_ID is not set" in errors["locked"]["message"]) == (3, True)
        assert files.log == []
    assert [len(api.log) for api in apis[:3]] == [1, 4, 4]
    assert len(apis[3].log) <= 2, "and no page after the first"
