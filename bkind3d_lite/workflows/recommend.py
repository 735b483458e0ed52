"""Prescription: what to train a recording with - volume, preset, memory, time - found by looking, counting and a few true steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from ..clips.clip import MultiViewClip, Survey
from ..clips.survey import animal_length, locate, region
from ..model.builder import placed
from ..recipes import Recipe, find_recipe
from ..training.loop import batches, begin, train
from ..training.memory_planner import Need, memory, plan, room
from ..volumes import Grid, overlap

PRESET = "quick"  # for recordings of one's own
LOCATED_FRAMES = 120  # frames in which the animal is looked for in space
TIMED_FRAMES = 300  # frames of the stretch that steps are timed on
STEPS = 4  # that are timed, after a first one


@dataclass(frozen=True)
class Prescription:
    """What to train with: the recipe, placed; the cube (centre (3), side) in which the animal stays and its own length, in the rig's unit; bytes; seconds."""

    recipe: Recipe
    centre: tuple[float, float, float]
    side: float
    length: float
    need: Need
    fits: bool
    step: float  # seconds, measured
    device: str

    def said(self, unit: str) -> str:
        """In words, with how the time was found."""
        x, y, z = self.centre
        return (
            f"the animal is about {self.length:.4g} {unit} long and stays in a cube of {self.side:.4g} {unit} around ({x:.4g}, {y:.4g}, {z:.4g}); preset "
            f"{self.recipe.name}: {self.need.step / 1e9:.2f} GB a step beside the libraries"
            + ("" if self.fits else ", more than there is free")
            + f", {self.minutes:.0f} minutes for its {self.recipe.optim.steps} steps on this {self.device} ({self.step:.2g} s a step, the fastest of {STEPS} made "
            f"here with {torch.get_num_threads()} threads; reading the videos comes on top)"
        )

    @property
    def minutes(self) -> float:
        return self.step * self.recipe.optim.steps / 60


def prescribe(
    clip: MultiViewClip, seen: Survey, preset: str = PRESET, device: str | None = None
) -> Prescription:
    """What to train `clip` with. Takes some seconds: some moments are located, a step is walked through for its memory, and a few are made.

    Raises `ValueError` where the preset cannot be trained on the recording, for example if its gaps are longer than the unbroken stretches.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    few = _located(clip, seen, torch.linspace(0, len(clip) - 1, min(LOCATED_FRAMES, len(clip))).long())
    (centre, side), length = region(few, clip.rig), animal_length(few, clip.rig)
    recipe = placed(find_recipe(preset), clip.rig, few)
    need = memory(recipe, clip.rig.views)
    if not (fits := need.step <= room(device)):
        chosen = plan(recipe, clip.rig, device)
        recipe, need, fits = chosen.recipe, chosen.need, chosen.fits
    return Prescription(
        recipe,
        tuple(centre.tolist()),
        side,
        length,
        need,
        fits,
        _timed(recipe, clip, seen, device),
        device,
    )


def _located(clip: MultiViewClip, seen: Survey, times: torch.Tensor) -> Survey:
    """The survey of these moments alone, with the animal's centre in each, as `motion.survey` finds it."""
    thumbs = seen.thumbs[times]
    middle, width = overlap(clip.rig)
    centre = locate(thumbs, clip.rig, Grid(middle, width, 28))
    return replace(
        seen, thumbs=thumbs, centre=locate(thumbs, clip.rig, Grid(centre, width / 3, 20))
    )


def _timed(recipe: Recipe, clip: MultiViewClip, seen: Survey, device: str) -> float:
    """Seconds of the fastest of a few steps of a run that is thrown away: others may be using the machine."""
    start = max(0, (len(clip) - TIMED_FRAMES) // 2)
    times = torch.arange(start, min(start + TIMED_FRAMES, len(clip)))
    piece, run = clip.at(times), begin(recipe, clip, device=device)
    spent, last = [], time.perf_counter()
    for step in train(run, batches(run, piece, _located(clip, seen, times))):
        spent.append(time.perf_counter() - last)
        last = time.perf_counter()
        if step.index > STEPS:
            break
    return min(spent[1:])
