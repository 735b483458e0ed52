"""Learning: a tiny model on the synthetic figure beats its own start and the mean pose, on frames
it never saw."""

from dataclasses import replace

import torch

from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import LENGTH, figure
from bkind3d_lite.evaluation import baselines, on_body, scores
from bkind3d_lite.recipes import QUICK_RAT
from bkind3d_lite.training import batches, begin, track, train


def test_a_tiny_model_learns_the_figure():
    recipe = QUICK_RAT.with_(
        keypoints=8,
        image_wh=(64, 64),
        voxels=16,
        encoder_width=16,
        channels=8,
        v2v_width=8,
        decoder_width=12,
        mode="animal",
        animal_side=420.0,
        steps=150,
        views_per_step=3,
        gaps=(0.1, 0.2),
    )
    clip = figure(420, 4, (96, 96), seed=0)
    first, second = (
        replace(clip, frames=clip.frames[part], truth=clip.truth[part])
        for part in (slice(0, 300), slice(300, 420))
    )
    seen = survey(first), survey(second)
    run = begin(recipe, first)
    losses = []
    for step in train(run, batches(run, first, seen[0])):
        losses.append(step.losses["reconstruct"])
        if step.index >= recipe.optim.steps:
            break
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    a, b = (
        track(run.model, run.recipe, c, s, range(0, len(c), 2))
        for c, s in zip((first, second), seen)
    )
    score, known = (
        scores((a.world, first.truth[::2]), (b.world, second.truth[::2])),
        baselines(first.truth, second.truth),
    )
    for key in ("mpjpe", "pmpjpe"):
        assert score[key] < 0.75 * min(known["centroid"][key], known["mean_pose"][key]), key
    assert on_body(b.world, second.truth[::2], second.skeleton, LENGTH)["share"] > 0.7
    assert torch.isfinite(b.world).all()
