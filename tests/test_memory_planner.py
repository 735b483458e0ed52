"""Memory planner: what is foretold is what is used, what is picked fits, and knobs are named."""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bkind3d_lite.clips.videos import Frames
from bkind3d_lite.recipes import LEAN, PAPER_RAT7M, QUICK_RAT
from bkind3d_lite.training import batches, begin, memory_planner
from bkind3d_lite.training.memory_planner import (
    KEPT,
    LADDER,
    LIBRARIES,
    advised,
    afforded,
    afforded_changes,
    knobs,
    memory,
    plan,
    rungs,
)
from bkind3d_lite.training.precision import native_bfloat16
from bkind3d_lite.training.prefetch import prefetch

MIDDLE = PAPER_RAT7M.with_(
    name="middle",
    backbone="resnet18",
    pretrained=False,
    perceptual="random",
    image_wh=(192, 128),
    voxels=32,
    v2v_levels=3,
    v2v_front=3,
    decoder_widths=(128, 96, 64),
    gaps=(0.1,),
    warmup=0,
    precision="float32",
)

TINY = MIDDLE.with_(
    name="tiny",
    backbone="small",
    encoder_width=8,
    pyramid=False,
    v2v_full=False,
    v2v_levels=2,
    perceptual="pixels",
    decoder_widths=(8, 8, 8),
    keypoints=5,
)

LEAN_REDUCED = LEAN.with_(
    name="lean-reduced",
    image_wh=(128, 128),
    voxels=24,
    v2v_levels=3,
    decoder_widths=(128, 64, 32, 16),
    gaps=(0.1,),
    warmup=0,
    pretrained=False,
    perceptual="random",
)

CHILD = """
import json, sys, torch
torch.set_num_threads(1)
from dataclasses import replace
from bkind3d_lite.training.precision import _libc
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.recipes import load_recipe
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.training import begin, batches, train
def resident(key):
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
recipe = load_recipe(json.loads(sys.argv[1]))
clip = figure(12, wh=recipe.data.image_wh)
seen = survey(clip) if recipe.surveyed else None
widths = (8, 8, 8) if recipe.decoder.decoder_widths else None
small = dict(image_wh=(64, 64), voxels=8, v2v_levels=2, v2v_width=8, backbone="small")
small |= dict(encoder_width=8, decoder_width=8, decoder_widths=widths)
small = begin(recipe.with_(**small), clip)
next(train(small, batches(small, clip, seen)))  # the libraries' own pages are not the recipe's
del small
_libc("malloc_trim", 0)
before = resident("VmRSS")
run = begin(recipe, clip)
for step in train(run, batches(run, clip, seen)):
    if step.index == 4:
        break
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="resident memory is read from /proc, and the heap is glibc's",
)
@pytest.mark.parametrize(
    "recipe",
    [QUICK_RAT.with_(gaps=(0.1,), warmup=0)]
    + [r.with_(precision=p) for r in (MIDDLE, LEAN_REDUCED) for p in ("float32", "bfloat16")],
    ids=lambda r: f"{r.name}-{r.compute.precision}",
)
def test_the_memory_foretold_is_the_memory_used(recipe):
    """Within 15 % of the growth of a fresh process after a few steps, with a training's habits."""
    if recipe.compute.precision == "bfloat16" and not native_bfloat16():
        pytest.skip("this CPU has no bfloat16 (AVX512-BF16 or AMX)")
    values = recipe.flat()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(values)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert memory(recipe, 4).step == pytest.approx(int(done.stdout), rel=0.15)


