"""Sampling: which pairs of frames a step sees, drawn from (seed, step) alone, so that a resumed run sees the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairDraw:
    """What one step looks at: `now` is `times`, `later` is `times + gap`."""

    times: Tensor  # (B,) frames
    gap: int  # frames
    views: list[int]
    turn: Tensor | None  # (B,) radians, of the volume at `now`
    turn_later: Tensor | None  # (B,) the same at `later`
    shift: Tensor  # (B, 3) of the cube that follows the animal, as a share of its side


@dataclass(frozen=True)
class PairSampler:
    """Endless seeded draws of frame pairs."""

    gaps: list[int]  # frames between now and later, to draw from
    chances: list[Tensor]  # for each gap (T - gap,), how likely each pair is; 0: never
    views: int  # of the clip
    batch: int = 1
    views_per_step: int | None = None  # None: all
    turn: bool = False
    jitter: float = 0.0
    share: tuple[int, int] = (0, 1)  # (r, R): of R x `batch` pairs, those of rank r

    def draws(self, seed: int, start: int = 0) -> Iterator[PairDraw]:
        """Draws from step `start` on; step i depends on (seed, i) alone."""
        rank, ranks = self.share
        own, everyone = slice(rank * self.batch, (rank + 1) * self.batch), ranks * self.batch
        step = start
        while True:
            random = torch.Generator().manual_seed(seed * 1_000_003 + step)
            pick = int(torch.randint(len(self.gaps), (), generator=random))
            times = torch.multinomial(
                self.chances[pick], everyone, replacement=True, generator=random
            )[own]
            views = torch.randperm(self.views, generator=random)[: self.views_per_step]
            angle = torch.rand(everyone, generator=random)[own] * 2 * math.pi
            shift = (2 * torch.rand(everyone, 3, generator=random)[own] - 1) * self.jitter
            later = torch.rand(everyone, generator=random)[own] * 2 * math.pi
            yield PairDraw(
                times,
                self.gaps[pick],
                views.sort().values.tolist(),
                turn=angle if self.turn else None,
                turn_later=later if self.turn else None,
                shift=shift,
            )
            step += 1
