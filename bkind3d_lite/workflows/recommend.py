"""Recommend: what to train a recording with, found by looking, counting and a few true steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..clips.clip import MultiViewClip, Survey
from ..clips.extent import animal_length, region
from ..clips.survey import animal_centres
from ..image_plane import UNIT
from ..model.builder import placed
from ..recipes import Recipe, find_recipe
from ..training.loop import batches, begin, train
from ..training.memory_planner import Need, memory, plan, usable_memory

PRESET = "quick"  # for recordings of one's own
PRESET_2D = "quick-2d"  # for those of one uncalibrated camera
LOCATED_FRAMES = 120  # frames in which the animal is looked for in space
TIMED_FRAMES = 300  # frames of the stretch that steps are timed on
STEPS = 4  # that are timed, after a first one


@dataclass(frozen=True)
class Prescription:
    """What to train a recording with: volume, preset, memory, time."""

    recipe: Recipe  # placed
    centre: tuple[float, float, float]  # of the cube in which the animal stays, world units
    side: float  # of that cube
    length: float  # of the animal, world units
    need: Need
    fits: bool  # into the memory
    step: float  # seconds, measured
    device: str

    def message(self, unit: str) -> str:
        """In words, with how the time was found.

        Args:
            unit: of the rig's lengths.

        Returns:
            One sentence.
        """
        x, y, z = self.centre
        beyond = "" if self.fits else ", more than there is free"
        stays = f" and stays in a cube of {self.side:.4g} {unit} around ({x:.4g}, {y:.4g}, {z:.4g})"
        heading = " and learning which way the animal faces" * self.recipe.volume.by_heading
        return (
            f"the animal is about {self.length:.4g} {unit} long{'' if unit == UNIT else stays}; "
            f"preset {self.recipe.name}: {self.need.step / 1e9:.2f} GB a step beside the libraries"
            f"{beyond}, {self.minutes:.0f} minutes for its {self.recipe.optim.steps} steps on this "
            f"{self.device} ({self.step:.2g} s a step, the fastest of {STEPS} made here with "
            f"{torch.get_num_threads()} threads; reading the videos{heading} comes on top)"
        )

    @property
    def minutes(self) -> float:
        """How long all steps take."""
        return self.step * self.recipe.optim.steps / 60


def prescribe(
    clip: MultiViewClip, survey: Survey, preset: str = PRESET, device: str | None = None
) -> Prescription:
    """What to train a clip with.

    Takes some seconds: some moments are located, a step is walked through for its memory, and a
    few are made. Where the preset does not fit into the memory, `memory_planner.plan` is asked.

    Args:
        clip: the recording.
        survey: of the clip; its centres are not looked at.
        preset: a recipe's name.
        device: for the training; None: a GPU where there is one.

    Returns:
        The recipe, placed, with all that was found on the way.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    times = torch.linspace(0, len(clip) - 1, min(LOCATED_FRAMES, len(clip))).long()
    few = _located(clip, survey, times)
    (centre, side), length = region(few, clip.rig), animal_length(few, clip.rig)
    recipe = placed(find_recipe(preset), clip.rig, few)
    need = memory(recipe, clip.rig.views)
    if not (fits := need.step <= usable_memory(device)):
        chosen = plan(recipe, clip.rig, device)
        recipe, need, fits = chosen.recipe, chosen.need, chosen.fits
    x, y, z = centre.tolist()
    return Prescription(
        recipe=recipe,
        centre=(x, y, z),
        side=side,
        length=length,
        need=need,
        fits=fits,
        step=_timed(recipe, clip, survey, device),
        device=device,
    )


def _located(clip: MultiViewClip, survey: Survey, times: Tensor) -> Survey:
    """The survey of these moments alone, with the animal's centre in each as in a whole one."""
    thumbs = survey.thumbs[times]
    return replace(survey, thumbs=thumbs, centre=animal_centres(thumbs, clip.rig))


def _timed(recipe: Recipe, clip: MultiViewClip, survey: Survey, device: str) -> float:
    """Seconds of the fastest of a few steps: others may be using the machine.

    They are steps of a run that is thrown away, on a stretch in the middle; nobody teaches it the
    animal's look first.
    """
    start = max(0, (len(clip) - TIMED_FRAMES) // 2)
    times = torch.arange(start, min(start + TIMED_FRAMES, len(clip)))
    piece, run = clip.at(times), begin(recipe.with_(by_heading=False), clip, device=device)
    seconds, last = [], time.perf_counter()
    for step in train(run, batches(run, piece, _located(clip, survey, times))):
        seconds.append(time.perf_counter() - last)
        last = time.perf_counter()
        if step.index > STEPS:
            break
    return min(seconds[1:])
