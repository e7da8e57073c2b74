"""Declarative specs become Prefect flows that build GeoParquet collections of cloud-optimized GeoTIFFs.

    import rasterloom as rl
    collection = rl.run("specs/sf-bay.yaml")
    collection = rl.load("./shared/sf-bay")

Everything below is loaded when it is first used: `import rasterloom` alone imports none of its dependencies.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rasterloom import errors
    from rasterloom.access.collection import Collection, load
    from rasterloom.access.sources.areas import load_specs
    from rasterloom.flows.compile import compile
    from rasterloom.flows.run import run
    from rasterloom.specs.model import CollectionSpec
    from rasterloom.specs.plan import make_plan as plan

    __version__: str

__all__ = ["Collection", "CollectionSpec", "__version__", "compile", "errors", "load", "load_specs", "plan", "run"]

_HOMES = {
    "Collection": "access.collection:Collection",
    "CollectionSpec": "specs.model:CollectionSpec",
    "compile": "flows.compile:compile",
    "load": "access.collection:load",
    "load_specs": "access.sources.areas:load_specs",
    "plan": "specs.plan:make_plan",
    "run": "flows.run:run",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("rasterloom")
    if name == "errors":
        return import_module("rasterloom.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'rasterloom' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"rasterloom.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
