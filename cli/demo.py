"""`rasterloom demo`: shows the main job on sample scenes, step by step, and says what came of it."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rasterloom.cli.output import answer, size_text, table
from rasterloom.cli.progress import shown
from rasterloom.demo.home import NAME, Home, claim, settle
from rasterloom.demo.scenes import ASSETS, Archive, make_archive, open_archive
from rasterloom.demo.server import Count, Provider, serving
from rasterloom.errors import SpecError

if TYPE_CHECKING:
    from rasterloom.demo.tour import Images, Reading, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """Everything that a demo did."""

    home: Home
    archive: Archive
    first: Run
    second: Run
    failures: list[dict[str, Any]]
    reading: Reading
    images: Images
    seconds: float


def demo(args: Namespace) -> int:
    if args.workspace:
        raise SpecError("the demo has a workspace of its own, inside its directory", remedy="name the directory with --output DIR")
    return _serve(args) if args.serve else _show(args)


def _show(args: Namespace) -> int:
    start = time.monotonic()
    home = claim(Path(args.output))
    settle(home)
    _say(args, "1. Making an archive of sample scenes")
    archive = make_archive(home.archive)
    _say(args, f"   {archive.files} COG files of {len(archive.items)} scenes over two UTM zones, {size_text(archive.size)}: {home.archive}")
    with serving(archive) as provider:
        home.write_spec(provider.url, provider.port)
        _say(args, f"2. Serving it: a STAC API at {provider.url}, files by ranges")
        done = _tour(args, home, archive, provider, start)
    answer(args, _document(done), _farewell(done))
    return 0


def _tour(args: Namespace, home: Home, archive: Archive, provider: Provider, start: float) -> _Shown:
    _say(args, f"3. rasterloom run {_short(home.spec)}")
    tour = _prefect_side()
    with shown(args, NAME) as listener:
        first = tour.build(home, provider, listener)
    failures = tour.failures(home)
    _say(args, _built(first, failures))
    _say(args, "4. The same once more")
    second = tour.build(home, provider, None)
    _say(args, f"   {second.action}: {second.reason}\n   {_asked(second.asked)}, {second.seconds:.1f} s")
    _say(args, "5. Reading a scene back through the collection")
    reading = tour.draw(home, second.collection, provider)
    _say(args, f"   {reading.pixels:,} pixels of {len(ASSETS)} bands in {reading.seconds:.1f} s: {_asked(reading.asked)}")
    _say(args, "6. A read job in the spec, run once more: an image a month")
    with shown(args, NAME) as listener:
        images = tour.make_images(home, provider, listener)
    _say(args, f"   {images.output.units} scenes, {_asked(images.asked)}, {images.seconds:.1f} s")
    return _Shown(
        home=home,
        archive=archive,
        first=first,
        second=second,
        failures=failures,
        reading=reading,
        images=images,
        seconds=time.monotonic() - start,
    )


def _serve(args: Namespace) -> int:
    """Until Ctrl-C."""
    home = Home(Path(args.output).absolute())
    with serving(open_archive(home.archive), port=home.port()) as provider:
        answer(args, {"url": provider.url, "spec": str(home.spec)}, f"serving {provider.url} for {_short(home.spec)}; stop with Ctrl-C")
        while True:
            time.sleep(3600)


def _prefect_side() -> ModuleType:
    """The part of the demo that imports Prefect, which reads its settings then: after `settle`."""
    from rasterloom.demo import tour

    return tour


def _say(args: Namespace, text: str) -> None:
    """Progress for people: on stdout, where the demo's answer follows; nothing under --json."""
    if not args.json:
        print(text, flush=True)


def _built(run: Run, failures: list[dict[str, Any]]) -> str:
    files = run.headers + len(failures)
    lines = [f"   {len(run.collection)} scenes, {run.headers} headers of {files} files: {_asked(run.asked)}"]
    lines += [f"   {run.seconds:.1f} s, {run.starting:.1f} s of them until Prefect had started"]
    if failures:
        rows = table(
            [[row["item_id"], row["band"], row["reason"], row["http_status"]] for row in failures], ("SCENE", "BAND", "REASON", "HTTP")
        )
        lines += [f"   {len(failures)} of {files} files quarantined, the build went on:"]
        lines += [f"     {line}" for line in rows.splitlines()]
    return "\n".join(lines)


def _asked(count: Count) -> str:
    return f"{count.searches} search and {count.ranges} file requests, {size_text(count.bytes)}"


def _farewell(done: _Shown) -> str:
    home = done.home
    place = _short(home.workspace / NAME)
    lines = ["", f"Done in {done.seconds:.0f} s."]
    lines += [f"  collection   {place}", f"  spec         {_short(home.spec)}"]
    lines += [f"  images       {_short(Path(done.images.output.uri))}"]
    lines += [f"  pictures     {_short(home.footprints)}, {_short(home.scene)}, {_short(home.greenness)}", ""]
    lines += ["Read it in Python:", "  import rasterloom as rl", f'  collection = rl.load("{place}")']
    lines += ['  collection.describe(), collection.subset(cloud_cover_lt=5).to_table(["id", "datetime"])', ""]
    lines += ["Look around:", f"  rasterloom info {place}", f"  rasterloom failures {NAME} --workspace {_short(home.workspace)}"]
    lines += [f"  rasterloom demo --serve --output {_short(home.directory)}   # its provider again: pixels and new builds need it"]
    return "\n".join(lines)


def _document(done: _Shown) -> dict[str, Any]:
    home = done.home
    return {
        "directory": str(home.directory),
        "spec": str(home.spec),
        "collection": done.second.collection.uri,
        "images": done.images.output.uri,
        "pictures": [str(home.footprints), str(home.scene), str(home.greenness)],
        "archive": {"files": done.archive.files, "scenes": len(done.archive.items), "bytes": done.archive.size},
        "runs": [_run_document(run) for run in (done.first, done.second)],
        "reading": asdict(done.reading),
        "read_job": {"units": done.images.output.units, "asked": asdict(done.images.asked), "seconds": round(done.images.seconds, 3)},
        "failures": done.failures,
        "seconds": round(done.seconds, 3),
    }


def _run_document(run: Run) -> dict[str, Any]:
    return {
        "action": run.action,
        "scenes": len(run.collection),
        "headers": run.headers,
        "asked": asdict(run.asked),
        "seconds": round(run.seconds, 3),
        "starting_seconds": round(run.starting, 3),
    }


def _short(path: Path) -> str:
    """Relative to where the user stands, where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
