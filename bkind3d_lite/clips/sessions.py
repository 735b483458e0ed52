"""Sessions: several recordings of one kind of animal, by one rig or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..files import read_rows
from .clip import MultiViewClip, Survey, SurveyedClip


@dataclass(frozen=True)
class Sessions:
    """Recordings that one model is trained on; as a clip they show the first."""

    parts: tuple[SurveyedClip, ...]
    names: tuple[str, ...]
    held_out: tuple[str, ...] = ()  # names of those that training does not see

    @property
    def clip(self) -> MultiViewClip:
        """The first recording."""
        return self.parts[0].clip

    @property
    def survey(self) -> Survey | None:
        """None: there is none of all of them."""
        return None

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a checkpoint remembers of them: the first one's, and everyone's with its name."""
        each = [{"name": n, **p.clip.fingerprint} for n, p in zip(self.names, self.parts)]
        return self.clip.fingerprint | {"sessions": each, "held_out": list(self.held_out)}

    def described(self) -> str:
        """Them as a table in Markdown, for the run's card."""
        lines = ["| session | cameras | frames | frames/s | |", "|---|---|---|---|---|"]
        for name, part in zip(self.names, self.parts):
            clip = part.clip
            lines.append(f"| {name} | {clip.rig.views} | {len(clip)} | {clip.fps:g} | trained on |")
        lines += [f"| {name} | | | | held out |" for name in self.held_out]
        return "\n".join(lines)


# ---- where they lie ------------------------------------------------------------------------------
def session_places(places: Sequence[str | Path]) -> dict[str, Path]:
    """Folders of recordings by name.

    Args:
        places: the folders themselves, or one table (.csv) with a column `folder`, as `index`
            writes it: its column `name` names them, and rows whose `verdict` is fail are left out.

    Returns:
        Folders by name; folders without a name have as much of their path as tells them apart.

    Raises:
        ValueError: nothing is named, a table without folders, or two sessions of one name.
    """
    found: list[tuple[str | None, Path]] = []
    for place in map(Path, places):
        found += _rows(place) if place.suffix.lower() == ".csv" else [(None, place)]
    if not found:
        raise ValueError("no sessions: give folders of recordings, or a table with their folders")
    short = _short_names([folder for _, folder in found])
    named = [(name or short[i], folder) for i, (name, folder) in enumerate(found)]
    names = [name for name, _ in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"sessions: {', '.join(twice)} stands twice; give each a name of its own")
    return dict(named)


def _rows(table: Path) -> Iterator[tuple[str | None, Path]]:
    """Names and folders of a table."""
    rows = read_rows(table)
    if not rows or "folder" not in rows[0]:
        raise ValueError(
            f"{table}: no column `folder`; expected a table of recordings as `bkind3d index` "
            "writes it"
        )
    for row in rows:
        if row.get("verdict") != "fail":
            yield row.get("name") or None, folder_named(table, row["folder"])


def folder_named(table: str | Path, folder: str) -> Path:
    """A recording's folder as a table names it.

    Args:
        table: its file.
        folder: what it says; if relative it is sought from here, then beside the table.

    Returns:
        The folder, whether it is there or not.
    """
    return Path(folder) if Path(folder).exists() else Path(table).parent / folder


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as tell all of them apart."""
    most = max(len(folder.parts) for folder in folders)
    names = [str(folder) for folder in folders]
    for depth in range(most, 0, -1):
        shorter = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(shorter)) < len(set(folders)):
            break
        names = shorter
    return names


def held_apart(places: Mapping[str, Path], held_out: Sequence[str]) -> dict[str, Path]:
    """The sessions without those that are held out.

    Args:
        places: folders by name.
        held_out: names.

    Returns:
        Folders by name.

    Raises:
        ValueError: a name that no session has, or nothing is left to train on.
    """
    if unknown := [name for name in held_out if name not in places]:
        raise ValueError(
            f"--held-out {' '.join(unknown)}: no such session; there are {', '.join(places)}"
        )
    kept = {name: folder for name, folder in places.items() if name not in held_out}
    if not kept:
        raise ValueError("--held-out names all sessions; nothing is left to train on")
    return kept


# ---- whose turn it is ----------------------------------------------------------------------------
def session_turns(count: int, seed: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Which session each step looks at: all of them once in every round, in an order of its own.

    Args:
        count: how many sessions there are.
        seed: of the run.
        start: the first step.

    Yields:
        The session's number, and how often it was looked at before; step i depends on (seed, i).
    """
    step = start
    while True:
        turn, place = divmod(step, count)
        random = torch.Generator().manual_seed(seed * 1_000_003 + turn)
        yield int(torch.randperm(count, generator=random)[place]), turn
        step += 1
