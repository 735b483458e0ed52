"""Rarity: a shape is unusual by what the animal does, not by where it looks."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.clips.heading import Heading, rotated
from bkind3d_lite.clips.rarity import shape_rarity
from bkind3d_lite.clips.sampling import pair_chances

FRAMES, RAISED = 40, (7, 8, 30)


@pytest.fixture(scope="module")
def turning(clip, seen):
    """A trunk that turns on the spot, and something beside it that is out in a few frames alone."""
    angle = torch.linspace(0, 6, FRAMES)
    trunk = torch.tensor([[0.0, 0, 50], [40, 0, 50], [-40, 0, 50]])
    arm = torch.tensor([[0.0, 70, 80], [0, 90, 90], [0, 50, 70]])
    parts = torch.cat([trunk, arm]).expand(FRAMES, -1, -1)
    px = clip.rig.px_from_world(rotated(parts, angle)) * (96 / clip.rig.wh[0])
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    near = (torch.stack([x, y], -1) - px[..., None, None, :]).norm(dim=-1) < 5
    out = torch.zeros(FRAMES, 1, 6, 1, 1, dtype=torch.bool)
    out[:, :, :3], out[list(RAISED)] = True, True
    thumbs = (near & out).any(2).to(torch.uint8) * 255
    heading = Heading(
        angle=angle,
        confidence=torch.ones(FRAMES),
        walking=torch.ones(FRAMES, dtype=torch.bool),
        speed=0.2,
        axis_agreement=1.0,
        axis_weight=1.0,
        length=200.0,
        travelled=5.0,
        looked=True,
        agrees=True,
        fps=30.0,
    )
    centre = torch.tensor([0.0, 0, 60]).expand(FRAMES, 3)
    return replace(seen, thumbs=thumbs, centre=centre, heading=heading, length=200.0)


def test_a_seldom_shape_is_rare_whichever_way_it_faces(clip, turning):
    rarity = shape_rarity(turning, clip.rig)
    usual = torch.ones(FRAMES, dtype=torch.bool)
    usual[list(RAISED)] = False
    assert rarity.shape == (FRAMES,) and float(rarity.mean()) == pytest.approx(1, abs=1e-5)
    assert rarity[~usual].min() > 1.5 * rarity[usual].max()
    assert rarity[usual].std() < 0.2 * rarity[usual].mean(), "turning on the spot is nothing rare"


def test_without_a_heading_no_shape_is_rare(clip, turning):
    lost = replace(turning.heading, agrees=False)
    for heading in (None, lost):
        plain = shape_rarity(replace(turning, heading=heading), clip.rig)
        assert torch.equal(plain, torch.ones(FRAMES))


def test_frames_between_two_looks_are_like_the_first(clip, turning, monkeypatch):
    every = shape_rarity(turning, clip.rig)
    monkeypatch.setattr("bkind3d_lite.clips.rarity.WATCHED", 13)
    some = shape_rarity(turning, clip.rig)  # each 4th frame
    assert some.shape == every.shape and len(some.unique()) <= 10
    assert some[30] == some[28] and some[8] > 1.5 * some[4]


def test_pairs_are_drawn_by_the_rarer_of_their_frames(clip, turning):
    rarity = shape_rarity(turning, clip.rig)
    survey = replace(turning, rarity=rarity)
    for by_motion in (False, True):
        plain = pair_chances(clip, [2, 5], turning, by_motion)
        drawn = pair_chances(clip, [2, 5], survey, by_motion)
        for gap, before, after in zip((2, 5), plain, drawn):
            expected = torch.maximum(rarity[:-gap], rarity[gap:]) * before
            assert_close(after, expected)
