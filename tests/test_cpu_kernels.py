"""CPU kernels: behind the door everything has the values and gradients of plain PyTorch."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from bkind3d_lite.model import cpu_kernels, pieces, weight_gradients
from bkind3d_lite.model.cpu_kernels import beside, fast, mean_square
from bkind3d_lite.model.networks import V2V, ResNetTrunk
from bkind3d_lite.model.pieces import at_a_time, in_pieces
from bkind3d_lite.recipes import V2VRecipe


def last(x):
    """The same maps with their channels last in memory."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim])


def through_the_door(function):
    def run(*inputs):
        with fast():
            return function(*inputs)

    return run


def same(ours, plain, *inputs):
    """Values and gradients of the inputs agree."""
    one, other = ours(), plain()
    assert one.shape == other.shape
    assert_close(one, other)
    slope = torch.randn_like(one)
    pairs = zip(*(torch.autograd.grad(out, inputs, slope) for out in (one, other)))
    for a, b in pairs:
        assert_close(a, b)


# ---- the door ------------------------------------------------------------------------------------
def test_the_door_is_shut_outside_and_may_be_nested():
    torch.manual_seed(0)
    layer, x = nn.Conv3d(3, 5, 1), torch.randn(1, 3, 3, 5, 7)

    def made():
        return layer(x).grad_fn.name()

    plain = made()
    with fast():
        ours = made()
        with fast():
            assert made() == ours
        assert made() == ours != plain
    assert made() == plain
    with pytest.raises(RuntimeError), fast():
        raise RuntimeError
    assert made() == plain


def test_what_has_no_answer_is_pytorch_itself():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2))
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(through_the_door(network)(x), network(x))


# ---- a few at a time -----------------------------------------------------------------------------
def test_a_gpu_takes_all_at_once_and_a_cpu_what_its_cache_holds(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 100)
    cpu, other = torch.device("cpu"), torch.device("meta")
    assert [at_a_time(50, n, cpu) for n in (1, 10, 1000)] == [100, 10, 1]
    assert at_a_time(50, 10, cpu, pieces=2) == 20 and at_a_time(50, 10, other) == 50


@pytest.mark.parametrize("dim", [0, -2])
def test_pieces_are_put_together_again(monkeypatch, dim):
    monkeypatch.setattr(pieces, "PIECE", 8)
    x, looks = torch.randn(7, 5, 3), []

    def function(part):
        looks.append(part.shape[dim])
        return part.sin(), part[..., :2]

    one, two = in_pieces(function, x, each=4, dim=dim)
    assert torch.equal(one, x.sin()) and torch.equal(two, x[..., :2])
    assert looks == [2] * (x.shape[dim] // 2) + [1]
    assert torch.equal(in_pieces(torch.sin, x, each=4, dim=dim), x.sin())


# ---- convolutions --------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", [last, torch.clone])
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (2, 4, 6), (3, 5, 7)])
def test_mixing_channels_is_a_convolution_of_one_pixel(size, layout):
    """As strips where channels come last and their number allows, else the plain way."""
    torch.manual_seed(0)
    layer = (nn.Conv2d if len(size) == 2 else nn.Conv3d)(3, 5, 1).double()
    x = layout(torch.randn(2, 3, *size, dtype=torch.float64)).requires_grad_()
    same(lambda: through_the_door(layer)(x), lambda: layer(x), x, layer.weight, layer.bias)


def test_a_resnet_mixes_its_channels_by_strips(monkeypatch):
    torch.manual_seed(3)
    trunk, image = ResNetTrunk(3, "resnet50").eval(), last(torch.rand(1, 3, 64, 64))
    mixed, tried = cpu_kernels._mixed, []
    monkeypatch.setattr(cpu_kernels, "_mixed", lambda *x: tried.append(mixed(*x)) or tried[-1])
    ours, plain = through_the_door(trunk)(image), trunk(image)
    assert len(tried) == 33 and sum(x is not None for x in tried) > 20
    assert_close(ours[-1], plain[-1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, (3, 5), 1, (1, 2)), nn.Conv3d(4, 6, 3, 1, 1)])
@pytest.mark.parametrize("stripes", [1 << 17, 60])
def test_weights_learn_by_products_of_matrices(monkeypatch, layer, stripes):
    """On every CPU, whatever the one it is made for; in one piece and in several."""
    torch.manual_seed(0)
    for name, value in dict(FEW=(1,), SMALL=(1,), slow_here=lambda: True).items():
        monkeypatch.setattr(weight_gradients, name, value)
    monkeypatch.setattr(pieces, "PIECE", stripes)
    x = last(torch.randn(2, 4, *(6, 7, 5)[: layer.weight.ndim - 2])).requires_grad_()
    name = through_the_door(layer)(x).grad_fn.name()
    assert "_Convolved" in name and "_Convolved" not in layer(x).grad_fn.name()
    same(lambda: through_the_door(layer)(x), lambda: layer(x), x, layer.weight, layer.bias)
    with torch.no_grad():
        assert_close(through_the_door(layer)(x), layer(x))


