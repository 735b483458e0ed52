"""Sampling: which pairs of frames a step looks at, and the batch they make.

Draws depend on (seed, step) alone, so a resumed run gets the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..cameras import CameraRig
from .foreground import Survey
from .heading import Heading
from .mirrors import mirrored_rig


@dataclass(frozen=True)
class PairDraw:
    """What one step looks at: `now` is `times`, `later` is `times + gap`."""

    times: Tensor  # (B,) frames
    gap: int  # frames
    views: list[int]
    turn: Tensor | None  # (B,) radians, of the volume at `now`
    turn_later: Tensor | None  # (B,) the same at `later`
    shift: Tensor  # (B, 3) of the cube that follows the animal, as a share of its side
    heading: Tensor | None = None  # (B,) radians, at `now`
    heading_later: Tensor | None = None  # (B,) the same at `later`
    mirror: bool = False  # look at the moment in a mirror

    def about(self, heading: Heading, swing: float) -> PairDraw:
        """The same draw, its turns not all the way round but to either side of a heading.

        Args:
            heading: of the clip's frames; one that was not found changes nothing.
            swing: so far at most, radians.

        Returns:
            A draw that knows the animal's heading.
        """
        if self.turn is None or self.turn_later is None or not heading.found:
            return self
        now, later = heading.angle[self.times], heading.angle[self.times + self.gap]
        return replace(
            self,
            turn=now + swing * (self.turn / math.pi - 1),
            turn_later=later + swing * (self.turn_later / math.pi - 1),
            heading=now,
            heading_later=later,
        )

    def told(self, batch: Batch) -> Batch:
        """A batch of these frames that knows its turns and headings, in a mirror if this says so.

        Args:
            batch: of the draw's times, gap, views, `turn` and shift.

        Returns:
            The batch to learn from.
        """
        known = replace(
            batch,
            turn_later=self.turn_later,
            heading=self.heading,
            heading_later=self.heading_later,
        )
        return known.mirrored() if self.mirror else known


class Stretches(Protocol):
    """What a clip knows of its unbroken stretches."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def starts(self) -> tuple[int, ...]:
        """Times at which they begin."""

    def __len__(self) -> int: ...

    def unbroken(self, gap: int) -> Tensor:
        """Which times t have their t + gap in the same stretch.

        Args:
            gap: frames.

        Returns:
            (T - gap,) float, 0 or 1.
        """
        ...


