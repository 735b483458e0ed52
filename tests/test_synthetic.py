"""Synthetic: the picture shows the truth it claims."""

import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips.synthetic import BONES, COLOURS, JOINTS, LENGTH, draw, figure, poses


def test_the_same_seed_the_same_clip():
    a, b, c = (figure(3, 2, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.frames, b.frames) and torch.equal(a.truth, b.truth)
    assert not torch.equal(a.frames, c.frames) and not torch.equal(a.truth, c.truth)


def test_a_clip_is_what_it_says(clip):
    assert (
        clip.frames.shape == (40, 4, 64, 96, 3)
        and clip.frames.dtype == torch.uint8
        and clip.rig.wh == (96, 64)
    )
    assert (
        clip.truth.shape == (40, len(JOINTS), 3)
        and clip.skeleton.edges == BONES
        and len(COLOURS) == len(BONES)
    )
    assert clip.body_length == LENGTH


def test_the_animal_keeps_its_length_and_moves():
    truth = poses(200)
    length = (truth[:, 0, :2] - truth[:, 3, :2]).norm(dim=-1)
    assert ((length - LENGTH).abs() < 0.12 * LENGTH).all()
    trunk = (truth[:, 1, :2] - truth[:, 2, :2]).norm(dim=-1)
    assert_close(trunk, torch.full((200,), 120.0), atol=1e-2, rtol=0)
    assert (truth[150].mean(0) - truth[0].mean(0)).norm() > 50
    assert (truth.diff(dim=0).norm(dim=-1) < 40).all(), "nothing jumps"
    assert truth[..., 2].min() > 0, "nothing sinks into the floor"


def test_every_bone_is_drawn_where_its_joints_project():
    """The middle of the bone drawn last, which nothing covers, has its colour in every view."""
    rig = ring(
        3,
        900.0,
        550.0,
        (0.0, 0.0, 50.0),
        (192, 128),
        40.0,
        distortion=(-0.12, 0.02, 0.001, -0.001, 0.0),
    )
    truth = poses(6)[::5]
    with_it = draw(rig, truth).float()
    without = draw(rig, truth + torch.tensor([0.0, 0.0, 1e5])).float()
    bone = len(BONES) - 1
    middle = truth[:, list(BONES[bone])].mean(1, keepdim=True)
    at = rig.px_from_world(middle)[:, :, 0].long()
    for t in range(len(truth)):
        for v in range(3):
            x, y = at[t, v]
            assert (with_it[t, v, y, x] / 255 - COLOURS[bone]).abs().max() < 0.06
            assert (without[t, v, y, x] / 255 - COLOURS[bone]).abs().max() > 0.1
    changed = (with_it - without).abs().amax(-1) > 30
    share = changed.float().mean((-1, -2))
    assert (share > 0.005).all() and (share < 0.2).all(), "an animal, not the room"


def test_the_ground_stands_still(clip):
    spread = clip.frames.float().std(0).amax(-1)
    assert spread.median() < 6 and spread.max() > 20


def test_bones_are_as_thick_as_they_say():
    """From above a level limb of length L and thickness d covers about (L + d) d.

    Twice as thick: twice the picture and a little more.
    """
    rig = ring(2, 10.0, 900.0, (0.0, 0.0, 50.0), (192, 128), 40.0)
    truth = poses(1)
    empty = draw(rig, truth + torch.tensor([0.0, 0.0, 1e5])).float()
    thin, thick = (
        ((draw(rig, truth, thickness=d).float() - empty).abs().amax(-1) > 30).float().mean()
        for d in (20.0, 40.0)
    )
    assert 1.5 < thick / thin < 2.3
