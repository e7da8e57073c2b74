"""Measure Rasterloom beside Rasteret 0.4.1 and rasterio/GDAL, and compare with the bounds that the project has set itself.

    python bench/run.py --out bench.json [--rasteret-python ~/rasteret-venv/bin/python] [--corpus FOLDER]
                        [--rasterio-python ~/rasterio-1.4-venv/bin/python] [--others-python ~/others-venv/bin/python]

Needs the `test` extra (rasterio writes the two templates and is one of the sides). Rasteret needs Python 3.12 or 3.13 and its own
virtual environment (`pip install rasteret==0.4.1`); without it, its columns stay empty. The others are async-geotiff and
odc-stac (`pip install async-geotiff odc-stac obstore`), for reads and composites alone. Everything is served from this machine with
injected latency, by a process of its own. Ends with 1 where a bound is missed or a side fails. All ratios compare runs of this one call.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import composites
import crossing
import sections
import series
import windows
from rig import Rig

SECTIONS = ("headers", "corpus", "builds", "memory", "reads", "crossing", "series", "composites")
DECISIVE_LATENCY = 30.0
"""Milliseconds at which the header stages are compared."""
DEFAULT_CONCURRENCY = 100
"""Of a build whose spec says nothing: at which the CPU per header is judged."""


@dataclass(frozen=True)
class Bound:
    name: str
    limit: float
    at_most: bool
    value: Callable[[dict[str, Any]], float | None]

    def verdict(self, results: dict[str, Any]) -> dict[str, Any]:
        value = self.value(results)
        met = None if value is None else (value <= self.limit if self.at_most else value >= self.limit)
        return {"bound": self.name, "limit": f"{'<=' if self.at_most else '>='} {self.limit}", "value": value, "met": met}


def _headers_of(results: dict[str, Any], side: str) -> list[dict[str, Any]]:
    found = results.get("headers", {}).get("summary", [])
    return [row for row in found if row["side"] == side and row["latency_ms"] == DECISIVE_LATENCY and "headers_per_s" in row]


def _header(results: dict[str, Any], side: str, key: str) -> float | None:
    """At the default concurrency, or the first one that was measured."""
    rows = _headers_of(results, side)
    return next((row[key] for row in rows if row["concurrency"] == DEFAULT_CONCURRENCY), rows[0][key] if rows else None)


def _build(results: dict[str, Any], side: str, key: str) -> float | None:
    found = [row for row in results.get("builds", {}).get("summary", []) if row["side"] == side]
    return found[0].get(key) if found else None


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _best(results: dict[str, Any], side: str) -> float | None:
    return max((row["headers_per_s"] for row in _headers_of(results, side)), default=None)


def _speed(other: str) -> Callable[[dict[str, Any]], float | None]:
    """Each side at the concurrency that suits it best; of the medians."""
    return lambda r: _ratio(_best(r, "rasterloom"), _best(r, other))


def _speeds(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The same at each concurrency, for the reader's information."""
    ours = {row["concurrency"]: row["headers_per_s"] for row in _headers_of(results, "rasterloom")}
    others = [side for side in sections.HEADER_SIDES if side != "rasterloom"]
    return [
        {
            "times": side,
            "version": row["version"],
            "concurrency": row["concurrency"],
            "value": ours[row["concurrency"]] / row["headers_per_s"],
        }
        for side in others
        for row in _headers_of(results, side)
    ]


