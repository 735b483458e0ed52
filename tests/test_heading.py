"""Heading: found without labels where an animal walks, and said to be unknown where it does not."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import MultiViewClip, open_clip
from bkind3d_lite.clips.heading import Heading, wrapped
from bkind3d_lite.clips.heading_finder import (
    ANGLES,
    best_path,
    find_heading,
    moments_of,
    teach_look,
    walking_speed,
)
from bkind3d_lite.clips.hull_motion import hull_motion, smooth_velocity
from bkind3d_lite.clips.look import (
    CROP,
    Lesson,
    Look,
    _varied,
    calibrated,
    limited,
    log_likelihood,
    one_thread,
    right_of_views,
    teach,
    turned,
)
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import draw, poses

DATA = Path(__file__).parents[1] / "data_samples"
FPS = 20.0


def walker(frames: int = 120, rests: bool = True) -> tuple[MultiViewClip, torch.Tensor]:
    """The figure on a circle, 200 mm a second; it rests at last, and turns in its rest."""
    time = torch.arange(frames) / FPS
    speed = torch.where(time < 0.75 * time[-1], 1.0, 0.0 if rests else 1.0)
    along = (speed * 200 / FPS).cumsum(0) / 180  # radians of the circle
    idle = (1 - speed).cumsum(0) / FPS
    heading = along + math.pi / 2 + 0.7 * (1.5 * idle).sin()
    place = 180 * torch.stack([along.cos(), along.sin(), torch.zeros(frames)], -1)
    standing = poses(1).repeat(frames, 1, 1)
    middle = standing.mean(1, keepdim=True) * torch.tensor([1.0, 1.0, 0.0])
    ahead = standing[:, 1] - standing[:, 2]
    turn = heading - torch.atan2(ahead[:, 1], ahead[:, 0])
    c, s = turn.cos()[:, None], turn.sin()[:, None]
    x, y, z = (standing - middle).unbind(-1)
    joints = torch.stack([c * x - s * y, s * x + c * y, z], -1) + place[:, None]
    rig = ring(4, 1100.0, 700.0, (0.0, 0.0, 50.0), (96, 64), 46.0)
    return MultiViewClip(draw(rig, joints), rig, FPS, joints, name="walker"), heading


@pytest.fixture(scope="module")
def walk():
    clip, heading = walker()
    return clip, survey(clip), heading


def degrees_off(found: Heading, truth: torch.Tensor) -> torch.Tensor:
    return wrapped(found.angle - truth).abs().rad2deg()


# ---- a walk on a circle --------------------------------------------------------------------------
def test_the_heading_of_a_walk_is_found_and_kept_at_rest(walk):
    clip, seen, truth = walk
    found = find_heading(clip, seen)
    off = degrees_off(found, truth)
    assert found.found and off.median() < 15 and (off < 90).all()
    assert 0.6 < found.walking.float().mean() < 0.85 and found.axis_agreement > 0.5
    assert found.directions >= 11 and len(found.flips) == 0
    assert found.confidence[found.walking].mean() > 0.9
    assert "walks" in str(found) and "axis agrees" in str(found)


def test_the_frame_rate_does_not_matter(walk):
    clip, seen, _ = walk
    times = torch.arange(0, len(clip), 2)
    half = clip.at(times.tolist())
    fewer = replace(seen, centre=seen.centre[times], thumbs=seen.thumbs[times])
    whole, thin = find_heading(clip, seen), find_heading(half, fewer)
    assert half.fps == clip.fps / 2
    off = wrapped(whole.angle[times] - thin.angle).abs().rad2deg()
    assert off.median() < 5 and off.max() < 45
    assert thin.speed == pytest.approx(whole.speed, rel=0.1)


def test_a_survey_without_thumbnails_gives_the_same(walk):
    clip, seen, _ = walk
    few = clip.at(range(24))
    seen = replace(seen, centre=seen.centre[:24], thumbs=seen.thumbs[:24])
    lean = replace(seen, thumbs=seen.thumbs[:0])
    a, b = hull_motion(few, seen), hull_motion(few, lean, length=hull_motion(few, seen).length)
    assert_close(a.covariance, b.covariance)
    assert_close(a.change, b.change)


def test_a_turned_world_turns_the_heading(walk):
    """The same film, calibrated in a world that is turned by a right angle and moved."""
    clip, seen, _ = walk
    R = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shift = torch.tensor([500.0, -200.0, 30.0])
    rig = replace(clip.rig, R=clip.rig.R @ R.T, t=clip.rig.t - clip.rig.R @ R.T @ shift)
    there = find_heading(replace(clip, rig=rig), replace(seen, centre=seen.centre @ R.T + shift))
    off = wrapped(there.angle - find_heading(clip, seen).angle - math.pi / 2).abs()
    assert off.median() < 0.1 and off.max() < 0.5


def test_the_walk_teaches_a_look_that_knows_another_film(walk):
    clip, seen, truth = walk
    found = find_heading(clip, seen)
    look = teach_look([(clip, seen, found)], steps=40)
    assert look is not None and float(look.scale) > 0
    assert (degrees_off(find_heading(clip, seen, look), truth) < 90).all()
    again = Look()
    again.load_state_dict({k: v.clone() for k, v in look.state_dict().items()})
    again.eval()
    crops = torch.rand(3, 2, CROP, CROP)
    assert torch.equal(again(crops), look.eval()(crops))
    assert all(isinstance(v, torch.Tensor) for v in look.state_dict().values())
    # thirty frames of rest and turning alone, in which nothing walks: the look knows all the same
    rest = range(len(clip) - 30, len(clip))
    part = replace(seen, centre=seen.centre[list(rest)], thumbs=seen.thumbs[list(rest)])
    told = find_heading(clip.at(rest), part, look)
    assert (degrees_off(told, truth[list(rest)]) < 90).float().mean() > 0.9


def test_where_nothing_walks_it_says_so(walk):
    clip, seen, _ = walk
    rest = list(range(len(clip) - 30, len(clip)))
    still = clip.at(rest)
    part = replace(seen, centre=seen.centre[rest], thumbs=seen.thumbs[rest])
    found = find_heading(still, part)
    assert not found.found
    assert teach_look([(still, part, found)]) is None


# ---- velocity ------------------------------------------------------------------------------------
@pytest.mark.parametrize("fps", [6.0, 30.0, 120.0])
def test_velocity_of_a_straight_line_is_its_slope(fps):
    time = torch.arange(int(2 * fps)) / fps
    place = torch.stack([300 * time + 5, -70 * time], -1)
    expected = torch.tensor([300.0, -70.0]).expand(len(time), 2)
    assert_close(smooth_velocity(place, fps), expected, rtol=1e-3, atol=0.1)


def test_no_velocity_across_a_jump_in_time():
    place = torch.cat([torch.zeros(20, 2), torch.full((20, 2), 1000.0), torch.ones(1, 2)])
    assert smooth_velocity(place, 10.0, (0, 20, 40)).abs().max() < 1e-3
    assert smooth_velocity(place, 10.0).abs().max() > 100


def test_what_counts_as_walking_does_not_depend_on_rests(walk):
    clip, seen, _ = walk
    motion = hull_motion(clip, seen)
    rested = replace(motion, velocity=torch.cat([motion.velocity, torch.zeros(5000, 2)]))
    assert walking_speed(rested) == pytest.approx(walking_speed(motion))


# ---- the path ------------------------------------------------------------------------------------
def test_the_path_bridges_what_nobody_saw():
    h = torch.arange(ANGLES) * 2 * math.pi / ANGLES
    evidence = torch.zeros(60, ANGLES)
    evidence[0], evidence[-1] = 20 * (h - h[18]).cos(), 20 * (h - h[20]).cos()
    path, sure = best_path(evidence, 0.35)
    off = wrapped(path - 19 * 2 * math.pi / ANGLES).abs()
    assert off.max() < 0.2
    assert sure[0] > 0.95 and sure[30] < 0.75  # who was not seen for three seconds may have turned


def test_one_lie_does_not_turn_the_animal():
    truth = torch.full((30,), 0.5)
    vector = 4 * torch.stack([truth.cos(), truth.sin()], -1)
    vector[14:16] *= -1
    h = torch.arange(ANGLES) * 2 * math.pi / ANGLES
    path, _ = best_path(vector[:, :1] * h.cos() + vector[:, 1:] * h.sin(), 0.35)
    assert wrapped(path - 0.5).abs().max() < 0.6


def test_jumps_in_time_part_the_moments():
    clip = MultiViewClip(torch.zeros(50, 2, 4, 4, 3), None, 20.0, starts=(0, 21))
    first, second = moments_of(clip)
    assert len(first) == 21 and len(second) == 29
    assert first[:5].tolist() == [0, 0, 1, 1, 2] and second[0] == 0


# ---- the look ------------------------------------------------------------------------------------
def comet(angle: torch.Tensor) -> torch.Tensor:
    """Crops of a body that is dark behind and bright in front, (n, 2, CROP, CROP)."""
    axis = torch.linspace(-1, 1, CROP)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    c, s = angle.cos()[:, None, None], -angle.sin()[:, None, None]  # images count rows downwards
    along, across = c * x + s * y, -s * x + c * y
    mask = ((along / 0.7) ** 2 + (across / 0.3) ** 2 < 1).float()
    return torch.stack([mask * along.clamp(-1, 1) * 2, mask], 1)


def lesson(n: int = 240) -> Lesson:
    angle = torch.rand(n, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    return Lesson(comet(angle)[:, None].half(), torch.zeros(n, 1), angle, time=torch.arange(n) / 10)


@pytest.fixture(scope="module")
def comets():
    return teach([lesson()], 1.0, steps=70)


def test_a_look_learns_and_a_mirror_turns_it(comets):
    angle = torch.linspace(0, 6.2, 40)
    with torch.no_grad():
        said, mirrored = comets(comet(angle)), comets(comet(angle).flip(-1))
    off = wrapped(torch.atan2(said[:, 1], said[:, 0]) - angle).abs()
    assert off.median() < 0.2
    off = wrapped(torch.atan2(mirrored[:, 1], mirrored[:, 0]) - (math.pi - angle)).abs()
    assert off.median() < 0.2


def test_a_look_is_less_sure_of_what_it_was_not_taught(comets):
    noise = torch.rand(40, 2, CROP, CROP, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        known = comets(comet(torch.linspace(0, 6.2, 40))).norm(dim=-1)
        strange = comets(noise).norm(dim=-1)
    assert strange.median() < 0.5 * known.median()


def test_varied_pictures_keep_their_heading():
    torch.manual_seed(0)
    angle = torch.rand(64) * 6
    pixels, told = _varied(comet(angle), angle)
    grey, x = pixels[:, 0], torch.linspace(-1, 1, CROP)
    seen = torch.atan2(-(grey * x[:, None]).sum((1, 2)), (grey * x).sum((1, 2)))
    assert wrapped(seen - told).abs().max() < 0.5


def test_the_same_seed_teaches_the_same():
    a, b = (teach([lesson(60)], 1.0, seed=3, steps=3).state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_likelihood_is_a_density_and_bounded_below():
    h = torch.linspace(0, 2 * math.pi, 721)[:-1]
    vector = torch.tensor([2.0, 1.0]).expand(720, 2)
    total = log_likelihood(vector, h).exp().sum() * 2 * math.pi / 720
    assert_close(total, torch.tensor(1.0), rtol=1e-4, atol=0)
    assert log_likelihood(torch.tensor([1000.0, 0.0]), torch.tensor(math.pi)) > -6
    assert limited(torch.tensor([1e6, 0.0])).norm() <= 8.001


def test_calibration_lowers_evidence_that_errs():
    time = torch.arange(4000) / 10
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    scales = torch.logspace(-2, 0.3, 60)

    def scale(width: float) -> float:
        off = width * noise
        return calibrated(torch.stack([off.cos(), off.sin()], -1), time, scales)

    assert scale(0.3) > scale(2.0)
    blind = 2 * math.pi * torch.rand(4000, generator=torch.Generator().manual_seed(1))
    assert calibrated(torch.stack([blind.cos(), blind.sin()], -1), time, scales) < 0.1


def test_right_is_the_cameras_own_and_turns_with_the_ray():
    rig = ring(4, 900.0, 500.0, (0.0, 0.0, 0.0))
    right = right_of_views(rig, torch.zeros(1, 3))[0]
    assert_close(right, torch.atan2(rig.R[:, 0, 1], rig.R[:, 0, 0]), atol=1e-4, rtol=0)
    ahead = torch.stack([right.cos(), right.sin(), torch.zeros(4)], -1)
    aside = right_of_views(rig, 200 * ahead[:1])[0, 0]  # it looks to its right: turned clockwise
    assert -0.3 < wrapped(aside - right[0]) < -0.05


def test_vectors_turn():
    assert_close(turned(torch.tensor([1.0, 0.0]), torch.tensor(math.pi / 2)),
                 torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)  # fmt: skip


# ---- bundled clips, against truth ----------------------------------------------------------------
def truth_of(clip: MultiViewClip, kind: str) -> torch.Tensor:
    at = {name: clip.truth[:, j, :2] for j, name in enumerate(clip.skeleton.names)}
    if kind == "rat":
        ahead = at["thorax"] - at["tail_base"]
    else:
        across = at["left_hip"] - at["right_hip"] + at["left_shoulder"] - at["right_shoulder"]
        ahead = torch.stack([across[:, 1], -across[:, 0]], -1)
    return torch.atan2(ahead[:, 1], ahead[:, 0])


@pytest.mark.parametrize(("kind", "step", "degrees"), [("rat", 3, 12.0), ("human", 8, 30.0)])
def test_heading_of_the_bundled_clips(kind, step, degrees):
    whole = open_clip(DATA / kind / "test")
    clip = whole.at(range(0, len(whole), step))
    found = find_heading(clip, survey(clip))
    off = degrees_off(found, truth_of(clip, kind))
    assert off.median() < degrees and (off < 90).float().mean() > 0.93
    if kind == "human":
        assert found.axis_agreement < 0.4  # shoulders are wider than the walk is long


def test_teaching_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
