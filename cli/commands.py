"""The commands: what each takes, and where its code is. Imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass

Arguments = Callable[[ArgumentParser], None]


def _none(_: ArgumentParser) -> None:
    """The command takes what every command takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    name: str
    target: str
    """`module:function`; the function takes the parsed arguments and returns the exit code."""
    summary: str
    usage: str = ""
    """The arguments as the overview shows them."""
    arguments: Arguments = _none
    examples: tuple[str, ...] = ()


def _specs(parser: ArgumentParser) -> None:
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="spec file (YAML); it may hold several documents")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a value of every spec, e.g. build.retries=5",
    )


def _plan(parser: ArgumentParser) -> None:
    _specs(parser)
    parser.add_argument(
        "--search",
        action="store_true",
        help="make the searches too: tell new, changed and gone scenes, and the exact number of requests; writes nothing",
    )


def _validate(parser: ArgumentParser) -> None:
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="spec file (YAML); it may hold several documents")
    parser.add_argument(
        "--online",
        action="store_true",
        help="also try, in seconds, what a run needs: endpoint, collection, one item, its assets, one header, credentials, workspace",
    )


def _run(parser: ArgumentParser) -> None:
    _specs(parser)
    parser.add_argument("--force", action="store_true", help="search and read everything again, whatever is remembered")


def _init(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", nargs="?", default="", help="file to write (default: NAME.yaml); never overwritten; - is stdout"
    )
    parser.add_argument("--dataset", metavar="ID", default="", help="catalog entry to start from (default: earthsearch/sentinel-2-l2a)")
    parser.add_argument(
        "--from-item", metavar="URL|FILE", default="", help="STAC item to start from: its source, bands, place and time become the spec"
    )
    parser.add_argument("--name", default="", help="name of the collection (default: from the dataset or the item)")


def _collection(parser: ArgumentParser) -> None:
    parser.add_argument(
        "collection", metavar="NAME|URI", help="collection of the workspace, or path (with a slash, as ./sf-bay) or URI of one"
    )
    parser.add_argument("--snapshot", metavar="NUMBER", type=int, help="an older snapshot (default: the newest)")


def _info(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("--path", action="store_true", help="print the directory of the files alone, for other Parquet readers")
    parser.add_argument(
        "--html",
        metavar="FILE",
        nargs="?",
        const="",
        help="the report as a page: written to FILE, else the one beside the snapshot, opened in a browser from a terminal",
    )


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="collection of the workspace")


