"""Real training on a lent GPU for the minutes that are left, scored beside what needs none."""

import itertools
import time
from pathlib import Path

import floors
import speed_cases
import torch
from gpu_measures import TINY

from bkind3d_lite.clips import SurveyedClip
from bkind3d_lite.clips.clip import open_clip
from bkind3d_lite.clips.survey import survey
from bkind3d_lite.clips.synthetic import figure
from bkind3d_lite.model.builder import placed
from bkind3d_lite.recipes import RECIPES, altered
from bkind3d_lite.training import batches, begin, load, save, train
from bkind3d_lite.training.orientation import oriented_part
from bkind3d_lite.training.prefetch import prefetch
from bkind3d_lite.workflows.evaluate_run import references, score_parts
from bkind3d_lite.workflows.quickstart import SAMPLES, shipped

BUDGET = 16 << 30  # bytes of decoded frames: a lent machine has them
FIRST = 30  # steps that tell how many fit
HELD_OUT = 0.15  # of a clip without parts, its end


def parts_of(folder: Path | None, tiny: bool) -> tuple[SurveyedClip, SurveyedClip]:
    """Training and held-out part, surveyed: of a folder with `train` and `test`, or cut."""
    if tiny:
        clip = figure(36, views=3, wh=(64, 48))
        first, second = clip.at(range(24)), clip.at(range(24, 36))
    else:
        folder = folder or SAMPLES / "rat"
        if (folder / "train").is_dir():
            first, second = (open_clip(folder / part, budget=BUDGET) for part in ("train", "test"))
        else:
            clip = open_clip(folder, budget=BUDGET)
            cut = round((1 - HELD_OUT) * len(clip))
            first, second = clip.at(range(cut)), clip.at(range(cut, len(clip)))
    seen = survey(first)
    held_out = survey(second, background=seen.background)
    return SurveyedClip(first, seen), SurveyedClip(second, held_out)


def training(how, tell) -> None:
    """`lean` trained until the time is nearly up, then scored as `evaluate` does it."""
    end = time.monotonic() + how.seconds
    speed_cases.offline()
    started = time.perf_counter()
    plain = parts_of(how.clip, how.tiny)
    recipe = altered(RECIPES["lean"], how.set)
    recipe = recipe.with_(**TINY, animal_side=400.0) if how.tiny else recipe
    recipe = placed(recipe, plain[0].clip.rig, plain[0].survey)
    run = begin(recipe, plain[0].clip, device=how.device)
    if run.model.look is not None and how.clip is None:  # taught by this very clip, for longer
        run.model.look.load_state_dict(load(shipped("rat"))[0].look.state_dict())
    first = oriented_part(run.model, plain[0], teach=recipe.volume.look_steps)
    parts = (first, oriented_part(run.model, plain[1]))
    facts = {
        "clip": plain[0].clip.name,
        "frames": [len(part.clip) for part in parts],
        "views": parts[0].clip.rig.views,
        "heading": str(parts[1].survey.heading),
        "preparing_seconds": time.perf_counter() - started,
    }
    known = all(len(part.clip.labelled) for part in parts)  # else there is nothing to score by

    def scored(name: str) -> None:
        if known:
            tell({name: score_parts(run.model, run.recipe, parts)[1]})

    tell({"facts": facts, **(references(parts) if known else {})})
    started = time.perf_counter()
    scored("untrained")
    scoring = time.perf_counter() - started
    tell({"facts": train_until(run, parts[0], end - 1.3 * scoring - 6, how)})
    save(run, how.out / "lean.safetensors", whole=False)
    scored("trained")


def train_until(run, part: SurveyedClip, end: float, how) -> dict:
    """Steps until `end` (`time.monotonic`); the first of them set the length of the schedule."""
    pairs = prefetch(batches(run, part.clip, part.survey), how.device)
    taken, count = train(run, pairs), 2 if how.tiny else FIRST
    begun = time.monotonic()
    for _ in itertools.islice(taken, count // 2):  # kernels and frames are met
        pass
    middle = time.monotonic()
    losses = [step.losses for step in itertools.islice(taken, count - count // 2)]
    each = (time.monotonic() - middle) / (count - count // 2)
    most = 4 if how.tiny else 10**6
    wanted = max(count + 1, min(most, count + int(0.95 * (end - time.monotonic()) / each)))
    run.recipe = run.recipe.with_(steps=wanted)
    for step in taken:
        losses.append(step.losses)
        if step.index >= wanted or time.monotonic() >= end:
            break
    taken.close()
    pairs.close()
    if how.device != "cpu":
        torch.cuda.synchronize()
    seconds, last = time.monotonic() - begun, losses[-20:]
    return {
        "steps": run.step,
        "planned_steps": wanted,
        "training_seconds": seconds,
        "steps_per_second": run.step / seconds,
        "batch": run.recipe.data.batch,
        "peak_gb": floors.peak(),
        "last_losses": {k: sum(x.get(k, 0.0) for x in last) / len(last) for k in last[-1]},
    }
