"""Devices: every lever of speed and memory gives the results of the plain road."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from bkind3d_lite import volumes
from bkind3d_lite.model import build, placed
from bkind3d_lite.model.memory_efficient import on_the_spot, recomputed
from bkind3d_lite.model.networks import V2V, Decoder, Encoder, Pointwise, Residual
from bkind3d_lite.recipes import PAPER_RAT7M, Recipe
from bkind3d_lite.training import batches, begin, train
from bkind3d_lite.training import precision as precision_module
from bkind3d_lite.training.precision import equip, precision, scaler, settle
from bkind3d_lite.volumes import fuse, fused_volume, unproject

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


@pytest.mark.parametrize("on", [[lever] for lever in LEVERS] + [LEVERS], ids="+".join)
def test_a_lever_changes_the_price_not_the_result(clip, plain, on):
    losses, gradients, model, objective = slopes(
        SMALL.with_(**{lever: lever in on for lever in LEVERS}), clip
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


def test_nothing_is_kept_of_what_is_recomputed():
    torch.manual_seed(0)
    kept = []
    for network in (V2V(4, 3, 8, 1, full=True), V2V(4, 3, 8, 1, full=True, recompute=True)):
        held = 0

        def pack(x):
            nonlocal held
            held += 0 if isinstance(x, nn.Parameter) else x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            network(torch.randn(1, 4, 8, 8, 8))
        kept.append(held)
    assert kept[1] < 0.5 * kept[0]


def test_recomputing_adds_only_what_it_says():
    """The arithmetic of a step with the encoder and the finest volumes computed twice: at most a quarter more here."""
    torch.manual_seed(0)
    count = []
    for again in (False, True):
        network = Encoder(3, 4, 8, pyramid=True, recompute=again)
        with FlopCounterMode(display=False) as counter:
            sum(x.sum() for x in network(torch.rand(1, 3, 32, 48, requires_grad=True))).backward()
        count.append(counter.get_total_flops())
    assert 1.2 < count[1] / count[0] < 1.4


def test_recomputed_in_inference_is_the_network_itself():
    network = nn.Linear(3, 2)
    with torch.no_grad():
        assert torch.equal(recomputed(network, torch.ones(1, 3)), network(torch.ones(1, 3)))


def test_on_the_spot_is_the_sum_and_its_gradient():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1).double()
    x, y = (torch.randn(4, c, 5, 6, dtype=torch.float64, requires_grad=True) for c in (2, 3))

    def one(i, a, b):
        out = layer(a) * b
        return (i + 1) * out.square().mean(), out

    total, outs = on_the_spot(one, [x, y], list(layer.parameters()))
    (3 * total).backward()
    found = [t.grad.clone() for t in (x, y, *layer.parameters())]
    for t in (x, y, *layer.parameters()):
        t.grad = None
    plain = sum(one(i, x[i : i + 1], y[i : i + 1])[0] for i in range(4))
    (3 * plain).backward()
    assert_close(total, plain)
    assert_close(outs, layer(x) * y)
    for a, t in zip(found, (x, y, *layer.parameters())):
        assert_close(a, t.grad)
    assert not outs.requires_grad
    with torch.no_grad():
        assert_close(on_the_spot(one, [x, y], [])[0], plain)


@pytest.mark.parametrize("points", [1, 7, 40, 100])
def test_a_volume_a_few_points_at_a_time_is_the_same_volume(points, monkeypatch):
    monkeypatch.setattr(volumes, "PIECE", points * 3 * 5)
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 6, 8, dtype=torch.float64, requires_grad=True)
    ndc = torch.rand(2, 3, 40, 2, dtype=torch.float64) * 2.4 - 1.2
    whole, parts = fuse(unproject(maps, ndc)), fused_volume(maps, ndc)
    assert_close(parts, whole)
    assert_close(
        fused_volume(maps, ndc[:1]), fuse(unproject(maps, ndc[:1].expand(2, -1, -1, -1)))
    )  # one rig for all
    slope = torch.randn_like(whole)
    assert_close(
        *(torch.autograd.grad(x, maps, slope, retain_graph=True)[0] for x in (parts, whole))
    )


def test_pointwise_is_a_convolution():
    torch.manual_seed(0)
    layer, x = Pointwise(3, 5, 1), torch.randn(2, 3, 2, 4, 6)
    assert_close(layer(x), nn.functional.conv3d(x, layer.weight, layer.bias))


def test_the_papers_decoder_is_its_two_halves():
    torch.manual_seed(0)
    decoder = Decoder(6, widths=(8, 6, 4))
    drawings = [torch.rand(2, 2, *s) for s in decoder.drawing_hw((2, 3))]
    x = torch.rand(2, 6, 2, 3)
    assert len(drawings) == 3 and decoder(x, drawings).shape == (2, 1, 16, 24)
    assert torch.equal(decoder(x, drawings), decoder.finish(decoder.begin(x, drawings), drawings))


# ---- number formats ------------------------------------------------------------------------------------------------
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


@pytest.mark.parametrize("front, side", [(3, 8), (7, 4)])
def test_narrow_volumes_have_finite_gradients_in_bfloat16(front, side):
    """oneDNN's own bfloat16 gradient of a kernel wider than its volume takes in what memory happens to hold: here, 30 000."""
    torch.manual_seed(0)
    network, x = (
        V2V(4, 5, width=8, levels=2, front=front, full=True),
        torch.randn(1, 4, side, side, side),
    )
    found = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = network(x).float().square().mean()
        left = [torch.full((1 << i,), 3e4) for i in range(8, 20) for _ in range(4)]
        del left
        found.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])
        )
    assert torch.cosine_similarity(*found, 0) > 0.95


def test_overwriting_blocks_in_bfloat16_err_about_as_little_as_plain_ones():
    torch.manual_seed(0)
    block = Residual(3, 16, 16)
    for weight in (p for p in block.parameters() if p.ndim == 5):
        weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    x, slope = (
        torch.randn(2, 16, 8, 8, 8).contiguous(memory_format=torch.channels_last_3d)
        for _ in range(2)
    )
    found = []
    for half, recompute in ((False, False), (True, False), (True, True)):
        x = x.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = block(x, recompute)
        found.append(
            [y.float(), *torch.autograd.grad(y, [x, *block.parameters()], slope.to(y.dtype))]
        )
    for exact, plain, ours in zip(*found):
        assert (
            ours.dtype == torch.float32
            and 0 < (ours - exact).norm() < 1.5 * (plain - exact).norm() < 0.1 * exact.norm()
        )


def test_settling_flushes_denormals():
    settle(large=True)
    assert (torch.tensor([1e-310], dtype=torch.float64) * 0.1).item() == 0.0
    torch.set_flush_denormal(False)
