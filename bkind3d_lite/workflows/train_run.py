"""Train run: the one training loop with its folder - losses, health, pictures, checkpoints.

For minutes and for days. A run's folder holds recipe.toml, volume.html and volume.png (before the
first step), losses.csv, health.csv, pictures/, checkpoint.safetensors, and TensorBoard's events
where that is installed.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm.std import tqdm

from .. import distributed
from ..clips.clip import MultiViewClip, SurveyedClip, open_clip
from ..clips.lessons import fitted_to_labels
from ..clips.pseudo_labels import load_labels
from ..clips.sampling import pair_chances
from ..clips.survey import survey as survey_clip
from ..clips.survey import thumb_size
from ..files import refuse_unwritable
from ..model.builder import placed
from ..progress import progress
from ..recipes import (
    Recipe,
    altered,
    find_recipe,
    load_recipe,
    write_recipe,
)
from ..recipes.ranges import refuse_outside
from ..training import checkpoints
from ..training.checkpoints import read_header, refuse_others, save
from ..training.loop import Run, Step, batches, begin, gap_frames, train, working_wh
from ..training.memory_planner import advised
from ..training.orientation import oriented_part
from ..training.prefetch import prefetch
from .doctor import MOST_FRAMES, obstacles
from .logbook import Logbook, draw_volume

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_EVERY = 100  # steps between checkpoints
STRETCHES = 20  # pieces of a longer recording that make them up
PICTURES_EVERY = 250  # steps between contact sheets


# ---- the loop ------------------------------------------------------------------------------------
def fit(
    run: Run,
    part: SurveyedClip,
    out: str | Path,
    steps: int | None = None,
    *,
    checkpoint_every: int = CHECKPOINT_EVERY,
    pictures_every: int = 0,
) -> float:
    """Train with a progress bar; everything that happens is written to a folder.

    Ctrl-C and SIGTERM let the step end and write a checkpoint; on any other error the last one
    stands. Under torchrun all ranks call this; the first one writes.

    Args:
        run: to be trained, in place.
        part: the clip that it is trained on.
        out: the run's folder.
        steps: up to this one; None: the recipe's.
        checkpoint_every: steps between checkpoints; there is one at the end, too.
        pictures_every: steps between contact sheets; 0: none.

    Returns:
        Seconds.

    Raises:
        KeyboardInterrupt: stopped before the last step, with a word on how to go on.
    """
    out, steps, start = Path(out), steps or run.recipe.optim.steps, time.perf_counter()
    with (
        interrupts() as asked,
        _logbook(run, part, out, pictures_every) as logbook,
        _bar(run, steps) as bar,
    ):
        for step in _steps(run, part, steps):
            if logbook is not None:
                logbook.write(step)
            bar.update()
            bar.set_postfix({k: f"{v:.3g}" for k, v in [*step.losses.items()][:1]}, refresh=False)
            last = distributed.any_rank(bool(asked)) or step.index >= steps
            if logbook is not None and (last or step.index % checkpoint_every == 0):
                save(run, out / CHECKPOINT)
            if last:
                break
    if run.step < steps:
        raise KeyboardInterrupt(
            f"stopped after step {run.step} of {steps}; the checkpoint is in {out}, "
            "continue with --resume"
        )
    return time.perf_counter() - start


def _logbook(
    run: Run, part: SurveyedClip, out: Path, pictures_every: int
) -> Logbook | nullcontext[None]:
    """The first rank's logbook; the others write nothing."""
    if distributed.rank() > 0:
        return nullcontext()
    return Logbook(run, part, out, pictures_every=pictures_every)


def _bar(run: Run, steps: int) -> tqdm:
    """The progress of a run, with its ETA; the first rank shows it."""
    return progress(
        total=steps,
        initial=run.step,
        desc="training",
        unit="step",
        disable=distributed.rank() != 0,
    )