def _prefect(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda r: r.get("builds", {}).get("prefect", {}).get(key)


def _bytes(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda r: _ratio(_build(r, "flow", key), _build(r, "rasteret", key))


def _corpus_over(results: dict[str, Any]) -> float | None:
    return len(results["corpus"]["more_than_two"]) if "corpus" in results else None


BOUNDS = (
    Bound("requests per ordinary header", 1, True, lambda r: _header(r, "rasterloom", "requests_per_header")),
    Bound("client CPU per header with I/O, ms (median)", 0.35, True, lambda r: _header(r, "rasterloom", "cpu_ms_per_header")),
    Bound("header stage, times Rasteret's (each at its best)", 10, False, _speed("rasteret")),
    Bound("header stage, times rasterio's (each at its best)", 25, False, _speed("rasterio")),
    Bound("header stage, times the other rasterio's", 25, False, _speed("rasterio-other")),
    Bound("files of the corpus that need more than 2 requests", 0, True, _corpus_over),
    Bound("Parquet bytes per scene, of Rasteret's, by months", 0.65, True, _bytes("parquet_bytes_per_scene")),
    Bound("Parquet bytes per scene, of Rasteret's, as one file", 0.65, True, _bytes("one_file_bytes_per_scene")),
    Bound("Prefect's share of the CPU (median of pairs)", 0.10, True, _prefect("cpu_s")),
    Bound("Prefect's share of the wall (median of pairs)", 0.10, True, _prefect("wall_s")),
    Bound("peak memory, large build of small one", 1.5, True, lambda r: r.get("memory", {}).get("ratio")),
)


def _read(results: dict[str, Any], case: windows.Case, side: str, key: str) -> float | None:
    rows = results.get("reads", {}).get("summary", [])
    found = [row for row in rows if (row["case"], row["side"], row["latency_ms"]) == (case.name, side, DECISIVE_LATENCY)]
    return found[0].get(key) if found else None


def _read_bound(case: windows.Case, other: str, key: str, limit: float) -> Bound:
    """CPU: ours of the other's; wall: how many times as fast."""
    if key == "wall_s":
        name = f"{case.name}: times {other}'s clock"
        return Bound(name, limit, False, lambda r: _ratio(_read(r, case, other, key), _read(r, case, "rasterloom", key)))
    name = f"{case.name}: CPU per asset, of {other}'s"
    return Bound(name, limit, True, lambda r: _ratio(_read(r, case, "rasterloom", key), _read(r, case, other, key)))


def _read_bounds() -> list[Bound]:
    found: list[Bound] = []
    for case in windows.CASES:
        limits = {"rasterio": case.cpu_of_rasterio} | ({"rasteret": 0.45} if case.rasteret else {})
        found += [_read_bound(case, other, "cpu_ms_per_asset", limit) for other, limit in limits.items()]
        if case.small:
            found += [_read_bound(case, other, "wall_s", limit) for other, limit in (("rasterio", 3.0), ("rasteret", 2.0))]
    different = Bound("reads whose pixels differ between sides", 0, True, lambda r: _count(r, _different))
    found.append(Bound("composites whose pixels differ between sides", 0, True, _other_composites))
    return [*found, different, Bound("reads with other requests than planned", 0, True, lambda r: _count(r, _unplanned))]


def _crossed(results: dict[str, Any], case: crossing.Case, side: str) -> float | None:
    rows = results.get("crossing", {}).get("summary", [])
    found = [row for row in rows if (row["case"], row["side"], row["latency_ms"]) == (case.name, side, DECISIVE_LATENCY)]
    return found[0]["cpu_ms_per_asset"] if found else None


def _crossing_bound(case: crossing.Case) -> Bound:
    name = f"{case.name}: CPU per asset, of WarpedVRT's"
    return Bound(name, 1.0, True, lambda r: _ratio(_crossed(r, case, "rasterloom"), _crossed(r, case, "rasterio")))


def _crossing_bounds() -> list[Bound]:
    """`rasterio-exact` has the same kernel, and a projection within 0.001 pixels, which moves what lies between neighbours that differ by
    thousands by more than one."""
    name = "cross-zone: least share of pixels that are GDAL's"
    same = Bound(
        name,
        0.996,
        False,
        lambda r: min((each["rasterio-exact"] for each in r.get("crossing", {}).get("pixels", {}).values()), default=None),
    )
    return [*(_crossing_bound(case) for case in crossing.CASES), same]


def _count(results: dict[str, Any], wrong: Callable[[dict[str, Any]], int]) -> float | None:
    return float(wrong(results["reads"])) if "reads" in results else None


def _other_composites(results: dict[str, Any]) -> float | None:
    return float(not results["composites"]["same_pixels"]) if "composites" in results else None


def _different(read: dict[str, Any]) -> int:
    return sum(not same for same in read["same_pixels"].values())


def _unplanned(read: dict[str, Any]) -> int:
    return sum(row["requests_per_asset"] != row["planned_requests"] for row in read["summary"] if row["side"] == "rasterloom")


def measure(rig: Rig, options: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {}
    if "headers" in options.only:
        results["headers"] = sections.headers(rig, count=options.headers, latencies=options.latencies)
    if "corpus" in options.only and options.corpus:
        results["corpus"] = sections.corpus(rig, options.corpus)
    if "builds" in options.only:
        results["builds"] = sections.builds(rig, count=options.scenes, bands=options.bands, latency=DECISIVE_LATENCY)
    if "memory" in options.only:
        few, many = options.memory
        results["memory"] = sections.memory(rig, few=few, many=many, bands=options.bands)
    if "reads" in options.only:
        results["reads"] = windows.reads(rig, latencies=options.read_latencies, cases=options.cases)
    if "crossing" in options.only:
        results["crossing"] = crossing.crossing(rig, latencies=options.read_latencies)
    if "series" in options.only:
        results["series"] = series.series(rig, latency=DECISIVE_LATENCY)
    if "composites" in options.only:
        results["composites"] = composites.composites(rig, latencies=options.read_latencies)
    return results


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split(",")]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS), help=f"of {','.join(SECTIONS)}")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "rasterloom-bench", help="templates (18 MB), kept")
    parser.add_argument("--rasteret-python", help="interpreter of a virtual environment with rasteret 0.4.1")
    parser.add_argument("--rasterio-python", help="interpreter with another version of rasterio (1.4: what the bounds were set with)")
    parser.add_argument("--others-python", help="interpreter with async-geotiff and odc-stac, for reads")
    parser.add_argument("--corpus", type=Path, help="a folder of TIFFs whose headers are to be counted")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--concurrency", type=_numbers(int), default=[DEFAULT_CONCURRENCY, 128, 256, 512], help="requests under way at once, for every side"
    )
    parser.add_argument("--headers", type=int, default=8000)
    parser.add_argument("--latencies", type=_numbers(float), default=[DECISIVE_LATENCY], metavar="MS,MS")
    parser.add_argument("--scenes", type=int, default=2000, help="of the whole build")
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--memory", type=_numbers(int), default=[5000, 50000], metavar="FEW,MANY")
    parser.add_argument("--read-latencies", type=_numbers(float), default=[DECISIVE_LATENCY, 0.0], metavar="MS,MS", help="of reads")
    parser.add_argument("--cases", type=_numbers(str), default=[], help=f"of reads, of {','.join(case.name for case in windows.CASES)}")
    parser.add_argument("--no-pin", action="store_true", help="do not give clients one core and the server the others (header stage)")
    return parser.parse_args(arguments)


