"""Clips: folders that open or say why not, seeded batches, and crops whose rig tells the truth."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.calibrations import load_calibration
from bkind3d_lite.cameras import ring, save_calibration
from bkind3d_lite.clips import Batch, MultiViewClip, Skeleton, Survey, Track, open_clip
from bkind3d_lite.clips.foreground import footprint, foreground
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.videos import Video, write_video
from bkind3d_lite.volumes import Grid, hull


# ---- opening -------------------------------------------------------------------------------------
@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the good folder that a test may break."""
    return shutil.copytree(folder[0], tmp_path / "clip")


def test_a_folder_opens(folder):
    path, known = folder
    clip = open_clip(path)
    assert (
        len(clip) == 12
        and clip.frames.shape == (12, 3, 64, 96, 3)
        and clip.fps == 30
        and clip.rig.names == known.rig.names
    )
    assert (clip.frames[5].float() - known.frames[5].float()).abs().mean() < 8
    assert_close(
        clip.rig.px_from_world(known.truth), known.rig.px_from_world(known.truth), atol=1e-2, rtol=0
    )
    assert_close(clip.truth, known.truth)
    assert clip.skeleton == known.skeleton and clip.body_length == known.body_length


def test_views_follow_the_calibration_not_the_alphabet(copy):
    rig = load_calibration(copy / "calibration.toml")
    save_calibration(rig.take([2, 0, 1]), copy / "calibration.toml")
    clip = open_clip(copy)
    assert clip.rig.names == ("cam2", "cam0", "cam1")
    assert np.array_equal(clip.frames[3][0].numpy(), Video(copy / "cam2.mp4").read(3, 4)[0])


def test_a_smaller_size_scales_the_rig_too(copy):
    clip = open_clip(copy, wh=(48, 40))
    assert clip.frames[0].shape == (3, 40, 48, 3) and clip.rig.wh == (48, 40)
    world = torch.zeros(1, 3)
    assert_close(clip.rig.ndc_from_world(world), open_clip(copy).rig.ndc_from_world(world))


def test_the_calibration_may_lie_one_level_up_and_truth_may_be_missing(copy):
    (copy / "calibration.toml").rename(copy.parent / "calibration.toml")
    (copy / "truth.npz").unlink()
    clip = open_clip(copy)
    assert len(clip) == 12 and clip.truth is None and clip.skeleton is None


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*one video per camera"):
        open_clip(tmp_path / "nowhere")


def test_no_calibration(copy):
    (copy / "calibration.toml").unlink()
    with pytest.raises(FileNotFoundError, match="clip: no calibration.toml here or one level up"):
        open_clip(copy)


def test_a_missing_camera(copy):
    (copy / "cam1.mp4").unlink()
    with pytest.raises(
        ValueError, match=r"no video for camera cam1 of .*calibration\.toml; expected cam1\.mp4"
    ):
        open_clip(copy)


def test_an_extra_camera(copy):
    shutil.copy(copy / "cam1.mp4", copy / "side.mp4")
    with pytest.raises(
        ValueError,
        match=r"side\.mp4 has no camera.*cam0, cam1, cam2.*rename the video or remove it",
    ):
        open_clip(copy)


def test_unequal_frame_counts(copy, folder):
    write_video(copy / "cam1.mp4", folder[1].frames[:9, 1].numpy(), 30)
    with pytest.raises(ValueError, match=r"'cam0\.mp4': 12, 'cam1\.mp4': 9.*cut them"):
        open_clip(copy)


def test_truth_of_another_length(copy, folder):
    known = folder[1]
    np.savez(
        copy / "truth.npz",
        positions=known.truth[:7].numpy(),
        names=np.array(known.skeleton.names),
        edges=np.array(known.skeleton.edges),
    )
    with pytest.raises(
        ValueError, match=r"truth\.npz: 7 poses for 12 frames; write one pose per frame"
    ):
        open_clip(copy)


def test_a_video_of_another_aspect(copy, barcodes):
    write_video(copy / "cam1.mp4", barcodes(12, (64, 64)), 30)
    with pytest.raises(ValueError, match=r"cam1\.mp4: 64 x 64 pixels.*96 x 64.*calibration"):
        open_clip(copy)


def test_a_broken_video(copy):
    (copy / "cam1.mp4").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"cam1\.mp4: not a readable video"):
        open_clip(copy)


