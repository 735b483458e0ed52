"""Volumes: how flat pictures vote for a place in space."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.shapes import cells
from bkind3d_lite.volumes import Grid, entropy, fuse, hull, inside, overlap, soft_argmax, unproject


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- grid ----------------------------------------------------------------------------------------
def test_grid_points_are_voxel_centres():
    points = Grid(torch.tensor([10.0, 20.0, 30.0]), 40.0, 4).points
    assert points.shape == (4, 4, 4, 3)
    assert_close(
        points[0, 1, 2], torch.tensor([10.0 + 5, 20.0 - 5, 30.0 - 15])
    )  # volume axes are z, y, x
    assert_close(points.flatten(0, 2).mean(0), torch.tensor([10.0, 20.0, 30.0]))


def test_a_turn_is_a_rotation_about_the_vertical():
    centre = torch.tensor([[10.0, 20.0, 30.0], [-5.0, 0.0, 2.0]], dtype=torch.float64)
    turn = torch.tensor([0.7, math.pi / 2], dtype=torch.float64)
    still, turned = Grid(centre, 40.0, 4).points, Grid(centre, 40.0, 4, turn).points
    assert still.shape == turned.shape == (2, 4, 4, 4, 3)
    assert_close(turned[..., 2], still[..., 2])
    flat, flat_turned = still.flatten(1, 3), turned.flatten(1, 3)
    assert_close(torch.cdist(flat_turned, flat_turned), torch.cdist(flat, flat), atol=1e-6, rtol=0)
    assert_close(
        (flat_turned - centre[:, None]).norm(dim=-1), (flat - centre[:, None]).norm(dim=-1)
    )
    a, b = (x[0, 0] - centre[0] for x in (flat, flat_turned))
    angle = torch.atan2(b[1], b[0]) - torch.atan2(a[1], a[0])
    assert float(angle % (2 * math.pi)) == pytest.approx(0.7), "counter-clockwise from above"
    assert_close(
        turned[1, 0, 0, 3] - centre[1], torch.tensor([15.0, 15.0, -15.0], dtype=torch.float64)
    )
    assert_close(Grid(centre, 40.0, 4, 0 * turn).points, still)


@pytest.mark.parametrize("target", [(0.0, 0.0, 50.0), (300.0, -200.0, 0.0)])
def test_the_views_of_a_ring_overlap_at_its_target(target):
    rig = ring(4, 900.0, 550.0, target, (96, 64), 50.0)
    centre, side = overlap(rig)
    assert_close(centre, torch.tensor(target), atol=2.0, rtol=0)
    depth = rig.cam_from_world(torch.tensor([target]))[:, 0, 2].median()
    assert side == pytest.approx(float(64 / rig.K[0, 1, 1] * depth), rel=0.01), (
        "the shorter image side there"
    )


def test_cropped_views_overlap_where_they_look_not_where_their_axes_meet():
    rig, place = ring(4, 900.0, 500.0), torch.tensor([[150.0, -80.0, 60.0]])
    middle = rig.px_from_world(place)[:, 0]
    window = torch.tensor([24.0, 16.0]).expand(4, 2)
    centre, _ = overlap(rig.cropped(middle - window / 2, window, (96, 64)))
    assert (centre - place[0]).norm() < 5


def test_overlap_of_parallel_cameras_is_ahead_of_them():
    rig = ring(2, 900.0, 0.0, (0.0, 0.0, 0.0))
    rig = replace(rig, R=rig.R[:1].expand(2, 3, 3), t=torch.tensor([[100.0, 0, 0], [-100.0, 0, 0]]))
    centre, side = overlap(rig)
    assert (rig.cam_from_world(centre[None])[:, 0, 2] > 0).all() and 0 < side < math.inf


def test_cameras_that_look_away_are_refused():
    rig = ring(4)
    away = replace(
        rig,
        R=rig.R * torch.tensor([[-1.0], [1.0], [-1.0]]),
        t=rig.t * torch.tensor([-1.0, 1.0, -1.0]),
    )
    with pytest.raises(ValueError, match="look away.*rotations"):
        overlap(away)


# ---- unproject -----------------------------------------------------------------------------------
def slow_sample(image, x, y):
    """One bilinear sample of (h, w) at ndc (x, y), by the book: cell i has its centre at (i + 0.5);
    outside the image 0."""
    h, w = image.shape
    u, v = (x + 1) / 2 * w - 0.5, (y + 1) / 2 * h - 0.5
    total = 0.0
    for i in (math.floor(u), math.floor(u) + 1):
        for j in (math.floor(v), math.floor(v) + 1):
            if 0 <= i < w and 0 <= j < h:
                total += (1 - abs(u - i)) * (1 - abs(v - j)) * float(image[j, i])
    return total


def test_unproject_equals_its_slow_twin():
    maps, ndc = random(2, 3, 2, 5, 9), random(2, 3, 6, 2, seed=1) * 0.8
    fast = unproject(maps, ndc)
    assert fast.shape == (2, 3, 2, 6)
    for b in range(2):
        for v in range(3):
            for c in range(2):
                for p in range(6):
                    assert float(fast[b, v, c, p]) == pytest.approx(
                        slow_sample(maps[b, v, c], *ndc[b, v, p].tolist()), abs=1e-12
                    )


def test_nothing_is_read_behind_a_camera_or_far_outside():
    rig = ring(3).batched(1)
    behind = 2 * rig.centres[0]
    volumes = unproject(torch.ones(1, 3, 1, 8, 12), rig.ndc_from_world(behind[None]))
    assert volumes[0].diagonal(dim1=0, dim2=2).abs().max() == 0, (
        "each of these points is behind its own camera"
    )
    assert unproject(
        torch.ones(1, 1, 1, 4, 4), torch.tensor([[[[3e9, -1e-3], [0.1, 0.1]]]])
    ).tolist() == [[[[0, 1]]]]


@pytest.mark.parametrize("size", [(24, 36), (40, 20)])
def test_unprojected_blobs_meet_at_the_truth(size):
    """A blob drawn at the projection of a point, in maps of any aspect, peaks within a voxel of
    that point in space."""
    rig = ring(
        4,
        900.0,
        550.0,
        (0.0, 0.0, 50.0),
        (96, 64),
        50.0,
        distortion=(-0.2, 0.04, 0.001, 0.002, 0.0),
    ).batched(3)
    truth = torch.tensor([[[40.0, -60.0, 90.0]], [[-100.0, 20.0, 10.0]], [[0.0, 0.0, 50.0]]])
    grid = Grid(torch.tensor([0.0, 0.0, 50.0]), 400.0, 20)
    points = grid.points.flatten(0, 2)
    square = torch.tensor([1.0, 64 / 96])
    d2 = ((cells(*size) - rig.ndc_from_world(truth)[:, :, 0, None, None]) * square).square().sum(-1)
    maps = (-d2 / (2 * 0.06**2)).exp()[:, :, None]
    volume = fuse(unproject(maps, rig.ndc_from_world(points)), "mean")[:, 0]
    best = points[volume.argmax(-1)]
    assert ((best - truth[:, 0]).abs() <= 400 / 20).all()
    mean, _ = soft_argmax(40 * volume[:, None], points[None])
    assert ((mean[:, 0] - truth[:, 0]).norm(dim=-1) < 15).all()


def test_gradients_of_unproject():
    maps, ndc = (
        random(1, 2, 2, 4, 6).requires_grad_(),
        (random(1, 2, 3, 2, seed=1) * 0.5).requires_grad_(),
    )
    assert torch.autograd.gradcheck(unproject, (maps, ndc))


# ---- fuse ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["softmax", "mean", "sum", "max"])
def test_fusing_does_not_ask_which_view_is_first(how):
    volumes = random(2, 4, 3, 7)
    assert_close(fuse(volumes[:, [2, 0, 3, 1]], how), fuse(volumes, how))


def test_fuse_by_hand():
    two = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1, 1)  # softmax weights 1/4 and 3/4
    want = {
        "softmax": 0.75 * math.log(3),
        "mean": math.log(3) / 2,
        "sum": math.log(3),
        "max": math.log(3),
    }
    for how, value in want.items():
        assert float(fuse(two, how)) == pytest.approx(value)
    assert_close(fuse(torch.full((1, 5, 2, 3), 0.7)), torch.full((1, 2, 3), 0.7))


def test_fuse_unknown():
    with pytest.raises(ValueError, match="median.*softmax, mean, sum or max"):
        fuse(torch.zeros(1, 2, 1, 1), "median")


# ---- hull ----------------------------------------------------------------------------------------
def test_hull_by_hand():
    """Two views of constant foreground 1 and 0.1; a third that does not see the points votes half
    against them."""
    moving = torch.tensor([1.0, 0.1, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, 1, 4, 6)
    ndc = torch.zeros(1, 3, 2, 2)
    ndc[:, 2] = 5.0
    assert_close(hull(moving, ndc), torch.full((1, 2), (math.log(0.1) + math.log(0.02) / 2) / 3))
    ndc[:] = 5.0
    assert_close(hull(moving, ndc), torch.full((1, 2), math.log(0.02) / 2))
    assert_close(
        hull(torch.zeros(1, 3, 1, 4, 6), torch.zeros(1, 3, 1, 2)),
        torch.full((1, 1), math.log(0.02)),
    )


def test_one_view_alone_does_not_place_anything():
    """A point that a single view sees, on the animal's ray, must not beat the point where two views
    agree."""
    moving = torch.ones(1, 3, 1, 4, 6)
    moving[:, 0] = 0.9
    ndc = torch.zeros(1, 3, 2, 2)
    ndc[0, 2, 0] = 5.0  # point 0: seen by views 0 and 1, on the animal in both
    ndc[0, :2, 1] = 5.0  # point 1: seen by view 2 alone
    inner = hull(moving, ndc)[0]
    assert inner[0] > inner[1] + 0.6, (
        "one more view on the animal is worth a third of the half vote"
    )


def test_hull_is_largest_inside_the_animal(clip):
    from bkind3d_lite.clips.survey import survey

    found = survey(clip)
    moving = found.thumbs[:8, :, None].float() / 255
    for t in range(8):
        trunk, far = (
            clip.truth[t, [1, 2]].mean(0),
            clip.truth[t].mean(0) + torch.tensor([0.0, 0.0, 180.0]),
        )
        ndc = clip.rig.ndc_from_world(torch.stack([trunk, far]))[None]
        inner = hull(moving[t : t + 1], ndc)[0]
        assert inner[0] > inner[1] + 0.6, (
            "one more view on the animal is worth a third of the half vote"
        )


def test_inside():
    assert inside(
        torch.tensor([[0.0, 0.0], [1.0, -1.0], [1.01, 0.0], [0.0, -1e6], [math.nan, 0.0]])
    ).tolist() == [True, True, False, False, False]


# ---- soft argmax ---------------------------------------------------------------------------------
GRIDS = [
    pytest.param(cells(6, 10).double().flatten(0, 1), id="2d"),
    pytest.param(cells(4, 5, 6).double().flatten(0, 2) * 100 + 30, id="3d"),
]


@pytest.mark.parametrize("points", GRIDS)
def test_a_single_cell_is_its_place_with_confidence_one(points):
    logits = torch.full((2, 3, len(points)), -1e4, dtype=torch.float64)
    cell = torch.tensor([[0, 7, 33], [12, 5, len(points) - 1]])
    logits.scatter_(-1, cell[..., None], 0.0)
    place, weight = soft_argmax(logits, points)
    assert place.shape == (2, 3, points.shape[-1]) and weight.shape == (2, 3)
    assert_close(place, points[cell])
    assert (weight > 0.999).all()


@pytest.mark.parametrize("points", GRIDS)
def test_a_flat_map_is_the_middle_with_confidence_zero(points):
    place, weight = soft_argmax(torch.full((1, 2, len(points)), 3.0, dtype=torch.float64), points)
    assert_close(place, points.mean(0).expand(1, 2, -1))
    assert weight.max() < 1e-4


@pytest.mark.parametrize("points", GRIDS)
def test_two_cells_share_by_their_softmax(points):
    logits = torch.full((1, 1, len(points)), -1e4, dtype=torch.float64)
    logits[0, 0, 3], logits[0, 0, 20] = math.log(3.0), 0.0
    place, weight = soft_argmax(logits, points)
    assert_close(place[0, 0], 0.75 * points[3] + 0.25 * points[20])
    apart = (points[3] - points[20]).square().sum() * 0.75 * 0.25
    even = (points - points.mean(0)).square().sum(-1).mean()
    peak, spread = 1 - math.log(4 / 3) / math.log(len(points)), 1 - math.sqrt(apart / even)
    assert float(weight) == pytest.approx(math.sqrt(peak * spread))


def test_two_rivals_far_apart_deserve_less_trust_than_two_neighbours():
    points, logits = (
        cells(6, 10).double().flatten(0, 1),
        torch.full((2, 1, 60), -1e4, dtype=torch.float64),
    )
    logits[0, 0, [24, 25]], logits[1, 0, [20, 29]] = 0.0, 0.0
    weight = soft_argmax(logits, points)[1]
    assert weight[0, 0] > weight[1, 0] + 0.2


def test_a_symmetric_map_has_its_middle_and_doubts_grow_with_its_width():
    points = cells(9, 9, 9, like=torch.zeros((), dtype=torch.float64)).flatten(0, 2)
    weights = []
    for sigma in (0.15, 0.3, 0.6, 1.2):
        place, weight = soft_argmax(-(points.square().sum(-1) / (2 * sigma**2))[None, None], points)
        assert_close(place, torch.zeros(1, 1, 3, dtype=torch.float64), atol=1e-9, rtol=0)
        weights.append(float(weight))
    assert weights == sorted(weights, reverse=True) and weights[0] > 0.5 > weights[2]


def test_points_of_every_batch_element_are_its_own():
    points, logits = random(3, 20, 3), random(3, 4, 20, seed=1)
    place, weight = soft_argmax(logits, points)
    for b in range(3):
        alone = soft_argmax(logits[b : b + 1], points[b])
        assert_close(place[b], alone[0][0])
        assert_close(weight[b], alone[1][0])


def test_soft_argmax_moves_and_scales_with_its_points_and_confidence_does_not():
    points, logits = random(40, 3), 3 * random(2, 3, 40, seed=1)
    place, weight = soft_argmax(logits, points)
    moved, same = soft_argmax(logits, points * 250 + 70)
    assert_close(moved, place * 250 + 70)
    assert_close(same, weight)


def test_confidence_survives_float32_far_from_the_origin():
    """A cube of 400 mm that stands 3 m from the origin: the spread must not drown in rounding."""
    local = cells(8, 8, 8).flatten(0, 2) * 200
    logits = (-(local - torch.tensor([50.0, 20.0, -80.0])).square().sum(-1) / (2 * 30.0**2))[
        None, None
    ]
    near, far = (
        soft_argmax(logits, local)[1],
        soft_argmax(logits, local + torch.tensor([3000.0, -2000.0, 1000.0]))[1],
    )
    assert_close(near, far, atol=0.01, rtol=0)


def test_gradients_of_soft_argmax():
    points = random(12, 3)
    assert torch.autograd.gradcheck(
        lambda x: soft_argmax(x, points)[0], (random(2, 2, 12, seed=1).requires_grad_(),)
    )


def test_entropy_by_hand():
    """Even, one cell, and two equal cells of eight: 1, 0, log 2 / log 8."""
    logits = torch.full((1, 3, 8), -1e4)
    logits[0, 0], logits[0, 1, 5], logits[0, 2, [1, 6]] = 3.0, 0.0, 2.0
    assert_close(entropy(logits), torch.tensor([[1.0, 0.0, 1 / 3]]))
    assert not entropy(logits.requires_grad_()).requires_grad


def test_the_slope_of_the_softmax_over_views():
    """In closed form, against differences and the plain formula."""
    torch.manual_seed(0)
    volumes = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.equal(fuse(volumes), (volumes.softmax(1) * volumes).sum(1))
    assert torch.autograd.gradcheck(fuse, (volumes,))
