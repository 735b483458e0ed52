"""Train run: the one training loop with its folder - losses, health, pictures, checkpoints.

For minutes and for days. A run's folder holds recipe.toml, volume.html and volume.png (before the
first step), losses.csv, health.csv, pictures/, checkpoint.safetensors, and TensorBoard's events
where that is installed.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm.std import tqdm

from .. import distributed
from ..clips.clip import MultiViewClip, SurveyedClip
from ..clips.sessions import Sessions
from ..files import refuse_unwritable, write_atomically
from ..progress import progress
from ..recipes import write_recipe
from ..recipes.ranges import refuse_outside
from ..training.checkpoints import save
from ..training.loop import Run, Step, batches, train
from ..training.memory_planner import advised
from ..training.prefetch import prefetch
from ..training.session_training import session_batches
from .doctor import MOST_FRAMES, obstacles
from .logbook import Logbook, draw_volume
from .train_begin import CHECKPOINT, asked_of, made, opened_recordings

log = logging.getLogger(__name__)
CARD = "card.md"  # of a run on several recordings: which
CHECKPOINT_EVERY = 100  # steps between checkpoints
PICTURES_EVERY = 250  # steps between contact sheets


# ---- the loop ------------------------------------------------------------------------------------
def fit(
    run: Run,
    part: SurveyedClip | Sessions,
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
        part: the clip, or the sessions, that it is trained on.
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
    run: Run, part: SurveyedClip | Sessions, out: Path, pictures_every: int
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


def _steps(run: Run, part: SurveyedClip | Sessions, steps: int) -> Iterator[Step]:
    """Steps on pairs that are decoded ahead; none if the run has had them all."""
    if run.step >= steps:
        return iter(())
    if isinstance(part, Sessions):
        drawn = session_batches(run, part)
    else:
        drawn = batches(run, part.clip, part.survey)
    pairs = prefetch(drawn, next(run.model.parameters()).device)
    return advised(train(run, pairs), run, max(p.clip.rig.views for p in _parts(part)))


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
    clip: str | Path | Sequence[str | Path],
    recipe: str | None,
    out: str | Path,
    *,
    held_out: Sequence[str] = (),
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
    """Train a recipe on a clip's folder, or on several, or go on where `out` stands.

    Args:
        clip: the recording's folder; or several, or a table of them, as for `session_places`.
        recipe: a preset's name or a TOML file; None: the checkpoint's, to resume.
        out: the run's folder.
        held_out: names of several recordings that training does not see.
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
        asked = asked_of(out, recipe, words, resume)
        clips = opened_recordings(clip, held_out, most_frames, **how)
        run, part = made(clips, held_out, asked, out, cache=cache, seed=seed, device=device)
        if not _complete(run, out):
            _before(run, clips.values(), part, out, force)
            fit(run, part, out, checkpoint_every=rhythm[0], pictures_every=rhythm[1])
    return run


def _before(
    run: Run,
    clips: Iterable[MultiViewClip],
    part: SurveyedClip | Sessions,
    out: Path,
    force: bool,
) -> None:
    """What comes before the first step: recordings as they were opened must be fit for it."""
    for clip, seen in zip(clips, _parts(part)):
        _refuse_unfit(run, clip, seen, force)
    _write_beginning(run, part, out)


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


def _write_beginning(run: Run, part: SurveyedClip | Sessions, out: Path) -> None:
    """What the first rank writes before the first step."""
    if distributed.rank() == 0:
        write_recipe(run.recipe, out / "recipe.toml")
        if isinstance(part, Sessions):
            card = f"# {run.recipe.name}, seed {run.seed}\n\n{part.described()}\n"
            write_atomically(out / CARD, lambda path: path.write_text(card, encoding="utf-8"))
        if run.step == 0 and part.clip.rig.calibrated and run.model.decoder is not None:
            draw_volume(_parts(part)[0], run.recipe, out)


def _parts(part: SurveyedClip | Sessions) -> tuple[SurveyedClip, ...]:
    return part.parts if isinstance(part, Sessions) else (part,)
