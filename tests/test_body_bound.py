"""Body-bound: points that turn with an animal are told from points that keep to the room."""

import math

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.clips.heading import rotated
from bkind3d_lite.evaluation import body_scores, scores
from bkind3d_lite.evaluation.body_bound import RigidTemplate, body_bound

SHAPE = torch.tensor([[60.0, 0, 20], [10, 25, 10], [10, -25, 10], [-60, 0, 15]])


def walk(fps: float = 60.0, seconds: float = 20.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Centre (T, 3) and heading of a walk on a circle of 200 mm, 300 mm a second."""
    time = torch.arange(int(fps * seconds)) / fps
    at = 1.5 * time
    centre = 200 * torch.stack([at.cos(), at.sin(), torch.zeros_like(at)], -1)
    return centre, at + math.pi / 2


def body(fps: float = 60.0) -> torch.Tensor:
    centre, heading = walk(fps)
    return centre[:, None] + rotated(SHAPE.expand(len(centre), -1, -1), heading)


def room(fps: float = 60.0) -> torch.Tensor:
    return walk(fps)[0][:, None] + SHAPE


@pytest.mark.parametrize("fps", [10.0, 60.0])
def test_points_of_the_body_turn_with_it(fps):
    found = body_bound(body(fps), fps, 80.0)
    assert found.body > 0.95 and found.room < 0.05 and not found.compass
    assert found.turning == pytest.approx(1, abs=0.05) and found.directions == 12
    assert (found.body_of > 0.9).all() and (found.room_of < 0.1).all()


@pytest.mark.parametrize("fps", [10.0, 60.0])
def test_points_of_the_room_do_not(fps):
    found = body_bound(room(fps), fps, 80.0)
    assert found.room > 0.95 and found.body < 0.05 and found.compass
    assert found.turning == pytest.approx(0, abs=0.05)


def test_each_keypoint_is_judged():
    mixed = torch.cat([body()[:, :2], room()[:, 2:]], 1)
    mean = mixed.mean(1, keepdim=True)
    found = body_bound(mixed, 60.0, 80.0)
    assert found.body_of[0] > found.room_of[0] and found.room_of[3] > found.body_of[3]
    assert (found.room_of + found.body_of < 1.2).all() and mean.isfinite().all()


def test_noise_lowers_both():
    noise = 60 * torch.randn(body().shape, generator=torch.Generator().manual_seed(0))
    found = body_bound(body() + noise, 60.0, 80.0, heading=walk()[1])
    assert 0.1 < found.body < 0.7 and found.room < 0.1


def test_a_favoured_direction_counts_no_more():
    """Most of the time straight ahead, where nobody can tell room from body; then a circle."""
    time = torch.arange(6000) / 60
    ahead = torch.stack([300 * time, torch.zeros(6000), torch.zeros(6000)], -1)[:, None]
    centre = ahead + SHAPE
    whole = torch.cat([centre, body()])
    plain = body_bound(whole, 60.0, 80.0, starts=(0, 6000))
    assert plain.body > 0.95 and plain.room < 0.15


def test_a_jump_in_time_is_no_walk_and_no_turn():
    still = SHAPE + torch.zeros(100, 1, 3)
    jumps = torch.cat([still, still + 5000])
    found = body_bound(jumps, 60.0, 80.0, starts=(0, 100))
    assert found.frames == 0 and math.isnan(found.body) and not found.compass
    assert body_bound(jumps, 60.0, 80.0).frames > 0


def test_the_unit_does_not_matter():
    a, b = body_bound(body(), 60.0, 80.0), body_bound(body() / 1000, 60.0, 0.08)
    assert_close(a.body_of, b.body_of, atol=1e-3, rtol=0)
    assert a.turning == pytest.approx(b.turning, abs=1e-3)


def test_a_rigid_template_is_exact_for_a_rigid_animal():
    centre, heading = walk()
    joints = body()
    joints[::3, 1] = torch.nan
    told = RigidTemplate.fit(centre[:200], joints[:200], heading[:200])
    assert_close(told.predict(centre, heading), body(), atol=0.01, rtol=1e-4)
    alone = RigidTemplate.fit(centre, room(), None)
    assert_close(alone.predict(centre, None), room(), atol=0.01, rtol=1e-4)


def test_turning_points_keeps_their_height():
    turned = rotated(SHAPE[None], torch.tensor([math.pi / 2]))[0]
    assert_close(turned[0], torch.tensor([0.0, 60.0, 20.0]), atol=1e-4, rtol=1e-4)


def test_a_regression_in_the_body_needs_no_pose_in_every_direction():
    """Fitted on a quarter of the circle, judged on the rest: exact in the body, not in the room."""
    centre, heading = walk(seconds=4.5)
    noise = 5 * torch.randn(len(centre), *SHAPE.shape, generator=torch.Generator().manual_seed(0))
    points, hidden = SHAPE + noise, SHAPE.flip(0) * 0.5 + 2 * noise.roll(1, 2)
    keypoints, joints = (centre[:, None] + rotated(x, heading) for x in (points, hidden))
    quarter = (heading % (2 * math.pi)) < math.pi / 2
    fit_on, test_on = (
        (keypoints[part], joints[part], heading[part]) for part in (quarter, ~quarter)
    )
    inside, outside = body_scores(fit_on, test_on), scores(fit_on[:2], test_on[:2])
    assert inside["pmpjpe"] < 1 < 5 < outside["pmpjpe"]
