"""Shards: a long track in pieces, each whole, and how they become one again."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..clips.image_tracks import Track2D
from ..clips.survey_files import arrays_hash
from ..clips.tracks import Skeleton, Track
from ..files import write_atomically

SHARDS = "shards"
DAMAGED = (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error)
# what each field of a stamp is called where two differ
STAMPED = {
    "recording": "recording",
    "checkpoint": "checkpoint",
    "survey": "survey",
    "turns": "number of turns",
    "frames": "length",
}


@dataclass(frozen=True)
class Stamp:
    """What a shard was made of; all shards of one track have the same.

    Attributes:
        recording: fingerprint of the recording.
        checkpoint: fingerprint of its file.
        survey: fingerprint of the one look at the whole session; "": the recipe asks for none.
        turns: of the volume that were averaged over.
        frames: of the whole recording.
    """

    recording: str
    checkpoint: str
    survey: str
    turns: int
    frames: int

    def unlike(self, other: Stamp) -> str:
        """What two stamps differ in, in words; "": nothing.

        Args:
            other: of another shard.

        Returns:
            The first difference.
        """
        for name, word in STAMPED.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"another {word} ({mine or 'none'}, not {theirs or 'none'})"
        return ""


@dataclass(frozen=True)
class Shard:
    """Rows `first` to `stop` - 1 of a track, by the names that tracks have for them."""

    first: int
    stop: int
    stamp: Stamp
    rows: dict[str, Tensor]


# ---- files ---------------------------------------------------------------------------------------
def shard_path(out: str | Path, first: int, stop: int) -> Path:
    """Where a shard lies: its name says which frames it holds.

    Args:
        out: the track's folder.
        first: frame.
        stop: one behind the last.

    Returns:
        The file.
    """
    return Path(out) / SHARDS / f"{first:09d}-{stop:09d}.npz"


def shards_in(out: str | Path) -> list[tuple[int, int, Path]]:
    """The shards of a folder, by their names.

    Args:
        out: the track's folder.

    Returns:
        First frame, one behind the last, file, by time.
    """
    named = [(re.fullmatch(r"(\d+)-(\d+)", p.stem), p) for p in Path(out, SHARDS).glob("*.npz")]
    return sorted((int(match[1]), int(match[2]), path) for match, path in named if match)


def write_shard(out: str | Path, first: int, track: Track | Track2D, stamp: Stamp) -> Path:
    """Write a piece of a track, whole or not at all, with its own fingerprint.

    Args:
        out: the track's folder.
        first: frame of its first row.
        track: the piece.
        stamp: what it was made of.

    Returns:
        The file.
    """
    values = ((field.name, getattr(track, field.name)) for field in fields(track))
    arrays: dict[str, Any] = {n: v.numpy() for n, v in values if isinstance(v, Tensor)}
    stop = first + len(arrays["confidence"])
    told = {"first": first, "stop": stop, "own": arrays_hash(arrays), **asdict(stamp)}
    arrays["stamp"] = np.array(json.dumps(told))
    path = shard_path(out, first, stop)
    return write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read_shard(path: str | Path) -> Shard:
    """A shard, if all of it is there.

    Args:
        path: the file.

    Returns:
        The shard.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        told = json.loads(str(arrays.pop("stamp")))
        own, first, stop = (told.pop(name) for name in ("own", "first", "stop"))
        stamp = Stamp(**told)
    except DAMAGED as error:
        raise ValueError(f"{path}: a damaged shard ({error}); {_again(Path(path))}") from error
    if own != arrays_hash(arrays):
        raise ValueError(f"{path}: a damaged shard (its fingerprint differs); {_again(Path(path))}")
    rows = {name: torch.from_numpy(value) for name, value in arrays.items()}
    return Shard(first, stop, stamp=stamp, rows=rows)


def _again(path: Path) -> str:
    frames = ":".join(str(int(n)) for n in re.findall(r"\d+", path.stem))
    return f"remove it and track its frames again with --frames {frames}"


# ---- which pieces --------------------------------------------------------------------------------
def pieces_of(first: int, stop: int, length: int | None) -> list[tuple[int, int]]:
    """Frames in pieces.

    Args:
        first: frame.
        stop: one behind the last.
        length: frames of a piece; None: one piece.

    Returns:
        First and one behind the last of each.
    """
    step = length or max(1, stop - first)
    return [(a, min(a + step, stop)) for a in range(first, stop, step)]


def missing_of(
    out: str | Path, wanted: Sequence[tuple[int, int]], stamp: Stamp, tell: Callable[[str], None]
) -> list[tuple[int, int]]:
    """Which of the wanted shards are still to be made; a damaged one is.

    Args:
        out: the track's folder.
        wanted: first and one behind the last frame of each.
        stamp: that they shall have.
        tell: called with a word about each damaged one.

    Returns:
        Those that are not there.

    Raises:
        ValueError: a shard there is of another making, or overlaps one that is wanted.
    """
    todo = list(wanted)
    for first, stop, path in shards_in(out):
        if (first, stop) in todo:
            try:
                unlike = read_shard(path).stamp.unlike(stamp)
            except ValueError as error:
                tell(f"{error}: doing so")
                continue
            if unlike:
                raise ValueError(f"{path}: a shard of {unlike}; choose another --out, or remove it")
            todo.remove((first, stop))
        elif clash := [(a, b) for a, b in wanted if a < stop and first < b]:
            raise ValueError(
                f"{path}: overlaps frames {clash[0][0]}:{clash[0][1]}, which are asked for; give "
                "the --chunk or --frames that it was made with, or remove it"
            )
    return todo


# ---- one track again -----------------------------------------------------------------------------
def joined_rows(out: str | Path) -> tuple[dict[str, Tensor], Stamp]:
    """The rows of all shards, one after the other.

    Args:
        out: the track's folder.

    Returns:
        Tensors (T, ...) by the names that tracks have for them, and what they were made of.

    Raises:
        FileNotFoundError: there is no shard.
        ValueError: one is damaged, two are of different making or overlap, or frames are missing.
    """
    shards: list[Shard] = []
    reached = 0
    for first, stop, path in shards_in(out):
        shard = read_shard(path)
        if shards and (unlike := shard.stamp.unlike(shards[0].stamp)):
            raise ValueError(
                f"{path}: of {unlike} than the shards before it; remove those of one kind and "
                "track their frames again"
            )
        if first < reached:
            raise ValueError(
                f"{path}: frames {first}:{min(reached, stop)} are in another shard, too; remove "
                "one of the two"
            )
        if first > reached:
            raise ValueError(_gap(out, reached, first))
        shards.append(shard)
        reached = stop
    if not shards:
        raise FileNotFoundError(f"{out}: no shards here; track with --frames or --chunk makes them")
    if reached < (length := shards[0].stamp.frames):
        raise ValueError(_gap(out, reached, length))
    names = shards[0].rows
    return {name: torch.cat([s.rows[name] for s in shards]) for name in names}, shards[0].stamp


def _gap(out: str | Path, first: int, stop: int) -> str:
    return f"{out}: frames {first}:{stop} are missing; track them with --frames {first}:{stop}"


def track_of(rows: dict[str, Any], about: dict[str, Any], skeleton: Skeleton) -> Track | Track2D:
    """A track of joined rows.

    Args:
        rows: of `joined_rows`.
        about: fps and unit of the world, or fps, wh and camera of an image.
        skeleton: of its keypoints.

    Returns:
        The track.
    """
    if "px" in rows:
        return Track2D(skeleton=skeleton, **rows, **about | {"wh": tuple(about["wh"])})
    return Track(skeleton=skeleton, **rows, **about)
