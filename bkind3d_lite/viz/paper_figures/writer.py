"""The verb: all the figures of a checkpoint on a clip, as files."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor

from ...clips.clip import Batch, MultiViewClip, Survey, open_clip
from ...clips.survey import survey
from ...clips.tracks import Track
from ...evaluation import KeypointRegressor
from ...files import refuse_unwritable
from ...model.discoverer import Discoverer
from ...model.objective import Objective
from ...recipes import Recipe
from ...training.checkpoints import load
from ...training.tracking import track
from ..run_images import volume_place
from ..skeleton_edits import load_editing
from .method import overview
from .numbers import curves, joint_error_figure
from .qualitative_rows import qualitative
from .style import save_figure


def make_figures(
    checkpoint: str | Path,
    clip: str | Path,
    out: str | Path,
    losses: str | Path | None = None,
    edits: str | Path | None = None,
) -> list[Path]:
    """All the figures that there is data for.

    The errors per joint need a train part, and truth in both parts.

    Args:
        checkpoint: a `.safetensors` file.
        clip: a folder that holds `train` and `test` clips, or is one itself.
        out: folder for the figures.
        losses: a losses.csv, for the curves (default: the one beside the checkpoint).
        edits: an `Editing`'s file for the qualitative rows.

    Returns:
        Paths of the figures.
    """
    out = refuse_unwritable(out)
    first, shown = _parts(Path(clip))
    model, recipe, _ = load(checkpoint)
    clip_survey = survey(shown, recipe.volume.side) if recipe.surveyed else None
    keypoints = track(model, recipe, shown, clip_survey)
    named = load_editing(edits).applied(keypoints) if edits else keypoints
    losses = Path(losses) if losses else Path(checkpoint).with_name("losses.csv")

    batch = _middle_batch(shown, recipe, clip_survey)
    objective = Objective(recipe, len(model.edges.pairs), volume_place(recipe)[1])
    figures = {
        "overview": overview(model, objective, batch, unit=shown.rig.unit),
        "qualitative": qualitative(shown, named),
    }
    if losses.is_file():
        with open(losses, newline="") as file:
            figures["curves"] = curves(list(csv.DictReader(file)))
    if first is not None and first.truth is not None and shown.truth is not None:
        guess = _predicted_joints(model, recipe, first, first.truth, keypoints)
        names = shown.skeleton.names if shown.skeleton else ()
        figures["joints"] = joint_error_figure(guess, shown.truth, names, shown.fps, keypoints.unit)
    saved = [save_figure(figure, Path(out) / name) for name, figure in figures.items()]
    return [path for paths in saved for path in paths]


def _parts(folder: Path) -> tuple[MultiViewClip | None, MultiViewClip]:
    """The clip to fit the regression on, and the clip to show.

    `train` and `test` in a folder that has both, else the folder's own clip.
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        return open_clip(folder / "train"), open_clip(folder / "test")
    return None, open_clip(folder)


def _middle_batch(clip: MultiViewClip, recipe: Recipe, clip_survey: Survey | None) -> Batch:
    """A pair of frames from the middle of the clip, the longest gap of training apart."""
    gap = max(1, round(recipe.data.gaps[-1] * clip.fps))
    middle = (len(clip) - gap) // 2
    return clip.batch([middle], gap, recipe.data.image_wh, clip_survey, recipe.volume.crop)


def _predicted_joints(
    model: Discoverer, recipe: Recipe, first: MultiViewClip, truth: Tensor, keypoints: Track
) -> Tensor:
    """Joints (T, J, 3) predicted from keypoints by a regression that is fitted on another clip."""
    half = torch.arange(0, len(first), 2)  # neighbouring frames are nearly the same pose
    fitted = track(model, recipe, first, times=half)
    return KeypointRegressor().fit(fitted.world, truth[half]).predict(keypoints.world)
