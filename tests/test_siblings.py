"""Siblings: every method is a value, and one factory and one loop serve them all."""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import triangulate
from bkind3d_lite.model import build, placed
from bkind3d_lite.model.edges import PointBottleneck
from bkind3d_lite.model.lifts import Depth, Flat, Triangulated, Volumetric
from bkind3d_lite.recipes import (
    PAPER_H36M,
    PAPER_RAT7M,
    QUICK_RAT,
    RECIPES,
    VARIANTS,
    load_recipe,
    variant,
)
from bkind3d_lite.training import batches, begin, load, resume, save, track, train
from bkind3d_lite.training.tracking import in_space

SIBLINGS = tuple(variant(PAPER_H36M, name) for name in VARIANTS)
(
    TRIANG_REPROJ,
    DEPTH_MAP,
    KEYPOINT3D,
    FLAT,
    FLAT_ROTATE,
    POINTS,
    NO_LENGTH,
    KEYPOINTS_8,
    KEYPOINTS_30,
) = SIBLINGS
SMALL = dict(
    image_wh=(48, 32),
    voxels=8,
    encoder_width=8,
    channels=4,
    v2v_width=4,
    decoder_width=8,
    decoder_steps=2,
    warmup=1,
    steps=10,
    gaps=(0.2,),
)
TINY = dict(
    keypoints=5,
    backbone="small",
    pretrained=False,
    v2v_full=False,
    v2v_levels=2,
    pyramid=False,
    decoder_widths=None,
    perceptual="random",
)
PLAIN = PAPER_H36M.with_(
    name="paper", side=None, **SMALL, **TINY
)  # the paper's recipe with networks for a second's training
QUICK = QUICK_RAT.with_(
    keypoints=5, mode="animal", animal_side=500.0, views_per_step=None, cover_body=50.0, **SMALL
)
TERMS = ("length", "reproject", "agree", "rotate", "cover", "cover_body", "steady", "sure")
EVERY = [variant(base, name) for base in (PLAIN, QUICK) for name in VARIANTS]
ONCE = [variant(PLAIN, name) for name in VARIANTS]


def advance(run, clip, seen, to):
    for step in train(run, batches(run, clip, seen)):
        if step.index >= to:
            return step


def named(recipes):
    return pytest.mark.parametrize("recipe", recipes, ids=lambda r: r.name)


# ---- values --------------------------------------------------------------------------------------
def test_every_sibling_is_one_change_of_the_paper():
    assert {variant(base, name) for base in (PAPER_H36M, PAPER_RAT7M) for name in VARIANTS} | {
        *SIBLINGS
    } <= set(RECIPES.values())
    assert [r.lift for r in (PAPER_H36M, TRIANG_REPROJ, DEPTH_MAP, KEYPOINT3D, FLAT)] == [
        "volumetric",
        "triangulated",
        "depth",
        "depth",
        "flat",
    ]
    assert (
        KEYPOINT3D.bottleneck.draw,
        KEYPOINT3D.losses.explain,
        POINTS.bottleneck.draw,
    ) == (
        "points",
        "frame",
        "points",
    )
    assert (KEYPOINTS_8, KEYPOINTS_30, NO_LENGTH) == tuple(
        PAPER_H36M.with_(name=f"paper-h36m-{n}", **c)
        for n, c in (
            ("keypoints-8", {"keypoints": 8}),
            ("keypoints-30", {"keypoints": 30}),
            ("no-length", {"length": 0.0}),
        )
    )
    for recipe in SIBLINGS:
        assert not recipe.surveyed and load_recipe(recipe.flat()) == recipe


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'point'.*points"):
        variant(PAPER_H36M, "point")
    for wrong, said in (
        (dict(lift="flat3d"), "lift = 'flat3d'.*triangulated"),
        (dict(draw="lines"), "draw = 'lines'.*edges or points"),
        (dict(explain="both"), "explain = 'both'.*change, frame or labels"),
    ):
        with pytest.raises(ValueError, match=said):
            build(PLAIN.with_(side=400.0, centre=(0.0, 0.0, 0.0), **wrong))


# ---- one factory, one loop -----------------------------------------------------------------------
@named(EVERY)
def test_every_recipe_trains_and_tracks(clip, seen, recipe):
    run = begin(recipe, clip)
    step = advance(run, clip, seen, 3)
    wanted = {"reconstruct", "separate"} | {k for k in TERMS if getattr(recipe.losses, k)}
    assert set(step.losses) == wanted and all(torch.tensor(list(step.losses.values())).isfinite())
    assert step.output.recon.shape == (1, 4, 3 if recipe.losses.explain == "frame" else 1, 8, 12)
    found = track(run.model, run.recipe, clip, seen, times=range(3))
    assert found.world.shape == (3, recipe.keypoints, 3) and found.world.isfinite().all()
    assert found.confidence.min() >= 0 and found.confidence.max() <= 1
    joined = {i for edge in found.skeleton.edges for i in edge}
    assert (
        joined == set(range(recipe.keypoints)) and len(found.skeleton.edges) >= recipe.keypoints - 1
    )


