"""Devices: every lever of speed and memory gives the results of the plain road."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.model import build, placed
from bkind3d_lite.recipes import PAPER_RAT7M, Recipe
from bkind3d_lite.training import batches, begin, load, save, track, train
from bkind3d_lite.training import precision as precision_module
from bkind3d_lite.training.precision import equip, precision, scaler, settle

SMALL = PAPER_RAT7M.with_(
    name="paper-small",
    keypoints=4,
    image_wh=(96, 64),
    voxels=8,
    v2v_levels=2,
    v2v_width=8,
    channels=4,
    backbone="resnet18",
    pretrained=False,
    decoder_widths=(16, 12, 8),
    perceptual="random",
    gaps=(0.1,),
    warmup=0,
    steps=3,
)
LEVERS = ["channels_last", "checkpointing", "decode_per_view"]
ON = [{lever: True} for lever in LEVERS]
ON += [
    {"channels_last": True, "checkpointing": "encoder", "decode_per_view": True},
    dict.fromkeys(LEVERS, True),
]


def slopes(recipe: Recipe, clip, double: bool = True):
    """Losses and gradients of one step's forward and backward pass."""
    model, objective = build(placed(recipe, clip.rig), seed=1)
    batch = clip.batch([3, 8], 4, recipe.data.image_wh)
    if double:
        model, objective = model.double(), objective.double()
        rig = replace(
            batch.rig, **{k: getattr(batch.rig, k).double() for k in ("K", "R", "t", "distortion")}
        )
        batch = replace(batch, now=batch.now.double(), later=batch.later.double(), rig=rig)
    losses = objective(batch, model(batch, objective.judge(batch)), model.edges, 5)
    sum(losses.values()).backward()
    return losses, {n: p.grad for n, p in model.named_parameters()}, model, objective


@pytest.fixture(scope="module")
def plain(clip):
    return slopes(SMALL.with_(**dict.fromkeys(LEVERS, False)), clip)


@pytest.mark.parametrize("on", ON, ids=lambda on: "+".join(f"{k}={v}" for k, v in on.items()))
def test_a_lever_changes_the_price_not_the_result(clip, plain, on):
    losses, gradients, model, objective = slopes(
        SMALL.with_(**(dict.fromkeys(LEVERS, False) | on)), clip
    )
    for name, value in plain[0].items():
        assert_close(losses[name], value, atol=1e-9, rtol=1e-7, msg=lambda m: f"{name}: {m}")
    for name, value in plain[1].items():
        assert_close(
            gradients[name].contiguous(), value, atol=1e-8, rtol=1e-5, msg=lambda m: f"{name}: {m}"
        )
    for before, after in (
        (plain[2], model),
        (plain[3], objective),
    ):  # running averages, batch statistics: counted once
        for (name, a), b in zip(before.named_buffers(), after.buffers()):
            assert_close(b, a, msg=lambda m: f"{name}: {m}")


# ---- number formats ------------------------------------------------------------------------------
def test_precision_follows_the_device(monkeypatch):
    auto = Recipe("x")
    for native, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision_module, "native_bfloat16", lambda: native)
        assert (
            precision(auto, "cpu") == wanted
            and precision(auto.with_(precision="bfloat16"), "cpu") == torch.bfloat16
        )
    for capability, wanted in (
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((9, 0), torch.bfloat16),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        assert precision(auto, "cuda") == wanted
    assert not scaler(auto, "cpu").is_enabled()
    with pytest.raises(ValueError, match="fp8.*expected auto"):
        precision(auto.with_(precision="fp8"), "cpu")


def test_float16_refuses_gradients_that_come_before_its_scale(clip):
    recipe = placed(SMALL.with_(precision="float16"), clip.rig)
    with pytest.raises(ValueError, match="decode_per_view = false"):
        equip(*build(recipe), recipe, "cpu")


def test_bfloat16_is_near_float32_and_gives_float32(clip):
    found = []
    for name in ("float32", "bfloat16"):
        run = begin(SMALL.with_(precision=name), clip)
        step = next(train(run, batches(run, clip, None)))
        assert step.output.recon.dtype == step.output.now.world.dtype == torch.float32
        assert all(p.dtype == torch.float32 for p in run.model.parameters())
        found.append(step.losses["reconstruct"])
    assert found[0] != found[1] and found[1] == pytest.approx(found[0], rel=0.1)


def test_settling_flushes_denormals():
    settle(large=True)
    assert (torch.tensor([1e-310], dtype=torch.float64) * 0.1).item() == 0.0
    torch.set_flush_denormal(False)


def test_a_process_that_only_tracks_holds_its_memory(clip, tmp_path, monkeypatch):
    """A training that tracks in between keeps its own habit: it may have chosen to be frugal."""
    asked = []
    monkeypatch.setattr(precision_module, "_libc", lambda name, *values: asked.append(values))
    run = begin(SMALL, clip)
    loaded, recipe, _ = load(save(run, tmp_path / "c.safetensors"), tracking=True)
    mappings = []
    for model in (run.model, loaded):
        asked.clear()
        track(model, recipe, clip, times=[0])
        mappings.append(dict(asked)[precision_module.M_MMAP_MAX])
    assert mappings == [precision_module.MAPPINGS, 0]
