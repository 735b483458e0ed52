"""Objective: what the drawing must explain, and what else is asked of the keypoints."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..clips.heading import rotated
from ..clips.sampling import Batch
from ..recipes import Recipe
from ..volumes import Grid, hull
from .discoverer import Discovery, both_moments
from .edges import EdgeBottleneck, PointBottleneck
from .lifts import Keypoints
from .losses import (
    BodyCover,
    EdgeLength,
    agreement,
    cover,
    dissimilarity,
    equivariance,
    reprojection,
    separation,
    steadiness,
    taught_pose,
)
from .perceptual import Perceptual
from .pieces import wide

Pair = tuple[Keypoints, Keypoints]  # of now and later


class Objective(nn.Module):
    """Discovery losses as a dictionary of named scalars (paper equation 4); holds the averages.

    A term whose weight is 0 is not computed; one that the lift cannot serve is refused with a
    sentence.

    Args:
        recipe: what is to be explained, and the weight of each term.
        edges: E, all pairs of keypoints.
        side: of the volume's cube, world units.
    """

    def __init__(self, recipe: Recipe, edges: int, side: float):
        super().__init__()
        self.recipe, self.side = recipe, side
        self.perceptual = Perceptual(recipe.losses.perceptual, printed=recipe.losses.printed)
        self.length = EdgeLength(edges, side, printed=recipe.losses.printed)
        wanted = recipe.losses.cover_body > 0
        self.body_cover = BodyCover(recipe.volume.voxels**3) if wanted else None

    def target(self, batch: Batch, hw: tuple[int, int]) -> Tensor:
        """What is to be explained.

        Args:
            batch: images of now and later.
            hw: (h, w) of the reconstruction.

        Returns:
            (B, V, 1, h, w) how the frame changed, or (B, V, 3, h, w) the later frame.
        """
        images = both_moments(batch)
        now, later = (x[:, :, :3].flatten(0, 1) for x in images)
        structure, wanted = self.recipe.losses.structure_only, later
        if self.recipe.losses.explain == "change":
            wanted = dissimilarity(now, later, structure, smooth=1.0 if structure else 0.0)
        if self.recipe.losses.mask:
            moving = torch.maximum(*(x[:, :, 3:4] for x in images)).flatten(0, 1)
            wanted = wanted * F.max_pool2d(moving, 5, 1, 2)
        return F.adaptive_avg_pool2d(wanted, hw).unflatten(0, batch.now.shape[:2])

    def explain(self, batch: Batch, recon: Tensor) -> Tensor:
        """The reconstruction loss of all views at once.

        Args:
            batch: images of now and later.
            recon: (B, V, 1 or 3, h, w).

        Returns:
            A scalar.
        """
        with torch.no_grad():
            target = self.target(batch, _hw(recon))
        return self.perceptual(recon.flatten(0, 1), target.flatten(0, 1))

    def judge(self, batch: Batch) -> Callable[[Tensor, int], Tensor] | None:
        """The reconstruction loss for one view at a time, where the recipe wants that.

        Args:
            batch: images of now and later.

        Returns:
            None, or the loss of a reconstruction (1, 1, h, w) and its place in B V; over all of
            them it sums up to `explain`.
        """
        wanted: list = []  # taken when the reconstruction's size is known

        def one(recon: Tensor, i: int) -> Tensor:
            if not wanted:
                wanted.extend(self._wanted(batch, _hw(recon)))
            each, scale = wanted
            return self.perceptual.distance(recon, each[i], scale) / len(each)

        return one if self.recipe.compute.decode_per_view else None

    @torch.no_grad()
    def _wanted(self, batch: Batch, hw: tuple[int, int]) -> tuple[list[list[Tensor]], Tensor]:
        """Features of every view's target, and what each term is divided by."""
        targets = self.target(batch, hw).flatten(0, 1)
        each = [self.perceptual.features(target[None]) for target in targets]
        energy = [
            torch.stack([wide(f).square().mean() for f in level]).mean() for level in zip(*each)
        ]
        return each, self.perceptual.scale(energy)

    def forward(
        self, batch: Batch, out: Discovery, bottleneck: EdgeBottleneck | PointBottleneck, step: int
    ) -> dict[str, Tensor]:
        """All terms, each with its weight.

        Args:
            batch: what the model saw.
            out: what it says of it.
            bottleneck: the model's pairs and their weights.
            step: from 0; some terms begin after the warm-up.

        Returns:
            Scalars by name; their sum is the loss.

        Raises:
            ValueError: a term needs what the lift does not give.
        """
        r, both = self.recipe.losses, (out.now, out.later)
        if r.explain == "labels":
            return {"pose": self._taught(batch, out.now)}
        losses = {"reconstruct": self._reconstruction(batch, out)}
        if r.length:  # its averages are kept from the first step on
            world = torch.cat(_needed(both, "world", "length"))
            stretch = self.length(world, bottleneck.pairs, bottleneck.weights)
        losses |= self._between_views(both) | self._beyond_the_paper(batch, both)
        if step < r.warmup:
            return losses
        if r.rotate:
            turned = [k.ndc for k in out.turned or ()]
            losses["rotate"] = r.rotate * equivariance(turned, out.later.ndc)
        losses["separate"] = r.separate * self.apart(both, batch.rig.wh)
        if r.length:
            losses["length"] = r.length * stretch
        return losses

    def _taught(self, batch: Batch, said: Keypoints) -> Tensor:
        if batch.labels is None or said.depth is None:
            raise ValueError("a batch without labels; `lesson_batches` makes those that teach")
        own = self.recipe.lesson
        pose = torch.cat([said.ndc, said.depth[..., None]], -1)
        return taught_pose(pose, batch.labels, own.beta, 3 if own.depth_cells > 1 else 2)

    def _reconstruction(self, batch: Batch, out: Discovery) -> Tensor:
        views = out.recon.shape[1] if self.recipe.losses.printed else 1  # equation 1 sums over them
        explained = self.explain(batch, out.recon) if out.explained is None else out.explained
        return views * explained

    def _between_views(self, both: Pair) -> dict[str, Tensor]:
        r, losses = self.recipe.losses, {}
        if r.reproject:
            ndc = torch.cat([k.ndc for k in both])
            votes = torch.cat(_needed(both, "votes", "reproject"))
            losses["reproject"] = r.reproject * reprojection(ndc, votes)
        if r.agree:
            votes = torch.cat(_needed(both, "votes", "agree"))
            losses["agree"] = r.agree * agreement(votes, self.side)
        return losses

    def _beyond_the_paper(self, batch: Batch, both: Pair) -> dict[str, Tensor]:
        r, losses = self.recipe.losses, {}
        if r.cover:
            now, later = (
                cover(k.ndc, x[:, :, 3:], sure=r.cover_sure)
                for k, x in zip(both, both_moments(batch))
            )
            losses["cover"] = r.cover / 2 * (now + later)
        if self.body_cover is not None:
            losses["cover_body"] = r.cover_body * self._uncovered(self.body_cover, batch, both)
        if r.steady:
            now, later = self._compared(_needed(both, "world", "steady"), batch)
            losses["steady"] = r.steady * steadiness(now, later, self.side)
        if r.sure:
            confidence = (both[0].confidence.mean() + both[1].confidence.mean()) / 2
            losses["sure"] = r.sure * (1 - confidence)
        return losses

    def _uncovered(self, body: BodyCover, batch: Batch, both: Pair) -> Tensor:
        """How far the hull is from the keypoints, in sides of the cube squared, of both moments."""
        centre = batch.now.new_tensor(self.recipe.volume.centre or (0.0, 0.0, 0.0))
        centre = centre.expand(len(batch.index), 3) if batch.centre is None else batch.centre
        full, places = [], []
        later = batch.turn if batch.turn_later is None else batch.turn_later
        for images, turn in zip(both_moments(batch), (batch.turn, later)):
            grid = Grid(centre, self.side, self.recipe.volume.voxels, turn=turn)
            places.append(grid.points.flatten(1, 3))
            votes = hull(images[:, :, 3, None], batch.rig.ndc_from_world(places[-1]))
            full.append((2 * votes.exp() - 1).clamp(min=0))
        worlds = torch.cat(_needed(both, "world", "cover_body"))
        return body(worlds / self.side, torch.cat(places) / self.side, torch.cat(full))

    def _compared(self, worlds: list[Tensor], batch: Batch) -> list[Tensor]:
        """Keypoints of now and later whose shapes are compared: in the room or in the body."""
        headings = (batch.heading, batch.heading_later)
        if self.recipe.losses.steady_in == "room" or headings[0] is None or headings[1] is None:
            return worlds
        return [rotated(world, -h) for world, h in zip(worlds, headings) if h is not None]

    def apart(self, both: Pair, wh: tuple[int, int]) -> Tensor:
        """Separation of the keypoints in space; of keypoints without a world, in every image.

        Args:
            both: keypoints of now and later.
            wh: (width, height) of the images.

        Returns:
            A scalar; the recipe's sigma is in units of the cube's side, or of the image's width.
        """
        sigma = self.recipe.losses.separate_sigma
        worlds = [k.world for k in both if k.world is not None]
        if worlds:
            return separation(torch.cat(worlds), sigma * self.side)
        half = torch.cat([k.ndc for k in both]).flatten(0, 1) / 2
        return separation(half * half.new_tensor([1.0, wh[1] / wh[0]]), sigma)


def _hw(maps: Tensor) -> tuple[int, int]:
    h, w = maps.shape[-2:]
    return h, w


def _needed(both: Pair, field: str, term: str) -> list[Tensor]:
    """`field` of now and later, which the loss `term` cannot do without."""
    values = [getattr(k, field) for k in both]
    if values[0] is None:
        what = {"world": "keypoints in space", "votes": "what each view says alone"}[field]
        raise ValueError(
            f"the loss {term} needs {what}, which this recipe's lift does not give: set {term} = 0 "
            "or choose another lift"
        )
    return values