@named(ONCE)
def test_gradients_reach_the_encoder_and_the_bottleneck(clip, recipe):
    recipe = placed(recipe.with_(warmup=0), clip.rig)
    model, objective = build(recipe)
    batch = clip.batch([3, 9], 5, recipe.data.image_wh)
    sum(objective(batch, model(batch), model.edges, 0).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert [
        name
        for name, p in model.named_parameters()
        if (p.ndim > 1 or "edges" in name) and not p.grad.any()
    ] == []


def test_the_recipe_decides_what_is_built(clip):
    kinds = {r.name.removeprefix("paper-"): build(placed(r, clip.rig))[0] for r in ONCE}
    want = {
        "triang-reproj": Triangulated,
        "depth-map": Depth,
        "keypoint3d": Depth,
        "flat": Flat,
        "flat-rotate": Flat,
    }
    assert all(type(model.lift) is want.get(name, Volumetric) for name, model in kinds.items())
    assert {name for name, model in kinds.items() if isinstance(model.edges, PointBottleneck)} == {
        "points",
        "keypoint3d",
        "flat",
        "flat-rotate",
    }
    for model in kinds.values():
        assert model.encoder.head[-1].out_channels == model.lift.channels


@named([variant(PLAIN, "keypoint3d"), variant(PLAIN, "flat")])
def test_siblings_resume_bit_for_bit(tmp_path, clip, seen, recipe):
    whole, half = begin(recipe, clip), begin(recipe, clip)
    advance(whole, clip, seen, 4), advance(half, clip, seen, 2)
    again = resume(save(half, tmp_path / "c.safetensors"), clip)
    advance(again, clip, seen, 4)
    assert all(
        torch.equal(v, again.model.state_dict()[k]) for k, v in whole.model.state_dict().items()
    )
    assert load(tmp_path / "c.safetensors")[1] == half.recipe


# ---- terms ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "lift, term, what",
    [
        ("flat", "length", "keypoints in space"),
        ("flat", "steady", "keypoints in space"),
        ("volumetric", "agree", "each view says alone"),
        ("flat", "reproject", "each view says alone"),
    ],
)
def test_a_loss_refuses_what_the_lift_does_not_give(clip, lift, term, what):
    recipe = placed(PLAIN.with_(lift=lift, **{"length": 0.0, term: 1.0}), clip.rig)
    model, objective = build(recipe)
    batch = clip.batch([3], 5, recipe.data.image_wh)
    with pytest.raises(ValueError, match=f"loss {term} needs .*{what}.*{term} = 0"):
        objective(batch, model(batch), model.edges, 0)


def test_the_frame_to_explain_is_the_later_one(clip, seen):
    recipe = placed(variant(PLAIN, "keypoint3d"), clip.rig)
    _, objective = build(recipe)
    batch = clip.batch([3, 9], 5, recipe.data.image_wh, seen)
    assert_close(objective.target(batch, (32, 48)), batch.later[:, :, :3])
    objective.recipe = recipe.with_(mask=True)
    masked = objective.target(batch, (32, 48))
    assert (masked == 0).any() and (masked <= batch.later[:, :, :3]).all() and masked.max() > 0


def test_separation_of_flat_keypoints_is_in_the_images(clip):
    """Two keypoints a tenth of the width apart count alike along x and y of an oblong image."""
    recipe = placed(variant(PLAIN, "flat").with_(keypoints=2, separate_sigma=0.1), clip.rig)
    _, objective = build(recipe)
    for there in ([0.2, 0.0], [0.0, 0.3]):  # 48 x 32: the same 4.8 pixels
        ndc = torch.zeros(1, 4, 2, 2)
        ndc[:, :, 1] = torch.tensor(there)
        found = Flat(2)(torch.zeros(1, 4, 2, 8, 12), torch.zeros(1, 4, 3, 32, 48), None)
        assert_close(
            objective.apart((replace(found, ndc=ndc),) * 2, (48, 32)), torch.tensor(0.5).neg().exp()
        )


def test_only_keypoints_in_images_may_turn_with_them(clip):
    with pytest.raises(ValueError, match="rotate = 1.0.*rotate = 0 or lift = 'flat'"):
        build(placed(PLAIN.with_(rotate=1.0), clip.rig))


def test_a_world_that_is_missing_is_triangulated_where_one_can_see_it(clip):
    model, _ = build(placed(variant(PLAIN, "flat"), clip.rig))
    batch = clip.batch([3, 9], None, PLAIN.data.image_wh)
    found = model.keypoints(batch)
    assert_close(
        in_space(found, batch.rig),
        triangulate(batch.rig, batch.rig.px_from_ndc(found.ndc), found.confidence),
    )
    given = replace(found, world=torch.randn(2, 5, 3))
    assert in_space(given, batch.rig) is given.world


def test_rows_of_the_accuracy_benchmark_are_changes_of_its_base():
    path = Path(__file__).parents[1] / "benchmarks" / "accuracy.py"
    spec = spec_from_file_location("accuracy", path)
    spec.loader.exec_module(accuracy := module_from_spec(spec))
    bases = accuracy.BASES["quick"]
    changed = [
        tuple(base.with_(**change) for base in bases.values()) for change in accuracy.ROWS.values()
    ]
    assert changed[0] == tuple(bases.values()) and len(set(changed)) == len(changed), (
        "every row changes something of a clip, each something else"
    )
    rows = [accuracy.usual(bases[clip], accuracy.USUAL["quick"]) for clip in ("rat", "human")]
    assert "no-by-shape" in rows[1] and "no-by-shape" not in rows[0] and "full" in rows[0]
    plain = accuracy.BASES["reduced"]["rat"]
    assert not plain.surveyed and plain.data.image_wh[0] / 256 == plain.volume.voxels / 64, (
        "the paper's proportions, smaller"
    )
