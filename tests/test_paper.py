"""The paper's formulas (Sun et al. 2023, section 3), each written out a second time as slow loops
in float64."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.cameras import ring
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.model import build
from bkind3d_lite.model.edges import EdgeBottleneck, edge_maps
from bkind3d_lite.model.losses import EdgeLength, separation
from bkind3d_lite.model.perceptual import Perceptual
from bkind3d_lite.recipes import Recipe
from bkind3d_lite.shapes import cells
from bkind3d_lite.volumes import Grid, fuse, soft_argmax, unproject


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_softmax_over_views():
    """V_agg = sum_i exp(V_i) / sum_j exp(V_j) * V_i, per channel and voxel."""
    V = random(1, 3, 2, 5)
    want = torch.zeros(2, 5, dtype=torch.float64)
    for c in range(2):
        for p in range(5):
            total = sum(math.exp(V[0, j, c, p]) for j in range(3))
            want[c, p] = sum(math.exp(V[0, i, c, p]) / total * V[0, i, c, p] for i in range(3))
    assert_close(fuse(V)[0], want)


def test_bilinear_sampling_at_projected_voxels():
    """V_c(i) = H_c(i){P(i) V_coords}, voxel by voxel, on wide maps, with distortion."""
    rig = ring(views=3, wh=(96, 64)).to(torch.float64)
    rig = replace(rig, distortion=torch.full((3, 5), 0.01, dtype=torch.float64))
    maps, points = (
        random(1, 3, 2, 8, 12),
        Grid(torch.zeros(3, dtype=torch.float64), 300.0, 3).points.flatten(0, 2),
    )
    found = unproject(maps, rig.ndc_from_world(points)[None])
    for i in range(3):
        px = (
            rig.px_from_world(points)[i] / 8 - 0.5
        )  # in cells of the map, whose first centre lies at pixel 4
        for p, (x, y) in enumerate(px.tolist()):
            for c in range(2):
                value = 0.0
                for u in (math.floor(x), math.floor(x) + 1):
                    for v in (math.floor(y), math.floor(y) + 1):
                        if 0 <= u < 12 and 0 <= v < 8:
                            value += (
                                (1 - abs(x - u)) * (1 - abs(y - v)) * float(maps[0, i, c, v, u])
                            )
                assert float(found[0, i, c, p]) == pytest.approx(value, abs=1e-9)


def test_spatial_softmax():
    """U_j = sum_p softmax(V_j)(p) p over the voxels' world coordinates."""
    logits, points = (
        random(1, 2, 27),
        Grid(torch.tensor([10.0, -20, 30], dtype=torch.float64), 60.0, 3).points.flatten(0, 2),
    )
    for j in range(2):
        total = sum(math.exp(v) for v in logits[0, j].tolist())
        want = [
            sum(math.exp(logits[0, j, p]) / total * float(points[p, axis]) for p in range(27))
            for axis in range(3)
        ]
        assert_close(soft_argmax(logits, points)[0][0, j], torch.tensor(want, dtype=torch.float64))


def test_edge_maps_and_their_maximum():
    """E_mn(p) = exp(-d^2 / sigma^2), E(p) = max_mn w_mn E_mn(p); an edge is active if w > 0. d by
    walking along the line."""
    drawn = EdgeBottleneck(4, sigma=0.3, activation="relu", seed=1).double()
    ndc, (h, w) = random(1, 1, 4, 2, seed=2) / 2, (5, 8)
    pixels, steps = cells(h, w, like=ndc), torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    want = torch.zeros(h, w, dtype=torch.float64)
    for e, (m, n) in enumerate(combinations(range(4), 2)):
        line = ((1 - steps) * ndc[0, 0, m] + steps * ndc[0, 0, n]) * torch.tensor(
            [1.0, h / w], dtype=torch.float64
        )
        for y in range(h):
            for x in range(w):
                d2 = (
                    (line - pixels[y, x] * torch.tensor([1.0, h / w], dtype=torch.float64))
                    .square()
                    .sum(-1)
                    .min()
                )
                want[y, x] = max(want[y, x], max(drawn.w[e].item(), 0.0) * math.exp(-d2 / 0.3**2))
    assert (drawn.w < 0).any() and (drawn.w > 0).any()
    assert_close(drawn(ndc, (h, w))[0, 0, 0], want, atol=1e-6, rtol=0)
    assert float(edge_maps(ndc, drawn.pairs, (h, w), 0.3).max()) <= 1, (
        "the printed sign would grow without end"
    )


