"""Logbook: what a training writes into its folder while it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..clips.clip import SurveyedClip
from ..clips.sessions import Sessions
from ..files import Table
from ..recipes import Recipe
from ..training.diagnostics import Diagnostics
from ..training.loop import Run, Step
from ..viz.run_images import (
    contact_sheet,
    lesson_sheet,
    placement,
    placement_sheet,
    save_sheet,
)
from ..viz.scenes import save_html

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


class Logbook:
    """losses.csv and health.csv line by line, pictures, TensorBoard's events; one rank writes it.

    Complaints of the diagnostics are logged as they come.
    """

    def __init__(self, run: Run, part: SurveyedClip | Sessions, out: Path, pictures_every: int):
        self.run, self.out, self.pictures_every = run, out, pictures_every
        self.losses = Table(out / "losses.csv", run.step)
        self.signals = Table(out / "health.csv", run.step)
        self.diagnostics = Diagnostics(run, part.survey)
        self.events = _tensorboard(out, run.step)
        for complaint in self.diagnostics.before(part.clip.fps):
            log.warning("health: %s", complaint)

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *error: object) -> None:
        if self.events is not None:
            self.events.close()

    def write(self, step: Step) -> None:
        """All that is to be kept of one step.

        Args:
            step: just finished.
        """
        self.losses.add({"step": step.index, **step.losses})
        row, complaints = self.diagnostics.examine(step)
        if row is not None:
            self.signals.add(row)
        for complaint in complaints:
            log.warning("health, step %d: %s", step.index, complaint)
        every = self.pictures_every
        due = every and (step.index == 1 or step.index % every == 0)
        sheet = self._sheet(step) if due else None
        if self.events is not None:
            self._write_events(self.events, step, row or {}, sheet)

    def _sheet(self, step: Step) -> np.ndarray:
        """The contact sheet of a step, which is saved."""
        h, w = step.output.recon.shape[-2:]
        with torch.no_grad():
            if step.batch.labels is not None:
                sheet = lesson_sheet(step.batch, step.output.now, self.run.recipe)
            else:
                target = self.run.objective.target(step.batch, (h, w))
                sheet = contact_sheet(step.batch, step.output, self.run.model, target)
        save_sheet(sheet, self.out / "pictures" / f"step_{step.index:07d}.jpg")
        return sheet

    @staticmethod
    def _write_events(
        events: SummaryWriter, step: Step, row: dict[str, float], sheet: np.ndarray | None
    ) -> None:
        for name, value in step.losses.items():
            events.add_scalar(f"losses/{name}", value, step.index)
        for name, value in row.items():
            events.add_scalar(f"health/{name}", value, step.index)
        if sheet is not None:
            events.add_image("pictures", sheet, step.index, dataformats="HWC")


def _tensorboard(out: Path, step: int) -> SummaryWriter | None:
    """TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)


def draw_volume(part: SurveyedClip, recipe: Recipe, out: Path) -> None:
    """Draw where the volume stands, in the rig and in every view; look before a long run.

    Args:
        part: the clip that is trained on.
        recipe: placed.
        out: folder for `volume.html` and `volume.png`.
    """
    save_html(placement(part.clip, recipe, part.survey), out / "volume.html")
    save_sheet(placement_sheet(part.clip, recipe, part.survey), out / "volume.png")
    log.info(
        "the volume is drawn in %s and volume.png: the animal should be inside",
        out / "volume.html",
    )
