"""Runs: the one training loop with its folder - losses, health, pictures, checkpoints - for minutes and for days.

A run's folder holds recipe.toml, volume.html and volume.png (before the first step), losses.csv, health.csv, pictures/,
checkpoint.safetensors, and TensorBoard's events where that is installed.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from tqdm.auto import tqdm

from .. import distributed
from ..clips.clip import MultiViewClip, SurveyedClip, open_clip
from ..clips.survey import survey, thumb_size
from ..files import Table
from ..model.builder import placed
from ..recipes import (
    Recipe,
    altered,
    find_recipe,
    load_recipe,
    resumable,
    write_recipe,
)
from ..training import checkpoints
from ..training.checkpoints import header, refuse_others, save
from ..training.diagnostics import Health
from ..training.loop import Run, Step, batches, begin, enough, train
from ..training.memory_planner import advised
from ..training.prefetch import prefetch
from ..viz.run_images import contact_sheet, placement, placement_sheet, save_sheet
from ..viz.scenes import save_html
from .doctor import obstacles

CHECKPOINT_EVERY = 100  # steps between checkpoints
MOST_FRAMES = 12_000  # frames trained on
STRETCHES = 20  # pieces of a longer recording that make them up
PICTURES_EVERY = 250  # steps between contact sheets


def say(text: str) -> None:
    """A line above the progress bar, from the first rank alone."""
    if distributed.mine() == 0:
        tqdm.write(text)


# ---- the loop ----------------------------------------------------------------------------------------------------
def fit(
    run: Run,
    part: SurveyedClip,
    out: str | Path,
    steps: int | None = None,
    every: int = CHECKPOINT_EVERY,
    pictures: int = 0,
) -> float:
    """Train up to `steps` (default: the recipe's) with a bar and its ETA; everything that happens is written to `out`. Returns seconds.

    A checkpoint every `every` steps and at the end, a contact sheet every `pictures` steps (0: none). Ctrl-C and SIGTERM let the
    step end, write a checkpoint and raise `KeyboardInterrupt` with a word on how to go on. On any other error the last
    checkpoint stands. Under torchrun all ranks call this; the first one writes.
    """
    out, steps, start = Path(out), steps or run.recipe.optim.steps, time.perf_counter()
    first = distributed.mine() == 0
    stopped = False
    bar = tqdm(
        total=steps,
        initial=run.step,
        desc="training",
        unit="step",
        mininterval=0.5,
        disable=not first,
    )
    with (
        interrupts() as asked,
        Logbook(run, part, out, pictures) if first else nullcontext() as logbook,
        bar,
    ):
        pairs = prefetch(batches(run, part.clip, part.survey), next(run.model.parameters()).device)
        for step in (
            advised(train(run, pairs), run, part.clip.rig.views) if run.step < steps else ()
        ):
            if first:
                logbook.write(step)
            bar.update()
            bar.set_postfix(reconstruct=f"{step.losses['reconstruct']:.3f}", refresh=False)
            stopped = distributed.anyone(bool(asked))
            if first and (stopped or step.index % every == 0 or step.index >= steps):
                save(run, out / "checkpoint.safetensors")
            if stopped or step.index >= steps:
                break
    if stopped and run.step < steps:
        raise KeyboardInterrupt(
            f"stopped after step {run.step} of {steps}; the checkpoint is in {out}, continue with --resume"
        )
    return time.perf_counter() - start


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are noted in the list instead of falling into the middle of a step; a second Ctrl-C does fall in."""
    asked: list[int] = []

    def note(number, frame) -> None:
        if asked and number == signal.SIGINT and distributed.count() == 1:
            raise KeyboardInterrupt("stopped in the middle of a step; the last checkpoint stands")
        asked.append(number)

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # signals reach the main thread alone
        yield asked
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Logbook:
    """What the first rank writes while training: losses.csv and health.csv line by line, pictures, TensorBoard's events."""

    def __init__(self, run: Run, part: SurveyedClip, out: Path, pictures: int):
        self.run, self.out, self.pictures = run, out, pictures
        self.losses, self.signals = (
            Table(out / "losses.csv", run.step),
            Table(out / "health.csv", run.step),
        )
        self.health = Health(run, part.survey)
        self.board = _board(out, run.step)
        for complaint in self.health.before(part.clip.fps):
            say(f"health: {complaint}")

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *error) -> None:
        if self.board is not None:
            self.board.close()

    def write(self, step: Step) -> None:
        """All that is to be kept of one step."""
        self.losses.add({"step": step.index} | step.losses)
        row, complaints = self.health.examine(step)
        if row is not None:
            self.signals.add(row)
        for complaint in complaints:
            say(f"health, step {step.index}: {complaint}")
        sheet = (
            self._sheet(step)
            if self.pictures and (step.index == 1 or step.index % self.pictures == 0)
            else None
        )
        if self.board is not None:
            for name, value in step.losses.items():
                self.board.add_scalar(f"losses/{name}", value, step.index)
            for name, value in (row or {}).items():
                self.board.add_scalar(f"health/{name}", value, step.index)
            if sheet is not None:
                self.board.add_image("pictures", sheet, step.index, dataformats="HWC")

    def _sheet(self, step: Step):
        with torch.no_grad():
            target = self.run.objective.target(step.batch, step.output.recon.shape[-2:])
            sheet = contact_sheet(step.batch, step.output, self.run.model, target)
        save_sheet(sheet, self.out / "pictures" / f"step_{step.index:07d}.jpg")
        return sheet


