"""Survey: where the animal is, without a label; and plain words when nothing moves."""

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import bkind3d_lite.clips.survey as surveys
from bkind3d_lite.cameras import save_calibration
from bkind3d_lite.clips import MultiViewClip, open_clip
from bkind3d_lite.clips.extent import animal_length
from bkind3d_lite.clips.heading_finder import find_heading
from bkind3d_lite.clips.survey import (
    THUMB,
    animal_centres,
    estimate_background,
    locate,
    on_silhouettes,
    roams,
    survey,
)
from bkind3d_lite.clips.synthetic import draw, figure, poses
from bkind3d_lite.clips.uncovered import uncovered_background
from bkind3d_lite.clips.videos import write_video
from bkind3d_lite.volumes import Grid


def missed(clip):
    return (survey(clip).centre - clip.truth.mean(1)).norm(dim=-1) / clip.body_length


def test_the_centre_is_on_the_body(clip, seen):
    error = (seen.centre - clip.truth.mean(1)).norm(dim=-1) / clip.body_length
    assert error.median() < 0.25 and error.max() < 0.5


@pytest.mark.parametrize("views", [2, 3])
def test_the_centre_is_on_the_body_with_few_views(views):
    error = missed(figure(40, views=views))
    assert error.median() < 0.3 and error.max() < 0.6


def crossing(clip, reach):
    """The figure on its way from one side of the room to the other."""
    path = torch.stack(
        [torch.linspace(-reach, reach, 60), torch.linspace(150, -150, 60), torch.zeros(60)], -1
    )
    joints = poses(60)
    joints = joints - joints.mean(1, keepdim=True) + torch.tensor([0.0, 0.0, 50.0]) + path[:, None]
    return MultiViewClip(
        draw(clip.rig, joints), clip.rig, 30.0, joints, clip.skeleton, clip.body_length, "walk"
    )


@pytest.fixture(scope="module")
def walk(clip):
    return crossing(clip, 220.0)


def test_the_centre_follows_an_animal_that_crosses_the_room(walk):
    found, truth = survey(walk).centre, walk.truth.mean(1)
    assert ((found - truth).norm(dim=-1) / walk.body_length).median() < 0.35
    for axis in (0, 1):
        assert torch.corrcoef(torch.stack([found[:, axis], truth[:, axis]]))[0, 1] > 0.95


def test_an_animal_that_leaves_the_middle_is_followed(clip, walk, monkeypatch):
    """To where two of four cameras see it, 0.67 of the cube's side from its middle."""
    away = crossing(clip, 450.0)
    assert missed(away).max() < 0.35
    assert not roams(survey(walk).centre, walk.rig)
    centre = survey(away).centre
    assert roams(centre, away.rig) and not roams(centre, away.rig, side=1500.0)
    thumbs = survey(away).thumbs
    assert_close(animal_centres(thumbs, away.rig), centre, atol=1.0, rtol=0)
    monkeypatch.setattr(surveys, "roams", lambda *_: False)
    assert missed(away).max() > 1


def test_a_world_moved_in_space_gives_a_centre_moved_alike(clip, seen):
    """Nothing may depend on where the origin is, nor on the unit."""
    shift = torch.tensor([700.0, -400.0, 200.0])
    rig = clip.rig
    moved = replace(clip, rig=replace(rig, t=(rig.t - (rig.R @ shift))))
    assert_close(survey(moved).centre, seen.centre + shift, atol=2.0, rtol=0)
    metres = replace(clip, rig=replace(rig, t=rig.t / 1000))
    assert_close(survey(metres).centre * 1000, seen.centre, atol=2.0, rtol=0)


def test_what_a_survey_holds(clip, seen):
    T, V, H, W, _ = clip.frames.shape
    assert seen.background.shape == (V, H, W, 3) and seen.background.dtype == torch.uint8
    assert (
        seen.noise.shape == seen.contrast.shape == (V,) and (seen.contrast > 4 * seen.noise).all()
    )
    assert (
        seen.centre.shape == (T, 3)
        and seen.thumbs.shape[:2] == (T, V)
        and seen.thumbs.dtype == torch.uint8
    )
    assert max(seen.thumbs.shape[2:]) <= THUMB and seen.thumbs.shape[3] > seen.thumbs.shape[2], (
        "thumbs keep the aspect"
    )


