"""Training: a generator of steps that the caller owns; tracking with what it has learned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from . import ranks
from .cameras import CameraRig, triangulate
from .clips import Batch, MultiViewClip, Survey, Track, footprint
from .devices import equip, scaler, settle
from .edges import strongest_edges
from .lifts import Keypoints
from .losses import lengths
from .model import Discoverer, Discovery, Objective, build, placed
from .motion import survey as look
from .recipes import Recipe
from .volumes import overlap


@dataclass(frozen=True)
class Step:
    """One finished optimization step: `index` counts from 1, `losses` are the named, weighted terms."""

    index: int
    losses: dict[str, float]
    output: Discovery
    batch: Batch


@dataclass
class Run:
    """A training under way: all that a checkpoint holds."""

    recipe: Recipe
    model: Discoverer
    objective: Objective
    optimizer: torch.optim.Optimizer
    seed: int = 0
    step: int = 0
    clip: dict = field(default_factory=dict)  # fingerprint of the clip it is trained on
    scaler: torch.amp.GradScaler = field(
        default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False)
    )  # of the loss, for float16


class Together(nn.Module):
    """Model and objective in one forward, which is what DistributedDataParallel must see: batch, step -> discovery, losses."""

    def __init__(self, model: Discoverer, objective: Objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, step: int) -> tuple[Discovery, dict[str, Tensor]]:
        out = self.model(batch, self.objective.judge(batch))
        return out, self.objective(batch, out, self.model.edges, step)


def begin(recipe: Recipe, clip: MultiViewClip, seed: int = 0, device: str = "cpu") -> Run:
    """A fresh run of `recipe` on this clip's rig; weights, pairs and turns all follow from `seed`."""
    recipe = placed(recipe, clip.rig)
    model, objective = build(recipe, seed)
    equip(model, objective, recipe, device)
    edges = [p for n, p in model.named_parameters() if n.startswith("edges.")]
    rest = [p for n, p in model.named_parameters() if not n.startswith("edges.")]
    groups = [
        {"params": rest, "lr": recipe.rate, "weight_decay": recipe.decay},
        {"params": edges, "lr": recipe.edge_rate, "weight_decay": 0.0},
    ]
    if recipe.optimizer not in ("adam", "sgd"):
        raise ValueError(f"optimizer = {recipe.optimizer!r}; expected adam or sgd")
    optimizer = (
        torch.optim.AdamW(groups, fused=True)
        if recipe.optimizer == "adam"
        else torch.optim.SGD(groups, momentum=0.9)
    )
    return Run(
        recipe,
        model,
        objective,
        optimizer,
        seed,
        clip=clip.fingerprint,
        scaler=scaler(recipe, device),
    )


def batches(run: Run, clip: MultiViewClip, survey: Survey | None) -> Iterator[Batch]:
    """The run's own seeded pairs, from the step where it stands; under torchrun, this rank's share of them."""
    r = run.recipe
    gaps = [max(1, round(gap * clip.fps)) for gap in r.gaps]
    share, survey = (ranks.mine(), ranks.count()), survey if r.surveyed else None
    return clip.batches(
        r.size,
        gaps,
        r.batch,
        run.seed,
        run.step,
        survey,
        r.follow,
        r.views,
        r.by_motion,
        r.turn,
        r.jitter,
        share,
    )


