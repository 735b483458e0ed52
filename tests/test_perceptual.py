"""Perceptual: a reconstruction is judged by what a frozen network sees of it."""

import pytest
import torch
from torchvision.models._api import WeightsEnum

from bkind3d_lite.model.perceptual import Perceptual


def maps(seed, n=2, size=(16, 24)):
    return torch.rand(n, 1, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("network", ["pixels", "random"])
def test_perceptual_is_zero_at_equality_and_positive_elsewhere(network):
    loss = Perceptual(network)
    assert float(loss(maps(0), maps(0))) == 0
    assert float(loss(maps(1), maps(0))) > 0.01


def test_a_frame_of_three_colours_is_compared_as_it_is():
    a, b = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    assert float(Perceptual("pixels")(a, b)) == pytest.approx(
        float((a - b).square().mean() / b.square().mean()), rel=1e-5
    )
    assert [f.shape[1] for f in Perceptual("random", width=8).features(a)] == [3, 8, 16, 16]


def test_pixels_by_hand():
    recon, target = torch.full((1, 1, 8, 8), 0.5), torch.full((1, 1, 8, 8), 0.2)
    assert float(Perceptual("pixels")(recon, target)) == pytest.approx(0.3**2 / 0.2**2, rel=1e-5)


@pytest.mark.parametrize("network", ["pixels", "random"])
def test_perceptual_is_normalized_by_its_target(network):
    """Predicting nothing costs 1, however faint the target: a pair in which little moves counts as
    much as any."""
    for scale in (1.0, 0.01):
        loss = Perceptual(network)
        target = scale * maps(0)
        zero = float(loss(torch.zeros_like(target), target))
        assert zero == pytest.approx(1.0, rel=0.05 if network == "pixels" else 0.5)


def test_energy_is_a_running_average_that_only_training_moves():
    loss = Perceptual("pixels", decay=0.9)
    ones = torch.ones(1, 1, 4, 4)
    loss(ones, 2 * ones)
    assert loss.energy.tolist() == pytest.approx([4.0])  # the first target as it is
    loss(ones, ones)
    assert loss.energy.tolist() == pytest.approx([0.9 * 4 + 0.1])
    loss.eval()
    assert float(loss(0 * ones, 3 * ones)) == pytest.approx(9 / 3.7)
    assert loss.energy.tolist() == pytest.approx([3.7])
    assert "energy" in loss.state_dict()


def test_perceptual_is_seeded_and_leaves_the_global_seed_alone():
    torch.manual_seed(0)
    before = torch.rand(3)
    torch.manual_seed(0)
    a, b, c = (Perceptual("random", seed=s)(maps(0), maps(1)) for s in (4, 4, 5))
    assert torch.equal(torch.rand(3), before)
    assert a == b and a != c


def test_perceptual_teaches_the_reconstruction_and_nothing_else():
    loss, recon, target = Perceptual("random"), maps(0).requires_grad_(), maps(1).requires_grad_()
    loss(recon, target).backward()
    assert recon.grad.abs().sum() > 0 and target.grad is None
    assert not any(p.requires_grad for p in loss.parameters())


def test_vgg19_without_a_download_warns_and_works(monkeypatch):
    def offline(self, *args, **kwargs):
        raise OSError("no network today")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    with (
        torch.device("meta"),
        pytest.warns(UserWarning, match="VGG-19 could not be loaded.*no network today.*random"),
    ):
        from bkind3d_lite.model.perceptual import _vgg19

        blocks = _vgg19(known=True)
    assert len(blocks) == 5 and all(isinstance(b[-1], torch.nn.ReLU) for b in blocks)
    widths = [[m.out_channels for m in b if isinstance(m, torch.nn.Conv2d)][-1] for b in blocks]
    assert widths == [64, 128, 256, 512, 512], "relu1_2, 2_2, 3_2, 4_2, 5_2"
    assert [sum(isinstance(m, torch.nn.Conv2d) for m in b) for b in blocks] == [2, 2, 2, 4, 4]


def test_unknown_network():
    with pytest.raises(ValueError, match="alexnet.*pixels, random or vgg19"):
        Perceptual("alexnet")
