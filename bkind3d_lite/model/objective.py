"""Objective: what the drawing must explain, and what else is asked of the keypoints."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..clips.clip import Batch
from ..recipes import Recipe
from .discoverer import Discovery
from .edges import EdgeBottleneck, PointBottleneck
from .lifts import Keypoints
from .losses import (
    EdgeLength,
    Perceptual,
    agreement,
    cover,
    dissimilarity,
    equivariance,
    reprojection,
    separation,
    steadiness,
)
from .memory_efficient import wide


class Objective(nn.Module):
    """discovery losses as a dictionary of named scalars (paper equation 4); holds the running averages.

    A term whose weight is 0 is not computed; one that the lift cannot serve is refused with a sentence.
    """

    def __init__(self, recipe: Recipe, edges: int, side: float):
        super().__init__()
        self.recipe, self.side = recipe, side
        self.perceptual = Perceptual(recipe.losses.perceptual, printed=recipe.losses.printed)
        self.length = EdgeLength(edges, side, printed=recipe.losses.printed)

    def target(self, batch: Batch, hw: tuple[int, int]) -> Tensor:
        """What is to be explained, at the reconstruction's hw: (B, V, 1, h, w) how the frame changed, or (B, V, 3, h, w) the later frame."""
        now, later = (x[:, :, :3].flatten(0, 1) for x in (batch.now, batch.later))
        if self.recipe.losses.explain == "frame":
            wanted = later
        else:
            wanted = dissimilarity(
                now,
                later,
                self.recipe.losses.structure_only,
                smooth=1.0 if self.recipe.losses.structure_only else 0.0,
            )
        if self.recipe.losses.mask:
            moving = torch.maximum(batch.now[:, :, 3:4], batch.later[:, :, 3:4]).flatten(0, 1)
            wanted = wanted * F.max_pool2d(moving, 5, 1, 2)
        return F.adaptive_avg_pool2d(wanted, hw).unflatten(0, batch.now.shape[:2])

    def explain(self, batch: Batch, recon: Tensor) -> Tensor:
        """The reconstruction loss of all views at once."""
        with torch.no_grad():
            target = self.target(batch, recon.shape[-2:])
        return self.perceptual(recon.flatten(0, 1), target.flatten(0, 1))

    def judge(self, batch: Batch) -> Callable[[Tensor, int], Tensor] | None:
        """The same for one view at a time, where the recipe wants that: the loss of a reconstruction (1, 1, h, w) and its place in
        B V; over all of them it sums up to `explain`."""
        known: list = []

        def one(recon: Tensor, i: int) -> Tensor:
            if not known:
                known.extend(self._wanted(batch, recon.shape[-2:]))
            each, scale = known
            return self.perceptual.distance(recon, each[i], scale) / len(each)

        return one if self.recipe.compute.decode_per_view else None

    @torch.no_grad()
    def _wanted(self, batch: Batch, hw: tuple[int, int]) -> tuple[list[list[Tensor]], Tensor]:
        """Features of every view's target, and what each term is divided by."""
        each = [
            self.perceptual.features(target[None])
            for target in self.target(batch, hw).flatten(0, 1)
        ]
        return each, self.perceptual.scale(
            [torch.stack([wide(f).square().mean() for f in level]).mean() for level in zip(*each)]
        )

    def forward(
        self, batch: Batch, out: Discovery, bottleneck: EdgeBottleneck | PointBottleneck, step: int
    ) -> dict[str, Tensor]:
        r, both = self.recipe, (out.now, out.later)
        views = out.recon.shape[1] if r.losses.printed else 1  # equation 1 sums over views
        losses = {
            "reconstruct": views
            * (self.explain(batch, out.recon) if out.explained is None else out.explained)
        }
        if r.losses.length:  # its averages are kept from the first step on
            stretch = self.length(
                torch.cat(_needed(both, "world", "length")), bottleneck.pairs, bottleneck.weights
            )
        if r.losses.reproject:
            losses["reproject"] = r.losses.reproject * reprojection(
                torch.cat([k.ndc for k in both]), torch.cat(_needed(both, "votes", "reproject"))
            )
        if r.losses.agree:
            losses["agree"] = r.losses.agree * agreement(
                torch.cat(_needed(both, "votes", "agree")), self.side
            )
        if r.losses.cover:
            losses["cover"] = (
                r.losses.cover
                / 2
                * sum(cover(k.ndc, x[:, :, 3:]) for k, x in zip(both, (batch.now, batch.later)))
            )
        if r.losses.steady:
            losses["steady"] = r.losses.steady * steadiness(
                *_needed(both, "world", "steady"), self.side
            )
        if r.losses.sure:
            losses["sure"] = r.losses.sure * (
                1 - (out.now.confidence.mean() + out.later.confidence.mean()) / 2
            )
        if step >= r.losses.warmup:
            if r.losses.rotate:
                losses["rotate"] = r.losses.rotate * equivariance(
                    [k.ndc for k in out.turned], out.later.ndc
                )
            losses["separate"] = r.losses.separate * self.apart(both, batch.rig.wh)
            losses |= {"length": r.losses.length * stretch} if r.losses.length else {}
        return losses

    def apart(self, both: tuple[Keypoints, Keypoints], hw: tuple[int, int]) -> Tensor:
        """Separation in space, in units of the cube's side; of keypoints without a world, in every image, in units of its width."""
        if both[0].world is not None:
            return separation(
                torch.cat([k.world for k in both]), self.recipe.losses.separate_sigma * self.side
            )
        half = torch.cat([k.ndc for k in both]).flatten(0, 1) / 2
        return separation(
            half * half.new_tensor([1.0, hw[1] / hw[0]]), self.recipe.losses.separate_sigma
        )


def _needed(both: tuple[Keypoints, Keypoints], field: str, term: str) -> list[Tensor]:
    """`field` of now and later, which the loss `term` cannot do without."""
    values = [getattr(k, field) for k in both]
    if values[0] is None:
        what = {"world": "keypoints in space", "votes": "what each view says alone"}[field]
        raise ValueError(
            f"the loss {term} needs {what}, which this recipe's lift does not give: set {term} = 0 or choose another lift"
        )
    return values
