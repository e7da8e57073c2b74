"""`import rasterloom`: what it offers, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rasterloom

PUBLIC = {"Collection", "CollectionSpec", "__version__", "compile", "errors", "load", "load_specs", "plan", "run"}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_surface_is_what_it_says() -> None:
    assert set(rasterloom.__all__) == PUBLIC
    assert set(dir(rasterloom)) >= PUBLIC
    assert all(getattr(rasterloom, name) for name in PUBLIC)


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="it has Collection"):
        rasterloom.nothing  # noqa: B018


def test_import_alone_imports_no_dependency() -> None:
    assert loaded_by("import rasterloom") & {"prefect", "pyarrow", "obstore", "pydantic", "yaml", "numpy", "requests"} == set()


@pytest.mark.parametrize("name", ["load", "Collection", "load_specs", "plan", "CollectionSpec"])
def test_only_builds_import_prefect(name: str) -> None:
    assert "prefect" not in loaded_by(f"import rasterloom\nrasterloom.{name}")
