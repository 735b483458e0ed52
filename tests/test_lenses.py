"""Lenses: distortion and its inverse, and nothing from far off enters the picture."""

import math

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.lenses import distort, undistort

LENSES = [
    (0.0, 0.0, 0.0, 0.0, 0.0),
    (-0.3, 0.0, 0.0, 0.0, 0.0),
    (-0.28, 0.1, 0.001, -0.002, -0.02),
    (0.15, 0.05, 0.0, 0.0, 0.01),
    (-0.1, 0.02, 0.006, -0.004, 0.0),
]


@pytest.mark.parametrize("lens", LENSES)
def test_a_point_on_the_optical_axis_has_a_finite_gradient(lens):
    flat = torch.zeros(1, 3, 2, dtype=torch.float64, requires_grad=True)
    distort(flat, torch.tensor([lens], dtype=torch.float64)).sum().backward()
    assert_close(
        flat.grad,
        torch.ones_like(flat),
        msg=lambda m: f"distortion is the identity to first order on the axis: {m}",
    )


@pytest.mark.parametrize("lens", LENSES)
def test_undistort_undoes_distort_over_the_field_of_view(lens):
    x, y = torch.meshgrid(
        torch.linspace(-0.7, 0.7, 15), torch.linspace(-0.5, 0.5, 11), indexing="ij"
    )
    flat = torch.stack([x, y], -1).double().view(1, -1, 2)
    lens = torch.tensor([lens], dtype=torch.float64)
    assert_close(undistort(distort(flat, lens), lens), flat, atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    "lens",
    [(-0.3, 0.0, 0.0, 0.0, 0.0), (-0.5, 0.05, 0.002, -0.002, 0.0), (0.1, -0.2, 0.0, 0.0, 0.0)],
)
def test_points_past_the_fold_stay_outside(lens):
    """The raw polynomial brings r = 1.8 back inside; ours keeps growing, so nothing from far off
    enters the picture."""
    lens = torch.tensor([lens], dtype=torch.float64)
    for angle in torch.linspace(0, 2 * math.pi, 9).double()[:-1]:
        radii = torch.linspace(0, 12, 400, dtype=torch.float64)
        ray = torch.stack([radii * angle.cos(), radii * angle.sin()], -1)
        r = distort(ray[None], lens)[0].norm(dim=-1)
        assert (r.diff() > -1e-3).all() and r[-1] == r.max() and r[-1] > 2


def test_distort_treats_every_view_with_its_own_lens():
    flat = torch.randn(3, 5, 2, dtype=torch.float64) / 3
    lenses = torch.tensor(LENSES[1:4], dtype=torch.float64)
    for v in range(3):
        assert_close(distort(flat, lenses)[v], distort(flat[v : v + 1], lenses[v : v + 1])[0])
