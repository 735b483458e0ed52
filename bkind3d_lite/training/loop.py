"""The training loop: a generator of steps that the caller owns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .. import distributed
from ..cameras import CameraRig
from ..clips.clip import Batch, MultiViewClip, Survey
from ..clips.foreground import footprint
from ..clips.lessons import fitted_to_labels, lesson_batches
from ..clips.rarity import shape_rarity
from ..model.builder import build, placed
from ..model.discoverer import Discoverer, Discovery
from ..model.objective import Objective
from ..recipes import OptimRecipe, Recipe
from ..volumes import overlap
from .orientation import oriented
from .precision import equip, scaler, settle


@dataclass(frozen=True)
class Step:
    """One finished optimization step."""

    index: int  # counts from 1
    losses: dict[str, float]  # the named, weighted terms
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
    # of the loss, for float16
    scaler: torch.amp.GradScaler = field(
        default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False)
    )


class ModelWithObjective(nn.Module):
    """Model and objective in one forward, which is what DistributedDataParallel must see."""

    def __init__(self, model: Discoverer, objective: Objective):
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch, step: int) -> tuple[Discovery, dict[str, Tensor]]:
        out = self.model(batch, self.objective.judge(batch))
        return out, self.objective(batch, out, self.model.edges, step)


def begin(recipe: Recipe, clip: MultiViewClip, seed: int = 0, device: str = "cpu") -> Run:
    """A fresh run of a recipe; weights, pairs and turns all follow from the seed.

    Args:
        recipe: what to train; its volume is placed on the clip's rig unless it is placed already,
            or it is `fitted_to_labels` to the clip's labels.
        clip: to train on.
        seed: of all that is random.
        device: on which the model lies.

    Returns:
        The run before its first step.
    """
    taught = recipe.losses.explain == "labels"
    recipe = fitted_to_labels(recipe, clip) if taught else placed(recipe, clip.rig)
    model, objective = build(recipe, seed)
    equip(model, objective, recipe, device)
    return Run(
        recipe=recipe,
        model=model,
        objective=objective,
        optimizer=_optimizer(model, recipe.optim),
        seed=seed,
        clip=clip.fingerprint,
        scaler=scaler(recipe, device),
    )


def _optimizer(model: Discoverer, optim: OptimRecipe) -> torch.optim.Optimizer:
    """Adam or SGD in two groups: edge weights have a learning rate of their own and no decay."""
    rest, edges = model.parameter_groups()
    groups = [
        {"params": rest, "lr": optim.learning_rate, "weight_decay": optim.weight_decay},
        {"params": edges, "lr": optim.edge_learning_rate, "weight_decay": 0.0},
    ]
    if optim.optimizer == "adam":
        return torch.optim.AdamW(groups, fused=True)
    return torch.optim.SGD(groups, momentum=0.9)


def batches(
    run: Run,
    clip: MultiViewClip,
    survey: Survey | None,
    *,
    seed: int | None = None,
    start: int | None = None,
) -> Iterator[Batch]:
    """The run's own seeded pairs, from the step where it stands.

    Args:
        run: gives recipe, seed and step.
        clip: that it trains on.
        survey: of the clip; None where the recipe asks for none (`recipe.surveyed`).
        seed: of the draws; None: the run's.
        start: the first draw; None: where the run stands.

    Returns:
        Endless batches, of pairs or of labelled pictures; under torchrun, this rank's share.
    """
    data, volume = run.recipe.data, run.recipe.volume
    share = (distributed.rank(), distributed.world_size())
    seed, start = run.seed if seed is None else seed, run.step if start is None else start
    if run.recipe.losses.explain == "labels":
        return lesson_batches(clip, run.recipe, seed, start, share)
    survey = oriented(run.model, clip, survey, teach=0 if run.step else volume.look_steps)
    if data.by_shape and survey is not None:
        survey = replace(survey, rarity=shape_rarity(survey, clip.rig))
    return clip.batches(
        data.image_wh,
        gap_frames(run.recipe, clip.fps),
        batch=data.batch,
        seed=seed,
        start=start,
        survey=survey if run.recipe.surveyed else None,
        crop=volume.crop,
        views=data.views_per_step,
        by_motion=data.by_motion,
        turn=volume.turn,
        swing=volume.swing if volume.by_heading else None,
        jitter=volume.jitter,
        mirror=data.mirror,
        share=share,
    )


def gap_frames(recipe: Recipe, fps: float) -> list[int]:
    """The gaps between now and later that a recipe asks for.

    Args:
        recipe: names them in seconds.
        fps: of the clip.

    Returns:
        They, in frames.
    """
    return [max(1, round(gap * fps)) for gap in recipe.data.gaps]


def train(run: Run, pairs: Iterator[Batch]) -> Iterator[Step]:
    """Train for ever; stop by leaving the loop.

    Args:
        run: what is trained, in place.
        pairs: batches of frame pairs, usually `batches(run, clip, survey)`.

    Yields:
        Each step when its weights are updated.

    Raises:
        FloatingPointError: a loss is not finite; the weights are untouched by it.
    """
    settle(large=run.recipe.compute.large, hold=run.recipe.compute.hold)
    device = next(run.model.parameters()).device
    run.model.train()
    run.objective.train()
    model = distributed.distributed_model(ModelWithObjective(run.model, run.objective))
    for batch in pairs:
        batch = batch.to(device)
        discovery, losses = model(batch, run.step)
        values = _over_ranks(losses)
        _refuse_infinite(values, run.step)
        set_learning_rates(run)
        _update(run, sum(losses.values()))
        run.step += 1
        yield Step(index=run.step, losses=values, output=discovery, batch=batch)


def _over_ranks(losses: dict[str, Tensor]) -> dict[str, float]:
    """Each term's mean over the ranks."""
    terms = torch.stack([value.detach().float() for value in losses.values()])
    return dict(zip(losses, distributed.mean(terms).tolist()))


