"""The measurements, one function per section. Sides take turns within a repeat, so that a busy moment hits them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import scenes
from rig import Rig, Server, parquet_bytes, serving, workspace

Run = dict[str, Any]


@dataclass(frozen=True)
class HeaderSide:
    """One way to read headers."""

    side: str
    share: float
    """Of the headers: the slow ones get fewer."""
    order: Mapping[str, Any] = field(default_factory=dict[str, Any])
    compared: bool = True
    """At every concurrency; the others at the first one alone, for the reader's information."""


HEADER_SIDES: Mapping[str, HeaderSide] = {
    "rasterloom": HeaderSide("rasterloom", 1.0),
    "rasteret": HeaderSide("rasteret", 0.15),
    "rasterio": HeaderSide("rasterio", 0.12, {"tables": True}),
    "rasterio-other": HeaderSide("rasterio-other", 0.12, {"tables": True}),
    "rasterio-open": HeaderSide("rasterio", 0.12, {"tables": False}, compared=False),
    "rasterio-libertiff-open": HeaderSide("rasterio", 0.12, {"tables": False, "driver": "LIBERTIFF"}, compared=False),
    "rasterio-untuned": HeaderSide("rasterio", 0.01, {"tables": True, "tuned": False}, compared=False),
}


def headers(rig: Rig, *, count: int, latencies: Sequence[float]) -> Run:
    """Wall, CPU, requests and bytes per header, for every number of requests at once."""
    runs: list[Run] = []
    with serving(rig, scenes_served=count) as server:
        server.control(f"warm/{scenes.REAL_SCENES + -(-count // 4)}")
        for latency in latencies:
            server.latency(latency)
            for repeat, concurrency in product(range(rig.repeats), rig.concurrency):
                for name, side in HEADER_SIDES.items():
                    if side.compared or concurrency == rig.concurrency[0]:
                        about = {"side": name, "latency_ms": latency, "concurrency": concurrency, "repeat": repeat}
                        runs.append({**about, **_headers_once(rig, server, side, count, concurrency)})
    return {"runs": runs, "summary": _summarise(runs, ("side", "latency_ms", "concurrency"))}


def _headers_once(rig: Rig, server: Server, side: HeaderSide, count: int, concurrency: int) -> Run:
    urls = server.urls(int(count * side.share))
    server.control("reset")
    found = rig.side(side.side, "headers", urls=urls, **{**side.order, "concurrency": concurrency})
    return _per_header(found, server, len(urls)) if found else {}


def _per_header(found: Run, server: Server, count: int) -> Run:
    counts = server.control("stats")
    return {
        "version": found["version"],
        "headers": found["headers"],
        "headers_per_s": found["headers"] / found["wall_s"],
        "cpu_ms_per_header": 1000 * found["cpu_s"] / count,
        "requests_per_header": counts["file_requests"] / count,
        "bytes_per_header": counts["file_bytes"] / count,
        "requests_per_file_max": counts["per_path_max"],
        "peak_rss_mb": found["peak_rss_mb"],
        "server_busy": counts["cpu_s"] / found["wall_s"],
    }


