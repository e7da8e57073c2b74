"""What a unit keeps of a scene is what it was given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rasterloom.access.reads.layerfiles import TILE, LayerFile, LayerWriter, tiles_of
from rasterloom.errors import Unavailable
from rasterloom.raster.layers import Layer
from rasterloom.raster.tiles import Window

DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f4", "?", "c8")


@settings(max_examples=30)
@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from(DTYPES), st.integers(0, 9))
def test_a_layer_comes_back_square_by_square(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, dtype: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("layers") / "layers.zip"
    draw = np.random.default_rng(seed)
    data, valid = draw.integers(0, 99, (height, width)).astype(dtype), draw.random((height, width)) > 0.5
    valid[:, TILE:] &= seed % 2 == 0
    with LayerWriter(path) as writer:
        writer.write(Window(col=0, row=0, width=width, height=height), {"B04": Layer(data, valid), "other": Layer(valid, valid)})
    file = LayerFile(path)
    assert "B04" in file
    assert "B05" not in file
    assert file.is_empty == (not valid.any())
    for row, col, window in tiles_of(width=width, height=height):
        place = np.s_[window.row : window.row + window.height, window.col : window.col + window.width]
        found = file.tile("B04", row, col, window)
        assert (found is None) == (not valid[place].any())
        if found is not None:
            assert found.data.dtype == data.dtype.newbyteorder("=")
            np.testing.assert_array_equal(found.valid, valid[place])
            np.testing.assert_array_equal(found.data[found.valid], data[place][valid[place]])
    assert file.tile("B05", 0, 0, Window(col=0, row=0, width=1, height=1)) is None


def test_squares_without_a_valid_pixel_cost_nothing(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 9999, (2048, 2048)).astype("u2")
    valid = np.zeros(data.shape, bool)
    valid[300, 300] = True
    with LayerWriter(tmp_path / "layers.zip") as writer:
        writer.write(Window(col=0, row=0, width=2048, height=2048), {"B04": Layer(data, valid)})
    assert (tmp_path / "layers.zip").stat().st_size < 1000


def test_the_same_layers_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with LayerWriter(tmp_path / name) as writer:
            writer.write(Window(col=0, row=0, width=9, height=9), {"B04": Layer(np.ones((9, 9), "u2"), np.ones((9, 9), bool))})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    damaged = bytearray((tmp_path / "a").read_bytes())
    damaged[45] ^= 1
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(Unavailable, match="is damaged at 0"):
        LayerFile(tmp_path / "a").tile("B04", 0, 0, Window(col=0, row=0, width=9, height=9))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "layers.zip").write_bytes(b"PK" * 100)
    with pytest.raises(Unavailable, match="is damaged"):
        LayerFile(tmp_path / "layers.zip")
