"""Model: one breath from batch to losses; recipes as values; what the paper does is what the
switches' defaults do."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from bkind3d_lite.clips.extent import animal_length
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.model import Objective, build, placed
from bkind3d_lite.recipes import (
    PAPER_H36M,
    PAPER_RAT7M,
    QUICK,
    QUICK_HUMAN,
    QUICK_RAT,
    RECIPES,
    Recipe,
)
from bkind3d_lite.recipes.sections import leaves

TINY = QUICK_RAT.with_(
    keypoints=5,
    image_wh=(48, 32),
    voxels=8,
    encoder_width=8,
    channels=4,
    v2v_width=4,
    decoder_width=8,
    decoder_steps=2,
    mode="animal",
    animal_side=500.0,
    warmup=0,
    views_per_step=None,
    sure=0.1,
)
PAPER = Recipe("paper-small").with_(
    keypoints=5,
    image_wh=(48, 32),
    voxels=8,
    encoder_width=8,
    channels=4,
    v2v_width=4,
    decoder_width=8,
    decoder_steps=2,
    warmup=0,
)


@pytest.fixture(scope="module")
def clip():
    return figure(30, views=3)


@pytest.fixture(scope="module")
def seen(clip):
    return survey(clip)


def batch_of(clip, recipe, seen, times=(3, 9), turn=None):
    return clip.batch(
        times,
        5,
        recipe.data.image_wh,
        seen if recipe.surveyed else None,
        recipe.volume.crop,
        turn=turn,
    )


@pytest.mark.parametrize("recipe", [TINY, PAPER], ids=lambda r: r.name)
def test_shapes_on_images_that_are_not_square(clip, seen, recipe):
    model, objective = build(placed(recipe, clip.rig))
    batch = batch_of(clip, recipe, seen)
    out = model(batch)
    assert (
        out.now.world.shape == (2, 5, 3)
        and out.later.ndc.shape == (2, 3, 5, 2)
        and out.now.confidence.shape == (2, 3, 5)
    )
    assert out.recon.shape == (2, 3, 1, 8, 12)
    losses = objective(batch, out, model.edges, 0)
    wanted = {"reconstruct", "separate", "length"} | (
        {"cover", "sure", "steady"} if recipe is TINY else set()
    )
    assert set(losses) == wanted and all(x.ndim == 0 and x.isfinite() for x in losses.values())


def test_cover_in_the_body_draws_a_keypoint_to_the_animal(clip, seen):
    """In the frame of the volume at each moment."""
    recipe = placed(TINY.with_(cover_body=1.0), clip.rig)
    model, objective = build(recipe)
    batch = batch_of(clip, recipe, seen)
    out = model(batch)
    turn = torch.tensor([0.3, -2.0])
    batch = replace(batch, turn=turn, turn_later=turn + 1)
    both = [replace(k, world=k.world.detach().requires_grad_()) for k in (out.now, out.later)]
    term = objective(batch, replace(out, now=both[0], later=both[1]), model.edges, 0)["cover_body"]
    grads = torch.autograd.grad(term, [k.world for k in both])
    moved = [replace(k, world=k.world - 2e4 * g) for k, g in zip(both, grads)]
    nearer = objective.eval()(batch, replace(out, now=moved[0], later=moved[1]), model.edges, 0)
    assert 0 < nearer["cover_body"] < term < 1


@pytest.mark.parametrize("recipe", [TINY, PAPER], ids=lambda r: r.name)
def test_every_weight_has_a_gradient(clip, seen, recipe):
    model, objective = build(placed(recipe, clip.rig))
    batch = batch_of(clip, recipe, seen)
    sum(objective(batch, model(batch), model.edges, 0).values()).backward()
    silent = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert silent == []
    still = {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert still <= {"look"}  # which has learned before the training begins
    assert all(not p.requires_grad for p in objective.parameters())


def test_keypoints_of_inference_are_those_of_training(clip, seen):
    model, _ = build(placed(TINY, clip.rig))
    batch = batch_of(clip, TINY, seen)
    assert_close(model.keypoints(batch).world, model(batch).now.world, atol=1e-3, rtol=1e-5)


def test_views_may_come_in_any_order(clip, seen):
    model, _ = build(placed(TINY, clip.rig))
    whole = clip.batch([3], 5, TINY.data.image_wh, seen, TINY.volume.crop)
    other = clip.batch([3], 5, TINY.data.image_wh, seen, TINY.volume.crop, views=[2, 0, 1])
    a, b = model(whole), model(other)
    assert_close(a.now.world, b.now.world, atol=0.05, rtol=1e-5)
    assert_close(a.recon[:, [2, 0, 1]], b.recon, atol=1e-3, rtol=1e-3)


def test_a_turned_volume_is_the_same_place_in_the_world(clip, seen):
    """The turn moves voxels, not the animal: the hull's own centre stays where it is."""
    recipe = TINY.with_(hull=200.0, voxels=16)  # so strong that the untrained network has no say
    model, _ = build(placed(recipe, clip.rig))
    still, turned = (
        model.keypoints(batch_of(clip, recipe, seen, turn=t)).world
        for t in (None, torch.tensor([0.7, 2.1]))
    )
    assert (still - turned).norm(dim=-1).max() < 0.07 * recipe.volume.crop, (
        "little more than a voxel"
    )


