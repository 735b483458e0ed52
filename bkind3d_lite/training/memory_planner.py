"""Memory planner: what a recipe will need, before it is run, and what to turn if too much."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..cameras import CameraRig
from ..clips.clip import MultiViewClip
from ..clips.videos import Frames
from ..recipes import LEAN, QUICK_RAT, Recipe
from .loop import Run, Step
from .memory_walk import Need, memory, step_bytes
from .precision import precision

log = logging.getLogger(__name__)
KEPT: dict[str, Any] = {"checkpointing": False, "decode_per_view": False, "hold": False}
# From fast to frugal, with the same results but for rounding.
LADDER: tuple[dict[str, Any], ...] = (
    {"hold": True},
    {"decode_per_view": True, "hold": True},
    {"checkpointing": "encoder", "decode_per_view": True, "hold": True},
    {"checkpointing": True, "decode_per_view": True, "hold": True},
    {"checkpointing": True, "decode_per_view": True},
)
HALF = torch.float16
FRAMES_PART = 8  # decoded frames make do with that part of the memory
LIBRARIES = 0.9e9  # bytes of a process that trains, beside its tensors


# ---- choosing ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Plan:
    """What to run: a recipe with its memory, what was considered, and the knobs that are left."""

    recipe: Recipe
    need: Need
    budget: int  # bytes
    device: str
    fits: bool
    considered: tuple[tuple[str, Need], ...]
    knobs: tuple[tuple[str, int], ...]  # change, bytes that it saves of a step

    def __str__(self) -> str:
        budget = f"(budget {self.budget / 1e9:.1f} GB on {self.device})"
        lines = [f"{'recipe':44s} {'step GB':>8s} {'inference GB':>13s}   {budget}"]
        for name, need in self.considered:
            lines.append(f"{name:44s} {need.step / 1e9:8.2f} {need.inference / 1e9:13.2f}")
        verdict = "fits" if self.fits else "does not fit; nothing smaller is planned"
        lines.append(f"-> {self.recipe.name}, batch {self.recipe.data.batch}: {verdict}")
        lines += [f"   {change:38s} saves {saved / 1e9:.2f} GB" for change, saved in self.knobs]
        return "\n".join(lines)


def usable_memory(device: str | torch.device = "cpu") -> int:
    """Bytes that a run may fill: nine tenths of the GPU's, or of what the system has left.

    Args:
        device: where it will run.

    Returns:
        Bytes.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(0.9 * torch.cuda.get_device_properties(device).total_memory)
    return int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))


def plan(recipe: Recipe, rig: CameraRig, device: str = "cpu", budget: int | None = None) -> Plan:
    """The fastest way to run a recipe that fits into the memory.

    In order: the rungs of `LADDER`; then they again with half the batch, and so on to 1; then the
    smaller presets. All rungs have the same results but for rounding.

    Args:
        recipe: to be trained.
        rig: (V,) cameras that it will see.
        device: where it will run.
        budget: bytes; None: the recipe's own `memory`, or `usable_memory(device)`.

    Returns:
        The first that fits, or the last with `fits` False.
    """
    asked, views = recipe.compute.memory, rig.views
    budget = budget or _in_bytes(asked, device)
    considered = []
    for name, option in _options(recipe, str(device)):
        need = memory(option, views, str(device))
        considered.append((name, need))
        if fits := need.step <= budget:
            break
    return Plan(
        recipe=option,
        need=need,
        budget=budget,
        device=str(device),
        fits=fits,
        considered=tuple(considered),
        knobs=tuple(knobs(option, views, need, str(device))),
    )


def _options(recipe: Recipe, device: str) -> Iterator[tuple[str, Recipe]]:
    batch = recipe.data.batch
    while batch >= 1:
        for words, option in rungs(recipe, device):
            yield f"{recipe.name}, batch {batch}, {words}", option.with_(batch=batch)
        batch //= 2
    for smaller in (LEAN, QUICK_RAT):
        if smaller.name != recipe.name:
            option = smaller.with_(
                keypoints=recipe.keypoints,
                gaps=recipe.data.gaps,
                mode="animal",
                animal_side=recipe.volume.crop or smaller.volume.crop,
            )
            yield f"{smaller.name}, batch 1", option


def rungs(recipe: Recipe, device: str) -> Iterator[tuple[str, Recipe]]:
    """The recipe by every setting of memory and speed, from fast to frugal.

    Args:
        recipe: to be trained.
        device: where; a GPU holds its memory anyway, and float16 wants a loss for all views.

    Yields:
        The setting in words, and the recipe.
    """
    useless, told = set() if torch.device(device).type == "cpu" else {"hold"}, []
    far = torch.device(device).type == "cuda" and not torch.cuda.is_available()
    if recipe.compute.precision == "float16" or not far and precision(recipe, device) == HALF:
        useless.add("decode_per_view")
    for switches in LADDER:
        switches = {key: value for key, value in switches.items() if key not in useless}
        if switches not in told:
            told.append(switches)
            yield _in_words(switches), recipe.with_(**(KEPT | switches))


