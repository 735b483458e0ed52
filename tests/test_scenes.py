"""Views and report: pictures that are true to scale, land where they should, and need no network."""

import base64
import json
import re

import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest
import torch

matplotlib.use("Agg")

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import MultiViewClip, Skeleton, Track
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.clips.videos import Video
from bkind3d_lite.viz import overlays, report_page, scenes, traces
from bkind3d_lite.volumes import Grid

SCORES = {
    "clip": "rat",
    "seed": 0,
    "steps": 900,
    "seconds_training": 280.5,
    "seconds_per_step": 0.31,
    "keypoints": 15,
    "device": "cpu",
    "versions": {"torch": "2"},
    "mpjpe_mm": {
        "trained": 21.34,
        "untrained": 31.2,
        "centroid": 36.8,
        "mean_pose": 138.1,
        "checkpoint": None,
    },
    "pmpjpe_mm": {
        "trained": 17.9,
        "untrained": 16.2,
        "centroid": float("nan"),
        "mean_pose": 22.3,
        "checkpoint": None,
    },
    "on_body": {"trained": 0.873, "untrained": 0.41, "checkpoint": None},
    "bone_distance_mm": {"trained": 14.2, "untrained": 52.0, "checkpoint": None},
}


@pytest.fixture(scope="module")
def tracked(clip):
    """The synthetic clip and its own truth as a track."""
    return clip, Track(
        clip.truth.clone(), torch.linspace(0, 1, 8).expand(len(clip), 8), clip.skeleton, clip.fps
    )


def fetches(page: str) -> list[str]:
    """Tags of a page that would fetch something: scripts, styles, pictures, films or frames with an address."""
    tags = re.findall(r"<(?:script|link|img|video|iframe|source|object)\b[^>]*>", page)
    return [t for t in tags if re.search(r"""(?:src|href|data)\s*=\s*["']?\s*(?:https?:)?//""", t)]


# ---- colours -----------------------------------------------------------------------------------------------------
def test_colours_differ_and_grow_in_order():
    assert len(set(overlays.palette(30))) == 30
    assert overlays.palette(24)[:8] == overlays.palette(8)


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
    assert overlays.side_of(name) == side


def test_left_and_right_never_share_a_colour():
    names = [f"{side}_{k}" for side in ("left", "right") for k in range(5)] + ["snout", "tail"]
    left, right, middle = (
        set(overlays.keypoint_colours(names)[s]) for s in (slice(0, 5), slice(5, 10), slice(10, 12))
    )
    assert not left & right and not left & middle and not right & middle
    assert overlays.keypoint_colours(["k0", "k1"]) == overlays.palette(
        2
    ) and overlays.keypoint_colours(["left_ear"], ["#111111"]) == ["#111111"]


# ---- space -------------------------------------------------------------------------------------------------------
def test_the_pen_visits_every_edge_and_every_lone_point():
    pen = traces.walk([(0, 2), (2, 1)], 5)
    pairs = {(a, b) for a, b in zip(pen, pen[1:]) if a is not None and b is not None}
    assert pairs == {(0, 2), (2, 1)}
    assert set(pen) == {0, 1, 2, 3, 4, None}


def test_an_unknown_point_lifts_the_pen(tracked):
    points = tracked[0].truth[0].clone()
    points[1] = torch.nan
    trace = traces.bones(points, tracked[0].skeleton.edges)
    assert all(
        (x is None) == (k is None or k == 1)
        for x, k in zip(trace.x, traces.walk(tracked[0].skeleton.edges, 8))
    )


def test_what_still_has_gradients_is_drawn(tracked):
    points, weight = tracked[0].truth[0].clone().requires_grad_(), torch.ones(8, requires_grad=True)
    assert len(traces.bones(points, [(0, 1)], weight).x) > 0
    drawn = overlays.overlay(
        tracked[0].frames[0],
        tracked[0].rig.ndc_from_world(points),
        [(0, 1)],
        confidence=weight,
        scale=1,
    )
    assert drawn.dtype == np.uint8 and drawn.std() > 0


def test_axes_are_equal_named_and_hold_everything(tracked):
    clip, _ = tracked
    shown = scenes.scene(
        traces.rig_traces(clip.rig), traces.bones(clip.truth[0], clip.skeleton.edges), unit="cm"
    )
    assert shown.layout.scene.aspectmode == "data"
    for a, values in zip("xyz", clip.rig.centres.T):
        axis = shown.layout.scene[f"{a}axis"]
        assert axis.title.text == f"{a} (cm)"
        assert axis.range[0] < values.min() and values.max() < axis.range[1]
    assert shown.layout.scene.camera.up.z == 1 and shown.layout.scene.camera.eye.z > 0


