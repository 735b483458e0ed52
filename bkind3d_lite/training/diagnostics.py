"""Diagnostics: is it learning? Signals that tell early what a loss curve tells late.

A loss that stalls and keypoints that sit in the middle for ever have causes that can be measured:
an empty target, a flat softmax, a cube that is too large, keypoints that do not move although the
animal does. Each complaint comes with its remedy.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from ..clips.clip import Survey
from ..clips.heading import twelfth
from ..evaluation.body_bound import explained
from .loop import Run, Step

SAMPLE_EVERY = 10  # steps between samples
WINDOW = 20  # samples that a complaint is judged by
GOES = 0.25  # RMS radii of the figure from now to later, beyond which it goes where it faces
FACING = 60, 4  # frames, and directions of 12, that tell whether a figure turns
SETTLED = 2000  # steps at most, else a third of the run, before it must
REMEDIES = {
    "empty": "the target is nearly empty ({0:.3f} where it changes most): between now and later "
    "too little moves. Use longer gaps (gaps), draw pairs by motion (by_motion = true), or follow "
    "the animal (mode = animal) if it is small in the pictures",
    "short": "the gap is short for this animal: half of the pairs change by less than {0:.0%} of "
    "its silhouette. Use longer gaps, or draw pairs by motion (by_motion = true)",
    "outside": "the animal's centre is outside the volume in {0:.0%} of the frames: raise side, "
    "set centre, or let the cube follow it (mode = animal)",
    "parked": "{0} of {1} keypoints are parked at the volume's centre, with flat maps: the mean "
    "of everywhere is the middle. The volume may be too big (lower side, or mode = animal), or "
    "the maps too even: raise sharpness (4) or the hull prior (hull = 4)",
    "flat": "the keypoints' confidence is {0:.2f} and the entropy of their heatmaps {1:.0%} of an "
    "even map's: they are flat, each keypoint is a mean over much of the volume. Raise sharpness "
    "(4), hull or sure",
    "dead": "{0} of {1} keypoints do not move although the animal does. Raise cover or hull, use "
    "fewer keypoints, or shorten the cube (side, animal_side)",
    "huddled": "all keypoints huddle within {0:.1%} of the volume's side: raise separate or "
    "cover, or shorten the cube (side, animal_side)",
    "unlinked": "{0} of {1} edges draw anything: the bottleneck is nearly shut and nothing can be "
    "learned through it. Use activation = softplus, or a lower edge_learning_rate",
    "compass": "the figure keeps to the sides of the room, whichever way the animal goes: places "
    "fixed in the room explain {0:.0%} of it, places fixed in its body {1:.0%} (R2 room and R2 "
    "body, in {2} of 12 directions). {3}rain on a longer recording in which it walks, or on "
    "several: the doctor says whether a heading can be found",
    "stalled": "the reconstruction stalls at {0:.0%} of what an empty picture would cost: look at "
    "the pictures (is there a target, do the edges lie on the animal?), check the calibration "
    "with volume.png, then try another seed, a lower learning_rate or a longer warmup",
}


# ---- signals -------------------------------------------------------------------------------------
def signals(step: Step, run: Run) -> dict[str, float]:
    """What one step says of a run: all in [0, 1] or in units of the volume's side.

    motion: mean of the target, the change to be explained; liveliest: its 99.5 % quantile.
    confidence: of the keypoints, mean (0: flat maps). entropy: of their heatmaps (a volume's,
    where there is one), mean, as a share of an even map's (1: flat). spread: RMS distance of the
    keypoints from their mean. to_centre: their mean distance from the volume's centre. edges:
    share of the edges that draw at least a tenth of what the strongest draws.

    Args:
        step: just finished.
        run: whose step it is.

    Returns:
        Signals by name; those alone that the recipe's lift and bottleneck have.
    """
    keypoints = step.output.now
    with torch.no_grad():
        row = {"confidence": float(keypoints.confidence.mean())}
        if run.model.decoder is not None:
            h, w = step.output.recon.shape[-2:]
            target = run.objective.target(step.batch, (h, w)).float()
            row = {"motion": float(target.mean()), "liveliest": float(_liveliest(target)), **row}
        if keypoints.entropy is not None:
            row["entropy"] = float(keypoints.entropy.mean())
        if (local := _local(step, run)) is not None:
            local = local / run.objective.side
            away = local - local.mean(1, keepdim=True)
            row["spread"] = float(away.square().sum(-1).mean().sqrt())
            row["to_centre"] = float(local.norm(dim=-1).mean())
        if run.recipe.bottleneck.draw == "edges":
            weights = run.model.edges.weights
            row["edges"] = float((weights > 0.1 * weights.max()).float().mean())
    return row


def _liveliest(target: Tensor) -> Tensor:
    values = target.flatten()
    return values[:: max(1, len(values) // 1_000_000)].quantile(0.995)


def _local(step: Step, run: Run) -> Tensor | None:
    """Keypoints of now from the volume's centre, (B, K, 3) world units; None: in images alone."""
    if step.output.now.world is None:
        return None
    world, centre = step.output.now.world.detach(), step.batch.centre
    if centre is None:
        centre = world.new_tensor(run.recipe.volume.centre)
    return world - centre.view(-1, 1, 3)


