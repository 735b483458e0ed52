"""Losses: what the drawing must explain, and what keeps it honest."""

import math

import piq
import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.model.losses import (
    BodyCover,
    EdgeLength,
    agreement,
    cover,
    dissimilarity,
    equivariance,
    lengths,
    reprojection,
    separation,
    steadiness,
)


def images(seed, n=2, size=(24, 40), dtype=torch.float64):
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# ---- dissimilarity -------------------------------------------------------------------------------
@pytest.mark.parametrize("structure_only", [False, True])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_equal_images_differ_by_nothing(structure_only, smooth):
    change = dissimilarity(images(0), images(0), structure_only, smooth=smooth)
    assert change.shape == (2, 1, 24, 40)
    assert_close(change, torch.zeros_like(change), atol=1e-9, rtol=0)


@pytest.mark.parametrize("structure_only", [False, True])
def test_dissimilarity_is_symmetric_and_bounded(structure_only):
    a, b = (
        dissimilarity(images(0), images(1), structure_only),
        dissimilarity(images(1), images(0), structure_only),
    )
    assert_close(a, b)
    assert a.min() >= 0 and a.max() <= 2 and a.mean() > 0.3


@pytest.mark.parametrize("structure_only", [False, True])
def test_inside_the_border_it_is_one_minus_piqs_ssim(structure_only):
    """piq filters without padding: its mean is over the pixels whose whole window lies in the
    image."""
    a, b = images(0, 1), (images(0, 1) + 0.5 * images(1, 1)) / 1.5
    ssim, cs = piq.ssim(
        a, b, kernel_size=11, kernel_sigma=1.5, downsample=False, full=True, reduction="mean"
    )
    inner = dissimilarity(a, b, structure_only)[..., 5:-5, 5:-5]
    assert float(inner.mean()) == pytest.approx(1 - float(cs if structure_only else ssim), abs=1e-9)


def test_structure_alone_does_not_see_brightness():
    a = images(0) * 0.5
    brighter = a + 0.4
    assert dissimilarity(a, brighter, structure_only=True).abs().max() < 1e-9
    assert dissimilarity(a, brighter).mean() > 0.1


def test_change_is_seen_where_it_happens():
    a = images(0)
    b = a.clone()
    b[..., 10:14, 28:32] = 1 - b[..., 10:14, 28:32]
    change = dissimilarity(a, b)[:, 0]
    assert change[:, 10:14, 28:32].min() > 0.2
    assert change[:, :, :20].abs().max() < 1e-9, "further than the window nothing changes"


def test_constant_images_by_hand():
    """No variance: only the luminance term is left, (2 a b + c1) / (a^2 + b^2 + c1)."""
    a, b = (
        torch.full((1, 3, 16, 20), 0.2, dtype=torch.float64),
        torch.full((1, 3, 16, 20), 0.6, dtype=torch.float64),
    )
    want = 1 - (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert_close(dissimilarity(a, b), torch.full((1, 1, 16, 20), want, dtype=torch.float64))


def test_float32_is_good_enough():
    a, b = images(0), images(1)
    assert_close(
        dissimilarity(a.float(), b.float()).double(), dissimilarity(a, b), atol=1e-4, rtol=0
    )


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match=r"\(8, 40\).*window of 11"):
        dissimilarity(images(0, size=(8, 40)), images(1, size=(8, 40)))


# ---- separation ----------------------------------------------------------------------------------
def test_separation_by_hand():
    """Points at 0, 1, 3 on a line, sigma 1: pairs at distances 1, 3, 2."""
    world = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [3, 0, 0]]])
    want = (math.exp(-0.5) + math.exp(-4.5) + math.exp(-2)) / 3
    assert float(separation(world, 1.0)) == pytest.approx(want, rel=1e-6)
    assert float(separation(100 * world, 100.0)) == pytest.approx(want, rel=1e-6), (
        "the same in any unit"
    )


def test_separation_runs_from_one_to_zero_and_pushes_apart():
    assert float(separation(torch.zeros(2, 5, 3), 1.0)) == pytest.approx(1.0)
    far = 100 * torch.arange(5.0)[None, :, None].expand(1, 5, 3)
    assert float(separation(far, 1.0)) == pytest.approx(0.0, abs=1e-6)
    world = torch.tensor([[[0.0, 0, 0], [0.5, 0, 0]]], requires_grad=True)
    separation(world, 1.0).backward()
    assert world.grad[0, 0, 0] > 0 > world.grad[0, 1, 0], (
        "descending this gradient moves them apart"
    )


def test_gradients_of_separation():
    world = torch.randn(
        2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: separation(x, 0.8), (world,))


# ---- length --------------------------------------------------------------------------------------
PAIRS = torch.tensor([[0, 1], [0, 2], [1, 2]])


