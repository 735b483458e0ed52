"""The training loop: a generator of steps that the caller owns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .. import distributed
from ..cameras import CameraRig
from ..clips.clip import Batch, MultiViewClip, Survey
from ..clips.foreground import footprint
from ..model.builder import build, placed
from ..model.discoverer import Discoverer, Discovery
from ..model.objective import Objective
from ..recipes import Recipe
from ..volumes import overlap
from .precision import equip, scaler, settle


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
    rest, edges = model.parameter_groups()
    optim = recipe.optim
    groups = [
        {"params": rest, "lr": optim.learning_rate, "weight_decay": optim.weight_decay},
        {"params": edges, "lr": optim.edge_learning_rate, "weight_decay": 0.0},
    ]
    optimizer = (
        torch.optim.AdamW(groups, fused=True)
        if optim.optimizer == "adam"
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
    gaps = [max(1, round(gap * clip.fps)) for gap in r.data.gaps]
    share, survey = (distributed.mine(), distributed.count()), survey if r.surveyed else None
    return clip.batches(
        r.data.image_wh,
        gaps,
        r.data.batch,
        run.seed,
        run.step,
        survey,
        r.volume.crop,
        r.data.views_per_step,
        r.data.by_motion,
        r.volume.turn,
        r.volume.jitter,
        share,
    )


def train(run: Run, pairs: Iterator[Batch]) -> Iterator[Step]:
    """Train for ever on `pairs`; stop by leaving the loop. The learning rate falls to a twentieth over `recipe.optim.steps` (cosine).

    Raises `FloatingPointError` at a loss that is not finite, before the weights are touched.
    """
    settle(large=run.recipe.compute.checkpointing)
    device = next(run.model.parameters()).device
    scaled = run.scaler
    base = [run.recipe.optim.learning_rate, run.recipe.optim.edge_learning_rate]
    run.model.train(), run.objective.train()
    together = distributed.spread(Together(run.model, run.objective))
    for batch in pairs:
        batch = batch.to(device)
        out, losses = together(batch, run.step)
        values = dict(
            zip(
                losses,
                distributed.mean(
                    torch.stack([v.detach().float() for v in losses.values()])
                ).tolist(),
            )
        )
        if not math.isfinite(sum(values.values())):
            said = ", ".join(f"{k} = {v:.3g}" for k, v in values.items())
            raise FloatingPointError(
                f"the loss is not finite at step {run.step + 1} ({said}); the weights of step {run.step} are "
                "untouched. Lower learning_rate and resume from the last checkpoint"
            )
        for group, rate in zip(run.optimizer.param_groups, base):
            done = min(1.0, run.step / max(1, run.recipe.optim.steps))
            group["lr"] = (
                rate
                * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
                * min(1.0, (run.step + 1) / 20)
            )
        scaled.scale(sum(losses.values())).backward()
        scaled.unscale_(run.optimizer)
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.optim.grad_clip)
        scaled.step(run.optimizer), scaled.update()
        run.optimizer.zero_grad(set_to_none=True)  # at once: the next forward pass needs the memory
        run.step += 1
        yield Step(run.step, values, out, batch)


def enough(recipe: Recipe, rig: CameraRig) -> tuple[int, int]:
    """Size (W, H) of whole images, no larger than the rig's, that holds all that the network sees: its own size, or, where images are cropped
    about the animal, what gives crops that (with a quarter to spare for an animal that is nearer or farther than the middle)."""
    if recipe.volume.crop is None:
        return min(recipe.data.image_wh[0], rig.wh[0]), min(recipe.data.image_wh[1], rig.wh[1])
    window = footprint(rig.batched(1), overlap(rig)[0][None], recipe.volume.crop)[1][0].amin(0)
    scale = min(1.0, 1.25 * float((window.new_tensor(recipe.data.image_wh) / window).amax()))
    return math.ceil(rig.wh[0] * scale), math.ceil(rig.wh[1] * scale)