def test_frusta_point_where_the_cameras_look():
    rig = ring(3, 900.0, 500.0, wh=(80, 48))
    frusta = traces.rig_traces(rig, depth=100.0)[0]
    xyz = torch.tensor([[np.nan if v is None else v for v in frusta[a]] for a in "xyz"]).T.float()
    ndc = rig.ndc_from_world(xyz[~xyz.isnan().any(1)])  # all ends of all edges, in every view
    own = ndc.unflatten(1, (3, 8, 2))[range(3), range(3)]  # (V, edges, ends, 2)
    torch.testing.assert_close(
        own[:, 4:].abs(), torch.ones_like(own[:, 4:]), atol=1e-3, rtol=0
    )  # the far rectangle is the image's rim


def test_the_cube_has_its_side_and_turns_with_its_grid():
    for grid in (
        Grid(torch.tensor([1.0, 2, 3]), 10.0, 7),
        Grid(torch.tensor([1.0, 2, 3]), 10.0, 7, torch.tensor([0.6])),
    ):
        trace = traces.cube(grid)
        ends = np.array([[v for v in trace[a] if v is not None] for a in "xyz"], float).T.reshape(
            -1, 2, 3
        )
        assert len(ends) == 12
        np.testing.assert_allclose(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1), 10, atol=1e-3)
        np.testing.assert_allclose(ends.mean((0, 1)), [1, 2, 3], atol=1e-3)


def test_a_volume_is_small_and_its_peak_stays_in_place():
    grid = Grid(torch.tensor([10.0, 0, 0]), 100.0, 48)
    place = torch.tensor([30.0, -20, 5])
    trace = traces.volume_trace((-(grid.points - place).square().sum(-1) / 200).exp(), grid)
    values = np.asarray(trace.value)
    assert values.size == 24**3 and values.dtype == np.float32
    peak = np.array([np.asarray(trace[a])[values.argmax()] for a in "xyz"])
    assert np.abs(peak - place.numpy()).max() <= 100 / 24
    with pytest.raises(ValueError, match="turned"):
        traces.volume_trace(
            torch.ones(4, 4, 4), Grid(torch.zeros(1, 3), 1.0, 4, torch.tensor([0.3]))
        )


def test_slices_cross_at_the_peak_and_keep_its_value():
    grid = Grid(torch.tensor([10.0, 0, 0]), 120.0, 12)
    values = torch.zeros(12, 12, 12)
    values[2, 5, 9] = 3.0  # z, y, x
    for axis, plane in zip("xyz", traces.slices(values, grid)):
        surface, where = (
            np.asarray(plane.surfacecolor),
            np.stack([np.asarray(plane[a]) for a in "xyz"], -1),
        )
        assert (
            surface.shape == (12, 12)
            and surface.max() == 3
            and np.ptp(np.asarray(plane[axis])) == 0
        )
        np.testing.assert_allclose(
            where[np.unravel_index(surface.argmax(), surface.shape)],
            grid.points[2, 5, 9].numpy(),
            atol=1e-4,
        )
    assert np.asarray(traces.slices(values, grid, (0, 0, 0))[0].surfacecolor).max() == 0


def test_pictures_on_frusta_fill_the_image_and_show_it():
    rig, image = ring(2, 900.0, 500.0, wh=(80, 48)), torch.zeros(2, 48, 80, 3, dtype=torch.uint8)
    image[:, :24, :, 0] = 255  # the upper half is red
    mesh = traces.rig_traces(rig, 100.0, image)[2]
    ndc = rig.ndc_from_world(torch.from_numpy(np.stack([mesh.x, mesh.y, mesh.z], -1)).float())[0]
    torch.testing.assert_close(
        torch.stack([ndc.amin(0), ndc.amax(0)]),
        torch.tensor([[-1.0, -1], [1, 1]]),
        atol=1e-2,
        rtol=0,
    )
    red = torch.tensor([c == "#ff0000" for c in mesh.vertexcolor])
    assert (ndc[red, 1] < 0.05).all() and (ndc[~red, 1] > -0.05).all()


@pytest.mark.parametrize("theme", ["light", "dark", "auto"])
def test_themes(theme, tracked):
    shown = scenes.scene(traces.bones(tracked[0].truth[0], ()), theme=theme)
    assert (shown.layout.paper_bgcolor == "rgba(0,0,0,0)") == (theme == "auto")
    with pytest.raises(ValueError, match="light, dark"):
        scenes.scene(theme="blue")


def test_a_ray_passes_the_point_it_was_cast_for(tracked):
    clip, _ = tracked
    point = clip.truth[3, :1]
    for trace in traces.rays(clip.rig, clip.rig.px_from_world(point)):
        a, b = (np.array([trace[axis][i] for axis in "xyz"]) for i in (0, 1))
        away = np.linalg.norm(np.cross(b - a, point[0].numpy() - a)) / np.linalg.norm(b - a)
        assert away < 0.5


