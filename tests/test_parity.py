"""Parity: where this package agrees with what the released functions returned, and where it means
not to.

The recordings are in `parity.npz` of the folder `shared`; the conversions between the two
conventions are made here.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import CameraRig
from bkind3d_lite.model.edges import edge_maps
from bkind3d_lite.model.losses import dissimilarity, separation
from bkind3d_lite.shapes import segment_distance2
from bkind3d_lite.volumes import fuse, soft_argmax, unproject


@pytest.fixture(scope="module")
def recorded(shared):
    path = shared / "parity.npz"
    if not path.is_file():
        pytest.skip(
            "no parity.npz in the shared folder: the released functions' results are not here"
        )
    with np.load(path, allow_pickle=False) as data:
        return {k: torch.from_numpy(np.asarray(data[k])) for k in data}


def test_target(recorded):
    """Contrast-structure alone, then a blur of sigma 1."""
    ours = dissimilarity(
        recorded["target_now"], recorded["target_later"], structure_only=True, smooth=1.0
    )
    assert_close(ours, recorded["target_map"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "size, variance, share", [(16, 0.1, 0.013), (32, 0.01, 0.030), (64, 0.001, 0.070)]
)
def test_edge_maps_at_their_pixels(recorded, size, variance, share):
    """They sample the segment at H points (never nearer than it is): ours is never below, and above
    by a known share of the peak."""
    points = recorded["edge_points"]
    axis = torch.linspace(-1, 1, size)
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="ij")[::-1], -1)
    a, b = (points[:, i, None, None, :] for i in torch.combinations(torch.arange(6)).T)
    peak = 1 / math.sqrt(2 * math.pi * variance)
    ours = peak * (-segment_distance2(pixels, a, b) / (2 * variance)).exp()
    theirs = recorded[f"edge_{size}"]
    assert ours.shape == theirs.shape
    difference = (ours - theirs) / peak
    assert difference.min() > -1e-4 and difference.max() < share + 1e-3
    assert difference.max() > share / 2, "this is a known difference, not an agreement"


@pytest.mark.parametrize("size, variance", [(16, 0.1), (32, 0.01), (64, 0.001)])
def test_edge_maps_as_this_package_draws_them(recorded, size, variance):
    """sigma = sqrt(2 v). Our outermost pixel centres lie at 1 - 1/H, theirs at 1: shrink the points
    and sigma by that, and it is one picture."""
    shrink, peak = 1 - 1 / size, 1 / math.sqrt(2 * math.pi * variance)
    ours = edge_maps(
        recorded["edge_points"] * shrink,
        torch.combinations(torch.arange(6)),
        (size, size),
        math.sqrt(2 * variance) * shrink,
    )
    assert_close(ours, recorded[f"edge_{size}"] / peak, atol=0.072, rtol=0)
    assert (ours - recorded[f"edge_{size}"] / peak).abs().mean() < 0.005


@pytest.mark.parametrize("how", ["sum", "softmax"])
def test_volumes(recorded, how):
    """x = P X in pixels of 64, read with align_corners=True: their ndc n = 2 (x / 64 - 0.5) is cell
    (n + 1) / 2 * 63."""
    maps, P, grid = (recorded[f"volume_{k}"] for k in ("maps", "P", "grid"))
    points = torch.cat([grid.flatten(1, 3), torch.ones(1, 12**3, 1)], -1)
    h = points[:, None] @ P.mT
    ndc = 2 * (h[..., :2] / h[..., 2:] / 64 - 0.5)
    cell = (ndc + 1) / 2 * 63
    volumes = unproject(maps, 2 * (cell + 0.5) / 64 - 1)
    volumes = torch.where(h[:, :, None, :, 2] > 0, volumes, torch.zeros(()))
    assert_close(
        fuse(volumes, how).unflatten(-1, (12, 12, 12)), recorded[f"volume_{how}"], atol=2e-4, rtol=0
    )


def test_soft_argmax(recorded):
    logits, grid = recorded["softargmax_volume"], recorded["volume_grid"]
    ours, _ = soft_argmax(logits.flatten(2), grid.flatten(1, 3).expand(2, -1, -1))
    assert_close(ours, recorded["softargmax_points"], atol=1e-2, rtol=1e-5)


def test_projection(recorded):
    """Their first pixel has its centre at 0, ours at 0.5."""
    outside, K = recorded["project_extrinsics"], recorded["project_K"].clone()
    K[:, :2, 2] += 0.5
    rig = CameraRig(
        K,
        outside[:, :3, :3],
        outside[:, :3, 3],
        recorded["project_distortion"],
        (64, 64),
        ("a", "b", "c", "d"),
    )
    assert_close(
        rig.px_from_world(recorded["project_points"]) - 0.5,
        recorded["project_px"],
        atol=1e-4,
        rtol=0,
    )
    straight = (
        replace(rig, distortion=torch.zeros(4, 5)).px_from_world(recorded["project_points"]) - 0.5
    )
    assert (straight - recorded["project_px"]).abs().max() > 0.05, (
        "the recording does hold a distortion"
    )


def test_separation(recorded):
    """0.05 x the mean over all K x K, the diagonal counted as zeros; ours is the mean over the K (K
    - 1) pairs."""
    ours = separation(recorded["separation_points"], 0.08)
    assert float(0.05 * ours * 5 / 6) == pytest.approx(
        float(recorded["separation_value"]), rel=1e-5
    )
