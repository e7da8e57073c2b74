"""What each command takes, as arguments of its parser. Imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError


def nothing(_: ArgumentParser) -> None:
    """The command takes what every command takes."""


def specs(parser: ArgumentParser) -> None:
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="spec file (YAML); it may hold several documents")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a value of every spec, e.g. build.retries=5",
    )


def plan(parser: ArgumentParser) -> None:
    specs(parser)
    parser.add_argument(
        "--search",
        action="store_true",
        help="make the searches too: tell new, changed and gone scenes, and the exact number of requests; writes nothing",
    )


def validate(parser: ArgumentParser) -> None:
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="spec file (YAML); it may hold several documents")
    parser.add_argument(
        "--online",
        action="store_true",
        help="also try, in seconds, what a run needs: endpoint, collection, one item, its assets, one header, credentials, workspace",
    )


def run(parser: ArgumentParser) -> None:
    specs(parser)
    parser.add_argument("--force", action="store_true", help="search and read everything again, whatever is remembered")


def init(parser: ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", nargs="?", default="", help="file to write (default: NAME.yaml); never overwritten; - is stdout"
    )
    parser.add_argument("--dataset", metavar="ID", default="", help="catalog entry to start from (default: earthsearch/sentinel-2-l2a)")
    parser.add_argument(
        "--from-item", metavar="URL|FILE", default="", help="STAC item to start from: its source, bands, place and time become the spec"
    )
    parser.add_argument("--name", default="", help="name of the collection (default: from the dataset or the item)")


def collection(parser: ArgumentParser) -> None:
    parser.add_argument(
        "collection", metavar="NAME|URI", help="collection of the workspace, or path (with a slash, as ./sf-bay) or URI of one"
    )
    parser.add_argument("--snapshot", metavar="NUMBER", type=int, help="an older snapshot (default: the newest)")


def info(parser: ArgumentParser) -> None:
    collection(parser)
    parser.add_argument("--path", action="store_true", help="print the directory of the files alone, for other Parquet readers")
    parser.add_argument(
        "--html",
        metavar="FILE",
        nargs="?",
        const="",
        help="the report as a page: written to FILE, else the one beside the snapshot, opened in a browser from a terminal",
    )


def name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="collection of the workspace")


def failures(parser: ArgumentParser) -> None:
    name(parser)
    parser.add_argument("--retry", action="store_true", help="ask for just these once more, whatever was wrong, and commit what comes")


def rollback(parser: ArgumentParser) -> None:
    name(parser)
    parser.add_argument("snapshot", metavar="SNAPSHOT", type=int, help="number, as `rasterloom snapshots` shows it")


def verify(parser: ArgumentParser) -> None:
    name(parser)
    parser.add_argument("--repair", action="store_true", help="write hint and link anew; data and commits are never changed")


def gc(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="collection of the workspace")
    parser.add_argument("--all", action="store_true", help="every collection, and what the workspace remembers beyond its bound")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be taken, and take nothing")
    parser.add_argument(
        "--grace", metavar="HOURS", type=float, default=24.0, help="how long a version is left to those who read it (default: %(default)g)"
    )


def export(parser: ArgumentParser) -> None:
    collection(parser)
    parser.add_argument("to", metavar="TO", help="directory or object-store prefix to write to")
    parser.add_argument(
        "--format",
        choices=("collection", "stac-geoparquet"),
        default="collection",
        help="a plain collection, or STAC items without the headers (default: collection)",
    )


def read(parser: ArgumentParser) -> None:
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


def delete(parser: ArgumentParser) -> None:
    name(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def datasets(parser: ArgumentParser) -> None:
    parser.add_argument(
        "action", metavar="list|info", nargs="?", choices=("list", "info"), default="list", help="all entries, or one (default: list)"
    )
    parser.add_argument("id", metavar="ID", nargs="?", default="", help="entry to show, e.g. pc/sentinel-2-l2a")


def deploy(parser: ArgumentParser) -> None:
    specs(parser)
    parser.add_argument(
        "--work-pool", metavar="NAME", default="local", help="work pool whose workers run the builds (default: %(default)s)"
    )
    parser.add_argument("--prune", action="store_true", help="remove what was deployed of this folder before and is no longer in it")
    parser.add_argument("--label", metavar="TEXT", default="", help="which deployments belong together (default: the name of the folder)")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be created, changed and removed, and do nothing")
    parser.add_argument("--output", metavar="FILE", default="", help="write Prefect's own prefect.yaml in place of registering")


def setup(parser: ArgumentParser) -> None:
    parser.add_argument("--work-pool", metavar="NAME", default="local", help="work pool, made where it is missing (default: %(default)s)")
    limits = "requests under way at once at a host, or an s3:// bucket, over all runs of the server"
    parser.add_argument("--share", metavar="N", type=_share, help="let N runs share each large build (1: none)")
    parser.add_argument("--limit", dest="limits", metavar="HOST=N", action="append", default=[], help=limits)


def _share(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 64):
        raise ArgumentTypeError(f"{text} is not from 1 to 64")
    return int(text)


def demo(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="DIR", default="rasterloom-demo", help="directory for everything that it makes (default: ./%(default)s)"
    )
    parser.add_argument("--serve", action="store_true", help="start the server of an earlier demo again, until Ctrl-C")
