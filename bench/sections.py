"""The measurements, one function per section. Sides take turns within a repeat, so that a busy moment hits them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import scenes
from rig import Rig, Server, parquet_bytes, serving, workspace

Run = dict[str, Any]
HEADER_SIDES: Mapping[str, tuple[str, float, dict[str, Any]]] = {
    "rasterloom": ("rasterloom", 1.0, {}),
    "rasteret": ("rasteret", 0.25, {}),
    "rasterio": ("rasterio", 0.2, {"tables": True}),
    "rasterio-open": ("rasterio", 0.2, {"tables": False}),
    "rasterio-libertiff-open": ("rasterio", 0.2, {"tables": False, "driver": "LIBERTIFF"}),
}
"""Name -> side, share of the headers that it is given (the slow ones get fewer), and what is said to it."""


def headers(rig: Rig, *, count: int, latencies: Sequence[float]) -> Run:
    """Wall, CPU, requests and bytes per header. Every side gets files that it has not seen."""
    runs: list[Run] = []
    with serving(rig, scenes_served=count) as server:
        for latency in latencies:
            server.latency(latency)
            for repeat in range(rig.repeats):
                for name in HEADER_SIDES:
                    runs.append({"side": name, "latency_ms": latency, "repeat": repeat, **_headers_once(rig, server, name, count)})
    return {"runs": runs, "summary": _summarise(runs, ("side", "latency_ms"))}


def _headers_once(rig: Rig, server: Server, name: str, count: int) -> Run:
    side, share, words = HEADER_SIDES[name]
    urls = server.urls(int(count * share))
    server.control("reset")
    found = rig.side(side, "headers", urls=urls, **words)
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
    """The whole build: as plain functions, as the flow, and by Rasteret; the bytes of what they wrote; opening and reading it."""
    runs: list[Run] = []
    with serving(rig, scenes_served=count, bands=bands) as server:
        server.latency(latency)
        for repeat in range(rig.repeats):
            with workspace() as folder:
                runs += [{"repeat": repeat, **run} for run in _builds_once(rig, server, folder, bands)]
    return {"scenes": count, "bands": bands, "latency_ms": latency, "runs": runs, "summary": _summarise(runs, ("side",))}


def _builds_once(rig: Rig, server: Server, folder: Path, bands: int) -> list[Run]:
    runs: list[Run] = []
    sides = (("plain", "rasterloom", "build_plain"), ("flow", "rasterloom", "build_flow"), ("rasteret", "rasteret", "build"))
    for name, side, phase in sides:
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
                **_reads(rig, server, side, built["uri"], question["bands"]),
            }
        )
        if name == "flow":
            runs.append(_again(rig, server, question))
    return runs


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
    numbers = [key for key, value in group[0].items() if isinstance(value, (int, float)) and key not in ("repeat", "latency_ms")]
    middles = {key: median(float(run[key]) for run in group if key in run) for key in numbers}
    least = {f"{key}_min": min(run[key] for run in group if key in run) for key in numbers if key.startswith(("cpu_", "wall_"))}
    most = {f"{key}_max": max(run[key] for run in group if key in run) for key in numbers if key.endswith("_per_s")}
    return middles | least | most