# ---- batches -------------------------------------------------------------------------------------
def flat_survey(clip: MultiViewClip, thumbs: torch.Tensor | None = None) -> Survey:
    """A survey that knows the truth."""
    T, V, H, W, _ = clip.frames.shape
    thumbs = torch.ones(T, V, 4, 6, dtype=torch.uint8) if thumbs is None else thumbs
    background = clip.frames[list(range(0, T, 2))].median(0).values
    return Survey(
        background,
        torch.linspace(0.01, 0.03, V),
        torch.linspace(0.3, 0.5, V),
        clip.truth.mean(1),
        thumbs,
        0.02,
    )


def take(batches, n):
    return [b for b, _ in zip(batches, range(n))]


def same(a: Batch, b: Batch) -> bool:
    return a.rig.names == b.rig.names and all(
        torch.equal(getattr(a, k), getattr(b, k))
        for k in ("now", "later", "index", "turn", "centre")
    )


def test_the_same_seed_and_step_make_the_same_batch(clip):
    given = dict(
        wh=(24, 16),
        gap=[2, 5],
        batch=3,
        survey=flat_survey(clip),
        crop=400.0,
        views=3,
        turn=True,
    )
    first, again, other = (take(clip.batches(seed=s, **given), 4) for s in (7, 7, 8))
    assert all(same(a, b) for a, b in zip(first, again))
    assert not any(same(a, b) for a, b in zip(first, other))
    assert len({tuple(b.index.tolist()) for b in first}) > 1
    resumed = take(clip.batches(seed=7, start=2, **given), 2)
    assert all(same(a, b) for a, b in zip(first[2:], resumed))


def test_a_batch_holds_the_frames_it_names(clip):
    batch = clip.batch([3, 11], 4, (96, 64))
    assert batch.now.shape == batch.later.shape == (2, 4, 3, 64, 96)
    assert batch.index.tolist() == [3, 11]
    for images, times in ((batch.now, (3, 11)), (batch.later, (7, 15))):
        assert_close((images * 255).round().byte(), clip.frames[list(times)].movedim(-1, -3))
    assert clip.batch([3], None, (96, 64)).later is None


def test_gaps_are_drawn_from_those_given_and_pairs_fit(clip):
    gaps = set()
    for batch in take(clip.batches((24, 16), [1, 30], batch=2, seed=0), 12):
        for now, later, t in zip(batch.now, batch.later, batch.index.tolist()):
            hits = [
                g
                for g in (1, 30)
                if t + g < 40 and torch.equal(later, clip.batch([t + g], None, (24, 16)).now[0])
            ]
            assert len(hits) == 1
            gaps.add(hits[0])
    assert gaps == {1, 30}


def test_some_of_the_views(clip):
    drawn = take(clip.batches((24, 16), 2, seed=0, views=2), 12)
    assert all(b.now.shape[1] == 2 and len(b.rig.names) == 2 for b in drawn)
    assert len({b.rig.names for b in drawn}) > 2
    b = drawn[0]
    views = [int(name[3:]) for name in b.rig.names]
    assert torch.equal(b.now, clip.batch(b.index, 2, (24, 16)).now[:, views])
    surveyed = clip.batch(b.index, 2, (24, 16), flat_survey(clip))
    assert torch.equal(
        clip.batch(b.index, 2, (24, 16), flat_survey(clip), views=views).now, surveyed.now[:, views]
    ), "each view its own background"
    world = clip.truth[b.index]
    assert_close(
        b.rig.px_from_world(world), clip.rig.resized((24, 16)).px_from_world(world)[:, views]
    )


def test_motion_is_preferred(clip):
    thumbs = torch.full((40, 4, 4, 6), 100, dtype=torch.uint8)
    thumbs[20:23] = 0  # only pairs with one end in 20..22 change
    survey = flat_survey(clip, thumbs)
    assert_close((survey.motion_energy(2) > 0).nonzero()[:, 0], torch.tensor([18, 19, 21, 22]))
    drawn = {
        int(b.index[0])
        for b in take(clip.batches((12, 8), 2, seed=0, survey=survey, by_motion=True), 40)
    }
    assert drawn == {18, 19, 21, 22}
    free = {int(b.index[0]) for b in take(clip.batches((12, 8), 2, seed=0, survey=survey), 40)}
    assert not free <= {18, 19, 21, 22}