def show(verdicts: list[dict[str, Any]], speeds: list[dict[str, Any]]) -> None:
    for verdict in verdicts:
        word = {True: "met", False: "MISSED", None: "not measured"}[verdict["met"]]
        value = "" if verdict["value"] is None else f"{verdict['value']:.3g}"
        print(f"{verdict['bound']:52} {verdict['limit']:>8} {value:>8}  {word}")
    for speed in speeds:
        print(
            f"  header stage at {speed['concurrency']} requests at once: {speed['value']:.1f} times {speed['times']} ({speed['version']})"
        )


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    rig = Rig(
        folder=options.folder,
        python=sys.executable,
        rasteret_python=options.rasteret_python,
        rasterio_python=options.rasterio_python,
        others_python=options.others_python,
        concurrency=tuple(options.concurrency),
        repeats=options.repeats,
        pin=not options.no_pin,
    )
    started = datetime.now(UTC)
    results = measure(rig, options)
    verdicts = [bound.verdict(results) for bound in (*BOUNDS, *_read_bounds(), *_crossing_bounds())]
    about = {
        "date": started.isoformat(timespec="seconds"),
        "arguments": [text for text in arguments if not text.startswith(("/", "~"))],
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "errors": rig.errors,
    }
    speeds = _speeds(results)
    options.out.write_text(json.dumps({"about": about, "bounds": verdicts, "speeds": speeds, **results}, indent=1))
    show(verdicts, speeds)
    return int(bool(rig.errors) or any(verdict["met"] is False for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
