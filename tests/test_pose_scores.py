"""Scores of poses from one image: what they are blind to, and what they are not."""

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.clips import open_clip
from bkind3d_lite.evaluation import mpjpe, n_mpjpe
from bkind3d_lite.evaluation.pose_scores import (
    PoseStructure,
    auc,
    by_action,
    clip_n_mpjpe,
    pck,
    rooted_mpjpe,
)
from bkind3d_lite.files import bundled


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def poses():
    """True poses of the bundled human: to train on, to score on."""
    human = bundled("data_samples") / "human"
    return open_clip(human / "train").truth[::2], open_clip(human / "test").truth[::4]


def test_the_root_is_no_mean():
    """One joint of four is 40 off: the mean sees 10 of it in all others, a good root nothing."""
    truth = random(5, 4, 3)
    found = truth.clone()
    found[:, 3, 0] += 40
    assert_close(rooted_mpjpe(found, truth), torch.full((5,), 10.0))
    assert_close(mpjpe(found, truth), torch.full((5,), 15.0))
    assert_close(rooted_mpjpe(found, truth, root=3), torch.full((5,), 30.0))
    assert rooted_mpjpe(found + 7, truth + 3).mean() < 10.001


def test_one_scale_for_the_clip_does_not_hide_a_wobble():
    truth = 100 * random(6, 5, 3)
    assert clip_n_mpjpe(3 * truth, truth).max() < 1e-3
    wobbling = truth * torch.tensor([1.0, 2, 1, 2, 1, 2])[:, None, None]
    assert n_mpjpe(wobbling, truth).max() < 1e-3 < 5 < clip_n_mpjpe(wobbling, truth).mean()


def test_pck_and_auc_by_hand():
    truth = torch.zeros(1, 4, 3)
    found = truth.clone()
    found[0, 1:, 0] = torch.tensor([100.0, 150, 151])
    truth[0, 3] = truth[0, 3]
    assert_close(pck(found, truth), torch.tensor([0.75]))
    assert_close(pck(found, truth, torch.tensor([100.0])), torch.tensor([0.5]))
    # limits 0, 5, ... 150: joint 0 in all 31, 100 in 11, 150 in 1, 151 in none
    assert_close(auc(found, truth), torch.tensor([(31 + 11 + 1) / 4 / 31]))


@pytest.mark.parametrize("kinds", [50, 100])
def test_structure_falls_with_the_noise_and_knows_no_scale(poses, kinds):
    train, test = poses
    pss = PoseStructure(kinds).fit(train)
    way = random(*test.shape)
    way = way / way.norm(dim=-1, keepdim=True)
    ladder = [pss.score(test + mm * way, test) for mm in (0, 10, 30, 60, 120)]
    assert ladder[0] == 1 and ladder[1] >= 0.92
    assert all(a > b for a, b in zip(ladder, ladder[1:]))
    assert pss.score(train.mean(0).expand_as(test), test) <= 0.05
    assert pss.score(0.01 * test, test) == 1
    assert pss.score(test * torch.tensor([-1.0, 1, 1]), test) < 0.3


def test_too_few_poses_form_no_kinds(poses):
    with pytest.raises(ValueError, match="20 whole poses cannot form 50 kinds"):
        PoseStructure().fit(poses[0][:20])


def test_actions_count_alike():
    errors = torch.tensor([1.0, 3, 10])
    rows = by_action(errors, ["sit", "sit", "walk"])
    assert rows == {"sit": 2, "walk": 10, "mean over actions": 6}
