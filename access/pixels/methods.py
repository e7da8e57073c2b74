"""What a collection reads of pixels: its methods, each a few lines on top of the other modules of this room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rasterloom.access.credentials.secrets import Secrets, environment_secrets
from rasterloom.access.pixels.areas import Areas, areas_of
from rasterloom.access.pixels.arrays import native_stack
from rasterloom.access.pixels.files import pixel_columns
from rasterloom.access.pixels.frames import footprints_frame, frame_of
from rasterloom.access.pixels.gridded import common_crs
from rasterloom.access.pixels.lazy import Chunks, Opening, lazy_arrays
from rasterloom.access.pixels.sampling import point_resamplings, sampled
from rasterloom.access.pixels.scenes import SceneFiles, by_time, placed_file, scene_columns, scenes_in, steps_of
from rasterloom.access.pixels.stacks import ResamplingChoice, Resolution, Wish, crs_given, grid_over, met, step_of, wish_of
from rasterloom.access.pixels.training import PixelDataset
from rasterloom.access.pixels.values import BandFile
from rasterloom.access.pixels.vectors import Named, points_of
from rasterloom.access.pixels.warp import Resampling
from rasterloom.access.pixels.windows import area_of_bounds, fixed_grid, group_given, ordered, window_of_scenes
from rasterloom.access.pixels.xarrays import Stack, dataset_of, read_arrays
from rasterloom.errors import SpecError
from rasterloom.raster.grid import Grid
from rasterloom.specs.effort import Effort

if TYPE_CHECKING:
    import geopandas
    import xarray


class PixelMethods(ABC):
    """The reads of a `Collection`: of each file nothing but the tiles that hold what is asked for.

    What they have in common: `geometries` are a box (west, south, east, north) in degrees, polygons as shapely, GeoJSON or WKB, or a
    table of them (GeoPandas, GeoArrow, a file), in longitude and latitude where neither it nor `geometry_crs` says otherwise.
    A pixel belongs to an area by its centre; with `all_touched` by any part of it. `resampling` is `nearest`, `bilinear`, `cubic`,
    `average` or `mode`, or a mapping of bands to them (`*`: all others); nodata has no weight in it, and bands of classes refuse
    to be mixed. `scaled` gives stored * scale + offset in floats. `max_concurrent` bounds the requests at a time; `effort`, as `build` in a
    spec, says all of it. `filters` are those of `subset()`.

    They raise SpecError for what cannot be answered, with what to ask instead, and Unreadable, Unavailable or AccessDenied for a
    file: `where()` leaves a scene out.
    """

    @abstractmethod
    def _checked_bands(self, bands: Sequence[str]) -> list[str]:
        """Raises SpecError for a band that the collection does not have."""

    @abstractmethod
    def _rows(self, columns: Sequence[str], where: pc.Expression | None, filters: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """Rows of the view that also meet an expression and the criteria of `subset`, with those of `columns` that it has."""

    @abstractmethod
    def _opening(self, effort: Effort | None, secrets: Secrets, max_concurrent: int | None) -> Opening:
        """What makes the engine that reads the files of the collection."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema: ...

    @property
    @abstractmethod
    def bands(self) -> list[str]: ...

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def data_source(self) -> str: ...

    def get_numpy(
        self,
        geometries: Any,
        bands: Sequence[str],
        *,
        target_crs: Any = None,
        resolution: Resolution = None,
        resampling: ResamplingChoice = "nearest",
        geometry_crs: Any = None,
        geometry_column: str | None = None,
        all_touched: bool = False,
        scaled: bool = False,
        masked: bool = False,
        max_concurrent: int | None = None,
        effort: Effort | None = None,
        secrets: Secrets = environment_secrets,
        **filters: Any,
    ) -> NDArray[Any]:
        """Pixels over an area, scenes in the order of `to_table()`: shape (scenes, height, width) of one band, else
        (scenes, bands, height, width), in the type that holds all bands.

        Without `target_crs` and `resolution` nothing is resampled: the window is the area's bounds in the CRS of the file, out to
        whole pixels, and scenes or bands of another shape are refused. With either, all are put onto one grid. Pixels outside of the
        area and of the file hold its nodata, or 0; `masked` gives a masked array.
        """
        wish = self._wish(
            bands,
            resampling,
            target_crs,
            resolution=resolution,
            all_touched=all_touched,
            scaled=scaled,
            masked=masked,
        )
        areas = areas_of(geometries, Named(geometry=geometry_column, crs=geometry_crs))
        scenes = self._scenes(wish, areas, filters)
        engine = self._opening(effort, secrets, max_concurrent).engine
        if not wish.is_gridded:
            found = native_stack(engine, scenes, areas.union, wish)
        else:
            grid = _grid(scenes, areas, wish)
            found = window_of_scenes(engine, met(scenes, grid), grid, wish, "scene", areas.union)
        return found[:, 0] if len(wish.bands) == 1 else found

    def get_xarray(
        self,
        geometries: Any,
        bands: Sequence[str],
        *,
        target_crs: Any = None,
        resolution: Resolution = None,
        resampling: ResamplingChoice = "nearest",
        group_by: str = "scene",
        chunks: Chunks | None = None,
        geometry_crs: Any = None,
        geometry_column: str | None = None,
        all_touched: bool = False,
        scaled: bool = False,
        masked: bool = False,
        max_concurrent: int | None = None,
        effort: Effort | None = None,
        secrets: Secrets = environment_secrets,
        **filters: Any,
    ) -> xarray.Dataset:
        """Scenes over an area on one grid: a variable per band of the dimensions (time, y, x), in the type of its files.

        The grid has the CRS and the resolution that are asked, by default the CRS of most files and the resolution of the finest
        band, of which it keeps the pixels: files that are aligned with it are not resampled. `time` is UTC; `x` and `y` are the
        centres of pixels, `spatial_ref` holds CRS and GeoTransform as rioxarray reads them. Where no pixel is valid stands
        `_FillValue`: the nodata of the files, NaN in floats; integers of files without nodata have 0 and no `_FillValue`, and
        `masked` makes them floats. `group_by="solar_day"` or `"datetime"` puts scenes together, of which the first by id wins where
        several have a pixel. `chunks`, e.g. `{"time": 1, "y": 1024, "x": 1024}` or True, gives Dask arrays that read when computed.
        """
        wish = self._wish(
            bands,
            resampling,
            target_crs,
            resolution=resolution,
            all_touched=all_touched,
            scaled=scaled,
            floats=masked,
        )
        group = group_given(group_by)
        areas = areas_of(geometries, Named(geometry=geometry_column, crs=geometry_crs))
        scenes = self._scenes(wish, areas, filters)
        grid = _grid(scenes, areas, wish)
        stack = Stack(steps=tuple(steps_of(by_time(met(scenes, grid)), group)), grid=grid, wish=wish, area=areas.union)
        opening = self._opening(effort, secrets, max_concurrent)
        arrays = read_arrays(opening.engine, stack) if chunks is None or chunks is False else lazy_arrays(opening, stack, chunks)
        return dataset_of(stack, arrays, self.name)

    def get_gdf(
        self,
        geometries: Any,
        bands: Sequence[str],
        *,
        target_crs: Any = None,
        resolution: Resolution = None,
        resampling: ResamplingChoice = "nearest",
        geometry_crs: Any = None,
        geometry_column: str | None = None,
        all_touched: bool = False,
        scaled: bool = False,
        masked: bool = False,
        max_concurrent: int | None = None,
        effort: Effort | None = None,
        secrets: Secrets = environment_secrets,
        **filters: Any,
    ) -> geopandas.GeoDataFrame:
        """One row per scene, geometry and band that meet: Rasteret's columns, `crs`, and those of the table of geometries.

        `data` has shape (height, width) and may differ from row to row: it is a window of the file's own grid, or, with `target_crs`
        or `resolution`, a grid over the geometry. `transform` (affine, of pixel corners) and `crs` say where it lies. `geometry_id`
        counts the rows of what was given from 1. Pixels outside of the geometry hold the file's nodata, or 0.
        """
        wish = self._wish(
            bands,
            resampling,
            target_crs,
            resolution=resolution,
            all_touched=all_touched,
            scaled=scaled,
            masked=masked,
        )
        areas = areas_of(geometries, Named(geometry=geometry_column, crs=geometry_crs))
        scenes = self._scenes(wish, areas, filters)
        return frame_of(self._opening(effort, secrets, max_concurrent).engine, scenes, areas, wish, self.name)

    def read_window(
        self,
        *,
        bounds: tuple[float, float, float, float],
        res: float | tuple[float, float],
        bands: Sequence[str],
        record_ids: Sequence[str] | pa.Array | None = None,
        target_crs: Any = None,
        group_by: str | None = None,
        resampling: ResamplingChoice = "nearest",
        scaled: bool = False,
        masked: bool = False,
        max_concurrent: int | None = None,
        effort: Effort | None = None,
        secrets: Secrets = environment_secrets,
    ) -> NDArray[Any]:
        """Scenes on a fixed grid, put together: shape (bands, height, width), (steps, bands, height, width) with `group_by`.

        `bounds` are (left, bottom, right, top) and `res` the size of a pixel in the units of `target_crs`, by default the CRS of
        most files. Of scenes that share a pixel the first in `record_ids` wins (by default in the order of `to_table()`).
        `group_by`: `id` (a step per scene), `datetime`, or `solar_day`. Where no scene has a pixel stands nodata, or 0.
        """
        wish = self._wish(bands, resampling, target_crs, scaled=scaled, masked=masked)
        group = None if group_by is None else group_given(group_by)
        ids = None if record_ids is None else [str(each) for each in pa.array(record_ids).to_pylist()]
        if ids is None and wish.crs is None:
            raise SpecError("bounds have no place without a CRS", remedy="give target_crs, or record_ids")
        where = area_of_bounds(bounds, wish.crs).where() if ids is None and wish.crs else pc.field("id").isin(pa.array(ids, pa.string()))
        scenes = ordered(scenes_in(self._rows(scene_columns(self.schema, wish.bands), where, {}), wish.bands), ids)
        grid = fixed_grid(bounds, res, wish.crs or common_crs([file for scene in scenes for file in scene.files]))
        return window_of_scenes(self._opening(effort, secrets, max_concurrent).engine, scenes, grid, wish, group)

    def footprints(self, *, crs: Any = None, band: str | None = None) -> geopandas.GeoDataFrame:
        """`id`, `datetime` and the outline of the pixels of each scene's `band` (default: the first), from its header.

        In `crs`, or in the CRS of each file, which the frame names where all have the same. Scenes without a header, or without an
        affine georeference, are left out.
        """
        return footprints_frame(list(self._placed(band)), crs_given(crs))

    def native_res(self, band: str | None = None) -> tuple[float, float]:
        """Width and height of a pixel of the first scene's `band` (default: the first), in the units of its CRS."""
        for file in self._placed(band):
            return step_of(file)
        raise SpecError("no scene of the view says how large its pixels are", remedy="choose another band, or more scenes")

    def sample_points(
        self,
        points: Any,
        bands: Sequence[str],
        *,
        geometry_column: str | None = None,
        x_column: str | None = None,
        y_column: str | None = None,
        geometry_crs: Any = None,
        match: str = "all",
        resampling: ResamplingChoice = "nearest",
        scaled: bool = False,
        max_concurrent: int | None = None,
        effort: Effort | None = None,
        secrets: Secrets = environment_secrets,
        **filters: Any,
    ) -> pa.Table:
        """Values at points: one row per scene, band and point in its raster, with Rasteret's columns, `valid`, and the points' own.

        `points`: any table, a file, GeoJSON, shapely points, or coordinates; lon/lat where neither they nor `geometry_crs` say
        otherwise. A value is that of the pixel around the point, null where it is nodata or masked; with `resampling="bilinear"`, which may
        be a mapping of bands, it is interpolated between the valid ones of the four pixels next to the point, in floats, and null where
        the pixel around is. `scaled` applies the file's scale and offset. `match="latest"` keeps the newest scene of each point.
        """
        checked = self._checked_bands(bands)
        found = points_of(points, Named(geometry=geometry_column, x=x_column, y=y_column, crs=geometry_crs))
        columns = [*pixel_columns(self.schema, checked), "bbox"]

        def rows(where: pc.Expression) -> Iterator[pa.RecordBatch]:
            return self._rows(columns, where, filters)

        engine = self._opening(effort, secrets, max_concurrent).engine
        return sampled(
            rows, found, point_resamplings(checked, resampling), engine=engine, match=match, collection=self.data_source, scaled=scaled
        )

    def to_torch(
        self,
        bands: Sequence[str],
        *,
        size: int = 256,
        geometries: Any = None,
        resampling: Resampling = "nearest",
        scaled: bool = False,
        effort: Effort | None = None,
        secrets: Secrets = environment_secrets,
        **filters: Any,
    ) -> PixelDataset:
        """Windows of `size` pixels of the scenes, in their own CRS and resolution, as a map-style dataset of PyTorch; bands of other
        resolutions come onto the pixels of the finest. Needs `rasterloom[torch]`."""
        area = None if geometries is None else areas_of(geometries, Named())
        wish = wish_of(self._checked_bands(bands), resampling, None)
        where = None if area is None else area.where()
        scenes = by_time(scenes_in(self._rows(scene_columns(self.schema, wish.bands), where, filters), wish.bands))
        opening, union = self._opening(effort, secrets, None), None if area is None else area.union
        return PixelDataset(scenes, opening=opening, size=size, area=union, resampling=resampling, scaled=scaled)

    def _wish(self, bands: Sequence[str], resampling: ResamplingChoice, crs: Any, **options: Any) -> Wish:
        return wish_of(self._checked_bands(bands), resampling, crs, **options)

    def _scenes(self, wish: Wish, areas: Areas, filters: Mapping[str, Any]) -> list[SceneFiles]:
        """The scenes whose bbox meets the area."""
        rows = self._rows(scene_columns(self.schema, wish.bands), areas.where(), filters)
        found = scenes_in(rows, wish.bands)
        if not found:
            raise SpecError("no scene of the collection meets the area", remedy="see collection.bounds, and the dates of the view")
        return found

    def _placed(self, band: str | None) -> Iterator[BandFile]:
        """The files of a band that have a place on the Earth."""
        (code,) = self._checked_bands(self.bands[:1] if band is None else [band]) or (None,)
        if code is None:
            raise SpecError("the collection has no bands", remedy="build it with bands")
        for batch in self._rows(pixel_columns(self.schema, [code]), None, {}):
            for row in batch.to_pylist():
                file = placed_file(row, code)
                if file is not None:
                    yield file


def _grid(scenes: Sequence[SceneFiles], areas: Areas, wish: Wish) -> Grid:
    files = [file for scene in scenes for file in scene.files]
    return grid_over(areas.shapes, files, crs=wish.crs, resolution=wish.resolution)