def test_a_resting_animal_leaves_no_ghost(walk):
    """An animal that sits still for most of a film is its median; odd frames tell the room."""
    times = [0] * 60 + list(range(0, 60, 3))
    rest = replace(walk, frames=walk.frames[times], truth=walk.truth[times])
    room = draw(walk.rig, walk.truth[:1] + torch.tensor([0.0, 0.0, 1e5]), seed=0)[0].float()
    found = survey(rest)
    ghost, left = (
        ((ground.float() - room).abs().amax(-1) > 20).float().mean()
        for ground in (rest.frames.median(0).values, found.background)
    )
    assert ghost > 0.01, "the plain median holds it"
    assert left < 0.1 * ghost
    assert (found.centre - rest.truth.mean(1)).norm(dim=-1).median() < 0.35 * rest.body_length


def test_a_ghost_that_one_view_has_is_taken_away(walk, monkeypatch):
    """Half of the film in the middle of the room: the median of one view shows the animal there.

    Its visual hull knows when it stood elsewhere.
    """
    times = [28, 29, 30, 31, 32] * 12 + list(range(60))
    often = replace(walk, frames=walk.frames[times], truth=walk.truth[times])
    room = draw(walk.rig, walk.truth[:1] + torch.tensor([0.0, 0.0, 1e5]), seed=0)[0]
    haunted = room.clone()
    haunted[0] = walk.frames[30, 0]

    def wrong(ground):
        return ((ground.float() - room.float()).abs().amax(-1) > 20).float().mean((1, 2))

    for thumbs in (True, False):
        views = iter(haunted)
        monkeypatch.setattr(surveys, "estimate_background", lambda frames: next(views))
        again = survey(often, thumbs=thumbs, uncover=True).background
        assert wrong(haunted)[0] > 0.005 and wrong(again)[0] < 0.3 * wrong(haunted)[0]
        assert wrong(again)[1:].max() < 0.005
    known, all_times = survey(often, background=room), torch.arange(len(often))
    assert uncovered_background(often, known, all_times) is None


@pytest.mark.parametrize("view", [0, 2])
def test_a_good_median_is_kept(view):
    """The rat crosses its own middle more often than the rim.

    There, the few frames that look different hold a ghost that all of them do not.
    """
    rat = open_clip(Path(__file__).parents[1] / "data_samples/rat/train", wh=(128, 128))
    frames = rat.frames[list(range(0, len(rat), 18)), view]
    assert torch.equal(estimate_background(frames), frames.median(0).values)


def test_a_background_from_elsewhere_is_taken_as_it_is(clip, seen):
    """Where the animal never leaves its place, another film of the cameras has the empty room."""
    still = replace(
        clip, frames=clip.frames[[0] * 40 + [1, 2, 3]], truth=clip.truth[[0] * 40 + [1, 2, 3]]
    )
    known = survey(still, background=seen.background)
    assert torch.equal(known.background, seen.background)
    assert (known.centre - still.truth.mean(1)).norm(dim=-1).median() < 0.3 * still.body_length


def test_the_background_is_the_room_without_the_animal(clip, seen):
    empty = draw(clip.rig, clip.truth[:1] + torch.tensor([0.0, 0.0, 1e5]), seed=0)[0].float()
    assert ((seen.background.float() - empty).abs().amax(-1) < 20).float().mean() > 0.95


def test_locate_finds_a_point_where_silhouettes_meet(clip):
    truth = torch.tensor([[60.0, -40.0, 80.0], [-90.0, 30.0, 20.0]])
    px = clip.rig.px_from_world(truth[:, None])[:, :, 0]
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    near = ((torch.stack([x, y], -1) - px[:, :, None, None]).norm(dim=-1) < 5).to(torch.uint8) * 255
    fixed = locate(near, clip.rig, Grid(torch.tensor([0.0, 0.0, 50.0]), 400.0, 24))
    assert ((fixed - truth).norm(dim=-1) < 20).all()
    around = locate(near, clip.rig, Grid(truth + torch.tensor([20.0, 10.0, -15.0]), 160.0, 16))
    assert ((around - truth).norm(dim=-1) < 12).all()


