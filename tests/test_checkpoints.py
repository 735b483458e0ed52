"""Checkpoints: whole or not at all, never unpickled; a resumed run goes on to the same weights."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
import torch
from test_training import TINY, advance, clip, seen, weights  # noqa: F401  (fixtures)

from bkind3d_lite.model import placed
from bkind3d_lite.training import begin, load, resume, save
from bkind3d_lite.training.checkpoints import read_header


@pytest.mark.parametrize("last", [False, True])
def test_resume_continues_bit_for_bit(tmp_path, clip, seen, last):
    """Channels last, too: moments then lie as the weights do, which fused optimizers rely on; and
    with averages of where the animal is."""
    recipe = TINY.with_(channels_last=last, by_shape=last, cover_body=5.0 * last)
    whole, half = begin(recipe, clip), begin(recipe, clip)
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
    from test_training import TINY, survey, figure, begin, batches, train, weights
    from bkind3d_lite.training import resume, save
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
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, os.path.dirname(__file__), str(tmp_path / name)],
            stdout=subprocess.PIPE,
            text=True,
        )

    victim = start("killed")
    while int(victim.stdout.readline()) < 6:
        pass
    time.sleep(0.03)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "killed.weights").exists()
    for child in (start("killed"), start("whole")):
        assert child.communicate()[0] and child.returncode == 0
    killed, whole = (
        torch.load(tmp_path / f"{n}.weights", weights_only=True) for n in ("killed", "whole")
    )
    assert torch.equal(killed, whole)


def test_the_scale_of_a_float16_run_is_kept(tmp_path, clip, monkeypatch):
    from bkind3d_lite.training import loop

    monkeypatch.setattr(
        loop, "scaler", lambda recipe, device: torch.amp.GradScaler("cpu", init_scale=64.0)
    )
    run = begin(TINY, clip)
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 16.0, "_growth_tracker": 7})
    again = resume(save(run, tmp_path / "c.safetensors"), clip)
    assert again.scaler.state_dict() == run.scaler.state_dict() and again.scaler.get_scale() == 16.0


def test_checkpoint_of_other_shapes_is_refused(tmp_path, clip):
    run = begin(TINY, clip)
    path = save(run, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"c.safetensors.*\(.*\) there, .* in this recipe"):
        load(path, placed(TINY.with_(keypoints=6), clip.rig))


def test_for_tracking_a_checkpoint_is_lighter_and_the_same(tmp_path, clip, seen, monkeypatch):
    monkeypatch.setattr(
        torch.hub,
        "load_state_dict_from_url",
        lambda *_, **__: pytest.fail("weights were asked for"),
    )
    run = begin(TINY.with_(backbone="resnet18", precision="float32"), clip)
    run.recipe = run.recipe.with_(
        pretrained=True, perceptual="vgg19"
    )  # as one who trains on with ImageNet's weights
    path = save(run, tmp_path / "c.safetensors")
    whole, light = load(path)[0], load(path, tracking=True)[0]
    seen = clip.batch([2], None, run.recipe.data.image_wh, seen, run.recipe.volume.crop)
    with torch.no_grad():
        assert torch.equal(whole.keypoints(seen).world, light.keypoints(seen).world)
    assert all(p.is_meta for p in light.decoder.parameters()) and not any(
        p.is_meta for p in whole.parameters()
    )
    half = load(path, run.recipe.with_(precision="bfloat16"), tracking=True)[0]
    assert {p.dtype for p in half.encoder.parameters() if p.ndim == 4} == {torch.bfloat16}
    with torch.no_grad():
        assert (half.keypoints(seen).world - whole.keypoints(seen).world).abs().max() < 0.05 * (
            run.recipe.volume.crop or run.recipe.volume.side
        )


def test_a_file_in_half_precision_is_smaller_and_reads_as_the_same_weights(tmp_path, clip):
    run = begin(TINY, clip)
    path = save(run, tmp_path / "whole.safetensors", whole=False)
    halved = save(run, tmp_path / "half.safetensors", whole=False, half=True)
    there, here = (load(p)[0].state_dict() for p in (path, halved))
    always = "look."  # is halved in both
    spared = 2 * sum(v.numel() for k, v in there.items() if v.ndim > 1 and not k.startswith(always))
    assert path.stat().st_size - halved.stat().st_size == pytest.approx(spared, abs=2000)
    assert {v.dtype for v in here.values()} == {v.dtype for v in there.values()}
    for name, value in there.items():
        torch.testing.assert_close(here[name], value, rtol=1e-3, atol=1e-7)
        assert value.ndim > 1 or torch.equal(here[name], value), name


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
    import bkind3d_lite.training.checkpoints as checkpoints

    def to_full(tensors, name, metadata):
        with open(name, "wb") as handle, open(full, "wb") as sink:
            handle.write(b"half a file")
            sink.write(b"x" * 100_000)

    monkeypatch.setattr(checkpoints, "save_file", to_full)
    with pytest.raises(OSError, match="c.safetensors.*free some space"):
        save(run, path)
    assert path.read_bytes() == good and [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


HALF_WRITER = textwrap.dedent("""
    import os, signal, sys, torch
    sys.path.insert(0, sys.argv[1])
    from test_training import TINY, advance, begin, figure, survey
    import bkind3d_lite.training.checkpoints as checkpoints
    clip = figure(40, views=3)
    seen, run, write = survey(clip), begin(TINY, clip), checkpoints.save_file
    advance(run, clip, seen, 2)
    checkpoints.save(run, sys.argv[2])

    def half(tensors, name, metadata):
        write(tensors, name, metadata)
        os.truncate(name, os.path.getsize(name) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    checkpoints.save_file = half
    advance(run, clip, seen, 4)
    checkpoints.save(run, sys.argv[2])
""")


def test_kill_in_the_middle_of_a_checkpoint_write_leaves_the_last_good_one(tmp_path, clip):
    path = tmp_path / "c.safetensors"
    child = subprocess.run(
        [sys.executable, "-c", HALF_WRITER, os.path.dirname(__file__), str(path)],
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert child.returncode == -signal.SIGKILL
    assert len([p for p in tmp_path.iterdir() if ".tmp" in p.name]) == 1, "it died while it wrote"
    assert read_header(path)["step"] == 2 and resume(path, clip).step == 2


def test_another_clip_is_refused_and_changes_hold_from_here(tmp_path, clip):
    path = save(begin(TINY, clip), tmp_path / "c.safetensors")
    shorter = replace(clip, frames=clip.frames[:30])
    with pytest.raises(ValueError, match="c.safetensors.*another clip.*frames 40 there, 30 here"):
        resume(path, shorter)
    moved = replace(clip, rig=replace(clip.rig, t=clip.rig.t + 30.0))
    with pytest.raises(ValueError, match="places where they were there, moved by up to"):
        resume(path, moved)
    shaken = replace(clip, rig=replace(clip.rig, t=clip.rig.t + 1e-3))
    assert resume(path, shaken, learning_rate=1e-5).recipe == begin(TINY, clip).recipe.with_(
        learning_rate=1e-5
    )
