"""Evaluation: scores that cannot be flattered."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from sklearn.base import clone
from torch.testing import assert_close

from bkind3d_lite.clips import Skeleton
from bkind3d_lite.clips.synthetic import LENGTH, poses
from bkind3d_lite.evaluation import (
    ALPHAS,
    BarycentricRegressor,
    KeypointRegressor,
    MLPKeypointRegressor,
    aligned,
    aligned_mpjpe,
    baselines,
    best_scale,
    bone_distance,
    confidence_interval,
    interval,
    joint_errors,
    mpjpe,
    n_mpjpe,
    on_body,
    scores,
)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moved(pose, scale=1.0):
    """Every frame of (T, J, 3) by its own rotation and translation."""
    R = torch.from_numpy(Rotation.random(len(pose), random_state=0).as_matrix()).float()
    return scale * pose @ R.mT + 500 * random(len(pose), 1, 3, seed=9)


# ---- mpjpe ---------------------------------------------------------------------------------------
def test_mpjpe_by_hand():
    truth = torch.zeros(2, 2, 3)
    found = torch.tensor([[[3.0, 4, 0], [0, 0, 1]], [[1.0, 1, 1], [1, 1, 1]]])
    assert_close(mpjpe(found, truth, centred=False), torch.tensor([3.0, math.sqrt(3)]))
    assert_close(mpjpe(found, truth), torch.tensor([math.sqrt(1.5**2 + 2**2 + 0.5**2), 0.0]))


def test_missing_joints_are_left_out():
    truth, found = random(4, 5, 3), random(4, 5, 3, seed=1)
    truth[:, 2], truth[3] = math.nan, math.nan
    some = [0, 1, 3, 4]
    assert_close(mpjpe(found, truth)[:3], mpjpe(found[:3, some], truth[:3, some]))
    assert_close(aligned_mpjpe(found, truth)[:3], aligned_mpjpe(found[:3, some], truth[:3, some]))
    assert mpjpe(found, truth)[3].isnan() and aligned_mpjpe(found, truth)[3].isnan()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 5, 3\).*\(4, 6, 3\)"):
        mpjpe(torch.zeros(4, 5, 3), torch.zeros(4, 6, 3))
    with pytest.raises(ValueError, match="predicted: expected shape"):
        mpjpe(torch.zeros(5, 3), torch.zeros(5, 3))


# ---- alignment -----------------------------------------------------------------------------------
def test_alignment_undoes_a_known_motion():
    truth = 100 * random(6, 8, 3)
    assert_close(aligned(moved(truth), truth), truth, atol=1e-3, rtol=0)
    assert aligned_mpjpe(moved(truth), truth).max() < 1e-3 < mpjpe(moved(truth), truth).min()


def test_alignment_undoes_scale_only_if_asked():
    truth = 100 * random(6, 8, 3)
    assert aligned_mpjpe(moved(truth, 1.7), truth, scale=True).max() < 1e-3
    assert aligned_mpjpe(moved(truth, 1.7), truth).min() > 20


def test_a_mirrored_pose_is_not_forgiven():
    """A chiral pose and its mirror image: no rotation joins them, a reflection may not."""
    truth = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [0, 150, 0], [0, 0, 200]]])
    mirrored = truth * torch.tensor([-1.0, 1, 1])
    assert (
        aligned_mpjpe(mirrored, truth, scale=True).min() > 20
        and aligned_mpjpe(mirrored, truth).min() > 20
    )


def test_alignment_is_the_best_rotation():
    truth, found = 100 * random(1, 6, 3), 100 * random(1, 6, 3, seed=1)
    best = (aligned(found, truth) - truth).square().sum()
    centred = found - found.mean(1, keepdim=True)
    R = torch.from_numpy(Rotation.random(3000, random_state=1).as_matrix()).float()
    others = (centred @ R.mT + truth.mean(1, keepdim=True) - truth).square().sum((1, 2))
    assert others.min() >= best and others.min() < 1.2 * best


@pytest.mark.parametrize("flat", ["plane", "line"])
def test_alignment_of_flat_poses_is_finite_and_exact(flat):
    truth = 100 * random(3, 6, 3)
    truth[..., 2 if flat == "plane" else slice(1, 3)] = 0
    assert aligned_mpjpe(moved(truth), truth).max() < 1e-2


# ---- regression ----------------------------------------------------------------------------------
def test_the_regressor_recovers_a_linear_map():
    keypoints, A = random(60, 4, 3), random(12, 15, seed=1)
    joints = (keypoints.flatten(1) @ A).unflatten(1, (5, 3))
    fitted = KeypointRegressor().fit(keypoints[:40], joints[:40])
    assert_close(torch.from_numpy(fitted.coef_).float(), A.T, atol=1e-4, rtol=0)
    assert_close(fitted.predict(keypoints[40:]), joints[40:], atol=1e-4, rtol=0)


def test_only_a_bias_can_learn_a_constant():
    keypoints, joints = random(60, 2, 3), torch.full((60, 2, 3), 50.0)
    assert (KeypointRegressor().fit(keypoints, joints).predict(torch.zeros(1, 2, 3)) == 0).all()
    assert_close(
        KeypointRegressor(bias=True).fit(keypoints, joints).predict(torch.zeros(1, 2, 3)),
        joints[:1],
        atol=1e-3,
        rtol=0,
    )


def test_a_penalty_shrinks():
    keypoints = random(60, 2, 3)
    size = [
        abs(KeypointRegressor(a).fit(keypoints, 3 * keypoints).coef_).sum()
        for a in (0.0, 10.0, 1000.0)
    ]
    assert size[0] > size[1] > size[2]


def test_frames_with_missing_joints_do_not_teach():
    keypoints, A = random(60, 4, 3), random(12, 15, seed=1)
    joints = (keypoints.flatten(1) @ A).unflatten(1, (5, 3))
    joints[::3, 2] = math.nan
    assert_close(
        torch.from_numpy(KeypointRegressor().fit(keypoints, joints).coef_).float(),
        A.T,
        atol=1e-4,
        rtol=0,
    )


def test_a_joint_never_labelled_is_one_clear_error():
    joints = random(20, 5, 3)
    joints[:, 3] = math.nan
    with pytest.raises(ValueError, match="(?i)joint|label|frames"):
        KeypointRegressor().fit(random(20, 4, 3), joints)


def test_the_regressor_speaks_scikit_learn():
    mine = KeypointRegressor(alpha=0.5, bias=True)
    copy = clone(mine)
    assert copy is not mine and copy.get_params() == {"alpha": 0.5, "bias": True}
    assert mine.fit(random(9, 2, 3), random(9, 2, 3)) is mine and not hasattr(copy, "coef_")
    with pytest.raises(ValueError, match="9 frames of keypoints, 8 of joints"):
        mine.fit(random(9, 2, 3), random(8, 2, 3))


def test_scores_of_the_truth_itself_are_zero():
    truth = poses(60)
    assert scores((truth[:40], truth[:40]), (truth[40:], truth[40:])) == pytest.approx(
        {"mpjpe": 0, "pmpjpe": 0}, abs=0.05
    )


# ---- without regression --------------------------------------------------------------------------
CORNER = Skeleton(("a", "b", "c"), ((0, 1), (1, 2)))
JOINTS = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [100, 100, 0]]])


def test_bone_distance_by_hand():
    points = torch.tensor([[[50.0, 0, 7], [-30, 40, 0], [112, 50, 5], [50, 50, 0]]])
    assert_close(bone_distance(points, JOINTS, CORNER), torch.tensor([[7.0, 50.0, 13.0, 50.0]]))


def test_on_body_by_hand():
    points = torch.tensor([[[50.0, 0, 7], [-30, 40, 0], [112, 50, 5], [50, 50, 0]]])
    report = on_body(points, JOINTS, CORNER, body_length=100.0, within=0.15)
    assert report["share"] == pytest.approx(0.5) and 7 <= report["median"] <= 50
    assert on_body(points, JOINTS, CORNER, 400.0)["share"] == 1.0


def test_dead_and_missing_points_count_against_it():
    points = torch.tensor([[[50.0, 0, 7], [math.nan] * 3, [1e6, 0, 0]]])
    assert on_body(points, JOINTS, CORNER, 100.0)["share"] == pytest.approx(1 / 3)


def test_a_bone_with_a_missing_end_is_left_out():
    joints = JOINTS.clone()
    joints[:, 2] = math.nan
    points = torch.tensor([[[50.0, 0, 7], [100, 60, 0]]])
    assert_close(bone_distance(points, joints, CORNER), torch.tensor([[7.0, 60.0]]))


# ---- baselines -----------------------------------------------------------------------------------
def test_baselines_of_the_figure():
    """Even frames teach, odd ones test: knowing where the animal is must help."""
    truth = poses(200)
    train, test = truth[::2], truth[1::2]
    known = baselines(train, test)
    assert set(known) == {"centroid", "mean_pose"}
    for name, values in known.items():
        assert (
            set(values) == {"mpjpe", "pmpjpe"}
            and 5 < values["pmpjpe"] <= values["mpjpe"] < LENGTH / 2
        ), name
    assert known["mean_pose"]["mpjpe"] == pytest.approx(
        float(mpjpe(train.mean(0, keepdim=True).expand_as(test), test).mean())
    )
    assert known["centroid"]["mpjpe"] < known["mean_pose"]["mpjpe"]


def test_baselines_survive_missing_joints():
    truth = poses(100)
    truth[::5, 2] = math.nan
    known = baselines(truth[:70], truth[70:])
    assert all(math.isfinite(x) for values in known.values() for x in values.values())


def test_the_mean_pose_is_perfect_for_a_stiff_animal_that_only_slides():
    truth = random(1, 6, 3).expand(30, -1, -1) * 50 + 200 * random(30, 1, 3, seed=2)
    assert baselines(truth[:20], truth[20:])["mean_pose"]["mpjpe"] == pytest.approx(0, abs=1e-3)


# ---- scale, joints, intervals, the second protocol -----------------------------------------------
def test_n_mpjpe_is_blind_to_scale_and_shift_but_not_to_rotation():
    truth = random(6, 5, 3)
    assert n_mpjpe(0.3 * truth + 7, truth).max() < 1e-5
    assert n_mpjpe(moved(truth), truth).min() > 0.1
    noisy = truth + 0.02 * random(6, 5, 3, seed=2)
    assert_close(n_mpjpe(5 * noisy, truth), n_mpjpe(noisy, truth), atol=1e-4, rtol=1e-4)


def test_the_best_scale_is_the_best_of_all():
    found, truth = random(4, 5, 3) + 1, random(4, 5, 3, seed=1)
    truth[0, 2] = math.nan
    known = truth.isfinite()

    def miss(scale):
        difference = torch.where(known, scale[:, None, None] * found - truth, math.nan)
        return (difference - difference.nanmean(1, keepdim=True)).square().nansum((1, 2))

    best = best_scale(found, truth)
    assert (miss(best) < miss(best + 0.01)).all() and (miss(best) < miss(best - 0.01)).all()


def test_joint_errors_share_their_mean_with_mpjpe():
    found, truth = random(9, 5, 3), random(9, 5, 3, seed=1)
    assert_close(joint_errors(found, truth).mean(), mpjpe(found, truth).mean())
    found = truth.clone()
    found[:, 3, 0] += 4
    assert_close(joint_errors(found, truth, centred=False), torch.tensor([0.0, 0, 0, 4, 0]))
    truth[:5, 3] = math.nan
    assert_close(joint_errors(found, truth, centred=False)[3], torch.tensor(4.0))


def test_interval_by_hand():
    """Resamples with means 0, 1, ..., 40: the middle 95 % are 1 to 39."""
    errors = torch.arange(41.0)
    assert_close(
        interval(errors, torch.arange(41)[:, None].expand(41, 7)), torch.tensor([1.0, 39.0])
    )


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Independent errors of mean 1: a 90 % interval misses it in about one of ten."""
    hits = 0
    for seed in range(60):
        low, high = confidence_interval(
            1 + random(120, seed=seed), block=1, resamples=200, level=0.9, seed=seed
        )
        hits += low <= 1 <= high
    assert 46 <= hits <= 60