@pytest.mark.parametrize("how", [dict(stride=2), dict(dilation=2), dict(groups=2), dict(padding=2)])
def test_other_convolutions_learn_as_they_did(monkeypatch, how):
    for name, value in dict(FEW=(1,), SMALL=(1,), slow_here=lambda: True).items():
        monkeypatch.setattr(weight_gradients, name, value)
    layer, x = nn.Conv2d(4, 6, 3, **(dict(padding=1) | how)), last(torch.randn(1, 4, 8, 8))
    assert "_Convolved" not in through_the_door(layer)(x).grad_fn.name()


@pytest.mark.parametrize("front, side", [(3, 8), (7, 4)])
def test_narrow_volumes_have_finite_gradients_in_bfloat16(front, side):
    """oneDNN's own gradient of a kernel wider than its volume takes in what memory happens to hold.

    Here that is 30 000.
    """
    torch.manual_seed(0)
    network = V2V(V2VRecipe(8, 2, v2v_front=front, v2v_full=True), 4, 5)
    x, gradients = torch.randn(1, 4, side, side, side), []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = through_the_door(network)(x).float().square().mean()
        left = [torch.full((1 << i,), 3e4) for i in range(8, 20) for _ in range(4)]
        del left
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        gradients.append(torch.cat([g.flatten() for g in slopes]))
    assert torch.cosine_similarity(*gradients, 0) > 0.95


# weights outweigh maps, and the other way round
@pytest.mark.parametrize("size", [(3, 5), (24, 40)])
def test_a_drawing_beside_the_maps_is_two_more_channels(size):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, 1, 1, bias=False).double()
    x, drawing = (torch.randn(2, c, *size, dtype=torch.float64, requires_grad=True) for c in (6, 2))
    same(
        lambda: beside(layer, x, drawing),
        lambda: layer(torch.cat([x, drawing], 1)),
        *(x, drawing, layer.weight),
    )


# ---- pooling -------------------------------------------------------------------------------------
def test_a_volume_is_halved_in_its_own_format():
    x = torch.randn(1, 2, 4, 6, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        wide, ours = F.max_pool3d(x, 2), through_the_door(lambda x: F.max_pool3d(x, 2))(x)
    assert wide.dtype == torch.float32 and ours.dtype == torch.bfloat16
    assert torch.equal(wide, ours.float())


# ---- normalization -------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(40, 60), (12, 10, 20)])
def test_a_large_map_is_normalized_as_a_small_one(size, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", 1000)
    torch.manual_seed(0)
    norm = nn.GroupNorm(8, 16).double()
    for p in norm.parameters():
        nn.init.normal_(p)
    ours, x = through_the_door(norm), last(3 + torch.randn(2, 16, *size, dtype=torch.float64))
    x = x.requires_grad_()
    assert "_Normalized" in ours(x).grad_fn.name()
    same(lambda: ours(x).relu_(), lambda: norm(x).relu(), x, *norm.parameters())


def test_gradients_of_a_large_map_are_those_of_float64():
    torch.manual_seed(0)
    norm = nn.GroupNorm(8, 8)
    x, slope = (last(torch.randn(1, 8, 256, 256)) for _ in range(2))
    exact = x.double().requires_grad_()
    out = through_the_door(norm)(x.requires_grad_())
    ours = torch.autograd.grad(out, [x, *norm.parameters()], slope)
    norm = norm.double()
    wanted = torch.autograd.grad(norm(exact), [exact, *norm.parameters()], slope.double())
    for a, b in zip(ours, wanted):
        assert (a - b).norm() < 1e-5 * b.norm()


# ---- distances between maps ----------------------------------------------------------------------
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_half_precision_features_are_compared_in_float32(layout):
    g = torch.Generator().manual_seed(0)
    a, b = (torch.rand(1, 8, 160, 140, generator=g).bfloat16() for _ in range(2))
    a, b = (x.contiguous(memory_format=layout) for x in (a, b))
    exact = (a.double() - b.double()).square().mean()
    ours = mean_square(a.requires_grad_(), b)
    (slope,) = torch.autograd.grad(2 * ours, a)
    assert ours.dtype == torch.float32 and ours.grad_fn.name() == "_MeanSquareBackward"
    assert_close(ours.double(), exact, rtol=1e-5, atol=0)
    assert slope.dtype == a.dtype and slope.stride() == a.stride()
    assert_close(slope.double(), 4 * (a.double() - b.double()) / a.numel(), rtol=2**-6, atol=0)
