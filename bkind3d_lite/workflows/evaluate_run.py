"""Evaluate run: what a checkpoint is worth, beside its baselines."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from .. import __version__
from ..clips.clip import SurveyedClip
from ..clips.tracks import Track
from ..distributed import joined
from ..evaluation import baselines, on_body, scores
from ..files import read_rows
from ..model.builder import build
from ..model.discoverer import Discoverer
from ..recipes import Recipe
from ..training.checkpoints import load
from ..training.tracking import track
from ..viz.report_page import pictures, score_table, write_report
from .track_run import checkpoint_in, part


def score_parts(
    model: Discoverer, recipe: Recipe, parts: tuple[SurveyedClip, SurveyedClip]
) -> tuple[Track, dict[str, float | None]]:
    """Track both parts, fit the regressor on the first, score on the second: the held-out track and its scores."""
    first, second = parts
    stretch = first.clip.labelled // max(
        1, round(first.clip.fps / 15)
    )  # neighbouring frames are nearly the same pose
    seen = first.clip.labelled[torch.cat([torch.ones(1, dtype=torch.bool), stretch.diff() > 0])]
    asked = second.clip.labelled
    known = track(model, recipe, first.clip, first.survey, seen)
    found = track(model, recipe, second.clip, second.survey)
    score = scores(
        (known.world, first.clip.truth[seen]), (found.world[asked], second.clip.truth[asked])
    )
    near = {"share": None, "median": None}
    if second.clip.body_length:
        near = on_body(
            found.world[asked],
            second.clip.truth[asked],
            second.clip.skeleton,
            second.clip.body_length,
        )
    return found, score | {"on_body": near["share"], "bone_distance": near["median"]}


def score_report(clip: str, recipe: Recipe, results: dict, device: str = "cpu", **facts) -> dict:
    """The dictionary of `report.json`: a column of each score for every row of `results`, None where there is none; then the facts."""
    where = (
        torch.cuda.get_device_name(device)
        if device.startswith("cuda")
        else f"cpu, {torch.get_num_threads()} threads"
    )

    def column(key: str, rows: tuple[str, ...]) -> dict:
        return {
            row: round(value, 4) if (value := results.get(row, {}).get(key)) is not None else None
            for row in rows
        }

    nets = ("trained", "untrained", "checkpoint")
    rows = ("trained", "untrained", "centroid", "mean_pose", "checkpoint")
    return {
        "clip": clip,
        **facts,
        "keypoints": recipe.keypoints,
        "mpjpe_mm": column("mpjpe", rows),
        "pmpjpe_mm": column("pmpjpe", rows),
        "on_body": column("on_body", nets),
        "bone_distance_mm": column("bone_distance", nets),
        "device": f"{where}, {platform.machine()}",
        "versions": {
            "bkind3d_lite": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def evaluate(
    checkpoint: str | Path,
    first: str | Path,
    second: str | Path,
    out: str | Path,
    device: str = "auto",
    **how,
) -> dict:
    """Score a checkpoint on the clip `second`, the regression fitted on `first`, beside its baselines: `report.json`, `report.html`.

    Both need a `truth.npz` (paper section 4.1: a linear map from keypoints to joints is fitted on one part, scored on the other).
    """
    path = checkpoint_in(checkpoint)
    with joined(device) as device:
        model, recipe, header = load(path, device=device)
        how["budget"] = how.get("budget", 2 << 30) // 2  # two clips are open
        parts = tuple(part(folder, recipe, header, **how) for folder in (first, second))
        for folder, p in zip((first, second), parts):
            if not len(p.clip.labelled):
                raise ValueError(
                    f"{folder}: no truth.npz, or no labelled frame; scores need known joints (positions, names, edges, body_length) for both clips"
                )
        print("tracking both parts ...")
        found, trained = score_parts(model, recipe, parts)
        fresh = build(recipe, header["seed"])[0].to(device)
        results = {"trained": trained, "untrained": score_parts(fresh, recipe, parts)[1]} | baselines(
            *(p.clip.truth[p.clip.labelled] for p in parts)
        )
    report = score_report(
        str(second),
        recipe,
        results,
        device,
        checkpoint=str(path),
        seed=header["seed"],
        steps=header["step"],
    )
    rows = read_rows(path.parent / "losses.csv")
    write_report(out, report, pictures(parts[1].clip, found, rows), recipe.flat())
    print("\n" + score_table(report) + f"\n\nopen {Path(out) / 'report.html'}")
    return report