def test_a_survey_without_thumbnails_is_the_same_survey(clip, seen, monkeypatch):
    """Bounded memory: only some thumbnails are ever held, whatever the length.

    Nothing that tracking needs depends on it.
    """
    import bkind3d_lite.clips.survey as module

    monkeypatch.setattr(module, "SAMPLED", 7)
    held, moving = [], module._refuse_still
    monkeypatch.setattr(
        module,
        "_refuse_still",
        lambda clip, found: held.append(len(found.thumbs)) or moving(clip, found),
    )
    few = survey(clip, thumbs=False)
    assert held == [7] and len(few.thumbs) == 0
    for key in ("background", "noise", "contrast", "centre"):
        assert torch.equal(getattr(few, key), getattr(seen, key)), key
    assert animal_length(few, clip.rig) == pytest.approx(animal_length(seen, clip.rig), rel=0.1)
    assert find_heading(clip, few).angle.shape == (len(clip),)
    still = replace(clip, frames=clip.frames[[0, 20] + [0] * 38])
    with pytest.raises(ValueError, match="nothing moves"):
        survey(still, thumbs=False, background=seen.background)


def test_thumbnails_that_are_not_kept_are_let_go(clip, monkeypatch):
    """Some of them are kept, and as copies: a view would keep all that it is a view of."""
    import bkind3d_lite.clips.survey as module

    handed, alive, thumbs_of = [], [], module._thumbs

    def in_eights(clip, raw):
        for some in torch.cat(list(thumbs_of(clip, raw))).split(8):
            some = some.clone()
            handed.append(weakref.ref(some.untyped_storage()))
            alive.append(sum(storage() is not None for storage in handed))
            yield some

    monkeypatch.setattr(module, "SAMPLED", 7)
    monkeypatch.setattr(module, "_thumbs", in_eights)
    survey(clip, thumbs=False)
    assert len(handed) > 4 and max(alive) <= 2
    alive.clear()
    survey(clip)
    assert max(alive) > 4


def test_large_films_are_surveyed_small(tmp_path):
    """Thumbnails of frames decoded at twice their size are those of whole frames, nearly.

    And the film's cache stays empty.
    """
    known = figure(40, views=3).at(range(0, 40, 2))
    for v, name in enumerate(known.rig.names):
        write_video(
            tmp_path / f"{name}.mp4",
            (np.kron(x, np.ones((6, 6, 1), np.uint8)) for x in known.frames[:, v].numpy()),
            known.fps,
            crf=8,
        )
    save_calibration(known.rig.resized((576, 384)), tmp_path / "calibration.toml")
    clip = open_clip(tmp_path, budget=1 << 20)
    small = survey(clip)
    assert clip.frames._bytes == 0
    whole = survey(replace(clip, frames=clip.frames[:]))
    assert (small.thumbs.float() - whole.thumbs.float()).abs().mean() < 1.0
    away = (small.centre - whole.centre).norm(dim=-1) / known.body_length
    assert away.median() < 0.03 and away.max() < 0.1
    half = small.resized((288, 192))
    assert half.background.shape == (3, 192, 288, 3)
    mean = float(small.background.float().mean())
    assert half.background.float().mean() == pytest.approx(mean, abs=1)


# ---- plain words ---------------------------------------------------------------------------------
def test_a_still_clip_is_refused(clip):
    noise = torch.randint(-2, 3, clip.frames.shape, generator=torch.Generator().manual_seed(0))
    still = replace(clip, frames=(clip.frames[:1].int() + noise).clamp(0, 255).byte())
    with pytest.raises(ValueError, match="synthetic-0: nothing moves.*choose a stretch"):
        survey(still)


def test_a_frozen_clip_without_any_noise_is_refused(clip):
    with pytest.raises(ValueError, match="nothing moves"):
        survey(replace(clip, frames=clip.frames[:1].expand(40, -1, -1, -1, -1)))


