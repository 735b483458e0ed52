"""Quickstart: the whole street on a bundled clip, with an honest score beside it."""
from __future__ import annotations

import csv
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from . import __version__
from .clips import MultiViewClip, Survey, Track, open_clip
from .evaluation import baselines, on_body, scores
from .files import write_atomically
from .model import QUICK_HUMAN, QUICK_RAT
from .motion import survey
from .report import pictures, score_table, write_report
from .training import Run, batches, begin, load, resume, save, track, train
from .videos import write_video
from .views import drawn_frames, movie, save_html

SAMPLES = Path(__file__).resolve().parents[1] / "data_samples"
RECIPES = {"rat": QUICK_RAT, "human": QUICK_HUMAN}
EVERY = 100  # steps between checkpoints
MEMORY = 3 << 30  # bytes for the decoded frames of a part: the longest bundled one takes 2.4 GB


@dataclass(frozen=True)
class Part:
    """One part of a clip with what the cameras tell about it."""

    clip: MultiViewClip
    survey: Survey


def opened(clip: str) -> tuple[Part, Part]:
    """Training and held-out part of a bundled clip, surveyed; the held-out part with the background of the training part."""
    folder = SAMPLES / clip
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such bundled clip; run from a clone of the repository (pip install -e .)")
    first, second = (open_clip(folder / name, budget=MEMORY) for name in ("train", "test"))
    seen = survey(first)
    return Part(first, seen), Part(second, survey(second, background=seen.background))  # the same cameras, the same empty room


def fit(run: Run, part: Part, out: Path, steps: int) -> float:
    """Train up to `steps` with a progress bar; checkpoint and `losses.csv` in `out` every 100 steps. Returns seconds spent."""
    rows = _kept_rows(out / "losses.csv", run.step)
    start = time.perf_counter()
    with tqdm(total=steps, initial=run.step, desc="training", unit="step") as bar:
        while run.step < steps:
            for step in train(run, batches(run, part.clip, part.survey)):
                rows.append({"step": step.index, **step.losses})
                bar.update()
                bar.set_postfix(reconstruct=f"{step.losses['reconstruct']:.3f}")
                if step.index % EVERY == 0 or step.index >= steps:
                    break
            save(run, out / "checkpoint.safetensors")
            write_atomically(out / "losses.csv", lambda temporary: _write_rows(temporary, rows))
    return time.perf_counter() - start


def _kept_rows(path: Path, step: int) -> list[dict]:
    if step == 0 or not path.is_file():
        return []
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= step]


def _write_rows(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(k for row in rows for k in row)), restval="")
        writer.writeheader(), writer.writerows(rows)


def judge(model, recipe, parts: tuple[Part, Part]) -> tuple[Track, dict[str, float]]:
    """Track both parts, fit the regressor on the first, score on the second: the held-out track and its scores."""
    first, second = parts
    seen = torch.arange(0, len(first.clip), max(1, round(first.clip.fps / 15)))  # neighbouring frames are nearly the same pose
    known = track(model, recipe, first.clip, first.survey, seen)
    found = track(model, recipe, second.clip, second.survey)
    near = on_body(found.world, second.clip.truth, second.clip.skeleton, second.clip.body_length)
    score = scores((known.world, first.clip.truth[seen]), (found.world, second.clip.truth))
    return found, score | {"on_body": near["share"], "bone_distance": near["median"]}


def shipped(clip: str) -> Path:
    """Where the longer-trained checkpoint of a bundled clip lies."""
    return SAMPLES / "checkpoints" / f"{clip}.safetensors"


def quickstart(clip: str = "rat", steps: int | None = None, out: str | Path = "runs/quickstart", seed: int = 0, again: bool = False) -> dict:
    """Train, track, score and draw; writes everything into `out` and returns the report.

    again: resume from `out/checkpoint.safetensors` if it is there.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    print(f"looking at the {clip} clip ...")
    parts = opened(clip)
    recipe = RECIPES[clip] if steps is None else replace(RECIPES[clip], steps=steps)
    run = begin(recipe, parts[0].clip, seed)
    results = {"untrained": judge(run.model, run.recipe, parts)[1]}
    if again and (out / "checkpoint.safetensors").is_file():
        run = resume(out / "checkpoint.safetensors", parts[0].clip)
    begun = run.step
    seconds = fit(run, parts[0], out, recipe.steps)
    print("tracking the held-out part ...")
    found, results["trained"] = judge(run.model, run.recipe, parts)
    if shipped(clip).is_file():
        model, its_recipe, _ = load(shipped(clip))
        results["checkpoint"] = judge(model, its_recipe, parts)[1]
    results |= baselines(parts[0].clip.truth, parts[1].clip.truth)
    report = _report(clip, run, results, seconds, run.step - begun)
    _write(out, report, found, parts[1], run)
    print("\n" + score_table(report) + f"\n\nopen {out / 'report.html'}")
    return report


def _report(clip: str, run: Run, results: dict, seconds: float, steps: int) -> dict:
    def column(key: str, rows: tuple[str, ...]) -> dict:
        return {row: round(results[row][key], 4) if row in results else None for row in rows}

    nets = ("trained", "untrained", "checkpoint")
    rows = ("trained", "untrained", "centroid", "mean_pose", "checkpoint")
    return {"clip": clip, "seed": run.seed, "steps": run.step, "seconds_training": round(seconds, 1),
            "seconds_per_step": round(seconds / max(1, steps), 4), "keypoints": run.recipe.keypoints,
            "mpjpe_mm": column("mpjpe", rows), "pmpjpe_mm": column("pmpjpe", rows), "on_body": column("on_body", nets),
            "bone_distance_mm": column("bone_distance", nets), "device": f"cpu, {torch.get_num_threads()} threads, {platform.machine()}",
            "versions": {"bkind3d_lite": __version__, "torch": torch.__version__, "python": platform.python_version()}}


def _write(out: Path, report: dict, found: Track, part: Part, run: Run) -> None:
    """Everything a user opens; the report comes last because it links what is there."""
    clip, recipe = part.clip, run.recipe
    found.save(out / "keypoints.csv"), found.save(out / "keypoints.npz")
    side = recipe.follow or recipe.side
    centre = part.survey.centre.median(0).values if recipe.follow else torch.tensor(recipe.centre)
    every = max(1, len(clip) // 200)
    film = movie(found, clip.rig, clip.truth, clip.skeleton, centre, side, every, title=f"{report['clip']}: discovered without labels")
    film.for_each_trace(lambda trace: trace.update(visible="legendonly"), {"name": "cube"})  # a click away: its lines cross the animal
    save_html(film, out / "skeleton.html")
    times = range(0, len(clip), max(1, round(clip.fps / 15)))
    write_video(out / "overlay.mp4", tqdm(drawn_frames(clip, found, times), "drawing", len(times), unit="frame"), 15)
    rows = _kept_rows(out / "losses.csv", run.step)
    write_report(out, report, pictures(clip, found, rows), asdict(recipe))