def test_equation_1_as_printed():
    """Sum over blocks and views of ||phi(S) - phi(S^)||_2."""
    loss = Perceptual("random", printed=True).double()
    S, S_ = random(3, 1, 16, 24).abs(), random(3, 1, 16, 24, seed=1).abs()
    a, b = loss.features(S_), loss.features(S)
    want = sum(
        math.sqrt(
            sum((x - y) ** 2 for x, y in zip(p[i].flatten().tolist(), q[i].flatten().tolist()))
        )
        for p, q in zip(a, b)
        for i in range(3)
    )
    assert float(3 * loss(S_, S)) == pytest.approx(want, rel=1e-9)


def test_equation_2_as_printed():
    """Sum over active edges of |l_avg - l|; every frame counts alike."""
    pairs, w = (
        torch.tensor(list(combinations(range(4), 2))),
        torch.tensor([0.5, 0.0, 2.0, 0.1, 0.0, 1.0], dtype=torch.float64),
    )
    loss, world = EdgeLength(6, side=2.0, printed=True).double(), random(2, 4, 3)
    loss(random(2, 4, 3, seed=1), pairs, w)
    average = (
        0.99 * loss.average
        + 0.01
        * torch.stack(
            [(world[:, m] - world[:, n]).norm(dim=-1) / 2 for m, n in pairs.tolist()]
        ).mean(1)
    ).tolist()
    want = (
        sum(
            abs(average[e] - float((world[b, m] - world[b, n]).norm()) / 2)
            for b in range(2)
            for e, (m, n) in enumerate(pairs.tolist())
            if w[e] > 0
        )
        / 2
    )
    assert float(loss(world, pairs, w)) == pytest.approx(want, rel=1e-9)


def test_equation_3():
    """Ours is the printed sum over i != j divided by the number of pairs: the weight omega_s takes
    up the factor."""
    U, sigma = random(1, 4, 3), 0.7
    want = sum(
        math.exp(
            -sum((float(U[0, i, a]) - float(U[0, j, a])) ** 2 for a in range(3)) / (2 * sigma**2)
        )
        for i in range(4)
        for j in range(4)
        if i != j
    )
    assert float(12 * separation(U, sigma)) == pytest.approx(want, rel=1e-12)


def test_equation_4_the_curriculum():
    """L = L_recon + 1[after warm-up] (omega_r L_length + omega_s L_s): nothing but the
    reconstruction before."""
    recipe = Recipe("tiny").with_(
        keypoints=4,
        image_wh=(48, 32),
        voxels=8,
        encoder_width=8,
        channels=4,
        v2v_width=4,
        decoder_width=8,
        decoder_steps=2,
        warmup=5,
        length=3.0,
        separate=2.0,
        side=600.0,
        centre=(0.0, 0.0, 0.0),
    )
    model, objective = build(recipe)
    batch = figure(12, views=2).batch([3], 5, recipe.data.image_wh)
    out = model(batch)
    assert set(objective(batch, out, model.edges, 4)) == {"reconstruct"}
    late = objective(batch, out, model.edges, 5)
    world = torch.cat([out.now.world, out.later.world])
    assert set(late) == {"reconstruct", "length", "separate"}
    assert_close(late["separate"], 2 * separation(world, recipe.losses.separate_sigma * 600.0))