def test_one_view_is_refused(clip):
    with pytest.raises(ValueError, match=r"1 view\(s\); at least 2"):
        survey(replace(clip, frames=clip.frames[:, :1], rig=clip.rig.take([0])))


# ---- recordings ----------------------------------------------------------------------------------
def recording(shared, name):
    path = shared / "realdata" / name
    if not path.is_dir():
        pytest.skip(f"no recording {name} in the shared folder")
    return path


def test_a_recorded_mouse_that_sits_still_is_refused(shared):
    clip = open_clip(recording(shared, "mouse4_sleapanipose_io"), wh=(160, 128))
    assert len(clip) == 120 and clip.rig.names == ("back", "mid", "side", "top")
    with pytest.raises(ValueError, match="mouse4.*nothing moves"):
        survey(clip)


def test_recorded_points_project_into_every_view(shared):
    import numpy as np

    path = recording(shared, "mouse4_sleapanipose_io")
    clip = open_clip(path)
    with np.load(path / "reference3d.npz", allow_pickle=False) as data:
        points = next(
            torch.from_numpy(data[k]).float()
            for k in data
            if data[k].ndim >= 3 and data[k].shape[-1] == 3 and len(data[k]) == 120
        )
    points = points.reshape(120, -1, 3)[60]
    ndc = clip.rig.ndc_from_world(points[points.isfinite().all(-1)])
    assert (ndc.abs() < 1).float().mean() > 0.9


def test_the_region_holds_the_animal_wherever_the_origin_is(clip, seen):
    """Most joints of most frames are inside a cube smaller than the room.

    A moved world moves it alike.
    """
    from bkind3d_lite.clips.extent import region
    from bkind3d_lite.volumes import overlap

    centre, side = region(seen, clip.rig)
    inside = ((clip.truth - centre).abs() <= side / 2).all(-1)
    assert inside.float().mean() > 0.97
    reach = 2 * (clip.truth - centre).abs().amax()
    assert 0.8 * reach < side < 1.6 * reach and side < 0.7 * overlap(clip.rig)[1]
    shift = torch.tensor([5000.0, -3000.0, 800.0])
    rig = replace(clip.rig, t=clip.rig.t - clip.rig.R @ shift)
    there, wide = region(replace(seen, centre=seen.centre + shift), rig)
    assert_close(there, centre + shift, atol=0.05 * side, rtol=0)
    assert wide == pytest.approx(side, rel=0.1)


def test_the_extent_is_the_animals_and_has_its_unit(clip, seen):
    """About the length of the longest pose, in whatever unit the rig has."""
    longest = torch.cdist(clip.truth, clip.truth).amax((1, 2)).quantile(0.9)
    found = animal_length(seen, clip.rig)
    assert 0.6 * longest < found < 1.5 * longest
    metres = replace(seen, centre=seen.centre / 1000)
    assert_close(
        animal_length(metres, replace(clip.rig, t=clip.rig.t / 1000)) * 1000,
        found,
        rtol=1e-3,
        atol=0,
    )


def test_points_lie_on_silhouettes_or_not(clip, seen):
    """True joints do, points a body's length above do not; growing lets more in.

    Outside of the image nothing is hit.
    """
    grow = 0.1 * clip.body_length
    hit, inside = on_silhouettes(clip.truth, clip.rig, seen.thumbs, grow)
    assert (
        hit.shape == inside.shape == (len(clip), clip.rig.views, clip.truth.shape[1])
        and hit.float().mean() > 0.85
    )
    above = clip.truth + torch.tensor([0.0, 0.0, 2 * clip.body_length])
    assert on_silhouettes(above, clip.rig, seen.thumbs, grow)[0].float().mean() < 0.1
    assert (on_silhouettes(clip.truth, clip.rig, seen.thumbs, 0.0)[0] <= hit).all()
    gone, unseen = on_silhouettes(clip.truth + 1e5, clip.rig, seen.thumbs, grow)
    assert not gone.any() and not unseen.any()