def _board(out: Path, step: int):
    """TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)


# ---- the verb ----------------------------------------------------------------------------------------------------
def train_folder(
    clip: str | Path,
    recipe: str | None,
    out: str | Path,
    sets: Sequence[str] = (),
    seed: int = 0,
    steps: int | None = None,
    resume: bool = False,
    device: str = "auto",
    every: int = CHECKPOINT_EVERY,
    pictures: int = PICTURES_EVERY,
    force: bool = False,
    most: int = MOST_FRAMES,
    cache: str | Path | None = None,
    **how,
) -> Run:
    """Train `recipe` (a preset's name or a TOML file, with `key=value` words) on a clip's folder; `resume` resumes from `out`.

    A recording that the doctor finds unfit is refused before the first step, unless `force`.
    Of a recording longer than `most` frames, unbroken stretches spread over it are trained on: each of their frames is surveyed, and its
    foreground kept (about 7 kB a view; fewer frames where that would be more than half of `budget`). cache: a folder in which the frames are
    kept decoded, as large as the network needs them. how: as for `open_clip`.
    """
    out = Path(out)
    path = out / "checkpoint.safetensors"
    words = [*sets, *([f"steps={steps}"] if steps else [])]
    with distributed.joined(device) as device:
        opened = _opened(clip, most, **how)
        if resume and distributed.mine() == 0:
            for leftover in out.glob(".*.tmp.*"):  # of a process that was killed while it wrote
                leftover.unlink(missing_ok=True)
        if path.is_file() and not resume:
            raise ValueError(
                f"{path}: a run is here already; continue it with --resume, or choose another --out"
            )
        if resume and path.is_file():
            about, changes = header(path), _changes(path, recipe, words)
            refuse_others(path, about, opened, ("size",) if cache else ())
            wanted = load_recipe(about["recipe"]).with_(**changes)
        else:
            about, wanted = None, None if recipe is None else altered(find_recipe(recipe), words)
            if wanted is None:
                raise ValueError(
                    f"{path}: no run to resume here; give --recipe to begin one"
                    if resume
                    else "give --recipe to begin a run"
                )
        part, wanted = _prepared(opened, wanted, cache)
        run = (
            begin(wanted, part.clip, seed, device)
            if about is None
            else checkpoints.resume(path, part.clip, device, **changes)
        )
        say(f"resuming {out} after step {run.step}") if about else None
        for check in [] if run.step else obstacles(opened, part.survey):
            if not force:
                raise ValueError(
                    f"{clip}: {check.name}: {check.said}; {check.remedy}. See `python -m bkind3d_lite doctor {clip}`, or train all the "
                    "same with --force"
                )
            say(f"warning: {check.name}: {check.said}; {check.remedy}")
        if distributed.mine() == 0:
            write_recipe(run.recipe, out / "recipe.toml")
            if run.step == 0:
                draw_volume(part, run.recipe, out)
        fit(run, part, out, every=every, pictures=pictures)
    return run


def _opened(folder: str | Path, most: int, budget: int = 2 << 30, **how) -> MultiViewClip:
    """The clip to train on: stretches of a longer recording, so many frames that their foreground takes half of `budget` at most."""
    clip = open_clip(folder, budget=budget, **how)
    most = min(most, budget // 2 // (clip.rig.views * math.prod(thumb_size(clip.rig))))
    if len(clip) > most:
        say(
            f"{folder}: {len(clip)} frames; training on {most} of them, in {STRETCHES} stretches spread over the recording (--frames, --memory)"
        )
        clip = clip.thinned(most, STRETCHES)
    return clip


def _prepared(
    clip: MultiViewClip, recipe: Recipe, cache: str | Path | None
) -> tuple[SurveyedClip, Recipe]:
    """The clip with its survey, and the recipe with its volume placed where the animal goes. cache: the folder in which decoded frames are kept."""
    unplaced = recipe.volume.crop is None and (
        recipe.volume.side is None or recipe.volume.centre is None
    )
    seen = None
    if recipe.surveyed or unplaced:
        say(f"looking at {clip.name} ...")
        seen = survey(clip)
    recipe = placed(recipe, clip.rig, seen)
    if cache is not None:
        clip = clip.cached(cache, enough(recipe, clip.rig))
        seen = None if seen is None else seen.resized(clip.rig.wh)
    return SurveyedClip(clip, seen), recipe


def _changes(path: Path, recipe: str | None, words: Sequence[str]) -> dict:
    """What the command asks for besides the checkpoint's recipe; what would make another model of it is refused."""
    recorded = load_recipe(header(path)["recipe"])
    asked = altered(recorded if recipe is None else find_recipe(recipe), words).flat()
    was, may = recorded.flat(), resumable()
    placed_then = ("side", "centre", "animal_side")  # when the run began
    new = {
        key: value
        for key, value in asked.items()
        if value != was[key] and not (value is None and key in placed_then)
    }
    if refused := [f"{k} from {was[k]} to {new[k]}" for k in new if k not in may]:
        raise ValueError(
            f"{path}: resuming cannot change {', '.join(refused)}; begin a new run "
            f"with another --out. What may change: {', '.join(may)}"
        )
    for key, value in new.items():
        say(f"{key}: {was[key]} -> {value} from here on")
    return new


def draw_volume(part: SurveyedClip, recipe: Recipe, out: Path) -> None:
    """`volume.html` and `volume.png`: where the volume stands, in the rig and in every view. Look at them before a long run."""
    save_html(placement(part.clip, recipe, part.survey), out / "volume.html")
    save_sheet(placement_sheet(part.clip, recipe, part.survey), out / "volume.png")
    say(f"the volume is drawn in {out / 'volume.html'} and volume.png: the animal should be inside")
