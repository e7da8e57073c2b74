"""`rasterloom deploy` and `rasterloom serve`: specs as Prefect deployments. Imports Prefect."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rasterloom.cli.output import answer, note, table
from rasterloom.cli.specs import specs_of
from rasterloom.errors import SpecError
from rasterloom.flows import deploy as deployments
from rasterloom.flows.prefectfile import prefect_file
from rasterloom.specs.model import CollectionSpec
from rasterloom.specs.sections import RunSpec


def deploy(args: Namespace) -> int:
    specs = specs_of(args)
    if args.output:
        return _written(args, specs)
    made = deployments.deploy(
        specs, work_pool=args.work_pool, workspace=args.workspace, label=_label(args), prune=args.prune, dry_run=args.dry_run
    )
    found = [{**asdict(each), "fields": list(each.fields)} for each in made]
    rows = [(each.name, each.change, "yes" if each.scheduled else "no", ", ".join(each.fields)) for each in made]
    text = table(rows, ("DEPLOYMENT", "CHANGE", "SCHEDULED", "DIFFERENCE"))
    answer(args, {"work_pool": args.work_pool, "dry_run": args.dry_run, "deployments": found}, text)
    return 0


def _label(args: Namespace) -> str:
    """Which deployments belong together: as given, else the name of the folder of the specs, where they have one.

    Raises SpecError where --prune would take the deployment of a spec that is there and was not given.
    """
    files = [Path(path).resolve() for path in args.specs]
    folders = sorted({file.parent for file in files})
    label = args.label or (_slug(folders[0].name) if len(folders) == 1 else "")
    if not args.prune:
        return label
    if not label:
        raise SpecError("the specs are of several folders, and --prune is for one", remedy="give them a common --label")
    beside = sorted(file for folder in folders for file in folder.iterdir() if file.suffix in (".yaml", ".yml") and file not in files)
    if beside:
        message = f"{beside[0]} is not among the specs: --prune would remove what is deployed of it"
        raise SpecError(message, remedy=f"give all of the folder, as in {folders[0].name}/*.yaml")
    return label


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _written(args: Namespace, specs: Sequence[CollectionSpec]) -> int:
    """Prefect's own file, for `prefect deploy`; nothing is registered."""
    path = Path(args.output)
    text = prefect_file(specs, work_pool=args.work_pool, workspace=args.workspace, label=_label(args))
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror}", remedy="give a path in a folder that is there") from error
    names = [spec.name for spec in specs]
    answer(args, {"path": str(path), "deployments": names}, f"wrote {path}; try: prefect deploy --all --prefect-file {path}")
    return 0


def serve(args: Namespace) -> int:
    """Runs until it is stopped."""
    specs = specs_of(args)
    names = [spec.name for spec in specs]
    note(f"serving {', '.join(names)}; stop with Ctrl-C")
    deployments.serve(specs, workspace=args.workspace)
    answer(args, {"served": names}, "")
    return 0


def setup(args: Namespace) -> int:
    from rasterloom.flows.setup import set_up

    done = set_up(work_pool=args.work_pool, limits=dict(_host_limit(text) for text in args.limits), share=args.share)
    rows = [(each.what, each.change) for each in done]
    answer(args, {"settled": [asdict(each) for each in done]}, table(rows, ("WHAT", "CHANGE")))
    return 0


def _host_limit(text: str) -> tuple[str, int]:
    """`data.example.org=10`, checked as `run.limits` of a spec is."""
    host, _, count = text.rpartition("=")
    try:
        limits = RunSpec(limits={host: int(count)}).limits
    except ValueError as error:
        raise SpecError(
            f"--limit {text} is no host with a number of requests from 1 to 1000", remedy="write data.example.org=10"
        ) from error
    return next(iter((limits or {}).items()))
