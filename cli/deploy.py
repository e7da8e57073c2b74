"""`rasterloom deploy` and `rasterloom serve`: specs as Prefect deployments. Imports Prefect."""

from __future__ import annotations

from argparse import Namespace

from rasterloom.cli.output import answer, note, table
from rasterloom.cli.specs import specs_of
from rasterloom.flows import deploy as deployments


def deploy(args: Namespace) -> int:
    made = deployments.deploy(specs_of(args), work_pool=args.work_pool, workspace=args.workspace)
    found = [{"name": each.name, "id": each.id, "scheduled": each.scheduled} for each in made]
    rows = [(each.name, "yes" if each.scheduled else "no", each.id) for each in made]
    answer(args, {"work_pool": args.work_pool, "deployments": found}, table(rows, ("DEPLOYMENT", "SCHEDULED", "ID")))
    return 0


def serve(args: Namespace) -> int:
    """Runs until it is stopped."""
    specs = specs_of(args)
    names = [spec.name for spec in specs]
    note(f"serving {', '.join(names)}; stop with Ctrl-C")
    deployments.serve(specs, workspace=args.workspace)
    answer(args, {"served": names}, "")
    return 0