def _failures(parser: ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--retry", action="store_true", help="ask for just these once more, whatever was wrong, and commit what comes")


def _rollback(parser: ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("snapshot", metavar="SNAPSHOT", type=int, help="number, as `rasterloom snapshots` shows it")


def _verify(parser: ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--repair", action="store_true", help="write hint and link anew; data and commits are never changed")


def _gc(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="collection of the workspace")
    parser.add_argument("--all", action="store_true", help="every collection, and what the workspace remembers beyond its bound")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be taken, and take nothing")
    parser.add_argument(
        "--grace", metavar="HOURS", type=float, default=24.0, help="how long a version is left to those who read it (default: %(default)g)"
    )


def _export(parser: ArgumentParser) -> None:
    _collection(parser)
    parser.add_argument("to", metavar="TO", help="directory or object-store prefix to write to")
    parser.add_argument(
        "--format",
        choices=("collection", "stac-geoparquet"),
        default="collection",
        help="a plain collection, or STAC items without the headers (default: collection)",
    )


def _read(parser: ArgumentParser) -> None:
    parser.add_argument(
        "collection", metavar="NAME|URI", help="collection of the workspace, or path (with a slash, as ./sf-bay) or URI of one"
    )
    parser.add_argument("read", metavar="READ", help="name of a read of its spec, or a new one that the options describe")
    parser.add_argument("--kind", metavar="KIND", default="", help="stack, composite, zonal, points or chips")
    parser.add_argument("--bands", metavar="B04,B08", default="", help="bands to read")
    parser.add_argument("--area", metavar="W,S,E,N|FILE", default="", help="box in degrees, or a GeoJSON or GeoParquet file")
    parser.add_argument("--output", metavar="TO", default="", help="directory or prefix that is kept equal to the newest output")
    parser.add_argument(
        "--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help="any key of the read, e.g. --set resolution=20"
    )
    parser.add_argument("--name", default="", help="of a collection outside of the workspace: what its outputs are kept under")
    parser.add_argument("--force", action="store_true", help="read every scene again, and commit a new output")


def _delete(parser: ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _datasets(parser: ArgumentParser) -> None:
    parser.add_argument(
        "action", metavar="list|info", nargs="?", choices=("list", "info"), default="list", help="all entries, or one (default: list)"
    )
    parser.add_argument("id", metavar="ID", nargs="?", default="", help="entry to show, e.g. pc/sentinel-2-l2a")


def _deploy(parser: ArgumentParser) -> None:
    _specs(parser)
    parser.add_argument(
        "--work-pool", metavar="NAME", default="local", help="work pool whose workers run the builds (default: %(default)s)"
    )
    parser.add_argument("--prune", action="store_true", help="remove what was deployed of this folder before and is no longer in it")
    parser.add_argument("--label", metavar="TEXT", default="", help="which deployments belong together (default: the name of the folder)")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be created, changed and removed, and do nothing")
    parser.add_argument("--output", metavar="FILE", default="", help="write Prefect's own prefect.yaml in place of registering")


def _demo(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="DIR", default="rasterloom-demo", help="directory for everything that it makes (default: ./%(default)s)"
    )
    parser.add_argument("--serve", action="store_true", help="start the server of an earlier demo again, until Ctrl-C")


GROUPS: dict[str, tuple[Command, ...]] = {
    "Specs": (
        Command(
            name="init",
            target="rasterloom.cli.specs:init",
            summary="write a spec to start from",
            usage="[PATH] [--dataset ID | --from-item URL|FILE]",
            arguments=_init,
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
            arguments=_validate,
            examples=("rasterloom validate specs/*.yaml", "rasterloom validate sf-bay.yaml --online"),
        ),
        Command(
            name="plan",
            target="rasterloom.cli.plan:plan",
            summary="what a run would do and why; writes nothing",
            usage="SPEC... [--search]",
            arguments=_plan,
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
            arguments=_datasets,
            examples=("rasterloom datasets", "rasterloom datasets info pc/sentinel-2-l2a"),
        ),
    ),
    "Builds": (
        Command(
            name="run",
            target="rasterloom.cli.run:run",
            summary="bring the collections to what the specs say",
            usage="SPEC...",
            arguments=_run,
            examples=("rasterloom run sf-bay.yaml", "rasterloom run sf-bay.yaml --set dates=2024-06 --force"),
        ),
        Command(
            name="deploy",
            target="rasterloom.cli.deploy:deploy",
            summary="register every spec as a Prefect deployment",
            usage="SPEC... [--prune] [--dry-run]",
            arguments=_deploy,
            examples=(
                "rasterloom deploy specs/*.yaml --work-pool local",
                "rasterloom deploy specs/*.yaml --prune --dry-run",
                "rasterloom deploy specs/*.yaml --output prefect.yaml",
            ),
        ),
        Command(
            name="serve",
            target="rasterloom.cli.deploy:serve",
            summary="the same, and run them from this process",
            usage="SPEC...",
            arguments=_specs,
            examples=("rasterloom serve specs/*.yaml",),
        ),
        Command(
            name="demo",
            target="rasterloom.cli.demo:demo",
            summary="the whole main job offline on sample scenes",
            usage="[--output DIR]",
            arguments=_demo,
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
            arguments=_info,
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
            arguments=_failures,
            examples=("rasterloom failures sf-bay", "rasterloom failures sf-bay --retry"),
        ),
        Command(
            name="export",
            target="rasterloom.cli.collections:export",
            summary="write a plain copy that any Parquet reader opens",
            usage="NAME|URI TO [--snapshot N]",
            arguments=_export,
            examples=("rasterloom export sf-bay ./shared/sf-bay",),
        ),
        Command(
            name="read",
            target="rasterloom.cli.read:read",
            summary="make one read job of the spec, or one given by options",
            usage="NAME|URI READ",
            arguments=_read,
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
            arguments=_delete,
            examples=("rasterloom delete sf-bay --yes",),
        ),
    ),
    "History": (
        Command(
            name="snapshots",
            target="rasterloom.cli.history:list_snapshots",
            summary="every commit of a collection",
            usage="NAME",
            arguments=_name,
            examples=("rasterloom snapshots sf-bay",),
        ),
        Command(
            name="rollback",
            target="rasterloom.cli.history:roll_back",
            summary="make an older snapshot the newest again",
            usage="NAME SNAPSHOT",
            arguments=_rollback,
            examples=("rasterloom rollback sf-bay 3",),
        ),
        Command(
            name="verify",
            target="rasterloom.cli.history:verify_collection",
            summary="compare every file with the commits",
            usage="NAME [--repair]",
            arguments=_verify,
            examples=("rasterloom verify sf-bay",),
        ),
        Command(
            name="gc",
            target="rasterloom.cli.history:collect_garbage",
            summary="delete what no kept snapshot needs",
            usage="NAME|--all [--dry-run]",
            arguments=_gc,
            examples=("rasterloom gc sf-bay --dry-run", "rasterloom gc --all"),
        ),
    ),
}

COMMANDS = {command.name: command for group in GROUPS.values() for command in group}
