"""The commands: what each takes, and where its code is. Imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass

from rasterloom.cli import arguments

Arguments = Callable[[ArgumentParser], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    name: str
    target: str
    """`module:function`; the function takes the parsed arguments and returns the exit code."""
    summary: str
    usage: str = ""
    """The arguments as the overview shows them."""
    arguments: Arguments = arguments.nothing
    examples: tuple[str, ...] = ()


GROUPS: dict[str, tuple[Command, ...]] = {
    "Specs": (
        Command(
            name="init",
            target="rasterloom.cli.specs:init",
            summary="write a spec to start from",
            usage="[PATH] [--dataset ID | --from-item URL|FILE]",
            arguments=arguments.init,
            examples=(
                "rasterloom init",
                "rasterloom init madrid.yaml --dataset pc/sentinel-2-l2a",
                "rasterloom init --from-item https://example.com/stac/collections/c/items/i",
            ),
        ),
        Command(
            name="validate",
            target="rasterloom.cli.specs:validate",
            summary="check specs, all errors at once, and what they need",
            usage="SPEC... [--online]",
            arguments=arguments.validate,
            examples=("rasterloom validate specs/*.yaml", "rasterloom validate sf-bay.yaml --online"),
        ),
        Command(
            name="plan",
            target="rasterloom.cli.plan:plan",
            summary="what a run would do and why; writes nothing",
            usage="SPEC... [--search]",
            arguments=arguments.plan,
            examples=(
                "rasterloom plan sf-bay.yaml",
                "rasterloom plan sf-bay.yaml --set dates=2024 --json",
                "rasterloom plan sf-bay.yaml --search",
            ),
        ),
        Command(
            name="schema",
            target="rasterloom.cli.specs:schema",
            summary="JSON Schema of the spec, for editors",
            examples=("rasterloom schema > spec.schema.json",),
        ),
        Command(
            name="datasets",
            target="rasterloom.cli.specs:datasets",
            summary="the built-in catalog",
            usage="list | info ID",
            arguments=arguments.datasets,
            examples=("rasterloom datasets", "rasterloom datasets info pc/sentinel-2-l2a"),
        ),
    ),
    "Builds": (
        Command(
            name="run",
            target="rasterloom.cli.run:run",
            summary="bring the collections to what the specs say",
            usage="SPEC...",
            arguments=arguments.run,
            examples=("rasterloom run sf-bay.yaml", "rasterloom run sf-bay.yaml --set dates=2024-06 --force"),
        ),
        Command(
            name="deploy",
            target="rasterloom.cli.deploy:deploy",
            summary="register every spec as a Prefect deployment",
            usage="SPEC... [--prune] [--dry-run]",
            arguments=arguments.deploy,
            examples=("rasterloom deploy specs/*.yaml --work-pool local", "rasterloom deploy specs/*.yaml --prune --dry-run"),
        ),
        Command(
            name="setup",
            target="rasterloom.cli.deploy:setup",
            summary="give a Prefect server its work pool, limits of hosts, helpers of builds, and an end for dead runs",
            usage="[--limit HOST=N] [--share N]",
            arguments=arguments.setup,
            examples=("rasterloom setup", "rasterloom setup --limit data.example.org=10 --limit s3://bucket=50"),
        ),
        Command(
            name="serve",
            target="rasterloom.cli.deploy:serve",
            summary="the same, and run them from this process",
            usage="SPEC...",
            arguments=arguments.specs,
            examples=("rasterloom serve specs/*.yaml",),
        ),
        Command(
            name="demo",
            target="rasterloom.cli.demo:demo",
            summary="the whole main job offline on sample scenes",
            usage="[--output DIR]",
            arguments=arguments.demo,
            examples=("rasterloom demo", "rasterloom demo --serve"),
        ),
    ),
    "Collections": (
        Command(
            name="list",
            target="rasterloom.cli.collections:list_all",
            summary="collections of the workspace",
            examples=("rasterloom list --json",),
        ),
        Command(
            name="info",
            target="rasterloom.cli.collections:info",
            summary="what a collection holds",
            usage="NAME|URI [--path] [--html [FILE]]",
            arguments=arguments.info,
            examples=(
                "rasterloom info sf-bay",
                "rasterloom info sf-bay --html",
                "duckdb -c \"FROM read_parquet('$(rasterloom info sf-bay --path)/**/*.parquet')\"",
            ),
        ),
        Command(
            name="failures",
            target="rasterloom.cli.collections:failures",
            summary="files that the last build could not read",
            usage="NAME [--retry]",
            arguments=arguments.failures,
            examples=("rasterloom failures sf-bay", "rasterloom failures sf-bay --retry"),
        ),
        Command(
            name="export",
            target="rasterloom.cli.collections:export",
            summary="write a plain copy that any Parquet reader opens",
            usage="NAME|URI TO [--snapshot N]",
            arguments=arguments.export,
            examples=("rasterloom export sf-bay ./shared/sf-bay",),
        ),
        Command(
            name="read",
            target="rasterloom.cli.read:read",
            summary="make one read job of the spec, or one given by options",
            usage="NAME|URI READ",
            arguments=arguments.read,
            examples=(
                "rasterloom read sf-bay ndvi",
                "rasterloom read sf-bay june --kind composite --bands B04,B03,B02 --set dates=2024-06 --set resolution=20",
                "rasterloom read ./shared/sf-bay cube --kind stack --area=-122.4,37.7,-122.3,37.8 --output ./cube",
            ),
        ),
        Command(
            name="delete",
            target="rasterloom.cli.collections:delete",
            summary="delete a collection; asks first",
            usage="NAME [--yes]",
            arguments=arguments.delete,
            examples=("rasterloom delete sf-bay --yes",),
        ),
    ),
    "History": (
        Command(
            name="snapshots",
            target="rasterloom.cli.history:list_snapshots",
            summary="every commit of a collection",
            usage="NAME",
            arguments=arguments.name,
            examples=("rasterloom snapshots sf-bay",),
        ),
        Command(
            name="rollback",
            target="rasterloom.cli.history:roll_back",
            summary="make an older snapshot the newest again",
            usage="NAME SNAPSHOT",
            arguments=arguments.rollback,
            examples=("rasterloom rollback sf-bay 3",),
        ),
        Command(
            name="verify",
            target="rasterloom.cli.history:verify_collection",
            summary="compare every file with the commits",
            usage="NAME [--repair]",
            arguments=arguments.verify,
            examples=("rasterloom verify sf-bay",),
        ),
        Command(
            name="gc",
            target="rasterloom.cli.history:collect_garbage",
            summary="delete what no kept snapshot needs",
            usage="NAME|--all [--dry-run]",
            arguments=arguments.gc,
            examples=("rasterloom gc sf-bay --dry-run", "rasterloom gc --all"),
        ),
    ),
}

COMMANDS = {command.name: command for group in GROUPS.values() for command in group}
