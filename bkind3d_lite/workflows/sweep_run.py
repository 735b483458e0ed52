"""Sweep run: which keypoints, gap, cube, cover and hull suit a recording, judged without labels.

Trials are kept in a journal beside the page: a sweep that was stopped goes on, and several
processes with the same folder share one.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..clips.clip import SurveyedClip, open_clip
from ..clips.extent import animal_length
from ..clips.survey import on_silhouettes
from ..clips.survey import survey as survey_clip
from ..clips.tracks import Track
from ..distributed import joined
from ..evaluation.body_bound import body_bound, usual_pace
from ..files import refuse_unwritable, write_atomically
from ..model.builder import placed
from ..recipes import Recipe, find_recipe, write_recipe
from ..training import tracking
from ..training.loop import Run, batches, begin, train
from ..training.orientation import oriented_part
from ..viz.films import closeups, track_extent
from .cohort_run import looked_at
from .sweep_page import write_sweep_page

log = logging.getLogger(__name__)
MOST_SWEPT = 4000  # frames of a longer recording that are trained on
JUDGED = 4  # times that a trial is judged, and may be pruned, on its way
JITTER = 0.05  # of the animal's length, between neighbouring frames: steady falls to 1 / e
FAILING = (MemoryError, RuntimeError)  # such a trial is a row of the page, and the others go on
NO_OPTUNA = "sweep needs optuna: pip install optuna"


def sweep(
    clip: str | Path,
    recipe: str,
    out: str | Path,
    *,
    trials: int = 20,
    steps: int = 300,
    seed: int = 0,
    device: str = "auto",
    **how: Any,
) -> list[dict[str, Any]]:
    """Train short trials of a recipe with other values; write `sweep.html` and `best.toml`.

    Args:
        clip: the recording's folder.
        recipe: a preset's name or a TOML file, one whose cube follows the animal.
        out: the sweep's folder; one with a journal goes on.
        trials: in all, those of earlier and other processes included.
        steps: of a trial.
        seed: of weights and pairs; the search has its own in each process and each time it goes on.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        **how: as for `open_clip`.

    Returns:
        A row for each trial.

    Raises:
        ValueError: the recipe's cube does not follow the animal, or optuna is not installed.
    """
    out, base = Path(refuse_unwritable(out)), find_recipe(recipe)
    if not base.volume.follows:
        raise ValueError(f"--recipe {recipe}: its cube does not follow the animal; sweep quick")
    study = _study(out, seed)
    missing = trials - len(study.get_trials(deepcopy=False, states=_ended()))
    if missing <= 0:
        return _write(study, out, base)
    with joined(device) as device:
        opened = open_clip(clip, **how).thinned(MOST_SWEPT, 20)
        log.info("looking at %s ...", opened.name)
        part = SurveyedClip(opened, survey_clip(opened))
        part = oriented_part(begin(placed(base, opened.rig, part.survey), opened).model, part)

        def objective(trial: Any) -> float:
            return _trial(trial, part, base.with_(steps=steps), (out, seed, device))

        calls = [_until(trials), lambda study, trial: _write(study, out, base)]
        study.optimize(objective, n_trials=missing, catch=FAILING, callbacks=calls)
    return _write(study, out, base)


def _study(out: Path, seed: int) -> Any:
    """The sweep of a folder, begun or gone on with."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise ValueError(NO_OPTUNA) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.JournalStorage(JournalFileBackend(str(out / "journal.log")))
    study = optuna.create_study(
        storage=journal,
        study_name="sweep",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    how: Any = dict(constant_liar=True, n_startup_trials=6)
    study.sampler = optuna.samplers.TPESampler(seed=_own_seed(seed, len(study.trials)), **how)
    return study


def _own_seed(seed: int, trials: int) -> int:
    """A seed that differs from process to process, and each time that a sweep goes on."""
    host = zlib.crc32(platform.node().encode())
    return int(np.random.SeedSequence([seed, trials, os.getpid(), host]).generate_state(1)[0])


def _ended() -> tuple[Any, ...]:
    """The states of trials that count."""
    from optuna.trial import TrialState

    return TrialState.COMPLETE, TrialState.PRUNED


def _until(trials: int) -> Any:
    """Stops when so many trials have ended, in whatever process."""
    from optuna.study import MaxTrialsCallback

    return MaxTrialsCallback(trials, states=_ended())


# ---- a trial -------------------------------------------------------------------------------------
def _suggested(trial: Any, base: Recipe) -> Recipe:
    """The recipe with the trial's values."""
    return base.with_(
        keypoints=trial.suggest_int("keypoints", 6, 24),
        gaps=(round(trial.suggest_float("gap", 0.05, 0.8, log=True), 3),),
        animal_side=None,
        animal_lengths=round(trial.suggest_float("cube", 1.1, 2.2), 2),
        cover=round(trial.suggest_float("cover", 1.0, 1000.0, log=True), 2),
        hull=round(trial.suggest_float("hull", 0.0, 8.0), 2),
    )


def _trial(trial: Any, part: SurveyedClip, base: Recipe, where: tuple[Path, int, str]) -> float:
    """Train the trial; its score, judged on the way, where it may end."""
    import optuna

    (out, seed, device), clip = where, part.clip
    recipe = placed(_suggested(trial, base), clip.rig, part.survey)
    run, score = begin(recipe, clip, seed, device), 0.0
    every = max(1, recipe.optim.steps // JUDGED)
    for step in train(run, batches(run, clip, part.survey)):
        last = step.index >= recipe.optim.steps
        if last or step.index % every == 0:
            score = _judged(trial, run, part, out)
            trial.report(score, step.index)
            if not last and trial.should_prune():
                raise optuna.TrialPruned
        if last:
            break
    log.info("trial %d: %.3f, %s", trial.number, score, trial.params)
    return score


def _judged(trial: Any, run: Run, part: SurveyedClip, out: Path) -> float:
    """The score as it stands; its terms and a picture are kept with the trial."""
    times = looked_at(len(part.clip))
    track = tracking.track(run.model, run.recipe, part.clip, part.survey, times)
    run.model.train()
    terms = label_free_terms(track, part, times)
    for name, value in terms.items():
        trial.set_user_attr(name, round(value, 4) if math.isfinite(value) else None)
    picks = [len(times) // 4, len(times) // 2, 3 * len(times) // 4]
    views = list(range(min(2, part.clip.rig.views)))
    some, moments = track.at(picks), [int(times[i]) for i in picks]
    rows = [
        closeups(part.clip, some.at([i]), [t], views=views, pixels=96)
        for i, t in enumerate(moments)
    ]
    picture = Image.fromarray(np.concatenate(rows, 1))
    path = out / "pictures" / f"{trial.number:04d}.jpg"
    write_atomically(path, lambda file: picture.save(file, quality=80))
    return label_free_score(terms)


def label_free_terms(track: Track, part: SurveyedClip, times: Tensor) -> dict[str, float]:
    """What a track is worth without labels, each term in [0, 1].

    Args:
        track: of the times alone.
        part: the clip with its survey, thumbnails kept.
        times: (n,) frames, in stretches.

    Returns:
        on_animal: share of the points on the silhouettes; body: share of the figure that the
        animal's way explains, NaN where it goes nowhere; steady: how little it trembles; wide: the
        figure's width against the animal's length, up to 1 (points in a huddle are on it, too).

    Raises:
        ValueError: the clip was not surveyed.
    """
    clip, survey = part.clip, part.survey
    if survey is None:
        raise ValueError(f"{clip.name}: a sweep judges by silhouettes; survey the clip first")
    length = animal_length(survey, clip.rig)
    starts = (0, *((times.diff() > 1).nonzero()[:, 0] + 1).tolist())
    hit, seen = on_silhouettes(track.world, clip.rig, survey.thumbs[times], 0.1 * length)
    pace = usual_pace(track.world, clip.fps, starts)
    pieces = [part for part in track.world.tensor_split(list(starts[1:])) if len(part) > 2]
    none = track.world.new_zeros(0)  # of stretches of one or two frames nothing is known
    shakes = [(p[2:] - 2 * p[1:-1] + p[:-2]).norm(dim=-1).flatten() for p in pieces]
    return {
        "on_animal": float(hit.sum() / seen.sum().clamp(min=1)),
        "body": body_bound(track.world, clip.fps, pace, starts=starts).body,
        "steady": math.exp(-float(torch.cat([none, *shakes]).nanmean()) / (JITTER * length)),
        "wide": min(1.0, track_extent(track) / 1.2 / length),
    }


def label_free_score(terms: dict[str, float]) -> float:
    """One number of the terms: their geometric mean, those that are not known left out.

    Args:
        terms: of `label_free_terms`.

    Returns:
        In [0, 1].
    """
    known = [max(value, 1e-6) for value in terms.values() if math.isfinite(value)]
    return math.exp(sum(map(math.log, known)) / len(known))


# ---- what is written -----------------------------------------------------------------------------
def _write(study: Any, out: Path, base: Recipe) -> list[dict[str, Any]]:
    """The page as it stands, and the recipe of the best trial."""
    rows = []
    for trial in study.trials:
        curve = sorted(trial.intermediate_values.items())
        value = trial.value if trial.value is not None else (curve[-1][1] if curve else math.nan)
        picture = f"pictures/{trial.number:04d}.jpg"
        rows.append(
            {
                "number": trial.number,
                "state": trial.state.name.lower(),
                "score": value,
                "terms": trial.user_attrs,
                "values": trial.params,
                "curve": curve,
                "picture": picture if (out / picture).is_file() else "",
            }
        )
    write_sweep_page(out / "sweep.html", rows)
    if any(row["state"] == "complete" for row in rows):
        best = replace(_suggested(study.best_trial, base), name=f"{base.name}-swept")
        write_recipe(best, out / "best.toml")
    return rows
