"""Edges: exact distances, the strongest edge of every pixel, and a skeleton that hides nothing."""

import math

import pytest
import torch
from torch.testing import assert_close

from bkind3d_lite.model.edges import (
    EdgeBottleneck,
    PointBottleneck,
    all_pairs,
    edge_maps,
    point_maps,
    strongest,
    strongest_edges,
)
from bkind3d_lite.shapes import cells, segment_distance2


def random(*shape, seed=0):
    return (
        torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1.8
        - 0.9
    )


def pairs(K):
    return torch.combinations(torch.arange(K))


# ---- distance ------------------------------------------------------------------------------------
@pytest.mark.parametrize("dims", [2, 3])
def test_distance_equals_dense_sampling_of_the_segment(dims):
    points, a, b = random(50, dims), random(50, dims, seed=1), random(50, dims, seed=2)
    s = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    sampled = (points[:, None] - (a[:, None] + s * (b - a)[:, None])).norm(dim=-1).amin(1)
    exact = segment_distance2(points, a, b).sqrt()
    assert_close(exact, sampled, atol=1e-3, rtol=0)
    assert (exact <= sampled + 1e-12).all(), "sampling can only miss the nearest point"


def test_distance_by_hand():
    a, b = torch.tensor([0.0, 0.0]), torch.tensor([2.0, 0.0])
    points = torch.tensor([[1.0, 3.0], [-3.0, 4.0], [5.0, 4.0], [0.5, 0.0]])
    assert_close(segment_distance2(points, a, b), torch.tensor([9.0, 25.0, 25.0, 0.0]))
    assert_close(segment_distance2(points, b, a), segment_distance2(points, a, b))


def test_a_segment_of_no_length_is_its_point_with_finite_gradients():
    a = torch.tensor([0.3, 0.4], requires_grad=True)
    d2 = segment_distance2(torch.zeros(2), a, a.detach())
    d2.backward()
    assert_close(d2.detach(), torch.tensor(0.25))
    assert a.grad.isfinite().all()


# ---- maps ----------------------------------------------------------------------------------------
def test_edge_maps_by_hand():
    """A level segment through y = 0 of an 8 x 4 image: rows at +-0.125 and +-0.375 half widths."""
    maps = edge_maps(torch.tensor([[-0.5, 0.0], [0.5, 0.0]]), pairs(2), (4, 8), sigma=0.25)
    assert maps.shape == (1, 4, 8)
    assert_close(
        maps[0, :, 3],
        torch.tensor(
            [math.exp(-((0.375 / 0.25) ** 2)), math.exp(-0.25), math.exp(-0.25), math.exp(-2.25)]
        ),
    )
    past = (0.875 - 0.5) ** 2 + 0.125**2  # the last column lies beyond the end of the segment
    assert_close(maps[0, 1, 7], torch.tensor(math.exp(-past / 0.0625)))
    assert_close(maps, maps.flip(-1))
    assert_close(maps, maps.flip(-2))


def test_a_dot_is_a_circle_on_a_non_square_image():
    """Equal distance in pixels, equal value: horizontally, vertically and along the diagonal."""
    h, w = 24, 60
    ndc = torch.tensor([[0.1, 0.2], [0.1, 0.2]], dtype=torch.float64)
    image = edge_maps(ndc, pairs(2), (h, w), sigma=0.2)[0]
    px = (cells(h, w, like=ndc) + 1) / 2 * torch.tensor([w, h]) - (ndc[0] + 1) / 2 * torch.tensor(
        [w, h]
    )
    assert_close(image, (-(px.square().sum(-1)) / (0.2 * w / 2) ** 2).exp())


def test_maps_move_with_their_points():
    """Swapping x and y of the points transposes the drawing of a square image."""
    ndc = random(3, 4, 2)
    assert_close(
        edge_maps(ndc.flip(-1), pairs(4), (16, 16), 0.2), edge_maps(ndc, pairs(4), (16, 16), 0.2).mT
    )


@pytest.mark.parametrize("lead, size", [((), (12, 20)), ((2, 3), (9, 7))])
def test_strongest_equals_the_brute_force_in_value_and_gradient(lead, size):
    K, sigma = 5, 0.25
    weights = random(10, seed=3).abs() + 0.1
    probe = random(*lead, *size, seed=4)
    results = []
    for draw in (
        strongest,
        lambda n, p, w, s, sigma: (w[:, None, None] * edge_maps(n, p, s, sigma)).amax(-3),
    ):
        ndc, w = random(*lead, K, 2).requires_grad_(), weights.clone().requires_grad_()
        out = draw(ndc, pairs(K), w, size, sigma)
        (out * probe).sum().backward()
        results.append((out.detach(), ndc.grad, w.grad))
    assert results[0][0].shape == (*lead, *size)
    for ours, brute in zip(*results):
        assert_close(ours, brute, atol=1e-10, rtol=1e-8)


def test_gradients_of_strongest():
    ndc, weights = (
        random(2, 4, 2).requires_grad_(),
        (random(6, seed=3).abs() + 0.2).requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda n, w: strongest(n, pairs(4), w, (5, 7), 0.4), (ndc, weights)
    )


def test_gradients_of_edge_maps():
    assert torch.autograd.gradcheck(
        lambda n: edge_maps(n, pairs(3), (4, 6), 0.4), (random(2, 3, 2).requires_grad_(),)
    )


# ---- bottleneck ----------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_the_bottleneck_draws_its_weights(activation):
    edges = EdgeBottleneck(5, sigma=0.3, activation=activation).double()
    ndc = random(2, 3, 5, 2)
    drawing = edges(ndc, (10, 14))
    assert drawing.shape == (2, 3, 1, 10, 14) and edges.pairs.tolist() == pairs(5).tolist()
    want = torch.relu(edges.w) if activation == "relu" else (1 + edges.w.exp()).log()
    assert_close(edges.weights, want)
    assert_close(
        drawing[:, :, 0],
        (want[:, None, None] * edge_maps(ndc, edges.pairs, (10, 14), 0.3)).amax(-3),
        atol=1e-9,
        rtol=0,
    )


