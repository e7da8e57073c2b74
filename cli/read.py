"""`rasterloom read`: one read job, of the spec that a collection was built from, or given by options. Imports Prefect."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterloom.access.archive.wholefile import is_web
from rasterloom.access.reads.asked import read_of
from rasterloom.access.reads.outputs import newest_outputs
from rasterloom.access.sources.areas import area_of
from rasterloom.access.versions.commits import Commit, is_name, latest
from rasterloom.access.versions.opening import open_collection
from rasterloom.access.workspace.place import open_workspace
from rasterloom.cli.output import answer, size_text
from rasterloom.cli.progress import shown_read
from rasterloom.errors import SpecError
from rasterloom.specs.loader import area_in, spec_from, yaml_value
from rasterloom.specs.model import CollectionSpec

if TYPE_CHECKING:
    from rasterloom.access.workspace.files import Workspace

_BOX = re.compile(r"\[?\s*-?[\d.]+\s*(,\s*-?[\d.]+\s*){3}\]?")


def read(args: Namespace) -> int:
    spec = _spec(args)
    from rasterloom.flows.runread import run_read

    with shown_read(args, f"{spec.name}.{args.read}") as listener:
        done = run_read(spec, args.read, workspace=args.workspace, force=args.force, on_progress=listener)
    answer(args, done, line(done))
    return 0


def line(done: dict[str, Any]) -> str:
    """What a read came to, and the places to look at."""
    output, name = done["read"], f"{done['read']['name']}.{done['read']['read']}"
    asked = f"{output['requests']:,} requests, {size_text(output['bytes'])}"
    failed = f", {output['failed']:,} failed" if output["failed"] else ""
    made = f"output {output['version']}, {output['made']:,} of {output['units']:,} units made, {asked}{failed}"
    told = made if output["changed"] else f"unchanged, output {output['version']}{failed}"
    places = [place for place in (output["data"], output["copied_to"], output["picture"]) if place]
    return "\n  ".join([f"{name}: {told}", *places])


def _spec(args: Namespace) -> CollectionSpec:
    """The spec of the collection, with the read that is meant."""
    place = open_workspace(args.workspace)
    commit = latest(place, args.collection) if is_name(args.collection) else None
    mapping = dict(commit.spec) if commit else _outside(args, place)
    reads = _known(place, args.collection, commit) if commit else {}
    if options := _options(args):
        reads[args.read] = {**reads.get(args.read, {}), **options}
    spec = spec_from({**mapping, "reads": reads} if reads else mapping)
    read_of(spec, args.read)  # before Prefect is started
    return spec


def _known(place: Workspace, name: str, commit: Commit) -> dict[str, Any]:
    """The reads of the spec as it was when last it ran: a build that found its collection unchanged commits no spec, its reads do."""
    written: dict[str, Any] = commit.spec.get("reads") or {}
    later = [output for output in newest_outputs(place, name) if output.ended > commit.ended or output.read not in written]
    return {**written, **{output.read: output.spec for output in later}}


def _outside(args: Namespace, place: Workspace) -> dict[str, Any]:
    """A spec whose source is the collection itself: it is read where it is. Raises SpecError where there is none."""
    found = open_collection(args.collection, args.workspace)
    name = args.name or re.sub(r"[^a-z0-9]+", "-", found.name.lower()).strip("-")[:63]
    if latest(place, name) is not None and found.commit is None:
        raise SpecError(f"the workspace has a collection {name} of its own", remedy="name the outputs with --name")
    return {"name": name, "collection": {"uri": found.uri}}


def _options(args: Namespace) -> dict[str, Any]:
    """The keys of the read that the options give."""
    given: dict[str, Any] = {key: value for key in ("kind", "output") if (value := getattr(args, key))}
    if args.bands:
        given["bands"] = [band.strip() for band in args.bands.split(",")]
    if args.area:
        given["area"] = _area(args.area)
    for text in args.overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SpecError(f"--set {text!r} is not KEY=VALUE", remedy="write e.g. --set resolution=20")
        _put(given, key.split("."), yaml_value(key, value))
    return given


def _put(mapping: dict[str, Any], path: list[str], value: Any) -> None:
    for section in path[:-1]:
        mapping = mapping.setdefault(section, {})
    mapping[path[-1]] = value


def _area(text: str) -> Any:
    if _BOX.fullmatch(text.strip()):
        return [float(number) for number in text.strip(" []").split(",")]
    return area_of(text) if is_web(text) else area_in(Path(text).expanduser(), read_area=area_of)
