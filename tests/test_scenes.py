"""Scenes and player: equal axes that hold everything, and a page that plays without a network."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import MultiViewClip, Skeleton, Track
from bkind3d_lite.viz import movie, scenes, traces


def fetches(page: str) -> list[str]:
    """Tags of a page that would fetch something: scripts, styles, pictures or films by address."""
    tags = re.findall(r"<(?:script|link|img|video|iframe|source|object)\b[^>]*>", page)
    return [t for t in tags if re.search(r"""(?:src|href|data)\s*=\s*["']?\s*(?:https?:)?//""", t)]


def one_scale(space) -> bool:
    """Whether a millimetre is as long on every axis, whatever is drawn first."""
    sides = [space[f"{a}axis"].range[1] - space[f"{a}axis"].range[0] for a in "xyz"]
    scale = [side / space.aspectratio[a] for a, side in zip("xyz", sides)]
    return space.aspectmode == "manual" and max(scale) == pytest.approx(min(scale))


def test_axes_are_equal_named_and_hold_everything(tracked):
    clip, _ = tracked
    shown = scenes.scene(
        traces.rig_traces(clip.rig), traces.bones(clip.truth[0], clip.skeleton.edges), unit="cm"
    )
    assert one_scale(shown.layout.scene)
    for a, values in zip("xyz", clip.rig.centres.T):
        axis = shown.layout.scene[f"{a}axis"]
        assert axis.title.text == f"{a} (cm)"
        assert axis.range[0] < values.min() and values.max() < axis.range[1]
    assert shown.layout.scene.camera.up.z == 1 and shown.layout.scene.camera.eye.z > 0


@pytest.mark.parametrize("theme", ["light", "dark", "auto"])
def test_themes(theme, tracked):
    shown = scenes.scene(traces.bones(tracked[0].truth[0], ()), theme=theme)
    assert (shown.layout.paper_bgcolor == "rgba(0,0,0,0)") == (theme == "auto")
    with pytest.raises(ValueError, match="light, dark"):
        scenes.scene(theme="blue")


def test_frames_touch_only_what_moves(tracked):
    clip, track = tracked
    film = movie(track, clip.rig, clip.truth, clip.skeleton, (0, 0, 50), 500.0, every=2)
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
    film = movie(track, clip.rig)
    near, far = (b.args[0] for b in film.layout.updatemenus[1].buttons)
    assert one_scale(film.layout.scene)
    for a, points, centres in zip("xyz", track.world.unbind(-1), clip.rig.centres.T):
        low, high = film.layout.scene[f"{a}axis"].range
        assert low < points.min() and points.max() < high
        assert near[f"scene.{a}axis.range"] == pytest.approx([low, high], abs=0.01)
        assert near["scene.aspectratio"][a] == pytest.approx(film.layout.scene.aspectratio[a])
        assert (
            far[f"scene.{a}axis.range"][0] < centres.min()
            and centres.max() < far[f"scene.{a}axis.range"][1]
        )
    assert (
        film.layout.scene.xaxis.range[1] - film.layout.scene.xaxis.range[0] < 700
    )  # the cameras are 1800 mm apart


def test_views_play_in_step(tracked):
    clip, track = tracked
    film = movie(track, clip.rig, every=8, clip=clip, views=[0, 2, 3])
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
    film = movie(small)
    assert film.layout.scene.xaxis.title.text == "x (m)"
    assert film.frames[5].data[0].x[0] == pytest.approx(float(small.world[5, 0, 0]), abs=1e-4)


def test_200_frames_stay_small():
    K, J = 15, 19
    world = 300 * torch.randn(200, J, 3, generator=torch.Generator().manual_seed(0))
    chain = Skeleton(tuple(f"k{k}" for k in range(K)), tuple((k, k + 1) for k in range(K - 1)))
    joints = Skeleton(tuple(f"j{k}" for k in range(J)), tuple((k, k + 1) for k in range(J - 1)))
    film = movie(Track(world[:, :K], torch.rand(200, K), chain, 30.0), ring(6), world, joints)
    assert len(film.to_json()) < 1_000_000


def test_200_frames_with_views_stay_small():
    world = 300 * torch.randn(200, 15, 3, generator=torch.Generator().manual_seed(0))
    chain = Skeleton(tuple(f"k{k}" for k in range(15)), tuple((k, k + 1) for k in range(14)))
    noise = torch.randint(0, 256, (2, 4, 96, 128, 3), dtype=torch.uint8)[
        torch.arange(200) % 2
    ]  # no picture is harder to press
    clip = MultiViewClip(noise, ring(4, wh=(128, 96)), 30.0)
    film = movie(Track(world, torch.rand(200, 15), chain, 30.0), clip.rig, world, chain, clip=clip)
    assert len(film.to_json()) < 3_000_000


def test_an_arrow_turns_with_the_heading(tracked):
    clip, track = tracked
    plain = movie(track, clip.rig, every=2)
    assert "heading" not in {t.name for t in plain.data}
    angle = torch.linspace(0, 3, len(clip))
    sure = torch.where(torch.arange(len(clip)) < 10, 1.0, 0.5)
    film = movie(
        replace(track, heading=angle, heading_confidence=sure), clip.rig, every=2, clip=clip
    )
    arrow = film.data[1]
    assert (arrow.type, arrow.name, arrow.visible) == ("mesh3d", "heading", None)
    assert len(film.frames[0].traces) == len(film.frames[0].data) == 4
    for t in (0, 7, 19):
        drawn = film.frames[t].data[1]
        x, y, z = (np.array(drawn[a]) for a in "xyz")
        tip, start = (x[3], y[3]), ((x[0] + x[6]) / 2, (y[0] + y[6]) / 2)
        way = np.arctan2(tip[1] - start[1], tip[0] - start[0])
        assert way == pytest.approx(float(angle[2 * t]), abs=0.01)
        np.testing.assert_allclose(start, track.origin[2 * t, :2], atol=0.2)
        assert np.ptp(z) == 0 and z[0] <= track.world[2 * t, :, 2].min() + 1
    assert film.frames[0].data[1].opacity == 1 and film.frames[19].data[1].opacity < 0.3
    assert "88°, 50% sure" in film.frames[10].data[1].hovertext
    for a in "xy":  # no tip is cut off
        tips = [f.data[1][a][3] for f in film.frames]
        low, high = film.layout.scene[f"{a}axis"].range
        assert low < min(tips) and max(tips) < high


def test_an_arrow_of_an_unknown_place_is_not_seen(tracked):
    clip, track = tracked
    world = track.world.clone()
    world[3] = torch.nan
    lost = replace(track, world=world, heading=torch.zeros(len(clip)))
    assert traces.heading_arrow(lost, 3) == [] and len(traces.heading_arrow(lost, 4)) == 1
    assert traces.heading_arrow(track) == []
    film = movie(lost)
    assert film.frames[3].data[1].opacity == 0 and film.frames[4].data[1].opacity == 1
    assert np.isfinite(film.frames[3].data[1].x).all()


def test_the_saved_page_fetches_nothing(tracked, tmp_path):
    clip, track = tracked
    path = scenes.save_html(
        movie(track, clip.rig, every=10, title="a film"), tmp_path / "skeleton.html"
    )
    page = path.read_text(encoding="utf-8")
    assert not fetches(page)
    assert "<title>a film</title>" in page and "Plotly.addFrames" in page
    assert path.stat().st_size < 6_000_000
    assert list(tmp_path.iterdir()) == [path]