def corpus(rig: Rig, folder: Path) -> Run:
    """Requests for the header of every TIFF of a folder, one file at a time asked for."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix.lower() in (".tif", ".tiff"))
    with serving(rig, scenes_served=1, corpus=folder) as server:
        found = rig.side("rasterloom", "headers", urls=[f"{server.base}/corpus/{name}" for name in names])
        per_path = {path.removeprefix("/corpus/"): count for path, count in server.control("stats")["per_path"].items()}
    more = {name: count for name, count in sorted(per_path.items()) if count > 2}
    ones = sum(count == 1 for count in per_path.values())
    return {
        "files": len(names),
        "read": found.get("headers"),
        "one_request": ones,
        "more_than_two": more,
        "failures": found.get("failures"),
    }


def builds(rig: Rig, *, count: int, bands: int, latency: float) -> Run:
    """The whole build: as plain functions, as the flow, and by Rasteret; the bytes of what they wrote; opening and reading it.

    Builds without and with Prefect follow each other, the order changing from pair to pair; Rasteret, reads and the second run of
    the same spec belong to the first pair.
    """
    runs: list[Run] = []
    with serving(rig, scenes_served=count, bands=bands) as server:
        server.control(f"warm/{count}")
        server.latency(latency)
        for repeat in range(rig.repeats + 2):
            with workspace() as folder:
                runs += [{"repeat": repeat, **run} for run in _builds_once(rig, server, folder, bands, repeat)]
    about = {"scenes": count, "bands": bands, "latency_ms": latency}
    return {**about, "runs": runs, "summary": _summarise(runs, ("side",)), "prefect": prefect_share(runs)}


def prefect_share(runs: Sequence[Run]) -> Run:
    """What Prefect adds to a build, of the build with it: of each pair of builds that follow each other, and the median of that.

    CPU seconds of the process are steady on a busy machine, wall seconds are not.
    """
    found: Run = {}
    for key in ("cpu_s", "wall_s"):
        pairs: dict[int, Run] = {}
        for run in runs:
            pairs.setdefault(run["repeat"], {})[run["side"]] = run[key]
        shares = [1 - pair["plain"] / pair["flow"] for pair in pairs.values() if "plain" in pair and "flow" in pair]
        found |= {key: median(shares) if shares else None, f"{key}_pairs": shares}
    return found


BUILD_SIDES = {"plain": ("rasterloom", "build_plain"), "flow": ("rasterloom", "build_flow"), "rasteret": ("rasteret", "build")}


def _builds_once(rig: Rig, server: Server, folder: Path, bands: int, repeat: int) -> list[Run]:
    runs: list[Run] = []
    names = ("plain", "flow") if repeat % 2 == 0 else ("flow", "plain")
    for name in (*names, "rasteret") if repeat == 0 else names:
        side, phase = BUILD_SIDES[name]
        server.control("reset")
        question = server.question(folder / name, bands)
        built = rig.side(side, phase, cpu=None, **question)
        if not built:
            continue
        counts = server.control("stats")
        runs.append(
            {
                "side": name,
                **{key: built[key] for key in ("wall_s", "cpu_s", "peak_rss_mb", "rows")},
                "server_start_s": built.get("server_start_s", 0.0),
                "stac_requests": counts.get("stac_requests", 0),
                "file_requests": counts.get("file_requests", 0),
                "parquet_bytes_per_scene": parquet_bytes(built["uri"]) / built["rows"],
                **(_once(rig, server, name, built, question) if repeat == 0 else {}),
            }
        )
        if name == "flow" and repeat == 0:
            runs.append(_again(rig, server, question))
    return runs


def _once(rig: Rig, server: Server, name: str, built: Run, question: Run) -> Run:
    """What need not be repeated: the same rows as one file (of the flow's headers), and reads."""
    side, _ = BUILD_SIDES[name]
    one = {} if name == "plain" else rig.side(side, "one_file", cpu=None, **question, uri=built["uri"])
    size = {"one_file_bytes_per_scene": parquet_bytes(one["uri"]) / built["rows"]} if one else {}
    return {**size, **_reads(rig, server, side, built["uri"], question["bands"])}


def _again(rig: Rig, server: Server, question: Run) -> Run:
    """The same spec a second time: nothing has changed."""
    server.control("reset")
    found = rig.side("rasterloom", "build_flow", cpu=None, **question)
    counts = server.control("stats")
    requests = {"stac_requests": counts.get("stac_requests", 0), "file_requests": counts.get("file_requests", 0)}
    return {"side": "flow-again", **{key: found.get(key, 0.0) for key in ("wall_s", "cpu_s")}, **requests}


def _reads(rig: Rig, server: Server, side: str, uri: str, bands: Mapping[str, str]) -> Run:
    """Open the collection and read one window of one band of the scenes that have pixels; GDAL says what is right."""
    band = next(iter(bands))
    ids = [scenes.scene_id(number) for number in range(scenes.REAL_SCENES)]
    server.control("reset")
    found = rig.side(side, "window", uri=uri, ids=ids, bbox=scenes.PIXELS, bands=[band])
    requests = server.control("stats").get("file_requests", 0)
    right = rig.side("rasterio", "window", urls=[f"{server.base}/files/{sid}/{band}.tif" for sid in ids], bbox=scenes.PIXELS)
    if not found or not right:
        return {}
    return {
        "open_s": found["open_s"],
        "window_s": found["wall_s"],
        "window_requests": requests,
        "window_right": found["checksum"] == right["checksum"],
    }


def memory(rig: Rig, *, few: int, many: int, bands: int, bulk_latency: float = 0) -> Run:
    """Peak memory of the process that runs the flow, for a small and a ten times larger build."""
    runs: list[Run] = []
    for count in (few, many):
        with serving(rig, scenes_served=count, bands=bands) as server, workspace() as folder:
            server.latency(bulk_latency)
            found = rig.side("rasterloom", "build_flow", cpu=None, **server.question(folder, bands))
            runs.append({"scenes": count, **{key: found.get(key, 0) for key in ("rows", "wall_s", "cpu_s", "peak_rss_mb")}})
    small, large = (run["peak_rss_mb"] for run in runs)
    return {"bands": bands, "runs": runs, "ratio": large / small if small and large else None}


def _summarise(runs: Sequence[Run], by: tuple[str, ...]) -> list[Run]:
    """Medians of the numbers of the runs that share `by`; of CPU, wall and speed the best as well: a busy machine only makes them worse."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in by), []).append(run)
    return [dict(zip(by, key, strict=True)) | _medians(group) for key, group in groups.items()]


def _medians(group: Sequence[Run]) -> Run:
    numbers = [
        key for key, value in group[0].items() if isinstance(value, (int, float)) and key not in ("repeat", "latency_ms", "concurrency")
    ]
    middles = {key: median(float(run[key]) for run in group if key in run) for key in numbers}
    least = {f"{key}_min": min(run[key] for run in group if key in run) for key in numbers if key.startswith(("cpu_", "wall_"))}
    most = {f"{key}_max": max(run[key] for run in group if key in run) for key in numbers if key.endswith("_per_s")}
    version = {"version": group[0]["version"]} if "version" in group[0] else {}
    return version | middles | least | most
