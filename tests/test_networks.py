"""Networks: shapes on non-square input, views that do not know their number, gradients everywhere."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models._api import WeightsEnum

from bkind3d_lite.model import networks
from bkind3d_lite.model.networks import (
    V2V,
    Decoder,
    Encoder,
    Pixelwise,
    Pointwise,
    Residual,
    ResNetTrunk,
    Trunk,
    _beside,
    over_views,
)


def all_learn(network: nn.Module, *outputs):
    sum(
        (o.float() * torch.randn(o.shape, generator=torch.Generator().manual_seed(1))).sum()
        for o in outputs
    ).backward()
    dead = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.abs().sum() > 0
    ]
    assert not dead, f"no gradient in {dead}"


# ---- views ---------------------------------------------------------------------------------------------------------
def test_over_views_gives_the_views_their_axis_back():
    torch.manual_seed(0)
    encoder, images = Encoder(3, 4, width=8).eval(), torch.rand(2, 3, 3, 32, 48)
    features, maps = over_views(encoder, images)
    assert features.shape == (2, 3, encoder.features, 2, 3) and maps.shape == (2, 3, 4, 8, 12)
    for b in range(2):
        for v in range(3):
            assert_close(maps[b, v], encoder(images[b, v][None])[1][0], atol=1e-5, rtol=1e-4)


def test_permuting_views_permutes_their_maps():
    torch.manual_seed(0)
    encoder, images, order = Encoder(3, 4, width=8), torch.rand(2, 4, 3, 32, 48), [2, 0, 3, 1]
    for out, shuffled in zip(over_views(encoder, images), over_views(encoder, images[:, order])):
        assert_close(shuffled, out[:, order], atol=1e-5, rtol=1e-4)


def test_over_views_of_a_network_with_one_output():
    images = torch.rand(2, 3, 5)
    assert torch.equal(over_views(nn.Identity(), images), images)


# ---- encoder -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(64, 96), (32, 80), (56, 72)])
def test_encoder_shapes(size):
    encoder = Encoder(4, 5, width=8)
    H, W = size
    features, maps = encoder(torch.rand(2, 4, H, W))
    assert features.shape == (2, 32, -(-H // 16), -(-W // 16)) and maps.shape == (
        2,
        5,
        H // 4,
        W // 4,
    )


def test_a_large_encoder_that_tracks_looks_at_one_image_after_the_other(monkeypatch):
    encoder, images, looks = (
        Encoder(3, 5, backbone="resnet18", recompute=True).eval(),
        torch.rand(3, 3, 256, 128),
        [],
    )
    forward = encoder.trunk.forward
    monkeypatch.setattr(
        encoder.trunk, "forward", lambda x, recompute: looks.append(len(x)) or forward(x, recompute)
    )
    together = encoder(images)  # with gradients: all at once
    with torch.no_grad():
        apart = encoder(images)
    assert looks == [3, 2, 1]
    for a, b in zip(together, apart):
        assert_close(b, a, atol=1e-4, rtol=1e-4)


def test_the_trunk_halves_from_stride_4():
    trunk = Trunk(3, 8)
    assert [tuple(m.shape) for m in trunk(torch.rand(1, 3, 32, 64))] == [
        (1, 8, 8, 16),
        (1, 16, 4, 8),
        (1, 32, 2, 4),
    ] and trunk.out == (8, 16, 32)


def test_every_parameter_of_the_encoder_learns():
    torch.manual_seed(0)
    encoder = Encoder(4, 5, width=8)
    features, maps = encoder(torch.rand(2, 4, 32, 48))
    assert features.requires_grad and maps.requires_grad
    all_learn(encoder, features, maps)


def test_one_image_is_as_good_as_many():
    """Normalized by groups: what is beside an image in the batch does not change its maps, in training too."""
    torch.manual_seed(0)
    encoder, images = Encoder(3, 4, width=8).train(), torch.rand(3, 3, 32, 48)
    assert_close(encoder(images)[1][1], encoder(images[1:2])[1][0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_residual_keeps_the_size(dims):
    x = torch.rand(1, 6, *range(4, 4 + dims))
    assert Residual(dims, 6, 6)(x).shape == x.shape and Residual(dims, 6, 10)(x).shape == (
        1,
        10,
        *x.shape[2:],
    )
    assert isinstance(Residual(dims, 6, 6).skip, nn.Identity)


# ---- ResNet --------------------------------------------------------------------------------------------------------
def test_resnet_levels():
    trunk = ResNetTrunk(3, "resnet18").eval()
    maps = trunk(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
        (512, 2, 3),
    ]
    assert trunk.out == (64, 128, 256, 512)
    encoder = Encoder(3, 4, backbone="resnet18").eval()
    features, heat = encoder(torch.rand(1, 3, 64, 96))
    assert features.shape == (1, 512, 2, 3) and heat.shape == (1, 4, 16, 24)


def test_without_a_download_resnet_warns_and_starts_from_its_seed(monkeypatch):
    def offline(self, *args, **kwargs):
        raise OSError("no network today")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    torch.manual_seed(5)
    with pytest.warns(
        UserWarning, match="resnet18 could not be loaded.*no network today.*random weights"
    ):
        fallen = ResNetTrunk(3, "resnet18", pretrained=True)
    torch.manual_seed(5)
    plain = ResNetTrunk(3, "resnet18")
    assert all(torch.equal(a, b) for a, b in zip(fallen.parameters(), plain.parameters()))


def test_pretrained_weights_are_those_of_the_download(monkeypatch):
    import torchvision

    torch.manual_seed(9)
    stored = torchvision.models.resnet18().state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *args, **kwargs: stored)
    trunk = ResNetTrunk(4, "resnet18", pretrained=True)
    first = trunk.stem[0].weight
    assert torch.equal(first[:, :3], stored["conv1.weight"]) and (first[:, 3:] == 0).all()
    assert torch.equal(trunk.levels[3][1].conv2.weight, stored["layer4.1.conv2.weight"])


def test_an_extra_channel_of_resnet_starts_silent_and_can_learn():
    torch.manual_seed(2)
    three = ResNetTrunk(3, "resnet18").eval()
    torch.manual_seed(2)
    four = ResNetTrunk(4, "resnet18").eval()
    image = torch.rand(1, 4, 32, 48)
    assert_close(four(image)[-1], three(image[:, :3])[-1])
    four(image)[-1].sum().backward()
    assert four.stem[0].weight.grad[:, 3].abs().sum() > 0


# ---- 3D ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("levels, voxels", [(1, 6), (2, 8)])
def test_v2v_shapes_and_gradients(levels, voxels):
    torch.manual_seed(0)
    network = V2V(3, 5, width=8, levels=levels)
    out = network(torch.randn(2, 3, voxels, voxels, voxels))
    assert out.shape == (2, 5, voxels, voxels, voxels)
    all_learn(network, out)


def test_v2v_keeps_its_axes_apart():
    """A hourglass is not cubic by accident: an oblong volume comes back oblong."""
    assert V2V(2, 3, width=4, levels=1)(torch.randn(1, 2, 4, 6, 8)).shape == (1, 3, 4, 6, 8)


def test_a_volume_that_is_handed_over_is_let_go():
    torch.manual_seed(0)
    network, volume = V2V(2, 3, width=4, levels=1), torch.randn(1, 2, 4, 4, 4)
    box = [volume]
    with torch.no_grad():
        assert torch.equal(network(box), network(volume)) and not box


# ---- decoder -------------------------------------------------------------------------------------------------------
def test_decoder_reads_a_drawing_at_every_scale():
    torch.manual_seed(0)
    decoder = Decoder(6, width=8, steps=2)
    sizes = decoder.drawing_hw((2, 3))
    assert sizes == [(2, 3), (4, 6), (8, 12)]
    drawings = [torch.rand(2, 2, *s, requires_grad=True) for s in sizes]
    features = torch.rand(2, 6, 2, 3, requires_grad=True)
    out = decoder(features, drawings)
    assert out.shape == (2, 1, 8, 12)
    all_learn(decoder, out)
    assert all(d.grad.abs().sum() > 0 for d in drawings) and features.grad.abs().sum() > 0


# ---- fast forms of slow layers -------------------------------------------------------------------------------------
def same(fast, slow, *inputs):
    """Values and gradients of the inputs and weights agree."""
    one, other = fast(), slow()
    assert one.shape == other.shape
    assert_close(one, other)
    slope = torch.randn_like(one)
    for a, b in zip(
        torch.autograd.grad(one, inputs, slope), torch.autograd.grad(other, inputs, slope)
    ):
        assert_close(a, b)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (2, 4, 6), (3, 5, 7)])
def test_mixing_channels_is_a_convolution_of_one_pixel(size, last):
    """As strips where channels come last and their number allows, else the plain way."""
    torch.manual_seed(0)
    dims = len(size)
    layer = (Pixelwise if dims == 2 else Pointwise)(3, 5, 1).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    x = (
        x.contiguous(memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d)
        if last
        else x
    ).requires_grad_()
    plain = nn.functional.conv2d if dims == 2 else nn.functional.conv3d
    same(lambda: layer(x), lambda: plain(x, layer.weight, layer.bias), x, layer.weight, layer.bias)


def test_resnet_mixes_channels_the_fast_way_under_torchvisions_names():
    import torchvision

    torch.manual_seed(3)
    trunk, plain = ResNetTrunk(3, "resnet50").eval(), torchvision.models.resnet50().eval()
    stem, levels = trunk.stem.state_dict(), trunk.levels.state_dict()
    plain.conv1.load_state_dict({"weight": stem["0.weight"]})
    for i, level in enumerate((plain.layer1, plain.layer2, plain.layer3, plain.layer4)):
        level.load_state_dict({k[2:]: v for k, v in levels.items() if k.startswith(f"{i}.")})
    x = image = torch.rand(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for layer in (
        plain.conv1,
        plain.bn1,
        plain.relu,
        plain.maxpool,
        plain.layer1,
        plain.layer2,
        plain.layer3,
        plain.layer4,
    ):
        x = layer(x)
    assert sum(isinstance(m, Pixelwise) for m in trunk.modules()) == 33
    assert_close(trunk(image)[-1], x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "dims, c_in, c_out, n, size",
    [(3, 8, 8, 1, (3, 4, 5)), (3, 6, 8, 2, (4, 3, 2)), (2, 12, 12, 2, (5, 7))],
)
def test_a_residual_block_that_overwrites_itself_is_the_same_block(dims, c_in, c_out, n, size):
    torch.manual_seed(0)
    block = Residual(dims, c_in, c_out).double()
    for p in block.parameters():
        nn.init.normal_(p)
    x = torch.randn(n, c_in, *size, dtype=torch.float64).contiguous(
        memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d
    )
    assert "Overwriting" in type(block(x, recompute=True).grad_fn).__name__
    same(
        lambda: block(x, recompute=True), lambda: block(x), x.requires_grad_(), *block.parameters()
    )


@pytest.mark.parametrize("dims, size", [(2, (40, 60)), (3, (12, 10, 20))])
def test_a_large_map_is_normalized_as_a_small_one(dims, size, monkeypatch):
    monkeypatch.setattr(networks, "PIECE", 1000)
    ours, plain = networks._norm(16).double(), nn.GroupNorm(8, 16).double()
    plain.weight, plain.bias = ours.weight, ours.bias
    nn.init.normal_(ours.weight), nn.init.normal_(ours.bias)
    x = 3 + torch.randn(2, 16, *size, dtype=torch.float64).contiguous(
        memory_format=torch.channels_last if dims == 2 else torch.channels_last_3d
    )
    assert "_Normalized" in ours(x).grad_fn.name()
    same(lambda: ours(x).relu_(), lambda: plain(x).relu(), x.requires_grad_(), *ours.parameters())


def test_gradients_of_a_large_map_are_those_of_float64():
    torch.manual_seed(0)
    norm, x, slope = (
        networks._norm(8),
        *(
            torch.randn(1, 8, 256, 256).contiguous(memory_format=torch.channels_last)
            for _ in range(2)
        ),
    )
    found = torch.autograd.grad(norm(x.requires_grad_()), [x, *norm.parameters()], slope)
    exact = x.detach().double().requires_grad_()
    norm = norm.double()
    for a, b in zip(
        found, torch.autograd.grad(norm(exact), [exact, *norm.parameters()], slope.double())
    ):
        assert (a - b).norm() < 1e-5 * b.norm()


def test_a_residual_block_leaves_its_input_alone_and_keeps_little():
    block = Residual(3, 8, 8)
    x = torch.randn(1, 8, 4, 4, 4).contiguous(memory_format=torch.channels_last_3d)
    before, kept = x.clone(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        block(x.requires_grad_(), recompute=True)
    assert torch.equal(x, before) and [
        t.shape for t in kept if t is not None and t.shape == x.shape
    ] == [x.shape]


@pytest.mark.parametrize(
    "size", [(3, 5), (24, 40)]
)  # weights outweigh maps, and the other way round
def test_a_drawing_beside_the_maps_is_two_more_channels(size):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, 1, 1, bias=False).double()
    x, drawing = (
        torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True),
        torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True),
    )
    same(
        lambda: _beside(layer, x, drawing),
        lambda: layer(torch.cat([x, drawing], 1)),
        x,
        drawing,
        layer.weight,
    )
