"""Evaluate run: what a checkpoint is worth, beside its baselines."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..clips.clip import MultiViewClip, SurveyedClip
from ..clips.tracks import Track
from ..distributed import joined
from ..evaluation import baselines, on_body, scores
from ..files import read_rows
from ..model.builder import build
from ..model.discoverer import Discoverer
from ..recipes import Recipe
from ..training import tracking
from ..training.checkpoints import load
from ..viz.report_page import pictures, write_report
from .track_run import checkpoint_in, open_surveyed

log = logging.getLogger(__name__)
NETWORKS = ("trained", "untrained", "checkpoint")
ROWS = ("trained", "untrained", "centroid", "mean_pose", "checkpoint")
Scores = Mapping[str, float | None]


def truth_at(clip: MultiViewClip, times: Tensor | None = None) -> Tensor:
    """The true joints at some times.

    Args:
        clip: with a truth.
        times: (n,) frames; None: those that are labelled.

    Returns:
        (n, J, 3) world units.

    Raises:
        ValueError: the clip has no truth.
    """
    if clip.truth is None:
        raise ValueError(f"{clip.name}: no truth; scores need known joints")
    return clip.truth[clip.labelled if times is None else times]


def score_parts(
    model: Discoverer, recipe: Recipe, parts: tuple[SurveyedClip, SurveyedClip]
) -> tuple[Track, dict[str, float | None]]:
    """Track both parts, fit the regressor on the first, score on the second.

    Args:
        model: trained or not.
        recipe: the model's, placed.
        parts: with a truth; the second one is held out.

    Returns:
        The held-out track, and its scores: mpjpe, pmpjpe and bone_distance in mm, on_body as a
        share; the latter two are None for an animal of unknown length.
    """
    first, second = parts
    fitted_on, labelled = _pose_times(first.clip), second.clip.labelled
    fitted = tracking.track(model, recipe, first.clip, first.survey, fitted_on)
    track = tracking.track(model, recipe, second.clip, second.survey)
    world, truth = track.world[labelled], truth_at(second.clip)
    score = scores((fitted.world, truth_at(first.clip, fitted_on)), (world, truth))
    near: Scores = {"share": None, "median": None}
    if second.clip.body_length and second.clip.skeleton is not None:
        near = on_body(world, truth, second.clip.skeleton, second.clip.body_length)
    return track, {**score, "on_body": near["share"], "bone_distance": near["median"]}


def _pose_times(clip: MultiViewClip) -> Tensor:
    """Labelled times, one every fifteenth of a second: neighbouring frames are nearly one pose."""
    stretch = clip.labelled // max(1, round(clip.fps / 15))
    return clip.labelled[torch.cat([torch.ones(1, dtype=torch.bool), stretch.diff() > 0])]


def score_report(
    clip: str, recipe: Recipe, results: Mapping[str, Scores], device: str = "cpu", **facts: Any
) -> dict[str, Any]:
    """The dictionary of `report.json`.

    Args:
        clip: its name.
        recipe: of the trained model.
        results: scores of each row, `ROWS`; rows may be missing.
        device: on which it was scored.
        **facts: what else is to be said, such as seed and steps.

    Returns:
        The facts, then a column of each score for every row, None where there is none; then
        where it was computed.
    """
    where = f"cpu, {torch.get_num_threads()} threads"
    if device.startswith("cuda"):
        where = torch.cuda.get_device_name(device)

    def column(key: str, rows: tuple[str, ...]) -> dict[str, float | None]:
        values = {row: results.get(row, {}).get(key) for row in rows}
        return {row: None if v is None else round(v, 4) for row, v in values.items()}

    return {
        "clip": clip,
        **facts,
        "keypoints": recipe.keypoints,
        "mpjpe_mm": column("mpjpe", ROWS),
        "pmpjpe_mm": column("pmpjpe", ROWS),
        "on_body": column("on_body", NETWORKS),
        "bone_distance_mm": column("bone_distance", NETWORKS),
        "device": f"{where}, {platform.machine()}",
        "versions": {
            "bkind3d_lite": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def evaluate(
    checkpoint: str | Path,
    train: str | Path,
    test: str | Path,
    out: str | Path,
    device: str = "auto",
    **how: Any,
) -> dict[str, Any]:
    """Score a checkpoint beside its baselines: `report.json` and `report.html`.

    A linear map from keypoints to joints is fitted on one clip and scored on the other (paper
    section 4.1); both need a `truth.npz`.

    Args:
        checkpoint: a file, or a run's folder.
        train: clip folder to fit the regression on.
        test: clip folder to score on.
        out: folder for the report.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        **how: as for `open_clip`.

    Returns:
        The report.
    """
    path = checkpoint_in(checkpoint)
    with joined(device) as device:
        model, recipe, header = load(path, device=device)
        how["budget"] = how.get("budget", 2 << 30) // 2  # two clips are open
        first, second = (open_surveyed(folder, recipe, header, **how) for folder in (train, test))
        _refuse_unlabelled({train: first.clip, test: second.clip})
        log.info("tracking both parts ...")
        track, trained = score_parts(model, recipe, (first, second))
        fresh = build(recipe, header["seed"])[0].to(device)
        results: dict[str, Scores] = {"trained": trained}
        results["untrained"] = score_parts(fresh, recipe, (first, second))[1]
        results |= baselines(truth_at(first.clip), truth_at(second.clip))
    facts = dict(checkpoint=str(path), seed=header["seed"], steps=header["step"])
    report = score_report(str(test), recipe, results, device, **facts)
    rows = read_rows(path.parent / "losses.csv")
    write_report(out, report, pictures(second.clip, track, rows), recipe.flat())
    return report


def _refuse_unlabelled(clips: Mapping[str | Path, MultiViewClip]) -> None:
    """Raise a `ValueError` for the first folder whose clip cannot be scored."""
    for folder, clip in clips.items():
        if not len(clip.labelled):
            raise ValueError(
                f"{folder}: no truth.npz, or no labelled frame; scores need known joints "
                "(positions, names, edges, body_length) for both clips"
            )
