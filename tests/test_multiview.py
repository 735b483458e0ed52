"""Several views of noisy poses: robust points, and the cameras that nobody calibrated."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring, triangulate
from bkind3d_lite.epipolar import fundamental, homogeneous
from bkind3d_lite.multiview import relative_poses
from bkind3d_lite.multiview.camera_finder import camera_errors, find_cameras, onto
from bkind3d_lite.multiview.people import one_person
from bkind3d_lite.multiview.relative_poses import eight_point_pose
from bkind3d_lite.multiview.robust import robust_triangulate
from bkind3d_lite.multiview.two_views import (
    corrected_pair,
    epipolar_residual,
    median_of_pairs,
    vector_median,
)
from bkind3d_lite.poses2d import People2D
from bkind3d_lite.workflows.pose_cameras import blind, cameras_from_poses


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def rig():
    return ring(4, radius=3000, height=900, wh=(256, 192), distortion=(-0.05, 0.01, 0.001, 0, 0))


@pytest.fixture(scope="module")
def truth():
    """A body of 9 joints that walks about, (60, 9, 3): a middle one, four pairs."""
    t = torch.arange(60.0)
    way = torch.stack([500 * (t / 9).cos(), 500 * (t / 7).sin(), 0 * t], -1)
    return way[:, None] + 150 * random(9, 3) + 60 * random(60, 9, 3, seed=1)


PAIRS = [(1, 2), (3, 4), (5, 6), (7, 8)]


# ---- points --------------------------------------------------------------------------------------
def test_exact_readings_give_the_points(rig, truth):
    found = robust_triangulate(rig, rig.px_from_world(truth), None, PAIRS)
    assert_close(found.world, truth, atol=1.0, rtol=0)
    assert not found.swapped.any() and found.confidence.min() > 0.99


def test_one_wild_reading_in_four_does_not_pull(rig, truth):
    px = rig.px_from_world(truth) + 0.5 * random(60, 4, 9, 2, seed=2)
    px[:, 1, ::3] += 80
    plain = (triangulate(rig, px) - truth).norm(dim=-1).mean()
    found = robust_triangulate(rig, px)
    assert (found.world - truth).norm(dim=-1).mean() < 0.1 * plain
    assert found.residual[:, 1, ::3].median() > 50 > 5 > found.residual[:, 0].median()


def test_swapped_images_are_found_and_put_right(rig, truth):
    px = rig.px_from_world(truth) + 0.5 * random(60, 4, 9, 2, seed=2)
    swapped = torch.zeros(60, 4, dtype=torch.bool)
    swapped[::5, 0] = swapped[::10, 2] = True  # in every second case two of the four
    order = [0, 2, 1, 4, 3, 6, 5, 8, 7]
    wrong = torch.where(swapped[..., None, None], px[:, :, order], px)
    found = robust_triangulate(rig, wrong, None, PAIRS)
    single = swapped.sum(1) == 1
    assert (found.swapped[single] == swapped[single]).all()
    assert not found.swapped[~swapped.any(1)].any()
    assert (found.world - truth)[single].norm(dim=-1).mean() < 15


def test_a_side_that_nobody_sees_does_not_swap_images(rig, truth):
    px = rig.px_from_world(truth) + random(60, 4, 9, 2, seed=2)
    px[:20, :, [left for left, _ in PAIRS]] = torch.nan
    assert not robust_triangulate(rig, px, None, PAIRS).swapped.any()
    for times in ([3, 7], [30, 40]):  # with one side alone a swap cannot be told
        px[times, 1] = px[times, 1][:, [0, 2, 1, 4, 3, 6, 5, 8, 7]]
    swapped = robust_triangulate(rig, px, None, PAIRS).swapped
    assert swapped[[30, 40], 1].all() and swapped[20:].sum() == 2


def test_a_joint_that_one_view_saw_has_no_place(rig, truth):
    px = rig.px_from_world(truth)
    px[0, 1:, 3] = torch.nan
    found = robust_triangulate(rig, px)
    assert found.world[0, 3].isnan().all() and found.world.isnan().any(-1).sum() == 1
    assert "all joints" in found.report([f"j{k}" for k in range(9)], rig.names)


def test_corrected_pixels_meet_and_are_the_nearest_that_do(rig, truth):
    plain = replace(rig, distortion=0 * rig.distortion).to(torch.float64)
    F = fundamental(plain, 0, 1)
    a, b = plain.px_from_world(truth[0].double())[:2] + random(2, 9, 2, seed=3)
    x, y = corrected_pair(F, a, b)

    def off(p, q):
        return ((homogeneous(q) @ F) * homogeneous(p)).sum(-1).abs() / F.norm()

    assert off(x, y).max() < 1e-6 < 1e-3 < off(a, b).median()
    # no other point of the world projects nearer: gradient descent from there finds nothing better
    world = triangulate(plain.take([0, 1]), torch.stack([x, y])).requires_grad_()
    cost = (plain.take([0, 1]).px_from_world(world) - torch.stack([a, b])).square().sum()
    (slope,) = torch.autograd.grad(cost, world)
    assert slope.abs().max() < 1e-4 and cost <= 1.001 * (
        (x - a).square().sum() + (y - b).square().sum()
    )


def test_vector_median_is_the_reading_amid_the_others():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [500, 0, 0], [torch.nan] * 3])
    assert vector_median(points).tolist() == [1, 0, 0]


def test_median_of_pairs_gives_the_points_and_bears_a_wild_view(rig, truth):
    px = rig.px_from_world(truth[:9])
    assert_close(median_of_pairs(rig, px), truth[:9], atol=1.0, rtol=0)
    px[:, 2] += 40
    assert (median_of_pairs(rig, px) - truth[:9]).norm(dim=-1).median() < 60


# ---- people --------------------------------------------------------------------------------------
def test_people_are_told_apart_by_their_rays(rig, truth):
    both = torch.stack([truth, truth.flip(0) + 900], 1)  # (T, N, J, 3)
    px = rig.px_from_world(both.flatten(1, 2)).unflatten(2, (2, 9))  # (T, V, N, J, 2)
    px[::2, 1] = px[::2, 1].flip(1)
    people = People2D(
        px, torch.ones(px.shape[:-1]), tuple("abcdefghi"), rig.names, torch.arange(60)
    )
    with pytest.raises(ValueError, match="up to 2 people in a frame"):
        one_person(people)
    found = robust_triangulate(rig, one_person(people, rig).px).world
    assert min((found - x).norm(dim=-1).max() for x in both.unbind(1)) < 5


# ---- cameras -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def noisy(rig, truth):
    return rig.px_from_world(truth) + 0.3 * random(60, 4, 9, 2, seed=4)


def test_cameras_are_found_whatever_their_order(rig, noisy):
    pytest.importorskip("poselib")
    turns = []
    for order in list(permutations(range(4)))[::11]:
        found = find_cameras(blind(rig.take(order)), noisy[:, list(order)])
        errors = camera_errors(found.rig, rig.take(order))
        assert errors.max() < 1, errors
        turns.append(camera_errors(found.rig.take([order.index(v) for v in range(4)]), rig))
    assert all((t - turns[0]).abs().max() < 0.1 for t in turns)


def test_the_world_is_upright_and_of_the_given_length(rig, noisy, truth):
    pytest.importorskip("poselib")
    length = float((truth[:, 0] - truth[:, 1]).norm(dim=-1).median())
    found = find_cameras(blind(rig), noisy, bone=(0, 1, length))
    assert_close(found.rig.centres[:, 2].diff(), torch.zeros(3), atol=40, rtol=0)
    beside = onto(found.rig, rig)
    assert_close(beside.centres.float(), rig.centres, atol=60, rtol=0)
    size = [(r.centres - r.centres.mean(0)).norm() for r in (found.rig, rig)]
    assert abs(size[0] / size[1] - 1) < 0.03
    free = find_cameras(blind(rig), noisy).rig
    assert free.unit == "free"


def test_the_eight_point_solver_agrees(rig, noisy):
    found = find_cameras(blind(rig), noisy, solver=eight_point_pose)
    assert camera_errors(found.rig, rig).max() < 1


def test_of_many_pairs_some_are_judged_and_all_are_fitted(rig, truth, monkeypatch):
    """What is judged at once does not grow with the recording."""
    judged = []

    def counted(E, a, b):
        judged.append(a.shape[-2] if E.ndim == 3 else 0)
        return epipolar_residual(E, a, b)

    monkeypatch.setattr(relative_poses, "epipolar_residual", counted)
    px = rig.px_from_world(truth.repeat(20, 1, 1))
    flat = rig.flat_from_px(px + 0.3 * random(*px.shape, seed=1))[:, [0, 2]]
    a, b = flat.transpose(0, 1).flatten(1, 2)
    found = eight_point_pose(a, b, 0.01, seed=0, samples=50)
    assert max(judged) == relative_poses.MOST_SCORED < len(a) == len(found.inliers)
    R = rig.R[2] @ rig.R[0].T
    assert torch.rad2deg((((found.R.float().T @ R).trace() - 1) / 2).clamp(-1, 1).acos()) < 0.5


@pytest.mark.parametrize("length", [0.0, -3.0, float("nan")])
def test_one_view_and_a_bone_without_length_are_refused(rig, noisy, length):
    with pytest.raises(ValueError, match="from two views at least; here is cam0"):
        find_cameras(blind(rig).take([0]), noisy[:, :1])
    with pytest.raises(ValueError, match=f"a length of {length:g} between two joints"):
        find_cameras(blind(rig), noisy, PAIRS, (0, 1, length))


def test_a_third_of_outliers_and_swapped_images(rig, noisy):
    pytest.importorskip("poselib")
    px, order = noisy.clone(), [0, 2, 1, 4, 3, 6, 5, 8, 7]
    px[::7, 0] = px[::7, 0][:, order]
    wild = torch.rand(px.shape[:-1], generator=torch.Generator().manual_seed(0)) < 0.3
    px = torch.where(wild[..., None], 128 + 60 * random(*px.shape, seed=5), px)
    assert camera_errors(find_cameras(blind(rig), px, PAIRS).rig, rig).max() < 2


def one_place(rig):
    return replace(rig, t=-(rig.R @ rig.centres[0])).take([0, 0, 0, 0])


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda rig, x: rig.px_from_world(x[:1, :5]), "5 joints that both see"),
        (lambda rig, x: rig.px_from_world(x * x.new_tensor([1, 1, 0])), "one plane"),
        (lambda rig, x: rig.px_from_world(x * x.new_tensor([1, 0, 0])), "one line"),
        (lambda rig, x: one_place(rig).px_from_world(x), "no baseline"),
        (lambda rig, x: 128 + 50 * random(60, 4, 9, 2, seed=7), "agree on any relative pose"),
    ],
)
def test_poses_that_cannot_tell_are_refused_in_one_sentence(rig, truth, change, sentence):
    pytest.importorskip("poselib")
    px = change(rig, truth)
    with pytest.raises(ValueError, match=sentence) as error:
        find_cameras(blind(rig), px + 0.2 * random(*px.shape, seed=6))
    assert "\n" not in str(error.value) and "cam0" in str(error.value)


# ---- the verb ------------------------------------------------------------------------------------
def test_a_calibration_is_written_and_read_back(rig, noisy, tmp_path):
    import numpy as np

    from bkind3d_lite.calibrations import load_calibration

    names = ["nose", *(f"{side}_{k}" for k in "abcd" for side in ("left", "right"))]
    arrays = dict(px=noisy.numpy(), names=names, cameras=rig.names, convention="corner")
    np.savez(tmp_path / "p.npz", **arrays)
    out, given = tmp_path / "found.toml", dict(field=50.0, wh=(256, 192), solver="eight")
    found = cameras_from_poses(
        tmp_path / "p.npz", out, bone=("nose", "left_a", 300.0), unit="mm", **given
    )
    again = load_calibration(out)
    assert_close(again.R, found.rig.R, atol=1e-5, rtol=0)
    assert again.unit == "mm" and again.names == rig.names
    with pytest.raises(ValueError, match="no joint 'tail'"):
        cameras_from_poses(tmp_path / "p.npz", out, bone=("nose", "tail", 300.0), **given)
    with pytest.raises(ValueError, match="the intrinsics are unknown"):
        cameras_from_poses(tmp_path / "p.npz", out)