def _steps(run: Run, part: SurveyedClip, steps: int) -> Iterator[Step]:
    """Steps on pairs that are decoded ahead; none if the run has had them all."""
    if run.step >= steps:
        return iter(())
    pairs = prefetch(batches(run, part.clip, part.survey), next(run.model.parameters()).device)
    return advised(train(run, pairs), run, part.clip.rig.views)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are noted instead of falling into the middle of a step.

    A second Ctrl-C does fall in.

    Yields:
        The signals' numbers, as they come.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT and distributed.world_size() == 1:
            raise KeyboardInterrupt("stopped in the middle of a step; the last checkpoint stands")
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():  # signals reach the main one
        yield asked
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- the verb ------------------------------------------------------------------------------------
def train_folder(
    clip: str | Path,
    recipe: str | None,
    out: str | Path,
    *,
    sets: Sequence[str] = (),
    seed: int = 0,
    steps: int | None = None,
    resume: bool = False,
    device: str = "auto",
    checkpoint_every: int = CHECKPOINT_EVERY,
    pictures_every: int = PICTURES_EVERY,
    force: bool = False,
    most_frames: int = MOST_FRAMES,
    cache: str | Path | None = None,
    **how: Any,
) -> Run:
    """Train a recipe on a clip's folder, or go on where `out` stands.

    Args:
        clip: the recording's folder.
        recipe: a preset's name or a TOML file; None: the checkpoint's, to resume.
        out: the run's folder.
        sets: `key=value` words that change the recipe.
        seed: of the weights and of the pairs.
        steps: instead of the recipe's.
        resume: go on from the checkpoint in `out`, if there is one.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        checkpoint_every: steps between checkpoints.
        pictures_every: steps between contact sheets; 0: none.
        force: train although the doctor finds the recording unfit.
        most_frames: of a longer recording, stretches spread over it are trained on.
        cache: folder in which frames are kept decoded, as large as the network needs them.
        **how: as for `open_clip`.

    Returns:
        The finished run.
    """
    out, rhythm = refuse_unwritable(out), (checkpoint_every, pictures_every)
    words = _checked_words(sets, steps, seed, most_frames, rhythm)
    with distributed.joined(device) as device:
        asked = _asked(out, recipe, words, resume)
        opened = _opened(clip, most_frames, **how)
        run, part = _made(opened, asked, out, cache, seed, device)
        if not _complete(run, out):
            _refuse_unfit(run, opened, part, force)
            _write_beginning(run, part, out)
            fit(run, part, out, checkpoint_every=rhythm[0], pictures_every=rhythm[1])
    return run


def _checked_words(
    sets: Sequence[str], steps: int | None, seed: int, most_frames: int, rhythm: tuple[int, int]
) -> list[str]:
    """What changes the recipe, as words; numbers that make no sense are refused."""
    told = dict(seed=seed, most_frames=most_frames)
    refuse_outside({**told, "checkpoint_every": rhythm[0], "pictures_every": rhythm[1]})
    return [*sets, *([] if steps is None else [f"steps={steps}"])]


def _complete(run: Run, out: Path) -> bool:
    """Whether a run has had all its steps, which is said."""
    done = run.step >= run.recipe.optim.steps
    if done:
        log.info("%s: complete after %d steps; raise --steps to go on", out, run.step)
    return done


