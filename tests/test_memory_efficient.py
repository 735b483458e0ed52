"""Memory: what is computed again, on the spot or in pieces is the same for less of it."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from bkind3d_lite.model import pieces
from bkind3d_lite.model.memory_efficient import added, fused_volume, on_the_spot, recomputed
from bkind3d_lite.model.networks import V2V, Encoder
from bkind3d_lite.recipes import EncoderRecipe, V2VRecipe
from bkind3d_lite.volumes import fuse, unproject

FULL = V2VRecipe(8, 1, v2v_full=True)


def test_nothing_is_kept_of_what_is_recomputed():
    torch.manual_seed(0)
    kept = []
    for network in (V2V(FULL, 4, 3), V2V(FULL, 4, 3, recompute=True)):
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
    """The arithmetic of a step with the encoder and the finest volumes computed twice: at most a
    quarter more here."""
    torch.manual_seed(0)
    count = []
    for again in (False, True):
        network = Encoder(EncoderRecipe(encoder_width=8, pyramid=True), 3, 4, recompute=again)
        with FlopCounterMode(display=False) as counter:
            sum(x.sum() for x in network(torch.rand(1, 3, 32, 48, requires_grad=True))).backward()
        count.append(counter.get_total_flops())
    assert 1.2 < count[1] / count[0] < 1.4


def test_recomputed_in_inference_is_the_network_itself():
    network = nn.Linear(3, 2)
    with torch.no_grad():
        assert torch.equal(recomputed(network, torch.ones(1, 3)), network(torch.ones(1, 3)))


def test_a_sum_is_written_where_no_gradient_needs_it():
    x, y = torch.ones(3, requires_grad=True), torch.ones(3)
    assert added(x, y).tolist() == [2.0] * 3 and x.tolist() == [1.0] * 3
    z = torch.ones(3)
    assert added(z, y, overwrite=True) is z
    with torch.no_grad():
        assert added(y, z) is y


@pytest.mark.parametrize("full", [False, True])
def test_a_hourglass_that_recomputes_is_the_same_hourglass(full):
    recipe = V2VRecipe(8, 2, v2v_full=full)
    x, results = torch.randn(1, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0)).double(), []
    for recompute in (False, True):
        torch.manual_seed(0)
        network = V2V(recipe, 4, 3, recompute).double()
        out = network(x)
        out.square().sum().backward()
        results.append((out.detach(), [p.grad for p in network.parameters()]))
    assert_close(*results)


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
    monkeypatch.setattr(pieces, "PIECE", points * 3 * 4 // 2)
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 6, 8, dtype=torch.float64, requires_grad=True)
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