def _in_words(switches: Mapping[str, Any]) -> str:
    """`checkpointing = encoder, hold`: what is switched on."""
    words = [k if v is True else f"{k} = {v}" for k, v in switches.items()]
    return ", ".join(words) or "everything kept"


def _in_bytes(asked: float | str | None, device: str | torch.device) -> int:
    """What a recipe's `memory` leaves for tensors; all that is free where it names no number."""
    if isinstance(asked, (int, float)):
        return max(0, int(asked * 1e9 - LIBRARIES))
    return usable_memory(device)


def afforded(recipe: Recipe, clip: MultiViewClip, device: str) -> Recipe:
    """The recipe by its fastest setting that fits into the memory that it names.

    Args:
        recipe: `compute.memory` says how much; where it is None, the recipe stays as it is.
        clip: that it will see; on a CPU its decoded frames take memory, too: an eighth if need
            be, and those that find no place are decoded again.
        device: where it will run.

    Returns:
        The recipe, its switches set; the most frugal one where nothing fits. Which one is logged.
    """
    asked = recipe.compute.memory
    if asked is None:
        return recipe
    free, views = _in_bytes(asked, device), clip.rig.views
    frames = clip.frames if torch.device(device).type == "cpu" else None
    held = min(frames.budget, math.prod(frames.shape)) if isinstance(frames, Frames) else 0
    least, words = min(held, free // FRAMES_PART), "nothing"
    for setting, option in rungs(recipe, device):
        need = step_bytes(option, views, device)
        words = f"{setting} ({need / 1e9:.1f} GB of {(free - least) / 1e9:.1f} that are free)"
        if need <= free - least:
            log.info("memory = %s: %s", asked, words)
            break
    else:
        log.warning(
            "memory = %s: %s, which may be too much: see `plan` and --set batch, voxels, image_wh",
            asked,
            words,
        )
    if isinstance(frames, Frames) and held > (rest := max(least, free - need)):
        frames.spare(rest)
    return option


def afforded_changes(
    recipe: Recipe, changes: Mapping[str, Any], clip: MultiViewClip, device: str
) -> dict[str, Any]:
    """What changes when a run goes on: the switches do so with `memory` alone.

    Args:
        recipe: of the run, with the changes.
        changes: leaves and their new values.
        clip: as for `afforded`.
        device: as for `afforded`.

    Returns:
        The changes; where the recipe names a memory, without switches, or with those afforded.
    """
    if recipe.compute.memory is None:
        return dict(changes)
    if "memory" in changes:
        chosen = afforded(recipe, clip, device).compute
        return {**changes, **{key: getattr(chosen, key) for key in KEPT}}
    return {key: value for key, value in changes.items() if key not in KEPT}


def knobs(
    recipe: Recipe, views: int, need: Need | None = None, device: str = "cpu"
) -> list[tuple[str, int]]:
    """The three changes that save most memory of a training step.

    Args:
        recipe: to be changed.
        views: cameras of the rig.
        need: of the recipe, if it is known.
        device: where it will run.

    Returns:
        Up to three pairs of a change in words and the bytes that it saves, the best first.
    """
    now = (need or memory(recipe, views, device)).step
    W, H = recipe.data.image_wh
    changes: list[dict[str, Any]] = [
        {"decode_per_view": True},
        {"checkpointing": True},
        {"batch": max(1, recipe.data.batch // 2)},
        {"voxels": recipe.volume.voxels // 2},
        {"image_wh": (W // 2, H // 2)},
        {"views_per_step": max(2, views // 2)},
    ]
    saved = []
    for change in changes:
        smaller = recipe.with_(**change)
        if _is_a_change(smaller, recipe, views):
            ((key, value),) = change.items()
            words = f"{key} = {str(value).lower() if value is True else value}"
            saved.append((words, now - step_bytes(smaller, views, device)))
    return sorted((s for s in saved if s[1] > 0), key=lambda s: -s[1])[:3]


def _is_a_change(smaller: Recipe, recipe: Recipe, views: int) -> bool:
    """Whether a smaller recipe can be trained, and is another one."""
    if smaller.data.batch < 1 or smaller.volume.voxels % 2**smaller.v2v.v2v_levels:
        return False
    if smaller.data.views_per_step != recipe.data.views_per_step:
        return (smaller.data.views_per_step or views) < views
    return smaller != recipe


def advised(steps: Iterator[Step], run: Run, views: int) -> Iterator[Step]:
    """The same steps, with advice where memory runs out.

    Args:
        steps: of `train`.
        run: that they train.
        views: cameras of the rig.

    Yields:
        Each step.

    Raises:
        MemoryError: memory ran out; names three knobs to turn and what each would save.
    """
    try:
        yield from steps
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        short = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not short and "allocate memory" not in str(error):
            raise
        device = next(run.model.parameters()).device.type
        need = memory(run.recipe, views, device)
        choices = "; ".join(
            f"{change} saves {saved / 1e9:.2f} GB"
            for change, saved in knobs(run.recipe, views, need, device)
        )
        raise MemoryError(
            f"out of memory at step {run.step + 1} of {run.recipe.name}, which needs "
            f"{need.step / 1e9:.1f} GB beside the libraries. "
            f"Turn one of: {choices or 'a smaller preset (lean, quick-rat)'}"
        ) from error