# ---- the film ----------------------------------------------------------------------------------------------------
def test_frames_touch_only_what_moves(tracked):
    clip, track = tracked
    film = scenes.movie(track, clip.rig, clip.truth, clip.skeleton, (0, 0, 50), 500.0, every=2)
    assert len(film.frames) == 20 == len(film.layout.sliders[0].steps)
    assert len(film.data) > 4
    for frame in film.frames:
        assert frame.traces == (0, 1) and len(frame.data) == 2 and not frame.layout.to_plotly_json()
    pen = traces.walk(track.skeleton.edges, 8)
    for t in (0, 7, 19):
        np.testing.assert_allclose(
            [x for x in film.frames[t].data[0].x if x is not None],
            [track.world[2 * t, k, 0] for k in pen if k is not None],
            atol=0.06,
        )
    assert film.frames[3].data[0].x[:2] == tuple(
        round(float(track.world[6, k, 0]), 1) for k in pen[:2]
    )


def test_axes_stand_still_around_the_animal_not_the_cameras(tracked):
    clip, track = tracked
    film = scenes.movie(track, clip.rig)
    near, far = (b.args[0] for b in film.layout.updatemenus[1].buttons)
    assert film.layout.scene.aspectmode == "data"
    for a, points, centres in zip("xyz", track.world.unbind(-1), clip.rig.centres.T):
        low, high = film.layout.scene[f"{a}axis"].range
        assert low < points.min() and points.max() < high
        assert near[f"scene.{a}axis.range"] == pytest.approx([low, high], abs=0.01)
        assert (
            far[f"scene.{a}axis.range"][0] < centres.min()
            and centres.max() < far[f"scene.{a}axis.range"][1]
        )
    assert (
        film.layout.scene.xaxis.range[1] - film.layout.scene.xaxis.range[0] < 700
    )  # the cameras are 1800 mm apart


def test_views_play_in_step(tracked):
    clip, track = tracked
    film = scenes.movie(track, clip.rig, every=8, clip=clip, views=[0, 2, 3])
    assert [t.type for t in film.data[:3]] == ["scatter3d", "image", "scatter"] and len(
        film.frames
    ) == 5
    sources = [f.data[1].source for f in film.frames]
    assert len(set(sources)) == 5 and all(s.startswith("data:image/jpeg;base64,") for s in sources)
    x, y = film.frames[2].data[2].x, film.frames[2].data[2].y
    assert len(x) == 3 * 8
    for v, (vx, vy) in enumerate(zip(*(np.array(a, float).reshape(3, 8) for a in (x, y)))):
        known = np.isfinite(vx)
        assert (
            known.sum() >= 6
            and (vx[known] >= 112 * v).all()
            and (vx[known] <= 112 * (v + 1)).all()
            and (vy[known] <= 112).all()
        )
        px = clip.rig.px_from_world(track.world[16])[
            [0, 2, 3][v]
        ].numpy()  # a similar triangle: the cut keeps proportions
        np.testing.assert_allclose(
            (vx - vx[0])[known] * (px[2] - px[0])[0],
            (vx[2] - vx[0]) * (px[known, 0] - px[0, 0]),
            atol=15,
        )


def test_metres_keep_their_digits(tracked):
    clip, track = tracked
    small = Track(track.world / 1000, track.confidence, track.skeleton, track.fps, "m")
    film = scenes.movie(small)
    assert film.layout.scene.xaxis.title.text == "x (m)"
    assert film.frames[5].data[0].x[0] == pytest.approx(float(small.world[5, 0, 0]), abs=1e-4)


def test_200_frames_stay_small():
    K, J = 15, 19
    world = 300 * torch.randn(200, J, 3, generator=torch.Generator().manual_seed(0))
    chain = Skeleton(tuple(f"k{k}" for k in range(K)), tuple((k, k + 1) for k in range(K - 1)))
    joints = Skeleton(tuple(f"j{k}" for k in range(J)), tuple((k, k + 1) for k in range(J - 1)))
    film = scenes.movie(
        Track(world[:, :K], torch.rand(200, K), chain, 30.0), ring(6), world, joints
    )
    assert len(film.to_json()) < 1_000_000


def test_200_frames_with_views_stay_small():
    world = 300 * torch.randn(200, 15, 3, generator=torch.Generator().manual_seed(0))
    chain = Skeleton(tuple(f"k{k}" for k in range(15)), tuple((k, k + 1) for k in range(14)))
    noise = torch.randint(0, 256, (2, 4, 96, 128, 3), dtype=torch.uint8)[
        torch.arange(200) % 2
    ]  # no picture is harder to press
    clip = MultiViewClip(noise, ring(4, wh=(128, 96)), 30.0)
    film = scenes.movie(
        Track(world, torch.rand(200, 15), chain, 30.0), clip.rig, world, chain, clip=clip
    )
    assert len(film.to_json()) < 3_000_000