def facing(step: Step) -> tuple[Tensor, Tensor] | None:
    """Offsets of keypoints over the ground, and which way the animal faces.

    Its heading, where the batch knows that; else the way from now to later, if it goes anywhere.

    Args:
        step: just finished.

    Returns:
        (B, K) complex, from the keypoints' mean, and (B,) radians, NaN: not known; None: keypoints
        are in images alone. They stay on the run's device, which nobody waits for.
    """
    now, later = step.output.now.world, step.output.later.world
    if now is None or later is None:
        return None
    now, later = (x.detach()[..., :2].float() for x in (now, later))
    away = now - now.mean(1, keepdim=True)
    offset = torch.complex(away[..., 0], away[..., 1])
    if step.batch.heading is not None:
        return offset, step.batch.heading
    way = later.mean(1) - now.mean(1)
    goes = way.norm(dim=-1) > GOES * away.square().sum(-1).mean(1).sqrt()
    return offset, torch.atan2(way[:, 1], way[:, 0]).where(goes, way.new_tensor(torch.nan))


def dead_and_parked(
    local: Tensor, confidence: Tensor, side: float, animal: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Which keypoints do not move, and which sit at the volume's centre with flat maps.

    A dead one moves less than a tenth of the liveliest one, or of the animal itself, or than
    0.2 % of the side.

    Args:
        local: (T, K, 3) world units from the volume's centre.
        confidence: (T, K).
        side: of the volume, world units.
        animal: spread of the animal's own place in the volume, world units.

    Returns:
        Two (K,) bool.
    """
    moves = local.std(0).square().sum(-1).sqrt()
    dead = moves < max(0.1 * float(moves.max()), 0.1 * animal, 0.002 * side)
    parked = (local.norm(dim=-1).mean(0) < 0.06 * side) & (confidence.mean(0) < 0.2)
    return dead, parked


# ---- complaints ----------------------------------------------------------------------------------
class Sample(NamedTuple):
    """What is remembered of a sampled step."""

    row: dict[str, float]
    local: Tensor | None  # (B, K, 3)
    confidence: Tensor  # (B, K)
    times: Tensor  # (B,) of `now`


class Diagnostics:
    """Watches a run: a row of signals now and then, and each complaint once."""

    def __init__(self, run: Run, survey: Survey | None = None):
        self.run, self.survey = run, survey
        self.losses: deque[float] = deque(maxlen=2 * max(150, run.recipe.optim.steps // 20))
        self.steps = 0
        self.samples: deque[Sample] = deque(maxlen=WINDOW)
        self.faced: deque[tuple[Tensor, Tensor]] = deque(maxlen=SAMPLE_EVERY * WINDOW)
        self.told: set[str] = set()

    def _once(self, key: str, *values: float | str) -> list[str]:
        """The complaint, unless it was made before."""
        if key in self.told:
            return []
        self.told.add(key)
        return [REMEDIES[key].format(*values)]

    def before(self, fps: float) -> list[str]:
        """What can be told before the first step, from the survey alone.

        Args:
            fps: frames per second of the clip.

        Returns:
            Complaints.
        """
        data, volume = self.run.recipe.data, self.run.recipe.volume
        complaints: list[str] = []
        if self.survey is None:
            return complaints
        gaps = [max(1, round(gap * fps)) for gap in data.gaps]
        change = float(torch.cat([self.survey.motion_energy(gap) for gap in gaps]).median())
        if not data.by_motion and change < 0.05:
            complaints += self._once("short", change)
        if volume.crop is None and volume.side is not None:
            away = (self.survey.centre - torch.tensor(volume.centre)).abs().amax(-1)
            outside = float((away > volume.side / 2).float().mean())
            complaints += self._once("outside", outside) if outside > 0.02 else []
        return complaints

    def examine(self, step: Step) -> tuple[dict[str, float] | None, list[str]]:
        """Look at a step; call it after every one.

        Args:
            step: just finished.

        Returns:
            A row for health.csv (None between samples) and the complaints that are new.
        """
        self.losses.append(step.losses.get("reconstruct", float("nan")))
        self.steps += 1
        if (faced := facing(step)) is not None:
            self.faced.append(faced)
        if step.index % SAMPLE_EVERY:
            return None, []
        row = {"step": step.index} | signals(step, self.run)
        local, confidence = _local(step, self.run), step.output.now.confidence.detach().mean(1)
        local = None if local is None else local.cpu()
        times = step.batch.index.cpu()
        self.samples.append(Sample(row, local, confidence=confidence.cpu(), times=times))
        complaints = self._judged(row) if len(self.samples) == WINDOW else []
        return row, complaints + self._stalled()

    def _judged(self, row: dict[str, float]) -> list[str]:
        """Complaints about the samples in the window; the newest row gets the share of the dead."""
        mean = {key: sum(s.row[key] for s in self.samples) / WINDOW for key in row if key != "step"}
        if "liveliest" not in mean:  # labels teach; nothing is drawn
            return []
        complaints = self._once("empty", mean["liveliest"]) if mean["liveliest"] < 0.05 else []
        edges = len(self.run.model.edges.pairs)
        drawn = mean.get("edges", 1.0) * edges
        if drawn < 1.5 < edges:
            complaints += self._once("unlinked", round(drawn), edges)
        paths = [s.local for s in self.samples if s.local is not None]
        if not paths:
            return complaints
        complaints += self._about_keypoints(torch.cat(paths), row, mean)
        return complaints + self._compass(row)

    def _about_keypoints(
        self, local: Tensor, row: dict[str, float], mean: dict[str, float]
    ) -> list[str]:
        """The first that is wrong with keypoints in space: parked, dead, or flat and huddled."""
        confidence, side = torch.cat([s.confidence for s in self.samples]), self.run.objective.side
        dead, parked = dead_and_parked(local, confidence, side, self._animal())
        row["dead"] = float(dead.float().mean())
        K = len(dead)
        if parked.any():
            return self._once("parked", int(parked.sum()), K)
        if dead.any():
            return self._once("dead", int(dead.sum()), K)
        even, complaints = mean.get("entropy", float("nan")), []
        if mean["confidence"] < 0.1 or even > 0.9:
            complaints += self._once("flat", mean["confidence"], even)
        if mean["spread"] < 0.02:
            complaints += self._once("huddled", mean["spread"])
        return complaints

    def _compass(self, row: dict[str, float]) -> list[str]:
        """Does the figure keep to the room? The newest row gets the shares of room and body."""
        offset, heading = (torch.cat(x).cpu() for x in zip(*self.faced))
        told, recipe = heading.isfinite(), self.run.recipe
        directions = len(twelfth(heading[told]).unique())
        if told.sum() < FACING[0] or directions < FACING[1]:
            return []
        power, room, body = (float(x.sum()) for x in explained(offset[told], heading[told]))
        row["r2_room"], row["r2_body"] = room / max(power, 1e-12), body / max(power, 1e-12)
        settled = row["step"] >= min(SETTLED, recipe.optim.steps / 3)
        if not settled or row["r2_room"] < max(0.3, row["r2_body"]):
            return []
        turn = "T" if recipe.volume.by_heading else "Turn the volume (by_heading = true), or t"
        return self._once("compass", row["r2_room"], row["r2_body"], directions, turn)

    def _animal(self) -> float:
        """Spread of the animal's place in a volume that stands still, over the sampled frames.

        0 where the volume follows it.
        """
        if self.survey is None or self.run.recipe.volume.crop is not None:
            return 0.0
        times = torch.cat([s.times for s in self.samples])
        return float(self.survey.centre[times].std(0).norm())

    def _stalled(self) -> list[str]:
        """No fall from one stretch of steps to the next, while little of the target is explained.

        An empty picture costs about 1.
        """
        n = len(self.losses) // 2
        full = self.losses.maxlen == len(self.losses)
        if not full or self.steps % n or self.run.recipe.losses.printed:
            return []
        losses = list(self.losses)
        before, now = sum(losses[:n]) / n, sum(losses[n:]) / n
        return self._once("stalled", now) if now > 0.98 * before and now > 0.6 else []
