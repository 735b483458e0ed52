"""Cameras: where a point lands in every view, and back. H != W throughout."""

import math
from dataclasses import replace

import pytest
import torch
from test_lenses import LENSES
from torch.testing import assert_close

from bkind3d_lite.cameras import BEHIND, CameraRig, look_at, ring, triangulate
from bkind3d_lite.clips.mirrors import mirrored_rig


def rigs(lead=(), lens=LENSES[4], views=4):
    """A float64 ring with distortion, 96 x 64, with batch axes `lead`."""
    rig = ring(views, wh=(96, 64), target=(30.0, -20.0, 40.0), distortion=lens).to(torch.float64)
    R, t = look_at(
        rig.centres, torch.tensor([30.0, -20, 40]).double(), torch.tensor([0.0, 0, 1]).double()
    )  # a rotation to 1e-16
    rig = replace(rig, R=R, t=t)
    return replace(
        rig,
        **{
            k: getattr(rig, k).expand(*lead, *getattr(rig, k).shape)
            for k in ("K", "R", "t", "distortion")
        },
    )


def points(*lead, seed=0):
    return 120 * torch.randn(
        *lead, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


# ---- projection ----------------------------------------------------------------------------------
@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_triangulation_undoes_projection(lead, lens):
    rig, world = rigs(lead, lens), points(*lead, 7)
    px = rig.px_from_world(world)
    assert px.shape == (*lead, 4, 7, 2)
    assert_close(triangulate(rig, px, torch.ones(px.shape[:-1])), world, atol=1e-6, rtol=0)


def test_a_rig_without_batch_axes_takes_batched_points():
    rig, world = rigs(), points(5, 7)
    assert_close(rig.px_from_world(world)[3], rig.px_from_world(world[3]))


def test_projection_agrees_with_opencv_written_by_hand():
    rig, world = rigs(lens=LENSES[2]), points(9)
    px = rig.px_from_world(world)
    for v in range(rig.views):
        for p in range(len(world)):
            X, Y, Z = (
                sum(float(rig.R[v, i, j] * world[p, j]) for j in range(3)) + float(rig.t[v, i])
                for i in range(3)
            )
            x, y = X / Z, Y / Z
            k1, k2, p1, p2, k3 = rig.distortion[v].tolist()
            r = math.hypot(x, y)
            bend = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
            u = x * bend + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
            w = y * bend + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y
            K = rig.K[v].tolist()
            assert px[v, p].tolist() == pytest.approx(
                [K[0][0] * u + K[0][2], K[1][1] * w + K[1][2]], abs=1e-9
            )


def test_behind_and_at_a_camera_is_far_outside_with_finite_gradients():
    rig = rigs()
    for behind in (0.0, 100.0):
        x = (rig.centres[0] - behind * rig.R[0, 2])[None].requires_grad_()
        px = rig.px_from_world(x)
        assert (px[0] == BEHIND).all() and (rig.ndc_from_px(px)[0] < -1).all()
        px.sum().backward()
        assert x.grad.isfinite().all()


def test_gradients_of_projection():
    rig = rigs()
    assert torch.autograd.gradcheck(rig.px_from_world, points(2, 3).requires_grad_(), atol=1e-6)


def test_gradients_of_triangulation():
    rig = rigs()
    px = rig.px_from_world(points(3)) + torch.randn(
        4, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    weight = torch.rand(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.2
    assert torch.autograd.gradcheck(
        lambda p, w: triangulate(rig, p, w),
        (px.requires_grad_(), weight.requires_grad_()),
        atol=1e-4,
    )


# ---- pixels --------------------------------------------------------------------------------------
def test_ndc_of_corners_and_centre():
    rig = rigs()
    px = torch.tensor([[0, 0], [96, 64], [48, 32], [96, 0]], dtype=torch.float64)
    ndc = torch.tensor([[-1, -1], [1, 1], [0, 0], [1, -1]], dtype=torch.float64)
    assert_close(rig.ndc_from_px(px), ndc)
    assert_close(rig.px_from_ndc(ndc), px)


def test_resizing_is_scaling_and_keeps_ndc():
    rig, world = rigs(), points(6)
    small = rig.resized((40, 50))
    assert small.wh == (40, 50)
    assert_close(
        small.px_from_world(world), rig.px_from_world(world) * torch.tensor([40 / 96, 50 / 64])
    )
    assert_close(small.ndc_from_world(world), rig.ndc_from_world(world))


@pytest.mark.parametrize("lead", [(), (2,)])
def test_projecting_with_the_cropped_rig_is_cropping_the_pixels(lead):
    rig, world = rigs(), points(*lead, 6)
    generator = torch.Generator().manual_seed(3)
    corner = 20 * torch.randn(*lead, 4, 2, generator=generator, dtype=torch.float64)
    window = 10 + 40 * torch.rand(*lead, 4, 2, generator=generator, dtype=torch.float64)
    cut = rig.cropped(corner, window, (30, 20))
    want = (
        (rig.px_from_world(world) - corner[..., None, :])
        / window[..., None, :]
        * torch.tensor([30.0, 20.0])
    )
    assert cut.wh == (30, 20)
    assert_close(cut.px_from_world(world), want, atol=1e-9, rtol=0)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("lead", [(), (2,)])
def test_the_mirrored_rig_sees_the_mirrored_world_in_mirrored_images(lead, lens):
    rig, world = rigs(lead, lens), points(*lead, 7)
    skewed = rig.K.clone()
    skewed[..., 0, 1] = 0.7
    rig = replace(rig, K=skewed)
    mirrored, flip = mirrored_rig(rig), torch.tensor([-1.0, 1, 1]).double()
    there = mirrored.px_from_world(world * flip)
    assert_close(there * flip[:2], rig.px_from_world(world) - torch.tensor([96.0, 0]).double())
    assert_close(torch.linalg.det(mirrored.R), torch.ones(*lead, 4).double())  # no reflection
    assert all(
        torch.allclose(getattr(mirrored_rig(mirrored), k), getattr(rig, k))
        for k in ("K", "R", "t", "distortion")
    )


def test_changes_leave_the_rig_alone():
    rig = rigs()
    before = {k: getattr(rig, k).clone() for k in ("K", "R", "t", "distortion")}
    (
        rig.resized((10, 10)),
        rig.cropped(rig.K.new_zeros(4, 2), rig.K.new_ones(4, 2), (5, 5)),
        rig.take([1]),
        rig.batched(3),
    )
    assert rig.wh == (96, 64) and all(torch.equal(getattr(rig, k), x) for k, x in before.items())
    with pytest.raises(AttributeError):
        rig.wh = (1, 1)


def test_take_keeps_order_and_names():
    rig, world = rigs(lens=LENSES[2]), points(6)
    some = rig.take([3, 1])
    assert some.names == ("cam3", "cam1") and some.views == 2
    assert_close(some.px_from_world(world), rig.px_from_world(world)[[3, 1]])
    assert_close(
        rigs((2,)).take([3, 1]).px_from_world(world), rigs((2,)).px_from_world(world)[:, [3, 1]]
    )


@pytest.mark.parametrize("lens", LENSES)
def test_the_ray_of_a_pixel_hits_the_point(lens):
    rig, world = rigs(lens=lens), points(2, 6)
    origin, ray = rig.ray_from_px(rig.px_from_world(world))
    assert_close(ray.norm(dim=-1), torch.ones(2, 4, 6, dtype=torch.float64))
    along = ((world[:, None] - origin) * ray).sum(-1, keepdim=True)
    assert (along > 0).all()
    assert_close(origin + along * ray, world[:, None].expand(2, 4, 6, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("lead", [(), (2,)])
def test_a_pixel_and_its_depth_are_the_point(lead, lens):
    rig, world = rigs(lead, lens), points(*lead, 6)
    again = rig.world_from_px(rig.px_from_world(world), rig.cam_from_world(world)[..., 2])
    assert_close(again, world.unsqueeze(-3).expand_as(again), atol=1e-6, rtol=0)


# ---- triangulation -------------------------------------------------------------------------------
def test_views_of_weight_zero_are_ignored_even_if_nan():
    rig, world = rigs(), points(5)
    px = rig.px_from_world(world)
    weight = torch.ones(4, 5, dtype=torch.float64)
    weight[1], px[1, ::2], px[1, 1::2] = 0, 1e6, math.nan
    assert_close(triangulate(rig, px, weight), world, atol=1e-6, rtol=0)


def test_fewer_than_two_views_is_nan():
    rig, world = rigs(), points(3)
    weight = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)
    found = triangulate(rig, rig.px_from_world(world), weight)
    assert_close(found[0], world[0], atol=1e-6, rtol=0)
    assert found[1:].isnan().all()


def test_weights_pull_towards_the_trusted_views():
    rig, world = rigs(lens=LENSES[0]), points(1)
    px = rig.px_from_world(world)
    px[0] += 6
    weight = torch.ones(4, 1, dtype=torch.float64)
    error = []
    for w in (1.0, 0.3, 0.05):
        weight[0] = w
        error.append(float((triangulate(rig, px, weight) - world).norm()))
    assert error[0] > error[1] > error[2] and error[2] < 0.05 * error[0]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_triangulation_in_any_unit_in_float32(scale):
    rig = ring(4, wh=(96, 64), distortion=LENSES[1])
    rig = replace(rig, t=rig.t * scale)
    world = points(6).float() * scale
    assert_close(triangulate(rig, rig.px_from_world(world)), world, atol=0.05 * scale, rtol=0)


# ---- making --------------------------------------------------------------------------------------
def test_ring_looks_at_its_target_with_the_sky_above():
    rig = ring(5, target=(10.0, 20.0, 30.0), wh=(96, 64))
    target = torch.tensor([[10.0, 20.0, 30.0]])
    assert_close(rig.ndc_from_world(target), torch.zeros(5, 1, 2), atol=1e-4, rtol=0)
    higher = rig.px_from_world(target + torch.tensor([0.0, 0.0, 20.0]))
    assert (higher[..., 1] < 32).all() and (higher[..., 0] - 48).abs().max() < 1e-3, (
        "pixel rows count downwards"
    )
    assert_close(rig.R @ rig.R.mT, torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    assert_close(torch.linalg.det(rig.R), torch.ones(5))
    assert_close(rig.centres[:, 2], torch.full((5,), 600.0))


def test_look_at_puts_the_target_ahead():
    R, t = look_at(
        torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 6.0, 3.0]), torch.tensor([0.0, 0.0, 1.0])
    )
    assert_close(
        R @ torch.tensor([4.0, 6.0, 3.0]) + t, torch.tensor([0.0, 0.0, 5.0]), atol=1e-5, rtol=0
    )


def test_P_is_the_pinhole_projection():
    rig, world = rigs(lens=LENSES[0]), points(4)
    h = torch.cat([world, torch.ones(4, 1)], -1) @ rig.P.mT
    assert_close(h[..., :2] / h[..., 2:], rig.px_from_world(world))


def test_rig_is_a_value():
    rig = rigs()
    assert (
        isinstance(rig.to(torch.float32), CameraRig)
        and rig.to(torch.float32).K.dtype == torch.float32
    )
    assert rig.batched(3).K.shape == (3, 4, 3, 3) and rig.batched(3).views == 4
