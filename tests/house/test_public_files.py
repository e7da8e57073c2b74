"""The files that speak for the project agree with each other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

import rasterloom


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


def declared(project: dict[str, Any]) -> Iterator[Requirement]:
    """All but PyTorch, which comes in a build for each processor: CI does not install it."""
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "torch" for line in lines]
    return map(Requirement, [*project["dependencies"], *extras])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(root: Path, python: str) -> dict[str, str]:
    """Name -> version of constraints.txt for one Python version."""
    lines = [line for line in (root / "constraints.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    environment = {**default_environment(), "python_version": python}
    found = [Requirement(line) for line in lines]
    return {
        normal(one.name): str(one.specifier).removeprefix("==") for one in found if one.marker is None or one.marker.evaluate(environment)
    }


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_constraints_pin_every_declared_dependency_within_its_bounds(root: Path, project: dict[str, Any], python: str) -> None:
    pinned = pins(root, python)
    wrong = [str(one) for one in declared(project) if not one.specifier.contains(pinned.get(normal(one.name), "0"))]
    assert wrong == []


def test_every_runtime_dependency_has_a_lower_bound(project: dict[str, Any]) -> None:
    assert [line for line in project["dependencies"] if ">=" not in line] == []


def test_the_changelog_begins_with_this_version(root: Path, project: dict[str, Any]) -> None:
    newest = re.search(r"^## \[?([\w.]+)", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"]
    assert rasterloom.__version__ == project["version"]


def test_decisions_are_numbered_without_gaps_and_say_the_four_things(root: Path) -> None:
    pages = sorted((root / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:3]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        headings = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
        assert headings == ["Context", "Choice", "Not chosen", "Revisit when"], page.name
        assert page.read_text("utf-8").startswith(f"# {page.name[:3]} "), page.name


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_readme_has_both_commands_on_one_line_each(root: Path, name: str) -> None:
    block = re.search(rf"<!-- command: {name} -->\n```bash\n(.+)\n```\n", (root / "README.md").read_text("utf-8"))
    assert block is not None
    assert block[1].startswith("python3 -m venv .venv && .venv/bin/pip install ")
