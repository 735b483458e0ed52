"""CPU residual blocks: a block that overwrites itself is the same block, in less memory."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from bkind3d_lite.model.networks import Residual


def last(x):
    """The same maps with their channels last in memory."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim])


@pytest.mark.parametrize(
    "dims, c_in, c_out, n, size",
    [(3, 8, 8, 1, (3, 4, 5)), (3, 6, 8, 2, (4, 3, 2)), (2, 12, 12, 2, (5, 7))],
)
@pytest.mark.parametrize("again", [True, False], ids=["computed again", "kept"])
def test_a_residual_block_that_overwrites_itself_is_the_same_block(
    dims, c_in, c_out, n, size, again
):
    torch.manual_seed(0)
    block = Residual(dims, c_in, c_out, recompute=again).double()
    for p in block.parameters():
        nn.init.normal_(p)
    x = last(torch.randn(n, c_in, *size, dtype=torch.float64)).requires_grad_()
    ours, plain = block(x), block.plain(x)
    assert "Overwriting" in type(ours.grad_fn).__name__
    assert_close(ours, plain)
    slope, wanted = torch.randn_like(ours), [x, *block.parameters()]
    pairs = zip(*(torch.autograd.grad(out, wanted, slope) for out in (ours, plain)))
    for a, b in pairs:
        assert_close(a, b)


@pytest.mark.parametrize("again, maps", [(True, 1), (False, 4)])
def test_a_residual_block_leaves_its_input_alone_and_keeps_little(again, maps):
    """Its input; or with it what both convolutions gave, and its output."""
    block = Residual(3, 8, 8, recompute=again)
    x = last(torch.randn(1, 8, 4, 4, 4))
    before, kept = x.clone(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        block(x.requires_grad_())
    assert torch.equal(x, before)
    assert sum(t is not None and t.shape == x.shape for t in kept) == maps


def test_overwriting_blocks_in_bfloat16_err_about_as_little_as_plain_ones():
    torch.manual_seed(0)
    block = Residual(3, 16, 16, recompute=True)
    for weight in (p for p in block.parameters() if p.ndim == 5):
        weight.data = last(weight.data)
    x, slope = (last(torch.randn(2, 16, 8, 8, 8)) for _ in range(2))
    results = []
    for half, run in ((False, block.plain), (True, block.plain), (True, block)):
        x = x.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = run(x)
        slopes = torch.autograd.grad(y, [x, *block.parameters()], slope.to(y.dtype))
        results.append([y.float(), *slopes])
    for exact, plain, ours in zip(*results):
        error = (ours - exact).norm()
        assert ours.dtype == torch.float32
        assert 0 < error < 1.5 * (plain - exact).norm() < 0.1 * exact.norm()
