"""Health: is it learning? A few signals that tell early what a loss curve tells late, with a remedy for each complaint.

A loss that stalls and keypoints that sit in the middle for ever have causes that can be measured: an empty target, a flat
softmax, a cube that is too large, keypoints that do not move although the animal does.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from ..clips.clip import Survey
from .loop import Run, Step

SAMPLE_EVERY = 10  # steps between samples
WINDOW = 20  # samples that a complaint is judged by
REMEDIES = {
    "empty": "the target is nearly empty ({0:.3f} where it changes most): between now and later too little moves. Use longer gaps (gaps), draw "
    "pairs by motion (by_motion = true), or follow the animal (mode = animal) if it is small in the pictures",
    "short": "the gap is short for this animal: half of the pairs change by less than {0:.0%} of its silhouette. Use longer gaps, or "
    "draw pairs by motion (by_motion = true)",
    "outside": "the animal's centre is outside the volume in {0:.0%} of the frames: raise side, set centre, or let the cube follow it (mode = animal)",
    "parked": "{0} of {1} keypoints are parked at the volume's centre, with flat maps: the mean of everywhere is the middle. The volume may be too "
    "big (lower side, or mode = animal), or the maps too even: raise sharpness (4) or the hull prior (hull = 4)",
    "flat": "the keypoints' confidence is {0:.2f} and the entropy of their heatmaps {1:.0%} of an even map's: they are flat, each keypoint is a mean over "
    "much of the volume. Raise sharpness (4), hull or sure",
    "dead": "{0} of {1} keypoints do not move although the animal does. Raise cover or hull, use fewer keypoints, or shorten the cube (side, animal_side)",
    "huddled": "all keypoints huddle within {0:.1%} of the volume's side: raise separate or cover, or shorten the cube (side, animal_side)",
    "unlinked": "{0} of {1} edges draw anything: the bottleneck is nearly shut and nothing can be learned through it. Use activation = softplus, or a "
    "lower edge_learning_rate",
    "stalled": "the reconstruction stalls at {0:.0%} of what an empty picture would cost: look at the pictures (is there a target, do the edges lie "
    "on the animal?), check the calibration with volume.png, then try another seed, a lower learning_rate or a longer warmup",
}


def signals(step: Step, run: Run) -> dict[str, float]:
    """What one step says: all in [0, 1] or in units of the volume's side.

    motion: mean of the target, the change to be explained; liveliest: its 99.5 % quantile. confidence: of the keypoints, mean
    (0: flat maps). entropy: of their heatmaps (a volume's, where there is one), mean, as a share of an even map's (1: flat). spread: RMS distance of the keypoints from their mean. to_centre: their mean distance from the volume's
    centre. edges: share of the edges that draw at least a tenth of what the strongest draws.
    """
    with torch.no_grad():
        target = run.objective.target(step.batch, step.output.recon.shape[-2:]).float()
        found = step.output.now
        row = {
            "motion": float(target.mean()),
            "liveliest": float(_liveliest(target)),
            "confidence": float(found.confidence.mean()),
        }
        if found.entropy is not None:
            row["entropy"] = float(found.entropy.mean())
        if found.world is not None:
            local = _local(step, run) / run.objective.side
            row["spread"] = float(
                (local - local.mean(1, keepdim=True)).square().sum(-1).mean().sqrt()
            )
            row["to_centre"] = float(local.norm(dim=-1).mean())
        weights = run.model.edges.weights
        if run.recipe.bottleneck.draw == "edges":
            row["edges"] = float((weights > 0.1 * weights.max()).float().mean())
    return row


def _liveliest(target: Tensor) -> Tensor:
    few = target.flatten()
    return few[:: max(1, len(few) // 1_000_000)].quantile(0.995)


def _local(step: Step, run: Run) -> Tensor:
    """Keypoints of now in the volume's own place, (B, K, 3) world units from its centre."""
    world = step.output.now.world.detach()
    centre = (
        world.new_tensor(run.recipe.volume.centre)
        if step.batch.centre is None
        else step.batch.centre
    )
    return world - centre.view(-1, 1, 3)


def dead_and_parked(
    local: Tensor, weight: Tensor, side: float, animal: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Which keypoints do not move, and which sit at the centre with flat maps: (n, K, 3) from the centre, (n, K) -> (K), (K) bool.

    A dead one moves less than a tenth of the liveliest one, or of the animal itself (`animal`: spread of its place in the
    volume, world units), or than 0.2 % of `side`.
    """
    moves = local.std(0).square().sum(-1).sqrt()
    dead = moves < max(0.1 * float(moves.max()), 0.1 * animal, 0.002 * side)
    parked = (local.norm(dim=-1).mean(0) < 0.06 * side) & (weight.mean(0) < 0.2)
    return dead, parked


class Health:
    """Watches a run: `examine(step)` every step returns a row for health.csv now and then, and each complaint once."""

    def __init__(self, run: Run, survey: Survey | None = None):
        self.run, self.survey = run, survey
        self.losses: deque = deque(maxlen=2 * max(150, run.recipe.optim.steps // 20))
        self.steps = 0
        self.recent: deque = deque(maxlen=WINDOW)
        self.said: set[str] = set()

    def _say(self, key: str, *values) -> list[str]:
        if key in self.said:
            return []
        self.said.add(key)
        return [REMEDIES[key].format(*values)]

    def before(self, fps: float) -> list[str]:
        """What can be known before the first step, from the survey alone."""
        recipe, said = self.run.recipe, []
        if self.survey is None:
            return said
        stir = torch.cat(
            [self.survey.motion_energy(max(1, round(gap * fps))) for gap in recipe.data.gaps]
        )
        if not recipe.data.by_motion and float(stir.median()) < 0.05:
            said += self._say("short", float(stir.median()))
        if recipe.volume.crop is None:
            away = (self.survey.centre - torch.tensor(recipe.volume.centre)).abs().amax(-1)
            outside = float((away > recipe.volume.side / 2).float().mean())
            said += self._say("outside", outside) if outside > 0.02 else []
        return said

    def examine(self, step: Step) -> tuple[dict[str, float] | None, list[str]]:
        """A row of signals (None between samples) and the complaints that are new."""
        self.losses.append(step.losses.get("reconstruct", float("nan")))
        self.steps += 1
        if step.index % SAMPLE_EVERY:
            return None, []
        row = {"step": step.index} | signals(step, self.run)
        local = _local(step, self.run).cpu() if step.output.now.world is not None else None
        self.recent.append(
            (row, local, step.output.now.confidence.detach().mean(1).cpu(), step.batch.index.cpu())
        )
        said = self._judge(row) if len(self.recent) == WINDOW else []
        return row, said + self._stalled()

    def _judge(self, row: dict[str, float]) -> list[str]:
        mean = {k: sum(r[0][k] for r in self.recent) / WINDOW for k in row if k != "step"}
        said = self._say("empty", mean["liveliest"]) if mean["liveliest"] < 0.05 else []
        edges, drawn = len(self.run.model.edges.pairs), mean.get("edges", 1.0)
        said += (
            self._say("unlinked", round(drawn * edges), edges)
            if drawn * edges < 1.5 < edges
            else []
        )
        if self.recent[-1][1] is None:
            return said
        local, weight = (
            torch.cat([r[1] for r in self.recent]),
            torch.cat([r[2] for r in self.recent]),
        )
        dead, parked = dead_and_parked(local, weight, self.run.objective.side, self._animal())
        row["dead"] = float(dead.float().mean())
        K = len(dead)
        if parked.any():
            return said + self._say("parked", int(parked.sum()), K)
        if dead.any():
            return said + self._say("dead", int(dead.sum()), K)
        even = mean.get("entropy", float("nan"))
        said += (
            self._say("flat", mean["confidence"], even)
            if mean["confidence"] < 0.1 or even > 0.9
            else []
        )
        return said + (self._say("huddled", mean["spread"]) if mean["spread"] < 0.02 else [])

    def _animal(self) -> float:
        """Spread of the animal's place in a volume that stands still, over the sampled frames; 0 where it follows."""
        if self.survey is None or self.run.recipe.volume.crop is not None:
            return 0.0
        return float(self.survey.centre[torch.cat([r[3] for r in self.recent])].std(0).norm())

    def _stalled(self) -> list[str]:
        """No fall from one stretch of steps to the next, while little of the target is explained (an empty picture costs about 1)."""
        n = self.losses.maxlen // 2
        if self.steps % n or self.steps < 2 * n:
            return []
        losses = list(self.losses)
        before, now = sum(losses[:n]) / n, sum(losses[n:]) / n
        return (
            self._say("stalled", now)
            if now > 0.98 * before and now > 0.6 and not self.run.recipe.losses.printed
            else []
        )