def test_all_edges_off_is_a_blank_page_with_finite_gradients():
    edges = EdgeBottleneck(4, activation="relu", start=-5.0)
    ndc = random(1, 2, 4, 2).float().requires_grad_()
    drawing = edges(ndc, (8, 12))
    drawing.sum().backward()
    assert drawing.abs().max() < 1e-9
    assert ndc.grad.isfinite().all() and edges.w.grad.isfinite().all() and (edges.w.grad == 0).all()


def test_no_line_is_thinner_than_a_cell():
    """At 8 columns a cell is 0.25 half widths: a thin line must still be seen wherever it lies."""
    edges = EdgeBottleneck(2, sigma=0.001, activation="relu", start=1.0, noise=0.0)
    for x in torch.linspace(-0.7, 0.7, 11):
        line = torch.tensor([[[[x, -0.8], [x, 0.8]]]])
        assert edges(line, (8, 8)).amax() > 0.7


def test_the_same_seed_the_same_edges():
    a, b, c = (EdgeBottleneck(5, seed=s).w for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_unknown_activity_is_refused():
    with pytest.raises(ValueError, match="tanh.*relu or softplus"):
        EdgeBottleneck(3, activation="tanh")


def test_a_dot_is_an_edge_of_no_length():
    ndc = random(2, 3, 4, 2)
    dots = PointBottleneck(4, sigma=0.3)(ndc, (10, 14))
    assert dots.shape == (2, 3, 4, 10, 14)
    assert_close(dots, edge_maps(ndc, torch.arange(4)[:, None].expand(4, 2), (10, 14), 0.3))


def test_a_dot_by_hand():
    """In the image's corner: the first cell of 4 x 8 is 0.125 half widths away on both axes."""
    dot = point_maps(torch.tensor([[-1.0, -1.0]]), (4, 8), 0.25)
    assert_close(dot[0, 0, 0], torch.tensor(math.exp(-2 * 0.25)))
    assert_close(dot[0, 2, 1], torch.tensor(math.exp(-(0.625**2 + 0.375**2) / 0.0625)))


def test_gradients_of_point_maps():
    assert torch.autograd.gradcheck(
        lambda n: point_maps(n, (4, 6), 0.4), (random(2, 3, 2).requires_grad_(),)
    )


def test_points_are_joined_by_nothing_and_never_thinner_than_a_cell():
    points = PointBottleneck(5, sigma=0.001)
    assert (points.drawings, EdgeBottleneck(5).drawings) == (5, 1)
    assert (
        torch.equal(points.pairs, all_pairs(5))
        and points.weights.shape == (10,)
        and not points.weights.any()
    )
    assert not list(points.parameters()) and not points.state_dict()
    for x in torch.linspace(-0.7, 0.7, 11):
        assert points(torch.full((1, 1, 5, 2), float(x)), (8, 8)).amax() > 0.5


# ---- skeleton ------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_the_strongest_edges_connect_every_keypoint(seed):
    K = 7
    weights = random(21, seed=seed)
    skeleton = strongest_edges(pairs(K), weights, K)
    assert skeleton.names == tuple(f"k{i}" for i in range(K))
    reached = {0}
    for _ in range(K):
        reached |= {j for e in skeleton.edges for j in e if reached & set(e)}
    assert reached == set(range(K))
    assert set(skeleton.edges) <= {tuple(p) for p in pairs(K).tolist()} and len(
        set(skeleton.edges)
    ) == len(skeleton.edges)


def test_the_tree_has_the_largest_weight_of_all_trees():
    from scipy.sparse.csgraph import minimum_spanning_tree

    K, weights = 6, random(15).abs() + 0.1
    matrix = torch.zeros(K, K, dtype=torch.float64)
    matrix[tuple(pairs(K).T)] = weights
    best = -minimum_spanning_tree(-matrix.numpy()).sum()
    ours = strongest_edges(pairs(K), weights, K, extra=2.0).edges
    assert len(ours) == K - 1 and sum(float(matrix[e]) for e in ours) == pytest.approx(best)


def test_edges_as_strong_as_the_best_are_shown_beyond_the_tree():
    weights = torch.tensor([1.0, 0.95, 0.92])  # a triangle: the tree needs two
    assert strongest_edges(pairs(3), weights, 3, extra=0.9).edges == ((0, 1), (0, 2), (1, 2))
    assert strongest_edges(pairs(3), weights, 3, extra=0.94).edges == ((0, 1), (0, 2))


def test_with_lengths_the_tree_prefers_short_strong_edges():
    """Weights alike: the chain of neighbours; a strong weight outbids a shorter way."""
    pairs = torch.combinations(torch.arange(5))
    length = (pairs[:, 1] - pairs[:, 0]).float()
    weights = torch.ones(len(pairs))
    assert strongest_edges(pairs, weights, 5, length=length).edges == (
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
    )
    weights[3] = 9.0  # the pair (0, 4)
    assert (0, 4) in strongest_edges(pairs, weights, 5, length=length).edges


def test_where_nothing_is_joined_the_tree_is_the_shortest():
    pairs = all_pairs(4)
    place = torch.tensor([0.0, 3.0, 1.0, 2.0])
    length = (place[pairs[:, 0]] - place[pairs[:, 1]]).abs()
    assert strongest_edges(pairs, torch.zeros(6), 4, length=length).edges == (
        (0, 2),
        (1, 3),
        (2, 3),
    )
