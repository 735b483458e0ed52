"""Epipolar geometry: two views of one point agree on a line."""

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.epipolar import (
    eight_point,
    epipolar_distance,
    epipolar_lines,
    essential,
    fundamental,
    homogeneous,
    line_distance,
    pose_from_essential,
    relative_pose,
    skew,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def rig():
    return ring(views=3, wh=(96, 64), target=(20.0, -30.0, 40.0))


@pytest.fixture
def px(rig):
    """Twenty points in three views, (3, 20, 2)."""
    return rig.px_from_world(150 * random(20, 3))


def same_up_to_factor(a, b, **limits):
    a, b = (x / x.norm() for x in (a, b))
    assert_close(a * (a * b).sum().sign(), b, **limits)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_skew_is_the_cross_product(lead):
    v, w = random(*lead, 3), random(*lead, 3, seed=1)
    assert_close((skew(v) @ w[..., None])[..., 0], torch.linalg.cross(v, w))
    assert_close(skew(v).mT, -skew(v))


def test_relative_pose_leads_from_one_camera_to_the_other(rig):
    points = rig.cam_from_world(random(7, 3))
    R, t = relative_pose(rig, 0, 2)
    assert_close(points[0] @ R.mT + t, points[2], atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("i, j", [(0, 1), (1, 0), (0, 2)])
def test_points_lie_on_their_lines(rig, px, i, j):
    lines = epipolar_lines(fundamental(rig, i, j), px[i])
    assert_close(lines[:, :2].norm(dim=-1), torch.ones(20))
    assert line_distance(lines, px[j]).max() < 0.01
    assert line_distance(lines, px[j] + 5 * random(20, 2)).max() > 1


def test_the_other_way_round_is_the_transpose(rig):
    same_up_to_factor(fundamental(rig, 0, 1), fundamental(rig, 1, 0).mT, atol=1e-5, rtol=1e-3)


def test_lines_meet_in_the_other_camera(rig, px):
    """The epipole of view j is the image of camera i's centre."""
    centre = rig.P[1] @ homogeneous_world(rig.centres[0])
    lines = epipolar_lines(fundamental(rig, 0, 1), px[0])
    assert line_distance(lines, (centre[:2] / centre[2]).expand(20, 2)).max() < 0.05


def homogeneous_world(point):
    return torch.cat([point, point.new_ones(1)])


def test_line_distance_by_hand():
    """3 x + 4 y - 10 = 0 is 2 from the origin, and the line's own scale does not matter."""
    line = torch.tensor([[3.0, 4, -10]])
    assert_close(
        line_distance(torch.cat([line, -7 * line]), torch.zeros(2, 2)), torch.full((2,), 2.0)
    )


def test_epipolar_distance_is_symmetric(rig, px):
    F, there = fundamental(rig, 0, 1), px[1] + random(20, 2)
    assert_close(epipolar_distance(F, px[0], there), epipolar_distance(F.mT, there, px[0]))
    assert epipolar_distance(F, px[0], px[1]).max() < 0.01


def test_eight_point_finds_the_rigs_own_matrix(rig, px):
    found = eight_point(px[0], px[1])
    assert epipolar_distance(found, px[0], px[1]).max() < 0.02
    assert torch.linalg.svdvals(found.double())[2] < 1e-6
    more = rig.px_from_world(150 * random(50, 3, seed=5))  # points it has not seen
    assert epipolar_distance(found, more[0], more[1]).max() < 0.1


def test_eight_point_bears_noise(rig):
    px = rig.px_from_world(150 * random(200, 3))
    found = eight_point(px[0] + 0.3 * random(200, 2), px[1] + 0.3 * random(200, 2, seed=1))
    assert epipolar_distance(found, px[0], px[1]).mean() < 0.3


def test_the_pose_comes_back_from_the_essential_matrix(rig, px):
    R, t = relative_pose(rig, 0, 1)
    flat = rig.flat_from_px(px)
    same_up_to_factor(
        essential(R, t), rig.K[1].T @ fundamental(rig, 0, 1) @ rig.K[0], atol=1e-5, rtol=1e-3
    )
    for E in (essential(R, t), -3 * essential(R, t)):  # the sign and the size of E carry nothing
        found_R, found_t = pose_from_essential(E, flat[0], flat[1])
        assert_close(found_R, R, atol=1e-4, rtol=1e-4)
        assert_close(found_t, t / t.norm(), atol=1e-4, rtol=1e-4)


def test_clear_errors(rig, px):
    with pytest.raises(ValueError, match="the same camera"):
        fundamental(rig, 1, 1)
    with pytest.raises(ValueError, match="at least 8 pairs"):
        eight_point(px[0][:7], px[1][:7])
    with pytest.raises(ValueError, match="px_i"):
        eight_point(px[:2], px[:2])


def test_homogeneous():
    assert (
        homogeneous(torch.zeros(2, 5, 2)).shape == (2, 5, 3)
        and homogeneous(torch.zeros(1, 2))[0, 2] == 1
    )
