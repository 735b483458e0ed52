"""Shapes: the promise at the door, and the centres of a grid."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from bkind3d_lite.shapes import cells, shaped


@pytest.mark.parametrize("size", [(5,), (4, 7), (3, 4, 6), (1, 9)])
def test_cells_are_the_middles_of_equal_parts(size):
    grid = cells(*size)
    assert grid.shape == (*size, len(size))
    for axis, n in enumerate(size):
        along = grid[..., len(size) - 1 - axis].movedim(axis, 0).reshape(n, -1)
        assert_close(along[:, 0], torch.tensor([(i + 0.5) / n * 2 - 1 for i in range(n)]))
        assert (along == along[:, :1]).all(), "a coordinate depends on its own axis alone"


@pytest.mark.parametrize("size", [(4, 7), (9, 2), (3, 5, 4)])
def test_grid_sample_reads_every_cell_exactly(size):
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    grid = cells(*size, like=maps).expand(2, *size, len(size))
    assert_close(F.grid_sample(maps, grid, align_corners=False), maps, atol=1e-12, rtol=0)


def test_cells_take_the_dtype_of_like():
    assert cells(3, 2, like=torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert cells(3, 2).dtype == torch.float32


@pytest.mark.parametrize(
    "axes, shape",
    [
        ("B V K 2", (2, 4, 5, 2)),
        ("... P 3", (7, 3)),
        ("... P 3", (1, 2, 7, 3)),
        ("K K", (4, 4)),
        ("B 3 H W", (1, 3, 8, 6)),
    ],
)
def test_shaped_returns_what_fits(axes, shape):
    x = torch.zeros(shape)
    assert shaped(x, axes) is x


@pytest.mark.parametrize(
    "axes, shape",
    [
        ("B V K 2", (2, 4, 5, 3)),
        ("B V K 2", (4, 5, 2)),
        ("... P 3", (3,)),
        ("... P 3", (4, 2)),
        ("K K", (4, 5)),
        ("B V", (2, 3, 4)),
    ],
)
def test_shaped_says_what_it_expected_and_what_it_got(axes, shape):
    with pytest.raises(ValueError) as error:
        shaped(torch.zeros(shape), axes, "ndc")
    assert str(error.value) == f"ndc: expected shape ({axes}), got {shape}"
