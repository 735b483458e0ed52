"""Traces: pictures in space that are true to scale."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.viz import overlays, traces
from bkind3d_lite.volumes import Grid


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


def test_a_ray_passes_the_point_it_was_cast_for(tracked):
    clip, _ = tracked
    point = clip.truth[3, :1]
    for trace in traces.rays(clip.rig, clip.rig.px_from_world(point)):
        a, b = (np.array([trace[axis][i] for axis in "xyz"]) for i in (0, 1))
        away = np.linalg.norm(np.cross(b - a, point[0].numpy() - a)) / np.linalg.norm(b - a)
        assert away < 0.5


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