def train(run: Run, pairs: Iterator[Batch]) -> Iterator[Step]:
    """Train for ever on `pairs`; stop by leaving the loop. The learning rate falls to a twentieth over `recipe.steps` (cosine).

    Raises `FloatingPointError` at a loss that is not finite, before the weights are touched.
    """
    settle(large=run.recipe.checkpointing)
    device = next(run.model.parameters()).device
    scaled = run.scaler
    base = [run.recipe.rate, run.recipe.edge_rate]
    run.model.train(), run.objective.train()
    together = ranks.spread(Together(run.model, run.objective))
    for batch in pairs:
        batch = batch.to(device)
        out, losses = together(batch, run.step)
        values = dict(
            zip(
                losses,
                ranks.mean(torch.stack([v.detach().float() for v in losses.values()])).tolist(),
            )
        )
        if not math.isfinite(sum(values.values())):
            said = ", ".join(f"{k} = {v:.3g}" for k, v in values.items())
            raise FloatingPointError(
                f"the loss is not finite at step {run.step + 1} ({said}); the weights of step {run.step} are "
                "untouched. Lower the learning rate (rate) and resume from the last checkpoint"
            )
        for group, rate in zip(run.optimizer.param_groups, base):
            done = min(1.0, run.step / max(1, run.recipe.steps))
            group["lr"] = (
                rate
                * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
                * min(1.0, (run.step + 1) / 20)
            )
        scaled.scale(sum(losses.values())).backward()
        scaled.unscale_(run.optimizer)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.clip)
        scaled.step(run.optimizer), scaled.update()
        run.optimizer.zero_grad(set_to_none=True)  # at once: the next forward pass needs the memory
        run.step += 1
        yield Step(run.step, values, out, batch)


def enough(recipe: Recipe, rig: CameraRig) -> tuple[int, int]:
    """Size (W, H) of whole images, no larger than the rig's, that holds all that the network sees: its own size, or, where images are cropped
    about the animal, what gives crops that (with a quarter to spare for an animal that is nearer or farther than the middle)."""
    if recipe.follow is None:
        return min(recipe.size[0], rig.size[0]), min(recipe.size[1], rig.size[1])
    window = footprint(rig.batched(1), overlap(rig)[0][None], recipe.follow)[1][0].amin(0)
    scale = min(1.0, 1.25 * float((window.new_tensor(recipe.size) / window).amax()))
    return math.ceil(rig.size[0] * scale), math.ceil(rig.size[1] * scale)


# ---- tracking ----------------------------------------------------------------------------------------------------
@torch.no_grad()
def track(
    model: Discoverer,
    recipe: Recipe,
    clip: MultiViewClip,
    survey: Survey | None = None,
    times=None,
    batch: int | None = None,
    turns: int = 1,
) -> Track:
    """Keypoints of every frame (or of `times`): world (T, K, 3), confidence (T, K), the strongest learned edges as skeleton.

    Keypoints that know images alone (lift flat) are triangulated here, by confidence. turns: average the keypoints over so
    many turns of the volume about the vertical (a switch beyond the paper; 1: paper). batch: frame sets at a time (default: 8; of a
    large recipe on a CPU 1, where more would take memory and no less time).
    """
    survey = look(clip, recipe.side, thumbs=False) if survey is None and recipe.surveyed else survey
    device = next(model.parameters()).device
    settle(large=recipe.checkpointing, tracking=True)
    model.eval()
    batch = batch or (1 if recipe.checkpointing and device.type == "cpu" else 8)
    times = torch.arange(len(clip)) if times is None else torch.as_tensor(times)
    world, weight = [], []
    for some in times.split(batch):
        seen = clip.batch(some, None, recipe.size, survey, recipe.follow).to(device)
        angles = [
            torch.full((len(some),), 2 * math.pi * i / turns, device=device) for i in range(turns)
        ]
        found = [model.keypoints(replace(seen, turn=a) if turns > 1 else seen) for a in angles]
        world.append(torch.stack([in_space(f, seen.rig) for f in found]).mean(0).cpu())
        weight.append(torch.stack([f.weight.mean(1) for f in found]).mean(0).cpu())
    world = torch.cat(world)
    pairs, typical = model.edges.pairs.cpu(), world[:: max(1, len(world) // 100)]
    skeleton = strongest_edges(
        pairs,
        model.edges.weights.detach().cpu(),
        recipe.keypoints,
        length=lengths(typical, pairs).mean(0),
    )
    return Track(world, torch.cat(weight), skeleton, clip.fps, clip.rig.unit)


def in_space(found: Keypoints, rig: CameraRig) -> Tensor:
    """Keypoints (B, K, 3) in the world; where the lift gave none, triangulated from the views by confidence (NaN: fewer than 2 views)."""
    return (
        triangulate(rig, rig.px_from_ndc(found.ndc), found.weight)
        if found.world is None
        else found.world
    )
