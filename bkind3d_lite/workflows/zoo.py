"""Zoo: the checkpoints that ship, what each was trained on, and what its card says it is worth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..files import bundled
from ..recipes import load_recipe
from ..training.checkpoints import read_header

OWN_ROW = "this checkpoint"  # of a card's table


@dataclass(frozen=True)
class ZooEntry:
    """One checkpoint that ships.

    Attributes:
        path: of the file.
        lift: from maps to keypoints; flat: in the image of one camera.
        keypoints: K.
        steps: that it was trained for.
        cameras: that it was trained on.
        scores: of the held-out part by the card's heads, as the card says them.
    """

    path: Path
    lift: str
    keypoints: int
    steps: int
    cameras: tuple[str, ...]
    scores: dict[str, str]

    def line(self) -> str:
        """In words, one line."""
        megabytes = self.path.stat().st_size / 1e6
        told = ", ".join(f"{head} {value}" for head, value in self.scores.items()) or "no card"
        return (
            f"{self.path.name:22} {self.lift:11} {self.keypoints:3} keypoints  {self.steps:5} steps"
            f"  {len(self.cameras)} camera{'s' if len(self.cameras) > 1 else ' '}"
            f" {megabytes:5.1f} MB  {told}"
        )


def zoo(folder: str | Path | None = None) -> list[ZooEntry]:
    """What ships.

    Args:
        folder: of checkpoints with their cards; None: those beside the sample clips.

    Returns:
        An entry a checkpoint, by name.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = bundled("data_samples") / "checkpoints" if folder is None else Path(folder)
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise FileNotFoundError(f"{folder}: no checkpoint here; expected *.safetensors")
    return [_entry(path) for path in paths]


def _entry(path: Path) -> ZooEntry:
    header = read_header(path)
    recipe, card = load_recipe(header["recipe"]), path.with_suffix(".md")
    return ZooEntry(
        path=path,
        lift=recipe.lift,
        keypoints=recipe.keypoints,
        steps=header["step"],
        cameras=tuple(header["clip"]["cameras"]),
        scores=card_scores(card.read_text(encoding="utf-8")) if card.is_file() else {},
    )


def card_scores(text: str) -> dict[str, str]:
    """The checkpoint's own row of the table in its card.

    Args:
        text: of the card.

    Returns:
        {head: value}; {} where the card has no such row.
    """
    rows = [re.split(r"\s*\|\s*", line.strip("| \n")) for line in text.splitlines() if "|" in line]
    for n, row in enumerate(rows):
        if row[0] == OWN_ROW:
            heads = rows[n - 2]
            return {head: value for head, value in zip(heads[-len(row[1:]) :], row[1:]) if value}
    return {}
