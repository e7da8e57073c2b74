"""`rasterloom run` on a provider that answers: real flows, on Prefect's temporary server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
from tests.cli.conftest import Stand


def test_run_builds_what_it_can_and_ends_with_the_first_error(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = stand.home.spec.read_text()
    path = tmp_path / "specs.yaml"
    path.write_text(
        text.replace(f"name: {NAME}", "name: empty").replace("2024-06-01, 2024-07-15", "2020-06-01, 2020-07-15") + f"---\n{text}"
    )
    words = ["run", str(path), "--workspace", str(tmp_path / "workspace"), "--json"]

    assert main(words) == 5
    seen = capsys.readouterr()
    empty, built = json.loads(seen.out)["collections"]
    assert (empty["name"], empty["error"]["kind"], empty["error"]["exit_code"]) == ("empty", "Refused", 5)
    assert (built["name"], built["action"], built["records"], built["header_requests"]) == (NAME, "build", 6, 24)
    assert "rasterloom: empty: no scene answers the question" in seen.err

    asked = stand.provider.count
    assert main([*words, "--set", "name=again"]) == 2
    assert main([word for word in words if word != "--json"]) == 5
    assert f"{NAME}: unchanged, 6 scenes" in capsys.readouterr().out
    assert stand.provider.count.ranges == asked.ranges
