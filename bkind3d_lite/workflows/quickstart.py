"""Quickstart: the whole street on a bundled clip, with an honest score beside it."""

from __future__ import annotations

from pathlib import Path

from ..clips.clip import SurveyedClip, open_clip
from ..clips.survey import survey
from ..evaluation import baselines
from ..files import bundled, read_rows
from ..recipes import QUICK_HUMAN, QUICK_RAT
from ..training import checkpoints
from ..training.checkpoints import load
from ..training.loop import begin
from ..viz.report_page import pictures, score_table, write_report
from .evaluate_run import score_parts, score_report
from .track_run import write_track
from .train_run import fit

SAMPLES = bundled("data_samples")
QUICK_RECIPES = {"rat": QUICK_RAT, "human": QUICK_HUMAN}
FRAME_BUDGET = 3 << 30  # bytes for the decoded frames of a part: the longest bundled one takes 2.4 GB


def opened(clip: str) -> tuple[SurveyedClip, SurveyedClip]:
    """Training and held-out part of a bundled clip, surveyed; the held-out part with the background of the training part."""
    folder = SAMPLES / clip
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such bundled clip; run from a clone of the repository (pip install -e .)"
        )
    first, second = (open_clip(folder / name, budget=FRAME_BUDGET) for name in ("train", "test"))
    seen = survey(first)
    return SurveyedClip(first, seen), SurveyedClip(
        second, survey(second, background=seen.background)
    )  # the same cameras, the same empty room


def shipped(clip: str) -> Path:
    """Where the longer-trained checkpoint of a bundled clip lies."""
    return SAMPLES / "checkpoints" / f"{clip}.safetensors"


def quickstart(
    clip: str = "rat",
    steps: int | None = None,
    out: str | Path = "runs/quickstart",
    seed: int = 0,
    resume: bool = False,
) -> dict:
    """Train, track, score and draw; writes everything into `out` and returns the report.

    resume: resume from `out/checkpoint.safetensors` if it is there.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    print(f"looking at the {clip} clip ...")
    parts = opened(clip)
    recipe = QUICK_RECIPES[clip] if steps is None else QUICK_RECIPES[clip].with_(steps=steps)
    run = begin(recipe, parts[0].clip, seed)
    results = {"untrained": score_parts(run.model, run.recipe, parts)[1]}
    if resume and (out / "checkpoint.safetensors").is_file():
        run = checkpoints.resume(
            out / "checkpoint.safetensors", parts[0].clip, steps=recipe.optim.steps
        )
    begun = run.step
    seconds = fit(run, parts[0], out)
    print("tracking the held-out part ...")
    found, results["trained"] = score_parts(run.model, run.recipe, parts)
    if shipped(clip).is_file():
        model, its_recipe, _ = load(shipped(clip))
        results["checkpoint"] = score_parts(model, its_recipe, parts)[1]
    results |= baselines(parts[0].clip.truth, parts[1].clip.truth)
    report = score_report(
        clip,
        run.recipe,
        results,
        seed=run.seed,
        steps=run.step,
        seconds_training=round(seconds, 1),
        seconds_per_step=round(seconds / max(1, run.step - begun), 4),
    )
    write_track(out, found, parts[1], run.recipe, clip)
    write_report(
        out,
        report,
        pictures(parts[1].clip, found, read_rows(out / "losses.csv")),
        run.recipe.flat(),
    )
    print("\n" + score_table(report) + f"\n\nopen {out / 'report.html'}")
    return report