def test_a_walk_downloads_nothing(monkeypatch):
    monkeypatch.setattr(
        torch.hub,
        "load_state_dict_from_url",
        lambda *_, **__: pytest.fail("weights were asked for"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            memory(TINY.with_(perceptual="vgg19", pretrained=True), 2).step > memory(TINY, 2).step
        )


def test_what_saves_memory_saves_it_on_paper_too():
    needs = [memory(TINY.with_(**(KEPT | how)), 4).step for how in LADDER]
    assert needs[0] > needs[1] > needs[2] and needs[3] > needs[4] and needs[0] > 1.2 * needs[4]
    assert memory(TINY.with_(batch=2), 4).step > memory(TINY, 4).step > memory(TINY, 4).inference


def test_a_plan_takes_the_fastest_that_fits(clip):
    roomy = plan(TINY, clip.rig, budget=64 << 30)
    assert (
        roomy.fits
        and not roomy.recipe.compute.checkpointing
        and roomy.recipe.data.batch == 1
        and len(roomy.considered) == 1
    )
    tight = plan(TINY, clip.rig, budget=roomy.need.step - 1)
    assert tight.fits and tight.recipe.compute.decode_per_view and tight.need.step < roomy.need.step
    assert "fits" in str(tight) and len(str(tight).splitlines()) >= 3


def test_memory_buys_speed(clip, caplog):
    """As much as is named, or as is free; without a word on memory the switches stand."""
    caplog.set_level("INFO")
    least = TINY.with_(voxels=8, image_wh=(48, 32))
    settings = [option.compute for _, option in rungs(least, "cpu")]
    asked = {memory: least.with_(memory=memory) for memory in (64.0, 0.1, "auto", None)}
    got = {k: afforded(recipe, clip, "cpu").compute for k, recipe in asked.items()}
    plain = {k: replace(compute, memory=None) for k, compute in got.items()}
    assert plain[64.0] == plain["auto"] == replace(settings[0], memory=None) and got[64.0].hold
    assert plain[0.1] == replace(settings[-1], memory=None) and got[0.1].memory == 0.1
    assert got[None] == least.with_(memory=None).compute
    assert "memory = 64.0: hold (" in caplog.text and "memory = 0.1: checkpointing" in caplog.text
    assert "may be too much" in caplog.text


class Numbered:
    """A footage of 200 frames, each as bright as its number."""

    def __len__(self):
        return 200

    def read(self, start, stop, wh):
        number = np.arange(start, stop, dtype=np.uint8)
        return np.tile(number[:, None, None, None], (1, wh[1], wh[0], 3))


def test_decoded_frames_make_do_with_what_a_fast_setting_leaves(clip, monkeypatch):
    """An eighth of the memory at least; what is cached is forgotten, and what is seen is right."""
    need = {True: 8_000_000, False: 2_000_000}
    monkeypatch.setattr(memory_planner, "step_bytes", lambda recipe, *_: need[recipe.compute.hold])
    frames = Frames([Numbered()] * 2, (100, 50))  # 6 million bytes
    seen, got = replace(clip, frames=frames), {}
    for free in (14_000_000, 11_000_000, 8_500_000):
        assert int(frames[130].max()) == 130 and frames._bytes
        asked = TINY.with_(memory=(LIBRARIES + free) / 1e9)
        got[free] = afforded(asked, seen, "cpu").compute.hold, frames.budget
        assert frames._bytes <= frames.budget and int(frames[131].min()) == 131
    assert got == {
        14_000_000: (True, 2 << 30),
        11_000_000: (True, 3_000_000),
        8_500_000: (False, 3_000_000),
    }
    afforded(TINY.with_(memory=0.9), seen, "cpu")
    assert frames.budget == 0 and int(frames[132].min()) == 132


def test_a_run_goes_on_by_the_setting_it_began_with(clip):
    """Unless its memory is changed, or it named none; others would differ in their rounding."""
    asked = {"checkpointing": True, "hold": True, "learning_rate": 1e-4}
    named = TINY.with_(memory=0.1, voxels=8, image_wh=(48, 32))
    assert afforded_changes(named, asked, clip, "cpu") == {"learning_rate": 1e-4}
    assert afforded_changes(TINY.with_(memory=None), asked, clip, "cpu") == asked
    frugal = afforded_changes(named, {"memory": 0.1}, clip, "cpu")
    assert frugal == {"memory": 0.1, **KEPT, **LADDER[-1]}


def test_a_gpu_and_float16_have_fewer_rungs():
    words = [w for w, _ in rungs(TINY.with_(precision="float16"), "cuda")]
    assert words == ["everything kept", "checkpointing = encoder", "checkpointing"]


def test_three_knobs_the_best_first():
    found = knobs(TINY.with_(checkpointing=False, decode_per_view=False, batch=2), 4)
    assert len(found) == 3 and found[0][1] >= found[1][1] >= found[2][1] > 0


def test_out_of_memory_says_what_to_turn(clip):
    run = begin(TINY.with_(voxels=8), clip)

    def failing(error):
        raise error
        yield

    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    ):
        with pytest.raises(
            MemoryError, match=r"step 1 of tiny.*GB.*saves .* GB; .*saves .* GB; .*saves"
        ):
            list(advised(failing(error), run, 4))
    with pytest.raises(RuntimeError, match="something else"):
        list(advised(failing(RuntimeError("something else")), run, 4))


# ---- loading ahead -------------------------------------------------------------------------------
def test_ahead_gives_the_same_batches_in_the_same_order(clip):
    run = begin(TINY.with_(image_wh=(48, 32), voxels=8), clip)
    for _, a, b in zip(range(5), batches(run, clip, None), prefetch(batches(run, clip, None))):
        assert (
            torch.equal(a.index, b.index)
            and torch.equal(a.now, b.now)
            and torch.equal(a.later, b.later)
        )


def test_who_makes_batches_ahead_on_a_cpu_has_no_helpers_and_takes_none_away():
    def told():
        for _ in range(3):
            torch.rand(300, 300).sum()  # a loop that would call the helpers
            yield torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert list(prefetch(told())) == [1, 1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_ahead_ends_with_its_source_and_hands_on_errors():
    assert list(prefetch(iter(["a", "b", "c"]))) == ["a", "b", "c"]

    def broken():
        yield "a"
        raise ValueError("frame 7 cannot be decoded")

    taken = prefetch(broken())
    assert next(taken) == "a"
    with pytest.raises(ValueError, match="frame 7"):
        next(taken)


def test_lean_costs_a_sixth_of_the_paper():
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    try:
        from floors import flops
    finally:
        sys.path.pop(0)
    pixels = dict(
        perceptual="pixels"
    )  # VGG-19 counted by hand: 48.5 GFLOP at 256 px, for target, reconstruction and gradient
    paper, lean = (flops(r.with_(**pixels), 4) for r in (PAPER_RAT7M, LEAN))
    vgg = 48.54e9
    assert paper["step"] + 12 * vgg == pytest.approx(3551e9, rel=0.01) and paper[
        "inference"
    ] == pytest.approx(349e9, rel=0.01)
    assert (
        lean["step"] + 12 * vgg / 4 < (paper["step"] + 12 * vgg) / 6
        and lean["inference"] < paper["inference"] / 6
    )
