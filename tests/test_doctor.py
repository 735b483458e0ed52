"""The doctor: a good recording passes; a copy broken in one usual way is told which."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_heading import walker

from bkind3d_lite.cameras import ring as cameras_in_a_ring
from bkind3d_lite.cameras import triangulate
from bkind3d_lite.clips import hull_agreement, recording_checks
from bkind3d_lite.clips.calibration_faults import (
    FITS,
    lags,
    misfit,
    misfits,
    shifted,
    silhouette_centres,
)
from bkind3d_lite.clips.label_checks import check_truth, coverage, dilated
from bkind3d_lite.clips.left_out import triangulate_without_each
from bkind3d_lite.clips.recording_checks import (
    check_agreement,
    check_background,
    check_heading,
    check_timing,
)
from bkind3d_lite.clips.rig_checks import (
    FAIL,
    PASS,
    WARN,
    check_lenses,
    check_ring,
    check_unit,
    upward,
)
from bkind3d_lite.clips.survey import survey, survey_views
from bkind3d_lite.clips.synthetic import draw, figure, poses
from bkind3d_lite.clips.videos import Frames
from bkind3d_lite.workflows import doctor
from bkind3d_lite.workflows.doctor import diagnose, examine, obstacles

LENS = (-0.3, 0.1, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def good():
    """The synthetic figure, walking round in a loop at a changing pace."""
    still, T = figure(100, views=4), 100
    angle = 2.2 * torch.linspace(0, 3.5, T) + torch.linspace(0, 9, T).sin()
    joints = (
        poses(T)
        + 130 * torch.stack([angle.cos(), angle.sin(), 0.2 * (2 * angle).sin()], -1)[:, None]
    )
    return replace(still, frames=draw(still.rig, joints), truth=joints, fps=20.0)


@pytest.fixture(scope="module")
def seen(good):
    return survey(good)


@pytest.fixture(scope="module")
def centres(good, seen):
    return silhouette_centres(seen, good.rig)


def said(diagnosis, name):
    return next(c for c in diagnosis.checks if c.name == name)


def test_a_good_recording_passes(good):
    diagnosis = diagnose(good)
    assert diagnosis.state == PASS, diagnosis.text()
    assert {c.name for c in diagnosis.checks} == {
        "files",
        "lenses",
        "unit",
        "ring",
        "background",
        "motion",
        "agreement",
        "offsets",
        "heading",
        "truth",
    }
    assert (
        "ready to train" in diagnosis.text()
        and "a gap of about" in said(diagnosis, "motion").remedy
    )


def test_rays_meet_in_a_good_rig_and_the_worst_view_is_the_moved_one(good, centres):
    assert misfit(good.rig, centres) < FITS / 2
    t = good.rig.t.clone()
    t[2] += torch.tensor([60.0, 0, 0])
    away = misfits(replace(good.rig, t=t), centres)
    assert away.argmax() == 2 and away[2] > FITS


def scaled(rig, s):
    return replace(rig, K=rig.K * torch.tensor([[s], [s], [1.0]]))


def swapped(rig, i, j):
    order = list(range(rig.views))
    order[i], order[j] = j, i
    return replace(rig.take(order), names=rig.names)


def turned_pixels(rig):
    K = rig.K.clone()
    K[:, 0, 2], K[:, 1, 2] = rig.K[:, 1, 2], rig.K[:, 0, 2]
    return replace(rig, K=K)


BROKEN = [
    ("the rotations are transposed", lambda r: replace(r, R=r.R.mT)),
    ("the translations are camera centres", lambda r: replace(r, t=r.centres)),
    ("the poses are camera to world", lambda r: replace(r, R=r.R.mT, t=r.centres)),
    (
        "OpenGL",
        lambda r: replace(
            r, R=torch.diag(torch.tensor([1.0, -1, -1])) @ r.R, t=r.t * torch.tensor([1.0, -1, -1])
        ),
    ),
    ("images 2 x as large", lambda r: scaled(r, 2.0)),
    ("images 0.5 x as large", lambda r: scaled(r, 0.5)),
    ("cameras cam0 and cam1 are swapped", lambda r: swapped(r, 0, 1)),
    ("cameras cam1 and cam3 are swapped", lambda r: swapped(r, 1, 3)),
]


@pytest.mark.parametrize("cause, broken", BROKEN, ids=[c for c, _ in BROKEN])
def test_a_wrong_calibration_is_named(good, seen, cause, broken):
    check = check_agreement(replace(good, rig=broken(good.rig)), seen)
    assert check.state == FAIL and cause in check.remedy, check


def test_two_of_many_cameras_are_not_hidden_by_the_good_ones():
    many = figure(24, views=9)
    check = check_agreement(replace(many, rig=swapped(many.rig, 2, 7)), survey_views(many))
    assert check.state == FAIL and "cameras cam2 and cam7 are swapped" in check.remedy, check


def test_each_view_left_out_at_once_is_each_left_out_in_turn():
    rig, random = cameras_in_a_ring(5), torch.Generator().manual_seed(0)
    points = 200 * torch.rand(7, 2, 3, generator=random)
    px = rig.px_from_world(points) + torch.rand(7, 5, 2, 2, generator=random)
    weight = torch.rand(7, 5, 2, generator=random).round()
    found = triangulate_without_each(rig, px, weight)
    for v in range(5):
        alone = weight.clone()
        alone[:, v] = 0
        torch.testing.assert_close(
            found[:, v], triangulate(rig, px, alone), equal_nan=True, rtol=1e-4, atol=0.05
        )
    assert found.isnan().any() and found.isfinite().any()


def test_what_the_doctor_does_grows_with_the_cameras_and_not_with_their_square(monkeypatch):
    """Work is counted, not timed: rays that are cast by silhouettes and views that they ask."""
    asked, met = [], hull_agreement._met
    monkeypatch.setattr(
        hull_agreement, "_met", lambda rig, *rest: asked.append(rig.views) or met(rig, *rest)
    )
    work = []
    for views in (8, 16):
        clip = figure(6, views=views, wh=(48, 32))
        seen = survey_views(clip)
        mirrored = seen.thumbs.flip(3)  # all of them: the rays do not meet, whatever is tried
        asked.clear()
        left, _ = hull_agreement.shape_suspects(
            clip.rig, mirrored, silhouette_centres(replace(seen, thumbs=mirrored), clip.rig)
        )
        assert len(left) == views and set(asked) == {6}
        work.append(sum(asked))
    assert work[0] > 8 * 6, "mistakes were tried"
    assert 1.8 * work[0] < work[1] < 2.2 * work[0]


@pytest.mark.parametrize("lag", [9, -14])
def test_a_late_camera_is_named_with_its_lag(good, lag):
    frames = good.frames.clone()
    frames[:, 2] = torch.roll(good.frames[:, 2], lag, 0)
    cut = replace(good, frames=frames[abs(lag) : len(frames) - abs(lag)], truth=None)
    check = said(diagnose(cut), "agreement")
    assert (
        f"cam2 runs {abs(lag)} frames {'late' if lag > 0 else 'early'}" in check.remedy
        and f"--offset cam2={lag}" in check.remedy
    ), check


def test_lags_are_zero_when_nothing_is_late_and_undo_a_shift(good, centres):
    assert lags(good.rig, centres) == [0, 0, 0, 0]
    assert lags(good.rig, shifted(centres, 1, 7))[1] == -7


@pytest.mark.parametrize(
    "what, turn", [("mirrored", lambda x: x.flip(2)), ("upside down", lambda x: x.flip(1, 2))]
)
def test_a_turned_video_is_named(good, what, turn):
    frames = good.frames.clone()
    frames[:, 1] = turn(frames[:, 1])
    check = said(diagnose(replace(good, frames=frames, truth=None)), "agreement")
    assert check.state == FAIL and f"cam1 is {what}" in check.remedy, check


def test_metres_that_say_millimetres(good):
    check = check_unit(replace(good.rig, t=good.rig.t / 1000))
    assert check.state == FAIL and "that fits m, not mm" in check.remedy
    assert check_unit(replace(good.rig, t=good.rig.t / 1000, unit="m")).state == PASS
    assert check_unit(replace(good.rig, unit="unknown")).state == WARN


def test_a_truth_in_another_unit_or_of_other_frames_is_told(good, seen):
    assert check_truth(replace(good, truth=good.truth / 1000), seen).state == FAIL
    assert coverage(good.truth[:20], good.rig, dilated(seen.thumbs[:20])) > 0.9


def test_a_lens_that_cannot_be_is_told(good):
    K = good.rig.K.clone()
    K[1, :2, 2] *= 0.2
    assert "cam1: principal point" in check_lenses(replace(good.rig, K=K)).finding
    folded = replace(good.rig, distortion=torch.tensor([[-2.0, 0, 0, 0, 0]]).expand(4, 5))
    assert "folds back" in check_lenses(folded).finding


def test_a_camera_that_looks_elsewhere_and_views_from_one_side(good):
    aside = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    R, t = good.rig.R.clone(), good.rig.t.clone()
    R[0], t[0] = aside @ R[0], aside @ t[0]
    check = check_ring(replace(good.rig, R=R, t=t))
    assert check.state == WARN and "looks elsewhere" in check.remedy
    assert "from nearly one side" in check_ring(cameras_in_a_ring(72).take([0, 1])).remedy


def test_a_background_that_moves_is_told(good):
    frames = good.frames.clone()
    frames[50:, 3] = torch.roll(frames[50:, 3], 9, 2)
    assert "cam3" in check_background(replace(good, frames=frames), seen).finding


def test_a_still_recording_is_told(good):
    still = replace(good, frames=good.frames[:1].expand(40, -1, -1, -1, -1), truth=None)
    diagnosis = diagnose(still)
    assert diagnosis.state == FAIL and "nothing moves" in said(diagnosis, "motion").finding


def test_a_folder_that_does_not_open_is_one_failed_check(folder, tmp_path):
    assert examine(tmp_path / "nowhere").state == FAIL
    import shutil

    copy = shutil.copytree(folder[0], tmp_path / "clip")
    (copy / "cam1.mp4").unlink()
    diagnosis = examine(copy)
    assert (
        [c.name for c in diagnosis.checks] == ["files"]
        and "no video for camera cam1" in diagnosis.text()
        and "mend this first" in diagnosis.text()
    )


# ---- heading -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def walked():
    """Six seconds: a walk round a circle and a rest, and what the views alone show of it."""
    clip, _ = walker(120)
    return clip, survey_views(clip)


def part_of(walked, times):
    clip, views = walked
    return clip.at(times), replace(views, thumbs=views.thumbs[list(times)])


def test_a_heading_that_can_be_found_is_told_with_its_figures(walked):
    check = check_heading(*walked)
    assert check.state == PASS and not check.remedy, check
    told = r"walks (\d+)% of the time .*in 1[0-2] of 12 directions; its axis agrees 0\.[6-9]"
    share = re.search(told, check.finding)
    assert share and 60 < int(share[1]) < 85, check


def test_where_nothing_walks_the_advice_is_a_warning_and_no_obstacle(walked):
    rests = part_of(walked, range(90, 120))
    check = check_heading(*rests)
    assert check.state == WARN and "longer recording in which it walks" in check.remedy, check
    assert not obstacles(*walked)


def test_what_is_walked_in_a_part_is_walked_in_the_whole(walked):
    """Two seconds of a walk tell too little by themselves; of a minute they are enough."""
    some = part_of(walked, range(40))
    assert check_heading(*some).state == WARN
    assert check_heading(*some, frames=1200).state == PASS
    assert "more directions" in check_heading(*some, frames=1200).remedy


def test_long_and_fast_films_are_looked_at_in_stretches(walked, monkeypatch):
    clip, views = walked
    monkeypatch.setattr(recording_checks, "HEADED_FRAMES", 32)
    asked = []
    whole = recording_checks.find_heading
    monkeypatch.setattr(
        recording_checks, "find_heading", lambda c, s: asked.append((c, s)) or whole(c, s)
    )
    assert check_heading(replace(clip, fps=30.0), views).state == PASS
    ((few, seen),) = asked
    assert len(few) == 32 == len(seen.centre) and few.fps == 15 and 1 < len(few.starts) <= 8
    # where the silhouettes say, to a limb
    away = (seen.centre - few.truth.mean(1)).norm(dim=-1)
    assert away.max() < 70, "a quarter of its length"


def test_a_world_that_lies_on_its_side_has_no_heading(walked):
    clip, views = walked
    R = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    aside = replace(clip, rig=replace(clip.rig, R=clip.rig.R @ R))
    assert upward(clip.rig) == "+z" and upward(aside.rig) != "+z"
    assert check_heading(aside, views) is None


# ---- time ----------------------------------------------------------------------------------------
class Film:
    """Footage that knows its times alone."""

    def __init__(self, seconds, fps=30.0):
        self.seconds, self.fps, self.wh, self.path = np.asarray(seconds), fps, (96, 64), None

    def __len__(self):
        return len(self.seconds)


def filmed(good, *films, **change):
    rig = good.rig.take(list(range(len(films))))
    return replace(good, frames=Frames(films, (96, 64)), rig=rig, fps=30.0, truth=None, **change)


def test_even_times_pass_and_a_jump_is_no_uneven_interval(good):
    even = np.arange(90) / 30
    # a container may begin at any time
    check = check_timing(filmed(good, Film(even), Film(even + 5.0)))
    assert check.state == PASS and "33.33 ms a frame" in check.finding
    torn = np.concatenate([even[:40], even[40:] + 2])
    assert check_timing(filmed(good, Film(torn), Film(torn), starts=(0, 40))).state == PASS
    assert check_timing(good) is None, "frames in memory have no times"


@pytest.mark.parametrize(
    "second, fps, words",
    [
        (np.arange(90) / 25, 25.0, "frame rates differ: cam0 30, cam1 25"),
        (
            np.delete(np.arange(93) / 30, [20, 50, 51]),
            30.0,
            r"cam1: 2 of 89 intervals uneven \(33 to 100 ms\)",
        ),
        (
            np.arange(90) / 30 * 1.002 + np.linspace(0, 0.1, 90),
            30.0,
            "cam1 drifts 0.1.* s away from cam0",
        ),
    ],
)
def test_what_is_wrong_with_the_time_is_named(good, second, fps, words):
    check = check_timing(filmed(good, Film(np.arange(90) / 30), Film(second, fps)))
    assert check.state == WARN and re.search(words, check.finding) and check.remedy, check.finding


def test_a_recording_in_fragments_is_a_warning(good):
    even = np.arange(90) / 30
    check = check_timing(filmed(good, Film(even), Film(even), starts=tuple(range(0, 90, 5))))
    assert check.state == WARN and "90 frames in 18 unbroken stretches" in check.finding


def test_of_a_long_recording_some_stretches_are_looked_at(folder, monkeypatch):
    monkeypatch.setattr(doctor, "DOCTOR_FRAMES", 8)
    found = examine(folder[0], plan=False)
    assert (
        len(found.clip) == 8
        and "12 frames at 30 fps, 8 of them looked at" in said(found, "files").finding
    )
    assert examine(folder[0], offsets={"nobody": 1}).state == FAIL


def test_videos_of_another_size_than_the_calibration_are_told(folder, tmp_path):
    import shutil

    from bkind3d_lite.clips.videos import Video, write_video

    copy = shutil.copytree(folder[0], tmp_path / "clip")
    write_video(copy / "cam1.mp4", Video(copy / "cam1.mp4").read(0, 12, (48, 32)), 30)
    assert (
        "cam1 48 x 32 px for a calibration of 96 x 64 px"
        in said(examine(copy, plan=False), "files").finding
    )


def test_a_notebook_shows_the_checks_as_a_table(good):
    page = diagnose(good)._repr_html_()
    assert page.count("<tr>") == 10 and "ready to train" in page and "a gap of about" in page
