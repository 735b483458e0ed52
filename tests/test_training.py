"""Training: seeded, resumable to the same weights, loud about NaN, and never half-written."""
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
import torch

from bkind3d_lite.model import placed
from bkind3d_lite.recipes import QUICK_RAT, Recipe, load_recipe
from bkind3d_lite.motion import survey
from bkind3d_lite.synthetic import figure
from bkind3d_lite.checkpoints import load, resume, save
from bkind3d_lite.training import batches, begin, track, train

TINY = replace(QUICK_RAT, keypoints=5, size=(48, 32), voxels=8, width=8, channels=4, v2v_width=4, decoder_width=8, decoder_steps=2,
               follow=500.0, steps=40, warmup=3, views=2)


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


def test_resume_continues_bit_for_bit(tmp_path, clip, seen):
    whole, half = begin(TINY, clip), begin(TINY, clip)
    advance(whole, clip, seen, 8)
    advance(half, clip, seen, 5)
    save(half, tmp_path / "c.safetensors")
    again = resume(tmp_path / "c.safetensors", clip)
    assert again.step == 5
    advance(again, clip, seen, 8)
    assert torch.equal(weights(whole), weights(again))
    for name, value in whole.objective.state_dict().items():
        assert torch.equal(value, again.objective.state_dict()[name]), name


CHILD = textwrap.dedent("""
    import sys, torch
    torch.set_num_threads(1)
    sys.path.insert(0, sys.argv[1])
    from pathlib import Path
    from test_training import TINY, survey, figure, begin, batches, resume, save, train, weights
    clip = figure(40, views=3)
    path = Path(sys.argv[2])
    run = resume(path, clip) if path.exists() else begin(TINY, clip)
    for step in train(run, batches(run, clip, survey(clip))):
        save(run, path)
        print(step.index, flush=True)
        if step.index >= 14:
            break
    torch.save(weights(run), str(path) + ".weights")
""")


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    """kill -9 at an arbitrary moment, resume from what is on disk: as if nothing had happened."""
    def start(name):
        return subprocess.Popen([sys.executable, "-c", CHILD, os.path.dirname(__file__), str(tmp_path / name)], stdout=subprocess.PIPE, text=True)

    victim = start("killed")
    while int(victim.stdout.readline()) < 6:
        pass
    time.sleep(0.03)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "killed.weights").exists()
    for child in (start("killed"), start("whole")):
        assert child.communicate()[0] and child.returncode == 0
    killed, whole = (torch.load(tmp_path / f"{n}.weights", weights_only=True) for n in ("killed", "whole"))
    assert torch.equal(killed, whole)


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


def test_checkpoint_of_other_shapes_is_refused(tmp_path, clip):
    run = begin(TINY, clip)
    path = save(run, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"c.safetensors.*\(.*\) there, .* in this recipe"):
        load(path, placed(replace(TINY, keypoints=6), clip.rig))


def test_broken_and_foreign_checkpoints(tmp_path, clip):
    run = begin(TINY, clip)
    path = save(run, tmp_path / "c.safetensors")
    (tmp_path / "half.safetensors").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="half.safetensors.*earlier checkpoint"):
        load(tmp_path / "half.safetensors")
    with pytest.raises(FileNotFoundError, match="none.safetensors"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="cannot resume|cannot|not resume"):
        resume(save(run, tmp_path / "light.safetensors", whole=False), clip)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, clip, seen, monkeypatch):
    run = begin(TINY, clip)
    path = save(run, tmp_path / "c.safetensors")
    good = path.read_bytes()
    advance(run, clip, seen, 1)
    full = "/dev/full"
    if not os.path.exists(full):
        pytest.skip("this system has no /dev/full to write to")
    import bkind3d_lite.checkpoints as checkpoints

    def to_full(tensors, name, metadata):
        with open(name, "wb") as handle, open(full, "wb") as sink:
            handle.write(b"half a file")
            sink.write(b"x" * 100_000)

    monkeypatch.setattr(checkpoints, "save_file", to_full)
    with pytest.raises(OSError, match="c.safetensors.*free some space"):
        save(run, path)
    assert path.read_bytes() == good and [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_recipe_typo_is_a_type_error():
    with pytest.raises(TypeError):
        Recipe("x", keypoint=3)
    with pytest.raises(TypeError, match="keypoint"):
        load_recipe({"name": "x", "keypoint": 3})


def test_track_shapes_and_confidence(clip, seen):
    run = begin(TINY, clip)
    found = track(run.model, run.recipe, clip, seen, times=range(5))
    assert found.world.shape == (5, 5, 3) and found.weight.shape == (5, 5)
    assert found.weight.min() >= 0 and found.weight.max() <= 1 and found.weight.std() > 0
    assert len(found.skeleton.edges) >= 4


def test_track_of_one_frame_equals_track_of_many(clip, seen):
    run = begin(TINY, clip)
    many = track(run.model, run.recipe, clip, seen, times=range(6), batch=6)
    one = track(run.model, run.recipe, clip, seen, times=[4], batch=1)
    torch.testing.assert_close(one.world[0], many.world[4], atol=0.05, rtol=1e-4)
