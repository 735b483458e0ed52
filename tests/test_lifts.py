"""Lifts: from maps to keypoints, whatever the order of the views."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips import Batch
from bkind3d_lite.model.lifts import SHAPE, Volumetric
from bkind3d_lite.recipes import PriorRecipe, V2VRecipe, VolumeRecipe


def world_of(batch=2, views=4, follow=False, turn=False, channels=3):
    """A lift, random maps (16 x 24, non-square), images and a batch of a distorting ring."""
    torch.manual_seed(0)
    rig = ring(
        views,
        900.0,
        550.0,
        (0.0, 0.0, 50.0),
        (96, 64),
        50.0,
        distortion=(-0.1, 0.02, 0.001, 0.0, 0.0),
    ).batched(batch)
    volume, v2v = VolumeRecipe(voxels=8, side=400.0, centre=(0.0, 0.0, 50.0)), V2VRecipe(8, 1)
    lift = Volumetric(volume, 5, channels, v2v=v2v, priors=PriorRecipe(sharpness=3.0))
    images = torch.rand(batch, views, 4, 64, 96)
    centre = torch.tensor([[0.0, 0.0, 50.0], [60.0, -40.0, 70.0]])[:batch] if follow else None
    angle = torch.tensor([0.3, 2.0])[:batch] if turn else None
    return (
        lift,
        torch.randn(batch, views, channels, 16, 24),
        Batch(images, None, rig, torch.arange(batch), centre, angle),
    )


def one(batch, b):
    """Element `b` of a batch as a batch of its own."""
    part = slice(b, b + 1)
    rig = replace(
        batch.rig, **{k: getattr(batch.rig, k)[part] for k in ("K", "R", "t", "distortion")}
    )
    rest = {
        k: None if getattr(batch, k) is None else getattr(batch, k)[part]
        for k in ("centre", "turn")
    }
    return replace(batch, now=batch.now[part], rig=rig, index=batch.index[part], **rest)


CASES = pytest.mark.parametrize(
    "follow, turn", [(False, False), (True, False), (True, True), (False, True)]
)


@CASES
def test_keypoints_and_their_projections_agree(follow, turn):
    lift, maps, batch = world_of(follow=follow, turn=turn)
    found = lift(maps, batch.now, batch)
    assert (
        found.world.shape == (2, 5, 3)
        and found.ndc.shape == (2, 4, 5, 2)
        and found.confidence.shape == (2, 4, 5)
    )
    assert_close(found.ndc, batch.rig.ndc_from_world(found.world))
    assert found.confidence.min() >= 0 and found.confidence.max() <= 1
    middle = lift.centre if batch.centre is None else batch.centre[:, None]
    assert ((found.world - middle).abs() < 200 * 2**0.5).all(), "a softmax cannot leave its cube"


@CASES
def test_permuting_the_views_leaves_the_world_alone(follow, turn):
    lift, maps, batch = world_of(follow=follow, turn=turn)
    order = [2, 0, 3, 1]
    rig = batch.rig.take(order)
    found = lift(maps, batch.now, batch)
    shuffled = lift(
        maps[:, order], batch.now[:, order], replace(batch, now=batch.now[:, order], rig=rig)
    )
    assert_close(shuffled.world, found.world, atol=0.02, rtol=0)
    assert_close(shuffled.ndc, found.ndc[:, order], atol=1e-3, rtol=0)
    assert_close(shuffled.confidence, found.confidence[:, order], atol=1e-3, rtol=0)


@CASES
def test_a_batch_of_two_equals_two_of_one(follow, turn):
    lift, maps, batch = world_of(follow=follow, turn=turn)
    both = lift(maps, batch.now, batch)
    for b in range(2):
        alone = lift(maps[b : b + 1], batch.now[b : b + 1], one(batch, b))
        assert_close(alone.world[0], both.world[b], atol=0.02, rtol=0)
        assert_close(alone.ndc[0], both.ndc[b], atol=1e-3, rtol=0)


@CASES
def test_tracking_sees_what_training_saw_to_the_last_bit(follow, turn):
    lift, maps, batch = world_of(follow=follow, turn=turn)
    tracked = lift(maps, batch.now, batch).world.detach()  # in pieces: nothing to learn from maps
    trained = lift(maps.requires_grad_(), batch.now, batch).world.detach()
    assert torch.equal(tracked, trained)


def test_gradients_reach_the_maps_and_every_weight():
    lift, maps, batch = world_of()
    found = lift(maps.requires_grad_(), batch.now, batch)
    (
        found.world[..., 0].sum() + 2 * found.world[..., 1].sum() - found.world[..., 2].sum()
    ).backward()
    assert (maps.grad.abs().sum((-1, -2)) > 0).all()
    silent = [n for n, p in lift.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert set(silent) <= {"v2v.back.1.bias"}, (
        "a softmax does not see what is added to all its logits, but all else"
    )


def test_a_keypoint_lies_where_the_volume_peaks(monkeypatch):
    lift, maps, batch = world_of(follow=True, turn=True)
    points = lift.place(batch)[0]
    logits = torch.full((2, 5, 512), -1e4)
    cell = torch.tensor([[0, 9, 77, 300, 511], [5, 6, 7, 8, 9]])
    monkeypatch.setattr(lift, "volume", lambda *args: logits.scatter(-1, cell[..., None], 0.0))
    found = lift(maps, batch.now, batch)
    assert_close(found.world, torch.stack([points[b, cell[b]] for b in range(2)]))
    assert found.confidence.min() > 0.99


# ---- the place of the volume ---------------------------------------------------------------------
def test_static_cameras_are_projected_once_per_rig():
    lift, _, batch = world_of()
    first, again = (
        lift.place(batch),
        lift.place(replace(batch, rig=replace(batch.rig, K=batch.rig.K.clone()))),
    )
    assert first[0] is again[0] and first[1] is again[1]


@pytest.mark.parametrize("change", ["K", "t", "distortion", "wh", "names", "fewer"])
def test_another_rig_is_projected_anew(change):
    lift, _, batch = world_of()
    lift.place(batch)
    rig = batch.rig
    other = {
        "K": lambda: replace(rig, K=rig.K * torch.tensor([[1.2], [1.2], [1.0]])),
        "t": lambda: replace(rig, t=rig.t + 50),
        "distortion": lambda: replace(rig, distortion=rig.distortion - 0.1),
        "wh": lambda: replace(rig, wh=(100, 64)),
        "names": lambda: rig.take([1, 0, 2, 3]),
        "fewer": lambda: rig.take([0, 2]),
    }[change]()
    points, ndc = lift.place(replace(batch, rig=other))
    assert_close(ndc, other.ndc_from_world(points))


def test_a_volume_that_moved_is_projected_anew():
    """A checkpoint with another centre, loaded into a lift that has already worked."""
    lift, _, batch = world_of()
    lift.place(batch)
    lift.load_state_dict(lift.state_dict() | {"centre": torch.tensor([50.0, 0.0, 50.0])})
    assert_close(
        lift.place(batch)[0].mean((0, 1)), torch.tensor([50.0, 0.0, 50.0]), atol=1e-2, rtol=0
    )


def test_a_volume_that_follows_is_placed_at_the_batch():
    lift, _, batch = world_of(follow=True, turn=True)
    points, ndc = lift.place(batch)
    assert_close(points.mean(1), batch.centre, atol=1e-3, rtol=0)
    assert_close(ndc, batch.rig.ndc_from_world(points))


def test_a_volume_that_nobody_sees_is_refused():
    _, _, batch = world_of()
    volume = VolumeRecipe(voxels=8, side=40.0, centre=(1e5, 0.0, 0.0))
    lift = Volumetric(volume, 5, 3, v2v=V2VRecipe(8, 1))
    with pytest.raises(ValueError, match="no camera sees.*centre.*side 40.*unit"):
        lift.place(batch)


def test_voxels_must_fit_the_hourglass():
    with pytest.raises(ValueError, match="voxels = 10.*multiple of 4"):
        Volumetric(VolumeRecipe(voxels=10, side=400.0), 5, 3)


# ---- the prior -----------------------------------------------------------------------------------
def test_the_hull_needs_the_foreground_channel():
    lift, maps, batch = world_of()
    lift.priors = replace(lift.priors, hull=1.0)
    with pytest.raises(ValueError, match="foreground channel.*survey.*hull = 0"):
        lift(maps, batch.now[:, :, :3], batch)


def test_the_hull_draws_keypoints_to_the_foreground():
    lift, maps, batch = world_of()
    target = torch.tensor([[90.0, -70.0, 100.0]])
    px = batch.rig.px_from_world(target.expand(2, 1, 3))
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    batch.now[:, :, 3] = (
        (torch.stack([x, y], -1) - px[:, :, 0, None, None]).norm(dim=-1) < 6
    ).float()
    far = (lift(maps, batch.now, batch).world - target).norm(dim=-1).mean()
    lift.priors = replace(lift.priors, hull=20.0)
    near = (lift(maps, batch.now, batch).world - target).norm(dim=-1).mean()
    assert near < 40 < far


def test_sharpness_scales_the_logits():
    lift, maps, batch = world_of()
    ndc = lift.place(batch)[1]
    sharp = lift.volume(maps, batch.now, ndc)
    lift.priors = replace(lift.priors, sharpness=1.0)
    assert_close(sharp, 3 * lift.volume(maps, batch.now, ndc), atol=1e-4, rtol=1e-4)


def test_the_3d_network_sees_the_shape_and_the_place():
    recipe = VolumeRecipe(side=300.0, voxels=8, centre=(0.0, 0.0, 100.0))
    lift = Volumetric(recipe, 3, 4, priors=PriorRecipe(shape=True))
    occupied = torch.full((2, 1, 512), 0.5).log()
    shape = lift._shape(occupied)
    assert shape.shape == (2, SHAPE, 512)
    assert_close(shape[:, 0], torch.full((2, 512), 0.5))
    assert_close(shape[0, 1:, 0], torch.full((3,), -7 / 8))  # the first voxel: x, y and z lowest
    assert_close(shape[1, 1:, 1], torch.tensor([-5 / 8, -7 / 8, -7 / 8]))  # x runs first
    assert next(lift.v2v.parameters()).shape[1] == 4 + SHAPE
    assert Volumetric(recipe, 3, 4)._shape(occupied) is None


def test_twins_mirror_each_other_and_what_has_no_twin_keeps_its_side():
    """A mirrored volume gives the mirrored figure, left and right swapped; without twins it gives
    another one. Both see the shape, the place of a voxel among it."""
    recipe = VolumeRecipe(side=300.0, voxels=8, centre=(0.0, 0.0, 100.0))
    priors = PriorRecipe(shape=True, twins=0.67)
    torch.manual_seed(0)
    lift, plain = Volumetric(recipe, 6, 4, priors=priors), Volumetric(recipe, 6, 4)
    assert lift.pairs == 2 and plain.pairs == 0
    assert lift.v2v.back[-1].out_channels == 4 and plain.v2v.back[-1].out_channels == 6
    votes = torch.randn(1, 4, 8, 8, 8)
    hull = torch.rand(1, 1, 8, 8, 8).log()

    def asked(v, h):
        seen = torch.cat([v, lift._shape(h.flatten(2)).unflatten(2, (8, 8, 8))], 1)
        assert_close(lift._asked([seen]), lift._asked(seen))
        return lift._asked(seen), plain._asked(v)

    (one, alone), (other, alone_mirrored) = asked(votes, hull), asked(votes.flip(3), hull.flip(3))
    swapped = [2, 3, 0, 1, 4, 5]
    assert one.shape == (1, 6, 8, 8, 8)
    assert_close(other.flip(3)[:, swapped], one, atol=1e-5, rtol=1e-4)
    assert (alone_mirrored.flip(3) - alone).abs().max() > 0.01
    assert (one[:, :2] - one[:, 2:4]).abs().max() > 0.01
