"""Quickstart: the whole street on a bundled clip, with an honest score beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..clips.clip import SurveyedClip, open_clip
from ..clips.survey import animal_length
from ..clips.survey import survey as survey_clip
from ..files import bundled, read_rows, refuse_unwritable
from ..recipes import QUICK_HUMAN, QUICK_RAT
from ..training import checkpoints
from ..training.checkpoints import read_header
from ..training.loop import begin
from ..training.orientation import oriented_part
from ..viz.report_page import pictures, write_report
from .evaluate_run import Scores, references, score_parts, score_report, turning_facts
from .track_run import write_track
from .train_run import CHECKPOINT, fit

log = logging.getLogger(__name__)
SAMPLES = bundled("data_samples")
QUICK_RECIPES = {"rat": QUICK_RAT, "human": QUICK_HUMAN}
# Bytes for the decoded frames of a part: the longest bundled one takes 2.4 GB.
FRAME_BUDGET = 3 << 30


def opened(clip: str) -> tuple[SurveyedClip, SurveyedClip]:
    """Training and held-out part of a bundled clip, surveyed.

    Args:
        clip: `rat` or `human`.

    Returns:
        Both parts; the held-out one with the background of the training part: the same cameras,
        the same empty room.

    Raises:
        FileNotFoundError: no such clip here.
    """
    folder = SAMPLES / clip
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such bundled clip; run from a clone of the repository (pip install -e .)"
        )
    first, second = (open_clip(folder / name, budget=FRAME_BUDGET) for name in ("train", "test"))
    log.info(
        "the %s clip: %d cameras, %d frames to train on, %d held out; looking for the animal ...",
        clip,
        first.rig.views,
        len(first),
        len(second),
    )
    survey = survey_clip(first, uncover=QUICK_RECIPES[clip].data.uncover)
    held_out = survey_clip(second, background=survey.background)
    length, unit = animal_length(survey, first.rig), first.rig.unit
    log.info("found it in every frame, %.3g %s long", length, unit)
    return SurveyedClip(first, survey), SurveyedClip(second, held_out)


def shipped(clip: str) -> Path:
    """Where the longer-trained checkpoint of a bundled clip lies.

    Args:
        clip: `rat` or `human`.

    Returns:
        The file, whether it is there or not.
    """
    return SAMPLES / "checkpoints" / f"{clip}.safetensors"


def quickstart(
    clip: str = "rat",
    steps: int | None = None,
    out: str | Path = "runs/quickstart",
    seed: int = 0,
    resume: bool = False,
) -> dict[str, Any]:
    """Train, track, score and draw.

    Args:
        clip: `rat` or `human`.
        steps: of the training; None: the preset's.
        out: folder for everything that is written.
        seed: of the training.
        resume: go on from the checkpoint in `out`, if there is one.

    Returns:
        The report, as in `report.json`.
    """
    recipe = QUICK_RECIPES[clip] if steps is None else QUICK_RECIPES[clip].with_(steps=steps)
    out = refuse_unwritable(out)
    plain = opened(clip)
    run = begin(recipe, plain[0].clip, seed)
    first = oriented_part(run.model, plain[0], teach=recipe.volume.look_steps)
    parts = (first, oriented_part(run.model, plain[1]))
    log.info("scoring the network before its training ...")
    results: dict[str, Scores] = {"untrained": score_parts(run.model, run.recipe, parts)[1]}
    if resume and (out / CHECKPOINT).is_file():
        run = checkpoints.resume(out / CHECKPOINT, parts[0].clip, steps=recipe.optim.steps)
    begun = run.step
    log.info("training %d steps into %s ...", max(0, recipe.optim.steps - begun), out)
    seconds = fit(run, parts[0], out)
    log.info("tracking the held-out part ...")
    track, results["trained"] = score_parts(run.model, run.recipe, parts)
    results |= references(parts) | _checkpoint(clip)
    facts: dict[str, Any] = dict(
        seed=run.seed,
        steps=run.step,
        seconds_training=round(seconds, 1),
        seconds_per_step=round(seconds / max(1, run.step - begun), 4),
        **turning_facts(track, parts[1]),
    )
    log.info("drawing the film, the 3D page and the report ...")
    report = score_report(clip, run.recipe, results, **facts)
    write_track(out, track, parts[1], run.recipe, clip)
    images = pictures(parts[1].clip, track, read_rows(out / "losses.csv"))
    write_report(out, report, images, run.recipe.flat())
    return report


def _checkpoint(clip: str) -> dict[str, Scores]:
    """Scores of the checkpoint that is shipped, if it is: in its header since it was made."""
    notes = read_header(shipped(clip))["notes"] if shipped(clip).is_file() else {}
    return {"checkpoint": notes["scores"]} if "scores" in notes else {}
