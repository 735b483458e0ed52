"""Which person of one view is which of another: the combination whose rays meet."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from ..cameras import CameraRig, triangulate
from ..poses2d import People2D, Poses2D, moving_person
from .robust import CAUCHY_PX

MISSING = 2.0  # robust cost of a joint that a view does not see
STEP = 0.05  # a person's middle may move this share of the cameras' distance for a cost of 1
MOST = 500  # combinations of people over the views


def one_person(
    people: People2D, rig: CameraRig | None = None, person: str | None = None
) -> Poses2D:
    """The poses of one person.

    Args:
        people: as read.
        rig: cameras in the order of the poses: people are told apart by their rays; None: unknown.
        person: `moving`: in each view who walks most; None: the only one, or by the rays.

    Returns:
        Poses of one person.

    Raises:
        ValueError: several people, and nothing to tell them apart by.
    """
    if person not in (None, "moving"):
        raise ValueError(f"person {person!r}: known is 'moving', who walks most in each view")
    if people.most <= 1:
        return people.chosen((people.weight > 0).any(-1).float().argmax(-1))
    if person == "moving":
        return moving_person(people)
    if rig is None:
        raise ValueError(
            f"up to {people.most} people in a frame; say --person moving for the one who walks "
            "most in each view, or give the cameras so that the rays tell them apart"
        )
    return people.chosen(associated(rig, people))


def associated(rig: CameraRig, people: People2D) -> Tensor:
    """Numbers of one person in every frame and view: rays that meet, places that follow on.

    Args:
        rig: V cameras in the order of the poses.
        people: as read.

    Returns:
        (T, V) numbers; -1: the view does not see the person.

    Raises:
        ValueError: more combinations than can be tried.
    """
    V, N = people.px.shape[1:3]
    if (N + 1) ** V > MOST:
        raise ValueError(
            f"{N} people in {V} views are too many to combine; say --person moving, "
            "or leave out views or people"
        )
    combos = [c for c in product(range(-1, N), repeat=V) if sum(n >= 0 for n in c) >= 2]
    costs, middles = [], []
    for combo in combos:
        one = people.chosen(torch.tensor(combo).expand(len(people.px), V))
        cost, middle = _meeting_cost(rig, one)
        costs.append(cost)
        middles.append(middle)
    step = STEP * float((rig.centres - rig.centres.mean(0)).norm(dim=-1).mean())
    path = _cheapest(torch.stack(costs, 1), torch.stack(middles, 1), step)
    return torch.tensor(combos)[path]


def _meeting_cost(rig: CameraRig, one: Poses2D) -> tuple[Tensor, Tensor]:
    """How badly the rays of each moment meet, (T,), and where, (T, 3)."""
    seen = one.weight > 0
    world = triangulate(rig, one.px.double().nan_to_num(0).float(), seen.float())
    far = (rig.px_from_world(world.nan_to_num(0)) - one.px).norm(dim=-1)
    known = seen & world.isfinite().all(-1)[:, None]
    scale = CAUCHY_PX * max(rig.wh) / 256
    cost = torch.where(known, torch.log1p((far.nan_to_num(0) / scale).square()), MISSING)
    return cost.mean((1, 2)), world.nanmedian(1).values


def _cheapest(cost: Tensor, middle: Tensor, step: float) -> Tensor:
    """The path (T,) through states (T, C) of least cost plus way in steps (Viterbi 1967)."""
    total, back = cost[0], []
    for t in range(1, len(cost)):
        way = (middle[t][:, None] - middle[t - 1]).norm(dim=-1) / step
        reached = total + way.nan_to_num(1.0).clamp(max=5)
        total, before = reached.min(1)
        total = total + cost[t]
        back.append(before)
    path = [int(total.argmin())]
    for before in reversed(back):
        path.append(int(before[path[-1]]))
    return torch.tensor(path[::-1])