def pair_chances(
    clip: Stretches, gaps: list[int], survey: Survey | None, by_motion: bool
) -> list[Tensor]:
    """How likely each pair is to be drawn.

    Args:
        clip: the pairs are of.
        gaps: frames between now and later.
        survey: of the clip; where it knows of rare shapes, the rarer of a pair's two counts.
        by_motion: the likelier, the more moves in between.

    Returns:
        (T - gap,) for each gap.

    Raises:
        ValueError: there is no pair to draw.
    """
    if min(gaps) < 1 or (by_motion and survey is None):
        raise ValueError(
            f"{clip.name}: gaps = {gaps}, by_motion = {by_motion}; a gap is at least 1 frame, "
            "and drawing pairs by motion needs survey=bkind3d_lite.survey(clip)"
        )
    if max(gaps) >= len(clip):
        raise ValueError(
            f"{clip.name}: a gap of {max(gaps)} frames needs more than the clip's {len(clip)}"
        )
    chances = [clip.unbroken(g) for g in gaps]
    if by_motion and survey is not None:
        chances = [survey.motion_energy(g) * chance for g, chance in zip(gaps, chances)]
    if survey is not None and survey.rarity is not None:
        rarer = [torch.maximum(survey.rarity[:-g], survey.rarity[g:]) for g in gaps]
        chances = [rarity * chance for rarity, chance in zip(rarer, chances)]
    if any(not chance.any() for chance in chances):
        raise ValueError(
            f"{clip.name}: no pair {max(gaps)} frames apart lies in one of its "
            f"{len(clip.starts)} unbroken stretches; take shorter gaps, "
            "or a recording without missing frames"
        )
    return chances


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
    mirror: bool = False  # every other draw, at random, in a mirror
    share: tuple[int, int] = (0, 1)  # (r, R): of R x `batch` pairs, those of rank r

    def draws(self, seed: int, start: int = 0) -> Iterator[PairDraw]:
        """Draw for ever; step i depends on (seed, i) alone.

        Args:
            seed: of the run.
            start: the first step.

        Yields:
            One draw a step.
        """
        rank, ranks = self.share
        own, everyone = slice(rank * self.batch, (rank + 1) * self.batch), ranks * self.batch
        step = start
        while True:
            random = torch.Generator().manual_seed(seed * 1_000_003 + step)
            pick = int(torch.randint(len(self.gaps), (), generator=random))
            chances = self.chances[pick]
            times = torch.multinomial(chances, everyone, replacement=True, generator=random)
            views = torch.randperm(self.views, generator=random)[: self.views_per_step]
            angle = torch.rand(everyone, generator=random)[own] * 2 * math.pi
            shift = (2 * torch.rand(everyone, 3, generator=random)[own] - 1) * self.jitter
            later = torch.rand(everyone, generator=random)[own] * 2 * math.pi
            yield PairDraw(
                times=times[own],
                gap=self.gaps[pick],
                views=views.sort().values.tolist(),
                turn=angle if self.turn else None,
                turn_later=later if self.turn else None,
                shift=shift,
                mirror=self.mirror and bool(torch.rand((), generator=random) < 0.5),
            )
            step += 1


@dataclass(frozen=True)
class Batch:
    """B frame sets at `now` and, in training, at `later`.

    Channels are RGB in [0, 1], then (surveyed clips) the foreground.
    """

    now: Tensor  # (B, V, 3 or 4, H, W)
    later: Tensor | None  # as `now`
    rig: CameraRig  # tensors lead with (B, V) or (V)
    index: Tensor  # (B,) time of `now`
    centre: Tensor | None = None  # (B, 3) where the volume goes, if it follows the animal
    turn: Tensor | None = None  # (B,) angle of the volume about the vertical axis, radians
    turn_later: Tensor | None = None  # (B,) the same for `later`; None: as `turn`
    heading: Tensor | None = None  # (B,) of the animal at `now`, radians, where it is known
    heading_later: Tensor | None = None  # (B,) the same at `later`
    # (B, V, J, 4) what labels say of `now`: ndc x, y, depth from the centre in half sides, weight
    labels: Tensor | None = None

    def mirrored(self) -> Batch:
        """The same moments in a world in which left is right: x to -x.

        An animal with two like sides might have done as its image in a mirror does.

        Returns:
            A batch of mirrored images, with the rig, places and angles of that world; without
            labels, whose names would be on the wrong side.
        """
        angles: dict[str, Any] = {}
        for name in ("turn", "turn_later", "heading", "heading_later"):
            angle = getattr(self, name)
            angles[name] = None if angle is None else math.pi - angle
        flip = self.now.new_tensor([-1.0, 1.0, 1.0])
        return replace(
            self,
            now=self.now.flip(-1),
            later=None if self.later is None else self.later.flip(-1),
            rig=mirrored_rig(self.rig),
            centre=None if self.centre is None else self.centre * flip,
            labels=None,
            **angles,
        )

    def pinned(self) -> Batch:
        """The images in page-locked memory, for a GPU that fetches them."""
        later = None if self.later is None else self.later.pin_memory()
        return replace(self, now=self.now.pin_memory(), later=later)

    def to(self, device: torch.device | torch.dtype | str) -> Batch:
        """Every tensor there, as `Tensor.to`.

        Args:
            device: a device or a number format.

        Returns:
            A batch of the same frames.
        """
        names = [field.name for field in fields(self)]
        there = {name: getattr(self, name) for name in names}
        return replace(self, **{k: x.to(device) for k, x in there.items() if x is not None})
