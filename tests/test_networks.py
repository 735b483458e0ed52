"""Networks: shapes on non-square input, views without a number, gradients everywhere."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.models._api import WeightsEnum

from bkind3d_lite.model.networks import (
    V2V,
    Decoder,
    Encoder,
    Residual,
    ResNetTrunk,
    Trunk,
    over_views,
)
from bkind3d_lite.recipes import DecoderRecipe, EncoderRecipe, V2VRecipe

NARROW, RESNET = EncoderRecipe(encoder_width=8), EncoderRecipe(backbone="resnet18")


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


# ---- views ---------------------------------------------------------------------------------------
def test_over_views_gives_the_views_their_axis_back():
    torch.manual_seed(0)
    encoder, images = Encoder(NARROW, 3, 4).eval(), torch.rand(2, 3, 3, 32, 48)
    features, maps = over_views(encoder, images)
    assert features.shape == (2, 3, encoder.features, 2, 3) and maps.shape == (2, 3, 4, 8, 12)
    for b in range(2):
        for v in range(3):
            assert_close(maps[b, v], encoder(images[b, v][None])[1][0], atol=1e-5, rtol=1e-4)


def test_permuting_views_permutes_their_maps():
    torch.manual_seed(0)
    encoder, images, order = Encoder(NARROW, 3, 4), torch.rand(2, 4, 3, 32, 48), [2, 0, 3, 1]
    for out, shuffled in zip(over_views(encoder, images), over_views(encoder, images[:, order])):
        assert_close(shuffled, out[:, order], atol=1e-5, rtol=1e-4)


def test_over_views_of_a_network_with_one_output():
    images = torch.rand(2, 3, 5)
    assert torch.equal(over_views(nn.Identity(), images), images)


# ---- encoder -------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [(64, 96), (32, 80), (56, 72)])
def test_encoder_shapes(size):
    encoder = Encoder(NARROW, 4, 5)
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
        Encoder(RESNET, 3, 5, recompute=True).eval(),
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
    encoder = Encoder(NARROW, 4, 5)
    features, maps = encoder(torch.rand(2, 4, 32, 48))
    assert features.requires_grad and maps.requires_grad
    all_learn(encoder, features, maps)


def test_one_image_is_as_good_as_many():
    """What is beside an image in the batch does not change its maps, in training too."""
    torch.manual_seed(0)
    encoder, images = Encoder(NARROW, 3, 4).train(), torch.rand(3, 3, 32, 48)
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


# ---- ResNet --------------------------------------------------------------------------------------
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
    encoder = Encoder(RESNET, 3, 4).eval()
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


# ---- 3D ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("levels, voxels", [(1, 6), (2, 8)])
def test_v2v_shapes_and_gradients(levels, voxels):
    torch.manual_seed(0)
    network = V2V(V2VRecipe(8, levels), 3, 5)
    out = network(torch.randn(2, 3, voxels, voxels, voxels))
    assert out.shape == (2, 5, voxels, voxels, voxels)
    all_learn(network, out)


def test_v2v_keeps_its_axes_apart():
    """A hourglass is not cubic by accident: an oblong volume comes back oblong."""
    assert V2V(V2VRecipe(4, 1), 2, 3)(torch.randn(1, 2, 4, 6, 8)).shape == (1, 3, 4, 6, 8)


def test_a_volume_that_is_handed_over_is_let_go():
    torch.manual_seed(0)
    network, volume = V2V(V2VRecipe(4, 1), 2, 3), torch.randn(1, 2, 4, 4, 4)
    box = [volume]
    with torch.no_grad():
        assert torch.equal(network(box), network(volume)) and not box


# ---- decoder -------------------------------------------------------------------------------------
def test_decoder_reads_a_drawing_at_every_scale():
    torch.manual_seed(0)
    decoder = Decoder(DecoderRecipe(8, 2), 6)
    sizes = decoder.drawing_hw((2, 3))
    assert sizes == [(2, 3), (4, 6), (8, 12)]
    drawings = [torch.rand(2, 2, *s, requires_grad=True) for s in sizes]
    features = torch.rand(2, 6, 2, 3, requires_grad=True)
    out = decoder(features, drawings)
    assert out.shape == (2, 1, 8, 12)
    all_learn(decoder, out)
    assert all(d.grad.abs().sum() > 0 for d in drawings) and features.grad.abs().sum() > 0


def test_the_papers_decoder_is_its_two_halves():
    torch.manual_seed(0)
    decoder = Decoder(DecoderRecipe(decoder_widths=(8, 6, 4)), 6)
    drawings = [torch.rand(2, 2, *s) for s in decoder.drawing_hw((2, 3))]
    x = torch.rand(2, 6, 2, 3)
    assert len(drawings) == 3 and decoder(x, drawings).shape == (2, 1, 16, 24)
    assert torch.equal(decoder(x, drawings), decoder.finish(decoder.begin(x, drawings), drawings))
