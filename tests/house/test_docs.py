"""What the documentation says works: its specs are right, its commands exist, its programs run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from rasterloom.cli.parser import parse
from rasterloom.demo.scenes import AREA, ASSETS, COLLECTION, make_archive
from rasterloom.demo.server import serving
from rasterloom.specs.loader import parse_specs

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [match[2] for match in BLOCK.finditer(page.read_text("utf-8")) if match[1] == language]


def named(language: str) -> list[object]:
    """All blocks of a language, as parameters with the page and a 1-based number as id."""
    return [
        pytest.param(text, id=f"{page.relative_to(ROOT)}:{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, language), 1)
    ]


def own_commands() -> Iterator[object]:
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text("utf-8")):
            for line in match[2].splitlines() if match[1] in ("bash", "text") else ():
                for command in re.findall(r"(?:^|&& |\$\()(?:\.venv/bin/)?rasterloom ([^&|#)]*)", line):
                    yield pytest.param(command.split(), id=f"{page.name}: {command.strip()}")


@pytest.mark.parametrize("text", named("yaml"))
def test_every_spec_in_the_docs_is_right(text: str) -> None:
    assert len(parse_specs(text)) >= 1


@pytest.mark.parametrize("words", list(own_commands()))
def test_every_command_in_the_docs_exists(words: list[str]) -> None:
    assert parse(words).command is not None


def test_the_generated_pages_are_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "reference", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Desk:
    """A folder where the pages are followed as they are written, with the commands of this environment on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RASTERLOOM_WORKSPACE": str(folder / "workspace"),
        }

    def shell(self, text: str) -> str:
        return self._run(["bash", "-euo", "pipefail", "-c", text])

    def python(self, text: str) -> str:
        return self._run([sys.executable, "-c", text])

    def _run(self, words: list[str]) -> str:
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{words[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def at_the_demo(spec: str, url: str) -> str:
    """The README's spec with its source and area replaced by the demo's archive: the real one is not asked by tests."""
    source = (
        f'stac: {{url: "{url}", collection: {COLLECTION}}}\nband_map: {{{", ".join(f"{code}: {key}" for code, key in ASSETS.items())}}}'
    )
    area = f"bbox: [{AREA.west}, {AREA.south}, {AREA.east}, {AREA.north}]"
    text, sources = re.subn(r"^dataset: .*$", source, spec, flags=re.MULTILINE)
    text, areas = re.subn(r"^bbox: .*$", area, text, flags=re.MULTILINE)
    assert (sources, areas) == (1, 1)
    return text


@pytest.mark.slow
def test_the_readme_and_the_page_on_other_readers_can_be_followed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    readme, readers = ROOT / "README.md", ROOT / "docs" / "how-to" / "other-readers.md"
    [spec, with_a_read], [rows, pixels] = blocks(readme, "yaml"), blocks(readme, "python")
    assert with_a_read.startswith(spec.rstrip())
    [run] = [text for text in blocks(readme, "bash") if "rasterloom run" in text]
    (tmp_path / "specs").mkdir()
    with serving(make_archive(tmp_path / "archive", size=128)) as provider:
        (tmp_path / "specs" / "sf-bay.yaml").write_text(at_the_demo(spec, provider.url), "utf-8")
        desk.shell(run)
        before = provider.count
        desk.shell("rasterloom run specs/sf-bay.yaml")
        assert (provider.count.searches, provider.count.ranges) == (before.searches, before.ranges)
        in_the_demo, count = re.subn(r"get_xarray\(\([^)]*\)", "get_xarray((5.90, 43.06, 5.94, 43.09)", pixels)
        assert count == 1
        assert "spatial_ref" in desk.python(in_the_demo)
    assert "eo:cloud_cover" in desk.python(rows)
    [export] = blocks(readers, "bash")
    desk.shell(export)
    printed = [desk.python(text) for text in blocks(readers, "python")]
    assert len(printed) == 3
    assert all(printed)


@pytest.fixture
def provider_again(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Starts a command that runs until it is stopped, as in a second terminal, and waits for its first line."""
    running: list[subprocess.Popen[str]] = []

    def start(text: str) -> None:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {text}"], cwd=tmp_path, env=Desk(tmp_path).environment, stdout=PIPE, stderr=STDOUT, text=True
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=120)


@pytest.mark.slow
def test_the_tutorial_can_be_followed(tmp_path: Path, provider_again: Callable[[str], None]) -> None:
    desk = Desk(tmp_path)
    page = ROOT / "docs" / "tutorials" / "first-collection.md"
    printed: list[str] = []
    for match in BLOCK.finditer(page.read_text("utf-8")):
        if match[1] == "bash" and "--serve" in match[2]:
            provider_again(match[2].strip())
        else:
            printed.append(desk.python(match[2]) if match[1] == "python" else desk.shell(match[2]))
    assert len(printed) == 7
    assert (tmp_path / "rasterloom-demo" / "scene.png").is_file()
    assert list((tmp_path / "rasterloom-demo" / "june").rglob("*.parquet"))


@pytest.mark.slow
def test_the_page_on_pixels_can_be_followed(tmp_path: Path, provider_again: Callable[[str], None]) -> None:
    desk = Desk(tmp_path)
    page = ROOT / "docs" / "how-to" / "pixels.md"
    [commands] = blocks(page, "bash")
    demo, serve = commands.splitlines()
    desk.shell(demo)
    provider_again(serve)
    assert "record_id" in desk.python("\n".join(blocks(page, "python")))


@pytest.mark.slow
def test_the_page_on_points_and_zones_can_be_followed(tmp_path: Path, provider_again: Callable[[str], None]) -> None:
    desk = Desk(tmp_path)
    page = ROOT / "docs" / "how-to" / "points-and-zones.md"
    [prepare, run], [spec] = blocks(page, "bash"), blocks(page, "yaml")
    demo, serve = prepare.splitlines()
    desk.shell(demo)
    provider_again(serve)
    sampled, series, statistics = blocks(page, "python")
    assert "meadow" in desk.python(sampled)
    (tmp_path / "coast-series.yaml").write_text(spec, "utf-8")
    desk.shell(run)
    assert "ndvi" in desk.python(series)
    assert "p90" in desk.python(statistics)
