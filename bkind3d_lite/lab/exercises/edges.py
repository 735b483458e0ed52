"""06_edges: how a drawing can be a bottleneck."""

import torch
from torch import Tensor

from ...model.edges import EdgeBottleneck, edge_maps, strongest
from ...shapes import cells, segment_distance2
from .entry import Dice, Exercise, Mistake

LESSON = "06_edges"


def _segment_distance(points, a, b):
    return segment_distance2(points, a, b).sqrt()


def _edge_map(a, b, hw, sigma):
    return edge_maps(torch.stack([a, b]), torch.tensor([[0, 1]]), hw, sigma)[0]


def _bottleneck(maps, weights):
    return (weights[:, None, None] * maps).amax(0)


def _line(
    p: Tensor, a: Tensor, b: Tensor, low: float = -1e9, high: float = 1e9, squared: bool = True
) -> Tensor:
    """Distance with the foot of the perpendicular kept in [low, high]."""
    u = b - a
    s = ((p - a) * u).sum(-1) / (u.square().sum() if squared else u.norm())
    return (p - a - s.clamp(low, high)[..., None] * u).norm(dim=-1)


def _square(a: Tensor, b: Tensor, hw: tuple[int, int], fair: bool = True) -> Tensor:
    """Squared distances in half image widths; not `fair`: forgets that the image is not square."""
    square = torch.tensor([1.0, hw[0] / hw[1] if fair else 1.0])
    return segment_distance2(cells(*hw) * square, a * square, b * square)


def _from_border_to_border(a: Tensor, b: Tensor, hw: tuple[int, int], sigma: float) -> Tensor:
    """The map without the half pixel."""
    y, x = (torch.linspace(-1, 1, n) for n in hw)
    square = torch.tensor([1.0, hw[0] / hw[1]])
    p = torch.stack([x.expand(*hw), y[:, None].expand(*hw)], -1)
    return (-segment_distance2(p * square, a * square, b * square) / sigma**2).exp()


def _segment(dice: Dice) -> tuple:
    """Two ends, a map's (h, w), a width."""
    a, b = dice.uniform(-0.8, 0.8, 2), dice.uniform(-0.8, 0.8, 2)
    return a, b, (5, 8), dice.number(0.2, 0.5)


EXERCISES = (
    Exercise(
        name="pairs_of_fifteen",
        lesson=LESSON,
        task=(
            "pairs_of_fifteen = a number: how many edges join 15 keypoints, each with every other?"
        ),
        reference=lambda: 105,
        make=lambda dice: (),
        mistakes=(
            Mistake(
                "an edge from i to j is the edge from j to i: every pair is counted twice here",
                lambda: 210,
            ),
            Mistake("no keypoint is joined with itself, and i to j is j to i", lambda: 225),
            Mistake("no keypoint is joined with itself", lambda: 120),
            Mistake(
                "this is a tree, the fewest edges that join all; each with every other are more",
                lambda: 14,
            ),
        ),
        shows=EdgeBottleneck,
    ),
    Exercise(
        name="segment_distance",
        lesson=LESSON,
        task=(
            "segment_distance(points (P, 2), a (2), b (2)) -> (P): "
            "distance of each point to the segment from a to b"
        ),
        reference=_segment_distance,
        make=lambda dice: (2 * dice.normal(9, 2), dice.normal(2), dice.normal(2)),
        mistakes=(
            Mistake("this is the distance to the whole line: keep s between 0 and 1", _line),
            Mistake("forgot the square root", segment_distance2),
            Mistake("s ends at b, too: keep it at most 1", lambda p, a, b: _line(p, a, b, 0)),
            Mistake("s begins at a: keep it at least 0", lambda p, a, b: _line(p, a, b, -1e9, 1)),
            Mistake(
                "divide by the squared length of b - a", lambda p, a, b: _line(p, a, b, 0, 1, False)
            ),
            Mistake(
                "this is the distance to the nearer end",
                lambda p, a, b: torch.minimum((p - a).norm(dim=-1), (p - b).norm(dim=-1)),
            ),
        ),
        shows=segment_distance2,
    ),
    Exercise(
        name="edge_map",
        lesson=LESSON,
        task=(
            "edge_map(a (2), b (2), hw (h, w), sigma) -> (h, w): "
            "exp(-d^2 / sigma^2), d to the segment a-b in half image widths (y times h / w)"
        ),
        reference=_edge_map,
        make=_segment,
        mistakes=(
            Mistake(
                "an image is not square: multiply y by h / w first, or lines get thick one way",
                lambda a, b, hw, v: (-_square(a, b, hw, fair=False) / v**2).exp(),
            ),
            Mistake(
                "linspace(-1, 1) puts the outer pixels' centres onto the border: they lie half a "
                "pixel inside",
                _from_border_to_border,
            ),
            Mistake(
                "the sign: far from the segment the map falls to 0",
                lambda a, b, hw, v: (_square(a, b, hw) / v**2).exp(),
            ),
            Mistake(
                "no factor 2 here: exp(-d^2 / sigma^2)",
                lambda a, b, hw, v: (-_square(a, b, hw) / (2 * v**2)).exp(),
            ),
            Mistake("sigma is squared", lambda a, b, hw, v: (-_square(a, b, hw) / v).exp()),
            Mistake("d is squared", lambda a, b, hw, v: (-_square(a, b, hw).sqrt() / v**2).exp()),
            Mistake(
                "swapped x and y: ndc is (x, y), the map's hw is (h, w)",
                lambda a, b, hw, v: _edge_map(a.flip(-1), b.flip(-1), hw, v),
            ),
            Mistake(
                "the map's rows and columns are swapped: hw is (h, w)",
                lambda a, b, hw, v: _edge_map(a, b, hw, v).T,
            ),
        ),
        shows=edge_maps,
    ),
    Exercise(
        name="bottleneck",
        lesson=LESSON,
        task=(
            "bottleneck(maps (E, h, w), weights (E)) -> (h, w): "
            "at each pixel the largest weight x map"
        ),
        reference=_bottleneck,
        make=lambda dice: (dice.uniform(0, 1, 6, 4, 7), dice.uniform(0, 2, 6)),
        mistakes=(
            Mistake(
                "summed: where many edges cross it would shine; take the maximum over edges",
                lambda m, w: (w[:, None, None] * m).sum(0),
            ),
            Mistake(
                "averaged instead of the maximum over edges",
                lambda m, w: (w[:, None, None] * m).mean(0),
            ),
            Mistake("the weights are not used", lambda m, w: m.amax(0)),
            Mistake(
                "weight first, then the maximum: the strongest edge may have the weaker map",
                lambda m, w: w[m.argmax(0)] * m.amax(0),
            ),
            Mistake(
                "weights are used as they are: no softmax",
                lambda m, w: (w.softmax(0)[:, None, None] * m).amax(0),
            ),
        ),
        shows=strongest,
    ),
)