def triangle(*sides):
    """(1, 3, 3): points 0, 1, 2 of a right triangle with legs `sides`."""
    return torch.tensor([[[0.0, 0, 0], [sides[0], 0, 0], [0, sides[1], 0]]])


def test_lengths_by_hand_with_finite_gradients_at_zero():
    assert_close(lengths(triangle(3.0, 4.0), PAIRS), torch.tensor([[3.0, 4.0, 5.0]]))
    world = torch.zeros(1, 3, 3, requires_grad=True)
    lengths(world, PAIRS).sum().backward()
    assert (world.grad == 0).all()


def test_edge_length_by_hand():
    loss, weights = EdgeLength(3, side=10.0, decay=0.9), torch.tensor([3.0, 1.0, 0.0])
    assert float(loss(triangle(3.0, 4.0), PAIRS, weights)) == pytest.approx(0.0, abs=1e-12)
    assert_close(loss.average, torch.tensor([0.3, 0.4, 0.5]))
    value = float(loss(triangle(6.0, 8.0), PAIRS, weights))
    assert_close(loss.average, torch.tensor([0.33, 0.44, 0.55]))
    assert value == pytest.approx(0.75 * (0.6 - 0.33) ** 2 + 0.25 * (0.8 - 0.44) ** 2, rel=1e-5)


def test_edge_length_remembers_only_in_training():
    loss = EdgeLength(3, side=1.0, decay=0.9)
    loss(triangle(3.0, 4.0), PAIRS, torch.ones(3))
    kept = loss.average.clone()
    loss.eval()
    assert float(loss(triangle(6.0, 8.0), PAIRS, torch.ones(3))) == pytest.approx(
        (9 + 16 + 25) / 3, rel=1e-5
    )
    assert torch.equal(loss.average, kept) and "average" in loss.state_dict()


def test_edge_length_moves_points_not_weights_and_never_divides_by_nothing():
    loss, weights = EdgeLength(3, side=1.0), torch.ones(3, requires_grad=True)
    loss(triangle(3.0, 4.0), PAIRS, weights)
    world = triangle(4.0, 4.0).requires_grad_()
    loss(world, PAIRS, weights).backward()
    assert weights.grad is None and world.grad[0, 1, 0] > 0
    assert float(loss(triangle(9.0, 9.0), PAIRS, torch.zeros(3))) == 0


def test_edge_length_does_not_see_where_the_animal_is():
    loss = EdgeLength(3, side=1.0)
    loss(triangle(3.0, 4.0), PAIRS, torch.ones(3))
    turned = triangle(3.0, 4.0) @ torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]) + 7
    assert float(loss(turned, PAIRS, torch.ones(3))) == pytest.approx(0.0, abs=1e-9)


# ---- between the views ---------------------------------------------------------------------------
def test_agreement_by_hand():
    """Two views 3 apart, a third on the first: pairs at 3, 0, 3; two keypoints, one agreed on."""
    votes = torch.zeros(1, 3, 2, 3)
    votes[0, 1, 0] = torch.tensor([0.0, 0, 3])
    assert float(agreement(votes, side=1.0)) == pytest.approx((9 + 0 + 9) / 3 / 2)
    assert float(agreement(10 * votes, side=10.0)) == pytest.approx(3.0), "the same in any unit"
    assert float(agreement(votes + torch.tensor([5.0, -1, 2]), 1.0)) == pytest.approx(3.0), (
        "wherever they stand"
    )
    with pytest.raises(ValueError, match="1 view.*agree = 0"):
        agreement(votes[:, :1], 1.0)


def test_agreement_equals_the_mean_over_pairs_of_views():
    votes = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = [
        (votes[:, m] - votes[:, n]).square().sum(-1).mean() for m in range(4) for n in range(m)
    ]
    assert_close(agreement(votes, 2.0), torch.stack(pairs).mean() / 4)
    assert torch.autograd.gradcheck(lambda v: agreement(v, 0.7), (votes.requires_grad_(),))


def test_reprojection_by_hand_moves_the_votes_alone():
    common, votes = (
        torch.zeros(1, 2, 1, 2, requires_grad=True),
        torch.tensor([[[[0.3, 0.4]], [[0.0, 0.1]]]], requires_grad=True),
    )
    loss = reprojection(common, votes)
    assert loss.item() == pytest.approx((0.25 + 0.01) / 2)
    loss.backward()
    assert common.grad is None
    assert_close(votes.grad, votes.detach())


def test_a_point_behind_a_camera_does_not_count():
    votes = torch.full((1, 2, 1, 2), 0.5, requires_grad=True)
    common = torch.zeros(1, 2, 1, 2)
    common[0, 1] = -2e4
    loss = reprojection(common, votes)
    loss.backward()
    assert (
        loss.item() == pytest.approx(0.5)
        and (votes.grad[0, 1] == 0).all()
        and votes.grad.isfinite().all()
    )
    assert reprojection(torch.full_like(common, -2e4), votes).item() == 0


