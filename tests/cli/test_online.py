"""`rasterloom validate --online`: the lines as a user sees them, and the exit code of the worst."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from prefect.testing.utilities import prefect_test_harness

from rasterloom.cli.main import main
from rasterloom.demo.home import NAME
from tests.cli.conftest import SPEC, Stand

CRON = "schedule: {cron: '0 6 * * *', timezone: Europe/Berlin}\n"


def changed(stand: Stand, path: Path, *changes: tuple[str, str], more: str = "") -> str:
    text = stand.home.spec.read_text().replace(str(stand.home.workspace), str(path.parent / "workspace"))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more)
    return str(path)


def test_every_line_says_what_was_tried_and_how_it_went(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stand.provider.count
    path = changed(stand, tmp_path / "good.yaml", more=CRON)
    assert main(["validate", path, "--online"]) == 0
    seen = capsys.readouterr()
    lines = seen.out.splitlines()
    assert lines[:2] == [f"{path}: {NAME}: valid", f"{NAME}:"]
    assert [line.split()[:2] for line in lines[2:]] == [
        ["ok", check] for check in ("endpoint", "conformance", "collection", "item", "bands", "header", "workspace", "schedule")
    ]
    assert "06:00+0" in lines[-1]
    assert seen.err == ""
    asked = stand.provider.count - before
    assert (asked.searches, asked.ranges) == (1, 1)
    assert [each.name for each in tmp_path.iterdir()] == ["good.yaml"]


def test_the_worst_line_is_the_exit_code(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A spec that is wrong, one whose file cannot be read, and one whose API does not answer: all are looked at."""
    wrong = changed(stand, tmp_path / "wrong.yaml", ("B04: red", "B04: rde"))
    broken = tmp_path / "broken.yaml"
    broken.write_text(SPEC.format(name="broken") + "colour: red\n")
    down = tmp_path / "down.yaml"
    down.write_text(SPEC.format(name="down"))
    assert main(["validate", wrong, "--online"]) == 2
    assert "remedy: write B04: red" in capsys.readouterr().out
    assert main(["validate", wrong, str(broken), str(down), "--online", "--json", "--workspace", str(tmp_path / "ws")]) == 4
    seen = capsys.readouterr()
    document = json.loads(seen.out)
    assert (document["valid"], document["exit_code"]) == (False, 4)
    first, second, third = document["files"]
    assert [each["exit_code"] for each in (*first["online"], *third["online"])] == [2, 4]
    assert (second["valid"], second["online"]) == (False, [])
    failed = [line for line in first["online"][0]["lines"] if line["state"] == "failed"]
    assert [(line["check"], line["remedy"]) for line in failed] == [("bands", "write B04: red")]
    assert set(failed[0]) == {"check", "state", "tried", "result", "remedy", "exit_code"}
    assert f"{broken}:" in seen.err


def test_a_schedule_that_never_comes_is_wrong(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    past = changed(stand, tmp_path / "past.yaml", more="schedule: {rrule: 'FREQ=DAILY;UNTIL=20200101T000000'}\n")
    paused = changed(stand, tmp_path / "paused.yaml", (NAME, "paused"), more=CRON.replace("}", ", active: false}"))
    assert main(["validate", past, paused, "--online", "--json"]) == 2
    ended, other = (each["online"][0]["lines"][-1] for each in json.loads(capsys.readouterr().out)["files"])
    assert (ended["check"], ended["state"], ended["exit_code"]) == ("schedule", "failed", 2)
    assert (other["state"], "paused" in other["result"]) == ("note", True)


def test_without_the_option_nothing_is_asked(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    before = stand.provider.count
    assert main(["validate", str(stand.home.spec)]) == 0
    assert stand.provider.count == before
    assert capsys.readouterr().out == f"{stand.home.spec}: {NAME}: valid\n"


@pytest.mark.slow
def test_secret_blocks_are_looked_up_on_the_prefect_server(stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = ("collection: demo-sentinel-2", "collection: demo-sentinel-2, headers: {X-Key: '${secret.rasterloom-key}'}")
    path = changed(stand, tmp_path / "locked.yaml", header)
    with prefect_test_harness(server_startup_timeout=120):
        assert main(["validate", path, "--online"]) == 3
        assert "there is no Prefect Secret block 'rasterloom-key'" in capsys.readouterr().out
        Secret(value="s3cr3t-of-the-test").save("rasterloom-key", _sync=True)  # pyright: ignore[reportCallIssue]
        assert main(["validate", path, "--online"]) == 0
    seen = capsys.readouterr()
    assert "${secret.rasterloom-key}: there" in seen.out
    assert "s3cr3t" not in seen.out + seen.err
