"""Training: seeded, resumable to the same weights, loud about NaN, and never half-written."""

from dataclasses import replace

import pytest
import torch

from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.recipes import QUICK_RAT
from bkind3d_lite.training import batches, begin, resume, save, track, tracking, train
from bkind3d_lite.training.loop import working_wh
from bkind3d_lite.training.prefetch import prefetch

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
    steps=40,
    warmup=3,
    views_per_step=2,
)


@pytest.fixture(scope="module")
def clip():
    return figure(40, views=3)


@pytest.fixture(scope="module")
def seen(clip):
    return survey(clip)


def advance(run, clip, seen, to):
    for step in train(run, batches(run, clip, seen)):
        if step.index >= to:
            return step


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_same_seed_same_weights(clip, seen):
    runs = [begin(TINY, clip, seed) for seed in (3, 3, 4)]
    for run in runs:
        advance(run, clip, seen, 4)
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


def test_nan_stops_and_keeps_the_weights(tmp_path, clip, seen):
    run = begin(TINY, clip)
    advance(run, clip, seen, 2)
    save(run, tmp_path / "good.safetensors")
    before = weights(run)

    def poisoned():
        for batch in batches(run, clip, seen):
            yield replace(batch, later=batch.later * float("nan"))

    with pytest.raises(FloatingPointError, match="step 3.*untouched.*resume"):
        next(train(run, poisoned()))
    assert torch.equal(weights(run), before)
    assert resume(tmp_path / "good.safetensors", clip).step == 2


def test_track_shapes_and_confidence(clip, seen):
    run = begin(TINY, clip)
    found = track(run.model, run.recipe, clip, seen, times=range(5))
    assert found.world.shape == (5, 5, 3) and found.confidence.shape == (5, 5)
    assert (
        found.confidence.min() >= 0 and found.confidence.max() <= 1 and found.confidence.std() > 0
    )
    assert len(found.skeleton.edges) >= 4


def test_track_of_one_frame_equals_track_of_many(clip, seen):
    run = begin(TINY, clip)
    many = track(run.model, run.recipe, clip, seen, times=range(6), batch=6)
    one = track(run.model, run.recipe, clip, seen, times=[4], batch=1)
    torch.testing.assert_close(one.world[0], many.world[4], atol=0.05, rtol=1e-4)


def test_a_track_decoded_ahead_is_the_same(clip, seen, monkeypatch):
    """As on a GPU, which computes while the next frames are decoded."""
    run = begin(TINY, clip)
    plain = track(run.model, run.recipe, clip, seen, batch=3)
    monkeypatch.setattr(tracking, "_ahead", lambda sets, device: prefetch(sets, device, depth=1))
    assert torch.equal(track(run.model, run.recipe, clip, seen, batch=3).world, plain.world)


@pytest.mark.parametrize("large, sizes", [(False, [8, 1]), (True, [1] * 9)])
def test_on_a_cpu_a_large_recipe_tracks_one_moment_after_the_other(
    clip, seen, monkeypatch, large, sizes
):
    run, found = begin(TINY.with_(checkpointing=large, turns=1), clip), []
    encoded = run.model.encoded
    monkeypatch.setattr(
        run.model, "encoded", lambda images: found.append(len(images)) or encoded(images)
    )
    track(run.model, run.recipe, clip, seen, times=range(9))
    assert found == sizes


def test_enough_pixels_for_the_network(clip):
    whole = replace(clip.rig.resized((960, 640)))
    assert working_wh(TINY.with_(mode="room"), whole) == (48, 32)
    large = TINY.with_(image_wh=(2000, 2000))
    assert working_wh(large, whole) == (960, 640)
    wide, narrow = (
        working_wh(TINY.with_(mode="animal", animal_side=side), whole) for side in (600.0, 300.0)
    )
    assert narrow[0] == pytest.approx(2 * wide[0], abs=2) and wide[0] / wide[1] == pytest.approx(
        1.5, rel=0.02
    )
    b = clip.batch([3], None, TINY.data.image_wh, survey(clip), 600.0)
    per_pixel = b.rig.K[0, :, 0, 0] / (
        clip.rig.K[:, 0, 0] * wide[0] / clip.rig.wh[0]
    )  # the crop's pixels for one of the whole image's
    assert (per_pixel < 1.1).all(), "no crop is finer than the frame it is cut from"