def test_blocks_widen_the_interval_of_errors_that_linger():
    slow = random(20).repeat_interleave(30)
    low, high = confidence_interval(slow, block=30)
    alone = confidence_interval(slow, block=1)
    assert high - low > 2 * (alone[1] - alone[0])
    assert confidence_interval(slow, block=30) == (low, high)
    with_gaps = torch.cat([slow, torch.full((50,), math.nan)])
    assert confidence_interval(with_gaps, block=30) == (low, high)
    with pytest.raises(ValueError, match="fewer than 2 blocks of 30"):
        confidence_interval(slow[:59], block=30)


def test_the_perceptron_bends_where_the_line_cannot():
    """Joints that are a kinked function of the keypoints: only the second protocol follows."""
    keypoints = random(600, 2, 3)
    joints = 100 * torch.cat([keypoints.abs(), keypoints[:, :1]], 1)
    linear = KeypointRegressor(0.0).fit(keypoints[:500], joints[:500]).predict(keypoints[500:])
    network = MLPKeypointRegressor(width=64).fit(keypoints[:500], joints[:500])
    bent = network.predict(keypoints[500:])
    assert (
        bent.shape == (100, 3, 3)
        and mpjpe(bent, joints[500:]).mean() < 0.5 * mpjpe(linear, joints[500:]).mean()
    )
    assert_close(clone(network).fit(keypoints[:500], joints[:500]).predict(keypoints[500:]), bent)


