"""What is looked at between the writing of a version and its commit: coverage, duplicates, and drift against the version before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from shapely.geometry.base import BaseGeometry

from rasterloom.access.items.footprints import area_of_bounds
from rasterloom.access.network.translate import translated
from rasterloom.access.versions.commits import Commit, DataFile
from rasterloom.access.workspace.files import Workspace
from rasterloom.errors import Refused
from rasterloom.specs.effort import Effort
from rasterloom.specs.question import Question

Profile = dict[str, dict[str, int]]
"""What is counted of a version, e.g. `{"crs": {"EPSG:32632": 12}, "B02 dtype": {"uint16": 12}}`: rows by value."""

MOST_VALUES = 200
"""Values of one kind that a profile holds; where there are more, that kind is no property of the collection and is left out."""
_ROWS_AT_ONCE = 10_000
_GRID = "grid:code"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_LONGEST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the checks saw; a version with these findings may be committed."""

    twins: int
    """Rows that share place and instant with another row."""
    coverage: float | None
    """Share of the asked area (0..1) that footprints cover; None where no check asks for it."""
    drift: tuple[str, ...]
    """What the version has and the one before had not, for people."""
    profile: Profile
    newest: datetime | None = None
    """Instant of the newest scene, UTC; None where no row has one."""


def check_version(
    workspace: Workspace, home: str, files: Sequence[DataFile], *, question: Question, effort: Effort, parent: Commit | None
) -> Findings:
    """Look at the files of a version, a few narrow columns of them. Raises Refused where a check of the spec fails."""
    known = parent.profile if parent else {}
    seen = _Seen(known=known, area=_area(question) if effort.min_coverage is not None else None)
    with translated(f"read {workspace.uri_of(home)}"):
        for file in files:
            for batch in _batches(workspace, f"{home}/{file.path}", with_geometry=seen.area is not None):
                seen.add(batch)
    findings = seen.findings()
    _check_ids(seen)
    _check_share("duplicates", "have the place and instant of another", findings.twins, seen.rows, effort.max_duplicates)
    _check_share("drift", f"differ from the version before ({'; '.join(findings.drift)})", seen.drifted, seen.rows, effort.max_drift)
    _check_coverage(findings.coverage, effort.min_coverage)
    return findings


def _batches(workspace: Workspace, key: str, *, with_geometry: bool) -> Iterator[pa.RecordBatch]:
    """Rows of one file in its narrow columns: the leaves that the checks read, and nothing of the tile tables."""
    with workspace.filesystem().open_input_file(workspace.path_of(key)) as source:
        file = pq.ParquetFile(source)
        names = file.schema_arrow.names
        bands = [name.removesuffix("_metadata") for name in names if name.endswith("_metadata")]
        place = [_GRID] if _GRID in names else [f"bbox.{edge}" for edge in _EDGES]
        leaves = [f"{band}_metadata.{leaf}" for band in bands for leaf in ("tile_width", "tile_height", "dtype", "nodata")]
        columns = ["id", "datetime", "crs", *place, *leaves, *(["geometry"] if with_geometry else [])]
        yield from file.iter_batches(_ROWS_AT_ONCE, columns=columns)


@dataclass(slots=True)
class _Seen:
    """Sums over the batches of a version."""

    known: Profile
    area: BaseGeometry | None
    rows: int = 0
    drifted: int = 0
    ids: list[pa.Array] = field(default_factory=list[pa.Array])
    places: list[pa.Table] = field(default_factory=list[pa.Table])
    counted: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    covered: BaseGeometry | None = None
    newest: datetime | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self.ids.append(batch["id"])
        self.newest = max(filter(None, (self.newest, pc.max(batch["datetime"]).as_py())), default=None)
        self.places.append(_places(batch))
        kinds = _kinds(batch)
        for kind, values in kinds.items():
            counts = pc.value_counts(values.drop_null())
            self.counted.setdefault(kind, Counter()).update({entry["values"]: entry["counts"] for entry in counts.to_pylist()})
        self.drifted += _drifted(kinds, self.known)
        if self.area is not None:
            self.covered = _union(self.covered, batch["geometry"], self.area)

    def findings(self) -> Findings:
        profile = {kind: dict(sorted(counts.items())) for kind, counts in self.counted.items() if 0 < len(counts) <= MOST_VALUES}
        coverage = None if self.area is None else _share_covered(self.area, self.covered)
        return Findings(
            twins=_twins(self.places),
            coverage=coverage,
            drift=tuple(_drift(profile, self.known)),
            profile=profile,
            newest=self.newest and self.newest.replace(tzinfo=UTC),
        )


# --- duplicates --------------------------------------------------------------------------------------------------------------------


def _places(batch: pa.RecordBatch) -> pa.Table:
    """Instant and place of every row: the grid's code where there is one, else the corners to a thousandth of a degree."""
    if _GRID in batch.schema.names:
        place = batch[_GRID]
    else:
        edges = [pc.cast(pc.round(pc.struct_field(batch["bbox"], edge), ndigits=3), pa.string()) for edge in _EDGES]
        place = pc.binary_join_element_wise(*edges, " ")
    return pa.table({"datetime": batch["datetime"], "place": place}).drop_null()