def test_motion_energy_by_hand(clip):
    thumbs = torch.zeros(4, 1, 1, 2, dtype=torch.uint8)
    thumbs[2] = torch.tensor([40, 0], dtype=torch.uint8)
    # Mean foreground 40 / 8 = 5, |change| 40 / 2 = 20.
    survey = replace(flat_survey(clip), thumbs=thumbs)
    assert survey.motion_energy(1).tolist() == [0.0, 4.0, 4.0]


def test_a_gap_too_long(clip):
    with pytest.raises(
        ValueError, match="synthetic-0: a gap of 40 frames needs more than the clip's 40"
    ):
        next(clip.batches((24, 16), [3, 40]))
    assert next(clip.batches((24, 16), 39)).index.tolist() == [0]


def test_turns_cover_the_circle(clip):
    turn = torch.cat(
        [b.turn for b in take(clip.batches((12, 8), 2, batch=4, seed=0, turn=True), 10)]
    )
    assert (
        turn.shape == (40,)
        and turn.min() < 1
        and turn.max() > 5.2
        and turn.max() <= 2 * np.pi + 1e-4
    )
    assert next(clip.batches((12, 8), 2)).turn is None


def test_every_other_pair_is_seen_in_a_mirror_and_else_the_draws_are_the_same(clip):
    given = dict(wh=(48, 32), gap=2, seed=3, survey=flat_survey(clip), crop=300.0, turn=True)
    plain, some = (take(clip.batches(mirror=m, **given), 40) for m in (False, True))
    mirrored = [not torch.equal(a.now, b.now) for a, b in zip(plain, some)]
    assert 10 < sum(mirrored) < 30
    for a, b, m in zip(plain, some, mirrored):
        wanted = a.mirrored() if m else a
        assert same(wanted, b) and torch.equal(wanted.rig.R, b.rig.R)
        assert torch.equal(wanted.turn, b.turn) and torch.equal(wanted.centre, b.centre)


def test_a_mirrored_batch_is_a_world_of_its_own_whose_sides_are_swapped(clip):
    """The hull in the mirrored cube is the hull in the cube, left and right of the way ahead."""
    batch = clip.batch([3, 11], 4, (48, 32), survey(clip), 300.0, turn=torch.tensor([0.3, -1.0]))
    batch = replace(batch, heading=batch.turn, turn_later=batch.turn, heading_later=batch.turn)
    votes = []
    for b in (batch, batch.mirrored()):
        grid = Grid(b.centre, 300.0, 8, turn=b.turn)
        seen_in = hull(b.now[:, :, 3, None], b.rig.ndc_from_world(grid.points.flatten(1, 3)))
        votes.append(seen_in.unflatten(1, (8, 8, 8)))
    assert votes[0].std() > 0.1
    torch.testing.assert_close(votes[1], votes[0].flip(2), atol=1e-3, rtol=0)  # axes z, y, x
    twice = batch.mirrored().mirrored()
    assert torch.equal(twice.now, batch.now) and torch.equal(twice.later, batch.later)
    for name in ("turn", "turn_later", "heading", "heading_later"):
        torch.testing.assert_close(getattr(twice, name), batch.turn)
    assert batch.mirrored().labels is None


# ---- images and their rig ------------------------------------------------------------------------
SIZE = (180, 120)


@pytest.fixture(scope="module")
def dots():
    """One bright dot that wanders in front of a distorting ring: the truth is one point a frame."""
    rig = ring(
        3, 900.0, 550.0, (0.0, 0.0, 50.0), SIZE, 52.0, distortion=(-0.15, 0.03, 0.002, -0.002, 0.0)
    )
    world = torch.tensor(
        [
            [[0.0, 0, 50]],
            [[80.0, -60, 90]],
            [[-110.0, 70, 20]],
            [[-90.0, 40, 120]],
            [[60.0, 130, 0]],
        ]
    )
    y, x = torch.meshgrid(torch.arange(120) + 0.5, torch.arange(180) + 0.5, indexing="ij")
    pixel = torch.stack([x, y], -1)
    d2 = (pixel - rig.px_from_world(world)[:, :, 0, None, None]).square().sum(-1)
    frames = (255 * (-d2 / (2 * 1.5**2)).exp()).round().byte()[..., None].expand(-1, -1, -1, -1, 3)
    return MultiViewClip(frames, rig, 30.0, world)