def test_the_perceptron_leaves_out_unknown_frames():
    keypoints, joints = random(60, 2, 3), random(60, 2, 3, seed=1)
    holes = joints.clone()
    holes[:5, 0] = math.nan
    a, b = (
        MLPKeypointRegressor(8, steps=5).fit(*known).predict(keypoints)
        for known in ((keypoints, holes), (keypoints[5:], joints[5:]))
    )
    assert_close(a, b)
    with pytest.raises(ValueError, match="none of the 60 frames"):
        MLPKeypointRegressor().fit(keypoints, torch.full_like(joints, math.nan))


# ---- a handful of labels -------------------------------------------------------------------------
def test_barycentric_weights_are_found_again_from_few_labels():
    keypoints, weights = 50 * random(6, 5, 3), random(4, 5, seed=1)
    weights = weights / weights.sum(1, keepdim=True)
    joints = torch.einsum("jk,tkc->tjc", weights, keypoints)
    joints[2, 1] = math.nan  # a label is missing here and there
    found = BarycentricRegressor(0.0).fit(keypoints, joints)
    assert_close(found.coef_.float(), weights, atol=1e-4, rtol=0)
    assert_close(
        found.predict(keypoints)[2, 1],
        (weights[1, :, None] * keypoints[2]).sum(0),
        atol=1e-2,
        rtol=0,
    )