def test_equivariance_turns_as_the_image_does():
    """A dot on an image that is not square, turned as an array: the loss is 0 where the keypoint
    follows the dot."""

    def place(image):
        h, w = image.shape
        i, j = divmod(int(image.argmax()), w)
        return torch.tensor([[[[(2 * j + 1) / w - 1, (2 * i + 1) / h - 1]]]])

    image = torch.zeros(6, 10)
    image[1, 7] = 1.0
    turned = [place(image.rot90(i, (-2, -1))) for i in (1, 2, 3)]
    assert float(equivariance(turned, place(image))) == pytest.approx(0.0, abs=1e-9)
    off = [turned[0] + torch.tensor([0.3, 0.4]), turned[1], turned[2]]
    assert float(equivariance(off, place(image))) == pytest.approx(0.25 / 3, rel=1e-5)


def test_equivariance_moves_the_turned_keypoints_alone():
    upright, turned = (
        torch.rand(1, 2, 3, 2, requires_grad=True),
        [torch.rand(1, 2, 3, 2, requires_grad=True) for _ in range(3)],
    )
    equivariance(turned, upright).backward()
    assert upright.grad is None and all(t.grad.any() for t in turned)


# ---- beyond the paper ----------------------------------------------------------------------------
def test_cover_by_hand():
    """Foreground in one cell of a wide image; the distance counts in image widths on both axes."""
    moving = torch.zeros(1, 1, 1, 4, 8)
    moving[..., 0, 0] = 1.0  # its centre: ndc (-7/8, -3/4)
    ndc = torch.tensor(
        [[[[-0.875, 0.25], [1.0, 1.0]]]]
    )  # one unit of ndc below it: half the height, a quarter of the width
    assert_close(cover(ndc, moving, (4, 8)), torch.tensor(0.25**2))


def test_cover_draws_a_keypoint_to_what_is_not_covered():
    moving = torch.zeros(1, 1, 1, 32, 32)
    moving[..., 2:6, 2:6], moving[..., 26:30, 26:30] = 1.0, 1.0
    ndc = torch.tensor([[[[-0.7, -0.7], [-0.2, -0.2]]]], requires_grad=True)
    for _ in range(60):
        (grad,) = torch.autograd.grad(cover(ndc, moving), ndc)
        ndc = (ndc - 1.5 * grad).detach().requires_grad_()
    assert_close(
        ndc.detach()[0, 0], torch.tensor([[-0.75, -0.75], [0.75, 0.75]]), atol=0.05, rtol=0
    )


def test_a_faint_image_in_the_floor_draws_no_keypoint():
    """It is as large as the animal, at a third of its foreground."""
    moving = torch.zeros(1, 1, 1, 32, 32)
    moving[..., 4:12, 8:24], moving[..., 20:28, 8:24] = 1.0, 0.35
    animal = torch.tensor([[[[-0.25, -0.5], [0.25, -0.5]]]])
    below = torch.tensor([[[[0.0, -0.5], [0.0, 0.5]]]])
    assert cover(below, moving) < cover(animal, moving)
    assert cover(animal, moving, sure=True) < 0.5 * cover(below, moving, sure=True)
    alone = moving * (moving > 0.5)
    assert_close(cover(animal, moving, sure=True), cover(animal, alone, sure=True))
    half = (0.5 + moving).clamp(max=1)  # fading out counts by what is over one half
    assert cover(animal, half, sure=True) > cover(animal, alone, sure=True)
    assert cover(animal, torch.zeros_like(moving), sure=True) == 0


def test_cover_of_the_body_by_hand():
    """Places one and two units from a keypoint: a trunk, always full, and an arm, seldom raised."""
    body = BodyCover(2, decay=0.9, floor=0.25)
    world, points = torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0, 0], [0, 2.0, 0]]])
    for t in range(200):
        full = torch.tensor([[1.0, float(t % 4 == 3)]])
        loss = body(world, points, full)
    often = 0.1 / (1 - 0.9**4)  # of the arm, at a moment at which it is up
    weights = 1 / 1.25, 1 / (often + 0.25)
    assert float(loss) == pytest.approx((weights[0] + 4 * weights[1]) / sum(weights), rel=1e-4)
    assert float(BodyCover(2, floor=0.25)(world, points, full)) == pytest.approx(2.5), "all new"
    kept = body.usual.clone()
    body.eval()(world, points, 1 - full)
    assert torch.equal(body.usual, kept)


def test_steadiness_by_hand():
    now = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    assert steadiness(now, now + torch.tensor([3.0, -1.0, 2.0]), 1.0) < 1e-10, (
        "walking is not a change of shape"
    )
    swapped = now[:, [1, 0, 2, 3, 4]]
    assert_close(
        steadiness(now, swapped, 2.0), 2 * ((now[:, 0] - now[:, 1]) / 2).square().sum(-1).mean() / 5
    )