def _refuse_infinite(losses: dict[str, float], step: int) -> None:
    """Raise a `FloatingPointError` unless all terms are finite. step: how many are finished."""
    if math.isfinite(sum(losses.values())):
        return
    terms = ", ".join(f"{name} = {value:.3g}" for name, value in losses.items())
    raise FloatingPointError(
        f"the loss is not finite at step {step + 1} ({terms}); the weights of step {step} are "
        "untouched. Lower the learning rate (learning_rate) and resume from the last checkpoint"
    )


def set_learning_rates(run: Run) -> None:
    """Set the optimizer's rates for the coming step.

    From the recipe's they fall to a twentieth over `recipe.optim.steps` (cosine), after a rise
    over the first 20 steps.

    Args:
        run: its recipe and step say the rates; its optimizer gets them.
    """
    optim = run.recipe.optim
    progress = min(1.0, run.step / max(1, optim.steps))
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
    rise = min(1.0, (run.step + 1) / 20)
    rates = optim.learning_rate, optim.edge_learning_rate
    for group, rate in zip(run.optimizer.param_groups, rates):
        group["lr"] = rate * cosine * rise


def _update(run: Run, loss: Tensor) -> None:
    """Gradients, clipped, and the optimizer's step."""
    run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.optim.grad_clip)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)  # at once: the next forward pass needs the memory


def working_wh(recipe: Recipe, rig: CameraRig) -> tuple[int, int]:
    """Size of whole images, no larger than the rig's, that holds all that the network sees.

    That is the network's own size; or, where images are cropped about the animal, what gives
    crops of that size, with a quarter to spare for an animal that is nearer or farther than the
    middle.

    Args:
        recipe: placed on the rig.
        rig: (V,) cameras of the images as recorded.

    Returns:
        (W, H) in pixels.
    """
    image_wh, crop = recipe.data.image_wh, recipe.volume.crop
    if crop is None:
        return min(image_wh[0], rig.wh[0]), min(image_wh[1], rig.wh[1])
    window = footprint(rig.batched(1), overlap(rig)[0][None], crop).extent[0].amin(0)
    scale = min(1.0, 1.25 * float((window.new_tensor(image_wh) / window).amax()))
    return math.ceil(rig.wh[0] * scale), math.ceil(rig.wh[1] * scale)
