"""Lifts, view by view: exact heatmaps give back the keypoints they were drawn from, whatever the
lens, the shape or the order."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring, triangulate
from bkind3d_lite.clips import Batch
from bkind3d_lite.model.lifts import Depth, Flat, Triangulated, spatial_logits
from bkind3d_lite.model.losses import reprojection
from bkind3d_lite.recipes import PriorRecipe, VolumeRecipe
from bkind3d_lite.shapes import cells
from bkind3d_lite.training.tracking import in_space

K, SIZE, MAPS = 5, (96, 64), (32, 48)  # non-square images W, H and maps h, w
CENTRE, SIDE = (20.0, -10.0, 60.0), 500.0
VOLUME = VolumeRecipe(side=SIDE, centre=CENTRE)


def scene(batch=2, views=4, follow=False, dtype=torch.float64):
    """Known keypoints in front of a distorting ring, and a batch of its images."""
    random = torch.Generator().manual_seed(0)
    rig = (
        ring(
            views,
            900.0,
            550.0,
            (0.0, 0.0, 50.0),
            SIZE,
            50.0,
            distortion=(-0.15, 0.03, 0.002, -0.001, 0.0),
        )
        .batched(batch)
        .to(dtype)
    )
    world = (torch.rand(batch, K, 3, generator=random, dtype=dtype) - 0.5) * 250 + torch.tensor(
        CENTRE, dtype=dtype
    )
    centre = (
        torch.tensor([[0.0, 20.0, 40.0], [60.0, -40.0, 70.0]], dtype=dtype)[:batch]
        if follow
        else None
    )
    images = torch.rand(batch, views, 4, SIZE[1], SIZE[0], generator=random, dtype=dtype)
    return world, Batch(images, None, rig, torch.arange(batch), centre)


def heatmaps(ndc, sigma=0.1):
    """Logits (B, V, K, h, w) whose softmax has its mean at `ndc`: a Gaussian a few cells wide."""
    return -(cells(*MAPS, like=ndc) - ndc[..., None, None, :]).square().sum(-1) / (2 * sigma**2)


def depths(lift, batch, world):
    """Depth maps that say the true depth of every keypoint everywhere: the inverse of the lift's
    own scale."""
    near, far = lift.limits(batch)
    share = (batch.rig.cam_from_world(world)[..., 2] - near) / (far - near)
    return share.logit()[..., None, None].expand(*share.shape, *MAPS)


def drawn(lift, batch, world):
    heat = heatmaps(batch.rig.ndc_from_world(world))
    return torch.cat([heat, depths(lift, batch, world)], 2) if isinstance(lift, Depth) else heat


SPATIAL = pytest.mark.parametrize(
    "lift", [Triangulated(K), Depth(VOLUME, K)], ids=lambda x: type(x).__name__
)
ALL = pytest.mark.parametrize(
    "lift", [Flat(K), Triangulated(K), Depth(VOLUME, K)], ids=lambda x: type(x).__name__
)


# ---- round trips ---------------------------------------------------------------------------------
@SPATIAL
@pytest.mark.parametrize("follow", [False, True])
def test_exact_heatmaps_give_back_the_keypoints(lift, follow):
    world, batch = scene(follow=follow)
    found = lift(drawn(lift, batch, world), batch.now, batch)
    assert_close(found.world, world, atol=0.5, rtol=0)
    assert_close(found.ndc, batch.rig.ndc_from_world(found.world))
    assert found.confidence.shape == (2, 4, K) and found.confidence.min() > 0.5


def test_flat_reads_every_view_and_knows_no_world():
    world, batch = scene()
    found = Flat(K)(drawn(Flat(K), batch, world), batch.now, batch)
    assert_close(found.ndc, batch.rig.ndc_from_world(world), atol=1e-3, rtol=0)
    assert found.world is None and found.votes is None
    assert_close(in_space(found, batch.rig), world, atol=0.5, rtol=0)


def test_votes_are_what_each_view_says_alone():
    world, batch = scene()
    flat = batch.rig.ndc_from_world(world)
    found = Triangulated(K)(heatmaps(flat), batch.now, batch)
    assert_close(found.votes, flat, atol=1e-3, rtol=0)
    lift = Depth(VOLUME, K)
    found = lift(drawn(lift, batch, world), batch.now, batch)
    assert_close(found.votes, world[:, None].expand(-1, 4, -1, -1), atol=1.0, rtol=0)


@ALL
def test_permuting_the_views_permutes_what_they_see_and_nothing_else(lift):
    world, batch = scene()
    order = [2, 0, 3, 1]
    maps = drawn(lift, batch, world) + 0.5 * torch.rand(
        2, 4, lift.channels, *MAPS, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    found = lift(maps, batch.now, batch)
    other = lift(
        maps[:, order],
        batch.now[:, order],
        replace(batch, now=batch.now[:, order], rig=batch.rig.take(order)),
    )
    assert_close(other.ndc, found.ndc[:, order])
    assert_close(other.confidence, found.confidence[:, order])
    if found.world is not None:
        assert_close(other.world, found.world)
        assert_close(other.votes, found.votes[:, order])


@ALL
def test_a_batch_of_two_equals_two_of_one(lift):
    world, batch = scene(follow=True)
    maps = drawn(lift, batch, world)
    both = lift(maps, batch.now, batch)
    for b in range(2):
        part = slice(b, b + 1)
        rig = replace(
            batch.rig, **{k: getattr(batch.rig, k)[part] for k in ("K", "R", "t", "distortion")}
        )
        alone = lift(
            maps[part],
            batch.now[part],
            replace(
                batch,
                now=batch.now[part],
                rig=rig,
                index=batch.index[part],
                centre=batch.centre[part],
            ),
        )
        assert_close(alone.ndc, both.ndc[part])


# ---- confidence ----------------------------------------------------------------------------------
@SPATIAL
def test_an_unsure_view_is_outvoted(lift):
    """One view points elsewhere with a flat heatmap: the others, being sure, keep the point."""
    world, batch = scene()
    maps = drawn(lift, batch, world)
    blind = maps.clone()
    blind[:, 0, :K] *= 0.01
    assert (lift(blind, batch.now, batch).world - world).norm(dim=-1).max() < 40
    away = maps.clone()
    away[:, 0, :K] = heatmaps(batch.rig.ndc_from_world(world) + 0.5)[:, 0]
    assert (lift(away, batch.now, batch).world - world).norm(dim=-1).min() > 40, (
        "a sure view that errs is heard"
    )


# ---- depth ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("follow", [False, True])
def test_every_cameras_depths_enclose_the_cube_however_it_is_turned(follow):
    world, batch = scene(follow=follow)
    near, far = Depth(VOLUME, K).limits(batch)
    corners = (
        torch.tensor(
            [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=torch.float64
        )
        * SIDE
        / 2
    )
    turned = torch.cat(
        [
            corners
            @ torch.linalg.matrix_exp(
                torch.tensor([[0, -a, 0], [a, 0, 0], [0, 0, 0]], dtype=torch.float64)
            )
            for a in (0.0, 0.4, 1.1)
        ]
    )
    centre = batch.centre if follow else torch.tensor(CENTRE, dtype=torch.float64).expand(2, 3)
    z = batch.rig.cam_from_world(turned + centre[:, None])[..., 2]
    assert (z >= near).all() and (z <= far).all() and (near > 0).all()


def test_given_depths_are_kept_and_nonsense_is_refused():
    _, batch = scene()
    near, far = Depth(replace(VOLUME, near=300.0, far=2000.0), K).limits(batch)
    assert (near == 300).all() and (far == 2000).all()
    for wrong in (dict(near=500.0, far=400.0), dict(near=-1.0), dict(far=0.0, near=1.0)):
        with pytest.raises(ValueError, match="0 < near < far|expected above 0"):
            Depth(replace(VOLUME, **wrong), K)


def test_a_camera_inside_the_cube_still_looks_ahead():
    _, batch = scene()
    near, far = Depth(replace(VOLUME, side=5000.0), K).limits(batch)
    assert (near > 0).all() and (far > near).all()


# ---- gradients -----------------------------------------------------------------------------------
@ALL
def test_gradients_reach_every_map(lift):
    world, batch = scene()
    maps = drawn(lift, batch, world).detach().requires_grad_()
    found = lift(maps, batch.now, batch)
    found.ndc.square().sum().backward()
    assert maps.grad.isfinite().all() and (maps.grad.abs().sum((-1, -2)) > 0).all()


@SPATIAL
def test_gradients_of_the_lifts(lift):
    world, batch = scene(1, 2)
    some = torch.randn(
        1, 2, lift.channels, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    small = Depth(VOLUME, 1) if isinstance(lift, Depth) else Triangulated(1)
    assert torch.autograd.gradcheck(
        lambda m: small(m, batch.now, batch).world,
        (some[:, :, : small.channels].clone().requires_grad_(),),
        eps=1e-5,
        atol=1e-3,
        rtol=1e-3,
    )


@pytest.mark.parametrize("spread, most", [(1.0, 0.02), (250.0, 0.5)])
def test_triangulation_already_minimizes_the_reprojection_error(spread, most):
    """Why the loss holds the common point still: with the votes held instead (the released history)
    little would move, and near the middle of the ring, where all cameras are equally far,
    nothing."""
    random = torch.Generator().manual_seed(3)
    rig = ring(4, 900.0, 550.0, (0.0, 0.0, 50.0), (64, 64)).to(torch.float64)
    world = torch.tensor([0.0, 0, 50]) + spread * (
        torch.rand(40, 3, generator=random, dtype=torch.float64) - 0.5
    )
    votes = (
        rig.ndc_from_world(world)
        + 0.01 * torch.randn(4, 40, 2, generator=random, dtype=torch.float64)
    ).requires_grad_()
    common = rig.ndc_from_world(triangulate(rig, rig.px_from_ndc(votes)))
    ours = torch.autograd.grad(reprojection(common[None], votes[None]), votes, retain_graph=True)[
        0
    ].norm()
    theirs = torch.autograd.grad((common - votes.detach()).square().sum(-1).mean(), votes)[0].norm()
    assert ours > 0 and theirs < most * ours


# ---- switches ------------------------------------------------------------------------------------
def test_sharpness_and_hull_act_on_the_logits():
    world, batch = scene()
    maps = heatmaps(batch.rig.ndc_from_world(world))
    assert_close(spatial_logits(maps, batch.now, PriorRecipe(3.0)), 3 * maps.flatten(-2))
    batch.now[:, :, 3] = 0.0
    batch.now[:, :, 3, 20:30, 60:80] = 1.0
    found = Flat(K, PriorRecipe(hull=1e3))(torch.zeros_like(maps), batch.now, batch)
    assert_close(
        found.ndc,
        torch.tensor([70 / 48 - 1, 25 / 32 - 1], dtype=torch.float64).expand(2, 4, K, 2),
        atol=0.03,
        rtol=0,
    )
    with pytest.raises(ValueError, match="foreground channel.*hull = 0"):
        Flat(K, PriorRecipe(hull=1.0))(maps, batch.now[:, :, :3], batch)