def _opened(
    folder: str | Path,
    most: int,
    budget: int = 2 << 30,
    labels: str | Path | None = None,
    **how: Any,
) -> MultiViewClip:
    """The clip to train on; of more than `most` frames, stretches spread over the recording.

    With labels, which say themselves which frames are wanted, it is whole.
    Each of their frames is surveyed, and its foreground kept, about 7 kB a view: fewer frames
    where that would be more than half of `budget` bytes.
    """
    clip = open_clip(folder, budget=budget, **how)
    if labels is not None:
        return load_labels(labels).of(clip)
    most = min(most, budget // 2 // (clip.rig.views * math.prod(thumb_size(clip.rig))))
    if len(clip) <= most:
        return clip
    log.info(
        "%s: %d frames; training on %d of them, in %d stretches spread over the recording "
        "(--frames, --memory)",
        folder,
        len(clip),
        most,
        STRETCHES,
    )
    return clip.thinned(most, STRETCHES)


def _prepared(
    clip: MultiViewClip, recipe: Recipe, cache: str | Path | None
) -> tuple[SurveyedClip, Recipe]:
    """The clip with its survey, and the recipe with its volume placed where the animal goes.

    cache: the folder in which decoded frames are kept.
    """
    volume, survey = recipe.volume, None
    if recipe.losses.explain == "labels":
        return SurveyedClip(clip, None), fitted_to_labels(recipe, clip)
    unplaced = volume.crop is None and (volume.side is None or volume.centre is None)
    unplaced = unplaced and clip.rig.calibrated  # one picture is seen whole
    if recipe.surveyed or unplaced:
        log.info("looking at %s ...", clip.name)
        survey = survey_clip(clip)
    recipe = placed(recipe, clip.rig, survey)
    clip = _cached(clip, recipe, cache)
    if cache is not None and survey is not None:
        survey = survey.resized(clip.rig.wh)
    return SurveyedClip(clip, survey), recipe


def _cached(clip: MultiViewClip, recipe: Recipe, cache: str | Path | None) -> MultiViewClip:
    return clip if cache is None else clip.cached(cache, working_wh(recipe, clip.rig))


# ---- beginning and going on ----------------------------------------------------------------------
def _goes_on(out: Path, resume: bool) -> bool:
    """Whether there is a run to resume; one that would be written over is refused."""
    path = out / CHECKPOINT
    if not resume and path.is_file():
        raise ValueError(
            f"{path}: a run is here already; continue it with --resume, or choose another --out"
        )
    if resume and distributed.rank() == 0:
        for leftover in out.glob(".*.tmp.*"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
    return path.is_file()


def _asked(
    out: Path, recipe: str | None, words: Sequence[str], resume: bool
) -> Recipe | dict[str, Any]:
    """The recipe of a run that begins, or what is to change in one that goes on."""
    path = out / CHECKPOINT
    if _goes_on(out, resume):
        return checkpoints.asked_changes(path, recipe, words)
    if recipe is not None:
        return altered(find_recipe(recipe), words)
    if resume:
        raise ValueError(f"{path}: no run to resume here; give --recipe to begin one")
    raise ValueError("give --recipe to begin a run")


def _made(
    clip: MultiViewClip,
    asked: Recipe | dict[str, Any],
    out: Path,
    cache: str | Path | None,
    seed: int,
    device: str,
) -> tuple[Run, SurveyedClip]:
    """The run that was asked for, and the clip it begins or goes on with."""
    if isinstance(asked, Recipe):
        return _begun(clip, asked, cache, seed, device)
    return _resumed(out / CHECKPOINT, clip, asked, cache, device)


def _begun(
    clip: MultiViewClip, recipe: Recipe, cache: str | Path | None, seed: int, device: str
) -> tuple[Run, SurveyedClip]:
    """A run before its first step, and the clip it begins with."""
    if recipe.losses.explain != "labels":
        pair_chances(clip, gap_frames(recipe, clip.fps), None, False)  # there are pairs to draw
    if (wanted := recipe.data.views_per_step or 0) > clip.rig.views:
        log.info("views_per_step = %d: all %d cameras at each step", wanted, clip.rig.views)
    part, recipe = _prepared(clip, recipe, cache)
    run = begin(recipe, part.clip, seed, device)
    if recipe.lesson.after is not None:
        checkpoints.adopt_trunk(run.model, recipe.lesson.after)
    return run, oriented_part(run.model, part, teach=recipe.volume.look_steps)


def _resumed(
    path: Path,
    clip: MultiViewClip,
    changes: Mapping[str, Any],
    cache: str | Path | None,
    device: str,
) -> tuple[Run, SurveyedClip]:
    """A run as it stood, with what may change from here on, and the clip it goes on with.

    The clip of a run that is complete is not looked at.
    """
    header = read_header(path)
    refuse_others(path, header, clip, ("size",) if cache else ())
    recipe = load_recipe(header["recipe"]).with_(**changes)
    if header["step"] >= recipe.optim.steps:
        part = SurveyedClip(_cached(clip, recipe, cache), None)
        return checkpoints.resume(path, part.clip, device, **changes), part
    part, _ = _prepared(clip, recipe, cache)
    run = checkpoints.resume(path, part.clip, device, **changes)
    log.info("resuming %s after step %d", path.parent, run.step)
    return run, oriented_part(run.model, part)


def _refuse_unfit(run: Run, clip: MultiViewClip, part: SurveyedClip, force: bool) -> None:
    """Before the first step, refuse what the doctor finds unfit, or, if forced, only warn.

    clip: as it was opened; its frames may be larger than those of `part`.
    """
    asked = run.step == 0 and run.model.decoder is not None
    for check in obstacles(clip, part.survey) if asked else ():
        if not force:
            raise ValueError(
                f"{clip.name}: {check.name}: {check.finding}; {check.remedy}. See `python -m "
                f"bkind3d_lite doctor {clip.name}`, or train all the same with --force"
            )
        log.warning("warning: %s: %s; %s", check.name, check.finding, check.remedy)


def _write_beginning(run: Run, part: SurveyedClip, out: Path) -> None:
    """What the first rank writes before the first step."""
    if distributed.rank() == 0:
        write_recipe(run.recipe, out / "recipe.toml")
        if run.step == 0 and part.clip.rig.calibrated and run.model.decoder is not None:
            draw_volume(part, run.recipe, out)
