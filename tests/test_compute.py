"""Compute: networks are called one way, in one number format, and give float32."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bkind3d_lite.model.compute import Compute
from bkind3d_lite.model.cpu_kernels import fast


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1))


IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_float32_is_the_network_behind_the_door():
    net = network()
    with fast():
        wanted = net(IMAGE)
    assert torch.equal(Compute()(net, IMAGE), wanted)


def test_bfloat16_is_near_and_wide_and_as_it_comes_narrow():
    net, half = network(), Compute("cpu", torch.bfloat16)
    out = half(net, IMAGE)
    assert out.dtype == torch.float32 and not torch.equal(out, net(IMAGE))
    assert_close(out, net(IMAGE), atol=0.05, rtol=0.05)
    assert torch.equal(half.as_it_comes(net, IMAGE).float(), out)
    assert half.as_it_comes(net, IMAGE).dtype == torch.bfloat16


def test_every_output_is_wide():
    net, half = network(), Compute("cpu", torch.bfloat16)
    one, (two,) = half(lambda x: (net(x), [net(x)]), IMAGE)
    assert one.dtype == two.dtype == torch.float32


def test_autocast_ends_with_the_call():
    net, half = network(), Compute("cpu", torch.bfloat16)
    half(net, IMAGE)
    assert net(IMAGE).dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


def test_a_network_is_compiled_once(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function: asked.append(function) or function)
    net, compute = network(), Compute(compiled=True)
    for _ in range(2):
        assert torch.equal(compute(net, IMAGE), Compute()(net, IMAGE))
    compute(net.forward, IMAGE)
    assert asked == [net, net.forward]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_pass(dtype):
    net = network()
    Compute("cpu", dtype)(net, IMAGE).square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.any() for p in net.parameters())