def test_losses_begin_after_the_warmup(clip, seen):
    recipe = placed(TINY.with_(warmup=10), clip.rig)
    model, objective = build(recipe)
    batch = batch_of(clip, recipe, seen)
    out = model(batch)
    assert not {"length", "separate"} & set(objective(batch, out, model.edges, 9))
    assert {"length", "separate"} <= set(objective(batch, out, model.edges, 10))


def test_the_mask_leaves_the_ground_out(clip, seen):
    batch = batch_of(clip, TINY, seen)
    bare, masked = (
        Objective(placed(TINY.with_(mask=m), clip.rig), 10, 500.0).target(batch, (32, 48))
        for m in (False, True)
    )
    off = (batch.now[:, :, 3:] + batch.later[:, :, 3:]) == 0
    far = torch.nn.functional.max_pool2d((~off).flatten(0, 1).float(), 7, 1, 3).view_as(off) == 0
    assert far.any() and bare[far].max() > 0 and masked[far].max() == 0


def test_switches_are_off_in_a_plain_recipe_and_on_in_the_quick_ones():
    plain = Recipe("paper")
    assert (
        not plain.surveyed
        and plain.priors.sharpness == 1
        and not plain.volume.turn
        and plain.data.views_per_step is None
        and plain.losses.cover == plain.losses.sure == 0
    )
    assert (
        QUICK_RAT.surveyed
        and QUICK_HUMAN.surveyed
        and set(RECIPES) >= {"quick-rat", "quick-human", "paper-h36m", "paper-rat7m"}
    )
    assert leaves().keys() >= {
        "background",
        "mode",
        "hull",
        "mask",
        "cover",
        "by_motion",
        "turn",
    }


def test_seeded(clip):
    a, b, c = (build(placed(TINY, clip.rig), seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a) and any(not torch.equal(a[k], c[k]) for k in a)


def test_the_background_switch_hides_the_foreground_from_the_encoder(clip, seen):
    recipe = placed(TINY.with_(background=False, hull=0.0), clip.rig)
    model, _ = build(recipe)
    batch = batch_of(clip, recipe, seen)
    blind = replace(
        batch, now=torch.cat([batch.now[:, :, :3], torch.rand_like(batch.now[:, :, 3:])], 2)
    )
    assert torch.equal(model.keypoints(batch).world, model.keypoints(blind).world)


def test_the_cube_is_measured_on_the_animal(clip, seen):
    """The cube of the preset for own recordings is so many times as wide as the animal is long;
    without a survey it cannot be placed."""
    found = placed(QUICK, clip.rig, seen)
    assert found.volume.crop == pytest.approx(
        QUICK.volume.animal_lengths * animal_length(seen, clip.rig), rel=0.01
    )
    assert placed(QUICK.with_(mode="animal", animal_side=321.0), clip.rig).volume.crop == 321.0, (
        "who names the side is believed"
    )
    with pytest.raises(
        ValueError,
        match="animal_lengths = .* asks for the animal's length: place the recipe with a survey",
    ):
        placed(QUICK, clip.rig)


@pytest.mark.parametrize(
    "recipe, side, gap",
    [(PAPER_H36M, 7500.0, 0.4), (PAPER_RAT7M, 1000.0, 0.66)],
    ids=lambda r: getattr(r, "name", ""),
)
def test_the_papers_recipes_have_the_papers_size(recipe, side, gap):
    """Parameters and arithmetic of the released networks: kptNet 1.48 M and ResNet-50 23.5 M, V2V
    11.9 M, decoder 37.8 M."""
    assert (
        recipe.volume.side,
        recipe.data.gaps,
        recipe.keypoints,
        recipe.data.image_wh,
        recipe.volume.voxels,
    ) == (
        side,
        (gap,),
        15,
        (256, 256),
        64,
    )
    assert not recipe.surveyed and recipe.priors.sharpness == 1
    with torch.device("meta"):
        model, _ = build(
            recipe.with_(pretrained=False, perceptual="pixels", centre=(0.0, 0.0, 0.0))
        )
        with FlopCounterMode(display=False) as counted:
            assert model.lift.v2v(torch.empty(1, 32, 64, 64, 64)).shape == (1, 15, 64, 64, 64)
        drawings = [torch.empty(1, 2, *size) for size in model.decoder.drawing_hw((8, 8))]
        assert model.decoder(torch.empty(1, 2048, 8, 8), drawings).shape == (1, 1, 256, 256)
    millions = {
        name: sum(p.numel() for p in part.parameters()) / 1e6
        for name, part in model.named_children()
    }
    assert counted.get_total_flops() == pytest.approx(296.2e9, rel=1e-3)
    assert millions["lift"] == pytest.approx(11.9, abs=0.05) and millions[
        "decoder"
    ] == pytest.approx(37.8, abs=0.05)
    assert millions["encoder"] == pytest.approx(25.0, abs=0.3)