def bright(images):
    """Centre of mass of the light, in corner-origin pixels, (..., 2)."""
    light = images[:, :, 0]
    H, W = light.shape[-2:]
    x, y = torch.arange(W) + 0.5, torch.arange(H) + 0.5
    return (
        torch.stack([(light.sum(-2) * x).sum(-1), (light.sum(-1) * y).sum(-1)], -1)
        / light.sum((-1, -2))[..., None]
    )


@pytest.mark.parametrize("wh", [(180, 120), (60, 40), (50, 70), (240, 200)])
def test_resized_images_and_rig_agree(dots, wh):
    batch = dots.batch(range(5), None, wh)
    assert batch.now.shape == (5, 3, 3, wh[1], wh[0])
    assert_close(bright(batch.now), batch.rig.px_from_world(dots.truth)[:, :, 0], atol=0.15, rtol=0)


@pytest.mark.parametrize("wh", [(60, 40), (50, 70), (64, 64)])
@pytest.mark.parametrize("gap", [None, 2])
def test_a_crop_and_its_rig_agree(dots, wh, gap):
    """A dot at the projection of a point is in the crop where the batch's own rig projects it."""
    around = dots.truth[:, 0] + torch.tensor([25.0, -20.0, 15.0])
    survey = Survey(
        torch.zeros(3, 120, 180, 3, dtype=torch.uint8),
        torch.full((3,), 0.01),
        torch.full((3,), 0.9),
        around,
        torch.zeros(5, 3, 2, 3, dtype=torch.uint8),
        0.0,
    )
    batch = dots.batch([0, 1, 2], gap, wh, survey, crop=450.0)
    assert batch.now.shape == (3, 3, 4, wh[1], wh[0])
    assert_close(batch.centre, around[:3] if gap is None else (around[:3] + around[2:5]) / 2)
    for images, times in ((batch.now, [0, 1, 2]), (batch.later, [2, 3, 4])):
        if images is not None:
            assert_close(
                bright(images),
                batch.rig.px_from_world(dots.truth[times])[:, :, 0],
                atol=0.5,
                rtol=0,
            )
            assert_close(
                bright(images[:, :, 3:]),
                batch.rig.px_from_world(dots.truth[times])[:, :, 0],
                atol=0.5,
                rtol=0,
            )


def test_a_crop_is_centred_on_the_animal_and_holds_its_cube(dots):
    rig = dots.rig.resized((180, 200))  # pixels that are no longer square
    corner, extent = footprint(rig.batched(5), dots.truth[:, 0], 300.0)
    assert_close(corner + extent / 2, rig.px_from_world(dots.truth)[:, :, 0], atol=1e-3, rtol=0)
    depth = rig.cam_from_world(dots.truth)[:, :, 0, 2]
    assert_close(
        extent, (300 / depth)[..., None] * torch.stack([rig.K[:, 0, 0], rig.K[:, 1, 1]], -1)
    )


def test_outside_the_image_a_crop_is_black(dots):
    survey = Survey(
        torch.zeros(3, 120, 180, 3, dtype=torch.uint8),
        torch.full((3,), 0.01),
        torch.full((3,), 0.9),
        torch.zeros(5, 3),
        torch.zeros(5, 3, 2, 3, dtype=torch.uint8),
        0.0,
    )
    white = replace(dots, frames=torch.full_like(dots.frames, 255))
    batch = white.batch([0], None, (64, 64), survey, crop=4000.0)
    ndc = batch.rig.ndc_from_px(batch.rig.px_from_world(torch.zeros(1, 1, 3)))
    assert (
        batch.now[:, :, :3, 32, 32].min() > 0.99
        and batch.now[..., 0, 0].max() == 0
        and ndc.abs().max() < 0.1
    )


def test_foreground_is_zero_on_the_background_and_one_on_the_animal():
    ground = torch.full((1, 2, 3, 9, 9), 0.2)
    noise, contrast = torch.tensor([0.02, 0.05]), torch.tensor([0.4, 0.6])
    images = ground.clone()
    # Half way between 3 x noise = 0.06 and contrast = 0.4; and 0.08 / 0.45 of the second view's.
    images[:, :, 1] = 0.2 + 0.23
    found = foreground(images, ground, noise, contrast)
    assert found.shape == (1, 2, 1, 9, 9)
    assert_close(found[0, :, 0, 4, 4], torch.tensor([0.5, 0.08 / 0.45]))
    assert foreground(ground, ground, noise, contrast).max() == 0
    assert foreground(torch.full_like(ground, 0.9), ground, noise, contrast).min() == 1