def test_barycentric_answers_turn_and_move_with_the_animal():
    """Also with a penalty and labels that no weights explain."""
    keypoints, joints = 50 * random(8, 5, 3), 50 * random(8, 3, 3, seed=1)
    model = BarycentricRegressor().fit(keypoints, joints)
    both = moved(torch.cat([keypoints, model.predict(keypoints)], 1))
    assert_close(model.predict(both[:, :5]), both[:, 5:], atol=1e-2, rtol=0)


def test_the_penalty_is_the_one_that_leaves_a_frame_out_best():
    """The closed form against refitting without each frame."""
    keypoints, joints = 20 * random(7, 6, 3), 20 * random(7, 1, 3, seed=1)

    def left_out(alpha):
        rest = [[t for t in range(7) if t != out] for out in range(7)]
        found = [
            BarycentricRegressor(alpha)
            .fit(keypoints[some], joints[some])
            .predict(keypoints[t, None])[0, 0]
            for t, some in enumerate(rest)
        ]
        return float((torch.stack(found) - joints[:, 0]).norm(dim=-1).mean())

    model = BarycentricRegressor().fit(keypoints, joints)
    assert left_out(float(model.alpha_)) == pytest.approx(
        min(left_out(a) for a in ALPHAS[1:]), rel=1e-6
    )


def test_a_joint_that_nobody_labelled_is_refused_by_number():
    with pytest.raises(ValueError, match="joint 2 is not labelled in any of the 4 frames"):
        BarycentricRegressor().fit(
            random(4, 5, 3), torch.cat([random(4, 2, 3), torch.full((4, 1, 3), math.nan)], 1)
        )