def test_the_saved_page_fetches_nothing(tracked, tmp_path):
    clip, track = tracked
    path = scenes.save_html(
        scenes.movie(track, clip.rig, every=10, title="a film"), tmp_path / "skeleton.html"
    )
    page = path.read_text(encoding="utf-8")
    assert not fetches(page)
    assert "<title>a film</title>" in page and "Plotly.addFrames" in page
    assert path.stat().st_size < 6_000_000
    assert list(tmp_path.iterdir()) == [path]


# ---- images ------------------------------------------------------------------------------------------------------
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
    bare = overlays.overlay(grey, ndc[:, 2:], colours=overlays.palette(3)[2:])
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
    path = overlays.overlay_video(clip, track, tmp_path / "overlay.mp4", range(0, 12, 3), fps=8)
    video = Video(path)
    assert (len(video), video.fps, video.wh) == (4, 8.0, (384, 256))
    few = Track(track.world[:4], track.confidence[:4], track.skeleton, track.fps)
    assert (
        len(list(overlays.drawn_frames(clip, few, [3, 5, 7, 9], truth=True))) == 4
    )  # a row per frame asked for
    with pytest.raises(ValueError, match="4 frames"):
        list(overlays.drawn_frames(clip, few, [3, 5]))


def test_closeups_and_strips_show_the_rows_and_views_asked_for(tracked):
    clip, track = tracked
    assert overlays.closeups(clip, track, [0, 9, 20], views=[1, 3], pixels=50).shape == (
        150,
        100,
        3,
    )
    assert overlays.strip(
        clip.frames[0], clip.rig.ndc_from_world(clip.truth[0]), clip.skeleton.edges, scale=1
    ).images[0].get_array().shape == (64, 384, 3)


# ---- report ------------------------------------------------------------------------------------------------------
def test_the_score_table_is_aligned_and_marks_what_is_not_defined():
    lines = report_page.score_table(SCORES).splitlines()
    ends = [
        [m.end() for m in re.finditer(r"(?<= )(?:-|[\d.]+)(?=[* ]|$)", line)] for line in lines[1:]
    ]
    assert len(lines) == 6 and all(e == ends[0] for e in ends)
    table = {line[:10].strip(): line[10:].split() for line in lines[1:]}
    assert table["trained"] == ["21.3*", "0.68", "17.9", "87.3*", "14.2*"]
    assert table["checkpoint"] == ["-"] * 5
    assert table["centroid"] == ["36.8", "1.18", "-", "-", "-"]
    assert table["untrained"][2] == "16.2*"  # a baseline that wins is marked, too


def test_an_empty_report_still_makes_a_table():
    assert report_page.score_table({}).count("-") == 25


def test_the_report_is_whole_and_fetches_nothing(tracked, tmp_path):
    clip, track = tracked
    track.save(tmp_path / "keypoints.csv")
    opened = matplotlib.pyplot.get_fignums()
    rows = [{"step": str(s), "reconstruct": str(1 / s), "separate": "0.0"} for s in range(1, 50)]
    path = report_page.write_report(
        tmp_path,
        SCORES | {"clip": "<b>&"},
        report_page.pictures(clip, track, rows),
        {"rate": 1e-3, "gaps": (0.2, 0.4)},
    )
    page = path.read_text(encoding="utf-8")
    assert not fetches(page) and "http" not in page
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert (
        'href="keypoints.csv"' in page and 'href="skeleton.html"' not in page
    )  # only what is there
    for kind, data in re.findall(r'src="data:image/(\w+);base64,([^"]+)"', page):
        assert base64.b64decode(data)[:3] == {"png": b"\x89PN", "jpeg": b"\xff\xd8\xff"}[kind]
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["mpjpe_mm"] == SCORES["mpjpe_mm"] and kept["pmpjpe_mm"]["centroid"] is None
    assert matplotlib.pyplot.get_fignums() == opened  # none is left open


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
    lines = {line.get_label(): line for line in overlays.loss_curves(rows).get_lines()}
    assert (
        np.isfinite(lines["length"].get_ydata()).sum() == 6
        and np.isfinite(lines["late"].get_ydata()).sum() == 3
    )


def test_bones_is_one_trace_that_any_figure_takes():
    known = figure(1, views=2, wh=(24, 16))
    shown = go.Figure(
        [
            traces.bones(
                known.truth[0], known.skeleton.edges, torch.ones(8), names=known.skeleton.names
            ),
            traces.trail(known.truth[:, 0]),
        ]
    )
    assert shown.data[0].text[:2] == ("nose", "neck") and shown.data[0].marker.size[:3] == (
        9.0,
        9.0,
        0,
    )