def test_a_shadow_is_not_the_animal():
    """0.7 x as bright in all colours is one; as dark in another colour, or all but black: not."""
    colour = (torch.tensor([160, 120, 80]) / 255)[:, None, None].expand(1, 1, 3, 9, 9)
    noise, contrast = torch.tensor([0.01]), torch.tensor([0.2])
    shadow, tinted, black = 0.7 * colour, 0.7 * colour.flip(2), 0.1 * colour
    assert foreground(shadow, colour, noise, contrast).max() < 0.05
    assert (
        foreground(tinted, colour, noise, contrast).min() > 0.5
        and foreground(black, colour, noise, contrast).min() == 1
    )


def test_a_grey_patch_inside_the_body_is_the_body():
    """What looks like a shadow counts if the animal encloses it, and does not beside it."""
    ground = torch.full((1, 1, 3, 96, 96), 0.6)
    images = ground.clone()
    images[..., 30:60, 30:60] = 0.1
    images[..., 44:46, 44:46] = 0.4  # shadow-like, enclosed
    images[..., 70:90, 70:90] = 0.4  # shadow-like, free
    found = foreground(images, ground, torch.tensor([0.01]), torch.tensor([0.2]))[0, 0, 0]
    assert found[45, 45] > 0.9 and found[32, 32] == 1 and found[80, 80] < 0.05


def test_a_crop_without_a_survey_is_refused(clip):
    with pytest.raises(ValueError, match="surveyed first"):
        clip.batch([0], 1, (24, 16), crop=300.0)
    for bad in ({"gap": 0}, {"gap": 2, "by_motion": True}):
        with pytest.raises(ValueError, match="at least 1 frame.*survey"):
            next(clip.batches((24, 16), **bad))


def test_a_batch_moves_as_one(clip):
    batch = next(clip.batches((24, 16), 2, survey=flat_survey(clip), crop=300.0, turn=True)).to(
        torch.float64
    )
    assert {
        x.dtype
        for x in (
            batch.now,
            batch.later,
            batch.centre,
            batch.turn,
            batch.rig.K,
            batch.rig.distortion,
        )
    } == {torch.float64}


# ---- tracks --------------------------------------------------------------------------------------
@pytest.fixture
def track():
    generator = torch.Generator().manual_seed(0)
    skeleton = Skeleton(("k0", "k1", "nose"), ((0, 1), (1, 2)))
    return Track(
        300 * torch.randn(6, 3, 3, generator=generator),
        torch.rand(6, 3, generator=generator),
        skeleton,
        25.0,
        "cm",
    )


def test_csv_reads_back(tmp_path, track):
    table = np.genfromtxt(track.save(tmp_path / "out" / "t.csv"), delimiter=",", names=True)
    assert (
        table.dtype.names[:6] == ("frame", "time_s", "k0_x", "k0_y", "k0_z", "k0_confidence")
        and len(table.dtype.names) == 14
    )
    assert table["frame"].tolist() == list(range(6)) and table["time_s"].tolist() == pytest.approx(
        [i / 25 for i in range(6)]
    )
    for k, name in enumerate(track.skeleton.names):
        for axis, letter in enumerate("xyz"):
            assert table[f"{name}_{letter}"] == pytest.approx(
                track.world[:, k, axis].numpy(), abs=6e-4
            )
        assert table[f"{name}_confidence"] == pytest.approx(
            track.confidence[:, k].numpy(), abs=6e-5
        )


def test_npz_reads_back(tmp_path, track):
    with np.load(track.save(tmp_path / "t.npz"), allow_pickle=False) as data:
        assert np.array_equal(data["positions"], track.world.numpy()) and np.array_equal(
            data["confidence"], track.confidence.numpy()
        )
        assert tuple(data["names"]) == track.skeleton.names and [
            tuple(e) for e in data["edges"]
        ] == list(track.skeleton.edges)
        assert data["fps"] == 25 and data["unit"] == "cm"


def test_a_track_in_metres_keeps_its_digits(tmp_path, track):
    """0.001 of a unit is 1 mm in metres, far too coarse for a mouse."""
    small = replace(track, world=track.world / 1e5, unit="m")
    table = np.genfromtxt(small.save(tmp_path / "t.csv"), delimiter=",", names=True)
    assert table["nose_x"] == pytest.approx(small.world[:, 2, 0].numpy(), rel=2e-3)
