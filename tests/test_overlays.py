"""Overlays and films: colours that differ, keypoints drawn where they project."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import Track
from bkind3d_lite.clips.videos import Video
from bkind3d_lite.viz import films, overlays, plots
from bkind3d_lite.viz.colours import keypoint_colours, palette, side_of


def test_colours_differ_and_grow_in_order():
    assert len(set(palette(30))) == 30
    assert palette(24)[:8] == palette(8)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("left_knee", "left"),
        ("KneeRight", "right"),
        ("l_hand", "left"),
        ("hand.R", "right"),
        ("snout", ""),
        ("lip", ""),
        ("ear", ""),
        ("tail_l", "left"),
    ],
)
def test_names_tell_sides(name, side):
    assert side_of(name) == side


def test_left_and_right_never_share_a_colour():
    names = [f"{side}_{k}" for side in ("left", "right") for k in range(5)] + ["snout", "tail"]
    left, right, middle = (
        set(keypoint_colours(names)[s]) for s in (slice(0, 5), slice(5, 10), slice(10, 12))
    )
    assert not left & right and not left & middle and not right & middle
    assert keypoint_colours(["k0", "k1"]) == palette(2) and keypoint_colours(
        ["left_ear"], ["#111111"]
    ) == ["#111111"]


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_keypoint_is_drawn_where_it_projects(scale):
    rig = ring(1, 900.0, 500.0, wh=(120, 70), distortion=(-0.2, 0.03, 0.001, 0.001, 0.0))
    point = torch.tensor([[60.0, -40.0, 30.0]])
    black = torch.zeros(1, 70, 120, 3, dtype=torch.uint8)
    picture = (
        overlays.overlay(black, rig.ndc_from_world(point), colours=["#ffffff"], scale=scale)
        .sum(-1)
        .astype(float)
    )
    assert picture.shape == (70 * scale, 120 * scale)
    y, x = np.indices(picture.shape) + 0.5
    found = np.array([(picture * x).sum(), (picture * y).sum()]) / picture.sum()
    np.testing.assert_allclose(found / scale, rig.px_from_world(point)[0, 0].numpy(), atol=0.1)


def test_a_stroke_covers_its_area():
    image = torch.zeros(40, 60, 3)
    overlays.stroke(image, torch.tensor([15.3, 20.2]), torch.tensor([40.3, 20.2]), 4.0, "#ffffff")
    assert float(image[..., 0].sum() / 255) == pytest.approx(25 * 8 + np.pi * 16, rel=0.01)


def test_what_is_behind_a_camera_or_unknown_is_not_drawn():
    grey = torch.full((2, 40, 60, 3), 90, dtype=torch.uint8)
    ndc = torch.tensor([[-1e6, -1e6], [torch.nan, 0.0], [0.2, 0.1]]).expand(2, 3, 2)
    bare = overlays.overlay(grey, ndc[:, 2:], colours=palette(3)[2:])
    np.testing.assert_array_equal(overlays.overlay(grey, ndc, [(0, 2), (1, 2)]), bare)
    np.testing.assert_array_equal(overlays.overlay(grey, None), np.full((80, 240, 3), 90))


def test_a_doubtful_keypoint_is_a_ring():
    black = torch.zeros(1, 200, 200, 3, dtype=torch.uint8)
    sure, unsure = (
        overlays.overlay(
            black, torch.zeros(1, 1, 2), confidence=torch.tensor([w]), colours=["#ffffff"]
        )[200, 200, 0]
        for w in (0.9, 0.1)
    )
    assert sure > 200 > 100 > unsure


@pytest.mark.parametrize(
    ("count", "grid"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (6, (2, 3)), (12, (3, 4))],
)
def test_views_are_laid_out_in_a_sensible_grid(count, grid):
    sheet = overlays.overlay(torch.full((count, 4, 6, 3), 200, dtype=torch.uint8), None, scale=1)
    assert sheet.shape == (grid[0] * 4, grid[1] * 6, 3)
    assert (sheet == 200).sum() == count * 4 * 6 * 3


def test_the_film_has_the_frames_asked_for(tracked, tmp_path):
    clip, track = tracked
    path = films.overlay_video(clip, track, tmp_path / "overlay.mp4", range(0, 12, 3), fps=8)
    video = Video(path)
    assert (len(video), video.fps, video.wh) == (4, 8.0, (384, 256))
    few = Track(track.world[:4], track.confidence[:4], track.skeleton, track.fps)
    assert (
        len(list(films.drawn_frames(clip, few, [3, 5, 7, 9], truth=True))) == 4
    )  # a row per frame asked for
    with pytest.raises(ValueError, match="4 frames"):
        list(films.drawn_frames(clip, few, [3, 5]))


def test_closeups_and_strips_show_the_rows_and_views_asked_for(tracked):
    clip, track = tracked
    assert films.closeups(clip, track, [0, 9, 20], views=[1, 3], pixels=50).shape == (
        150,
        100,
        3,
    )
    assert plots.strip(
        clip.frames[0], clip.rig.ndc_from_world(clip.truth[0]), clip.skeleton.edges, scale=1
    ).images[0].get_array().shape == (64, 384, 3)


def test_curves_read_text_and_begin_where_a_term_begins():
    rows = [
        {
            "step": str(s),
            "reconstruct": "0.5",
            "length": "0.0" if s < 5 else "0.1",
            "late": "" if s < 8 else "0.2",
        }
        for s in range(1, 11)
    ]
    lines = {line.get_label(): line for line in plots.loss_curves(rows).get_lines()}
    assert (
        np.isfinite(lines["length"].get_ydata()).sum() == 6
        and np.isfinite(lines["late"].get_ydata()).sum() == 3
    )


@pytest.mark.parametrize("known", [True, False])
def test_the_top_view_is_to_scale_and_shows_what_is_known(tracked, known):
    clip, track = tracked
    if known:
        track = replace(track, heading=torch.full((len(clip),), -0.5))
    ax = plots.top_view(track, 30)
    assert ax.get_aspect() == 1 and ax.get_xlabel() == "x (mm)"
    np.testing.assert_allclose(ax.lines[0].get_xydata(), track.origin[:, :2])  # the whole path
    np.testing.assert_allclose(ax.lines[1].get_xydata(), track.origin[:31, :2])  # up to now
    dots = ax.collections[0].get_offsets()
    np.testing.assert_allclose(dots, track.world[30, :, :2])
    assert len(ax.patches) == known and ("heading -29°" in ax.get_title()) == known
    if known:
        x, y = ax.patches[0].get_xy()[3] - track.origin[30, :2].numpy()
        assert np.arctan2(y, x) == pytest.approx(-0.5, abs=1e-3)