def _twins(places: Sequence[pa.Table]) -> int:
    if not places:
        return 0
    table = pa.concat_tables(places)
    return table.num_rows - table.group_by(["datetime", "place"]).aggregate([]).num_rows


def _check_ids(seen: _Seen) -> None:
    ids = pa.chunked_array(seen.ids, pa.string())
    repeated = len(ids) - pc.count_distinct(ids).as_py()
    if repeated:
        raise Refused(f"{repeated} ids stand twice in the version", remedy="report this, with the spec: ids are made unique before")


# --- drift -------------------------------------------------------------------------------------------------------------------------


def _kinds(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Kind -> its value in every row as text; null where the header was not read."""
    kinds = {"crs": pc.utf8_slice_codeunits(batch["crs"], 0, _LONGEST)}
    for name in batch.schema.names:
        if name.endswith("_metadata"):
            band, header = name.removesuffix("_metadata"), batch[name]
            width, height = (pc.cast(pc.struct_field(header, f"tile_{side}"), pa.string()) for side in ("width", "height"))
            nodata = pc.cast(pc.struct_field(header, "nodata"), pa.string())
            kinds[f"{band} dtype"] = pc.struct_field(header, "dtype")
            kinds[f"{band} tile"] = pc.binary_join_element_wise(width, height, "x")
            kinds[f"{band} nodata"] = pc.if_else(pc.is_valid(header), pc.fill_null(nodata, "none"), pa.scalar(None, pa.string()))
    return kinds


def _drifted(kinds: Mapping[str, pa.Array], known: Profile) -> int:
    """Rows with any value that the version before did not have."""
    news = [_new(values, known[kind]) for kind, values in kinds.items() if kind in known]
    return int(np.count_nonzero(reduce(np.logical_or, news))) if news else 0


def _new(values: pa.Array, known: Mapping[str, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    old = pc.is_in(values, value_set=pa.array(sorted(known), pa.string()))
    return pc.and_(pc.invert(old), pc.is_valid(values)).to_numpy(zero_copy_only=False)


def _drift(profile: Profile, known: Profile) -> Iterator[str]:
    for kind, before in known.items():
        new = {value: rows for value, rows in profile.get(kind, {}).items() if value not in before}
        if new:
            told = ", ".join(f"{value} in {rows:,} scenes" for value, rows in list(new.items())[:5])
            yield f"{kind}: {told} (before: {', '.join(list(before)[:5])})"


# --- coverage ----------------------------------------------------------------------------------------------------------------------


def _area(question: Question) -> BaseGeometry:
    box = question.bbox
    if box is not None:
        return area_of_bounds((box.west, box.south, box.east, box.north))
    if question.intersects is not None:
        return shapely.make_valid(shapely.from_geojson(question.intersects))
    return shapely.box(-180.0, -90.0, 180.0, 90.0)


def _union(covered: BaseGeometry | None, footprints: pa.Array, area: BaseGeometry) -> BaseGeometry:
    """What of the area is covered by now; every footprint counts one turn to either side too, where longitudes run beyond 180."""
    shapes = shapely.make_valid(shapely.from_wkb(footprints.drop_null().to_numpy(zero_copy_only=False)))
    turned = [shapely.transform(shapes, lambda points, turn=turn: points + np.array([turn, 0.0])) for turn in (-360.0, 0.0, 360.0)]
    near = [shape for shape in np.concatenate(turned) if shape.intersects(area)]
    return shapely.union_all([*([covered] if covered else []), *(shapely.intersection(shape, area) for shape in near)])


def _share_covered(area: BaseGeometry, covered: BaseGeometry | None) -> float:
    whole = _true_area(area)
    if whole == 0.0:  # a point or a line: covered, or not
        return float(covered is not None and not covered.is_empty)
    # To a millionth: an area that footprints cover edge to edge is covered, whatever the last digits of their union are.
    return round(min(1.0, _true_area(covered) / whole), 6) if covered is not None else 0.0


def _true_area(shape: BaseGeometry) -> float:
    """Proportional to the area on the sphere: Lambert's cylindrical equal-area projection of edges that are straight in degrees."""
    dense = shapely.segmentize(shape, 1.0)
    return float(shapely.transform(dense, lambda points: np.column_stack([points[:, 0], np.sin(np.radians(points[:, 1]))])).area)


# --- verdicts ----------------------------------------------------------------------------------------------------------------------


def _check_share(name: str, what: str, found: int, rows: int, limit: float | None) -> None:
    share = found / rows if rows else 0.0
    if limit is not None and share > limit:
        raise Refused(
            f"{found:,} of {rows:,} scenes {what} ({share:.1%}) and checks.{name}.max is {limit:.1%}; the old snapshot stands",
            remedy=f"look at them with `rasterloom plan --search`; set `dedupe`, or raise checks.{name}.max"
            if name == "duplicates"
            else f"if the change is meant, raise checks.{name}.max for one run: --set 'checks=[]'",
        )


def _check_coverage(found: float | None, wanted: float | None) -> None:
    if found is not None and wanted is not None and found < wanted:
        raise Refused(
            f"the scenes cover {found:.1%} of the area and checks.coverage.min is {wanted:.1%}; the old snapshot stands",
            remedy="widen dates or query, or lower checks.coverage.min",
        )
