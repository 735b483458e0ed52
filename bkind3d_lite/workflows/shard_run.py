"""Shard run: track a long recording in pieces, by one process or by many jobs of a cluster.

One look at the whole session (`session.npz`: background, scale, heading) serves every shard, so
that nothing jumps at their borders. What is done is skipped, so a job that is stopped goes on.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..clips.clip import MultiViewClip, SurveyedClip, open_clip
from ..clips.image_tracks import Track2D
from ..clips.survey import survey as survey_clip
from ..clips.survey_files import arrays_hash, recording_hash, survey_arrays, survey_of
from ..clips.tracks import Track
from ..distributed import joined
from ..files import file_hash, refuse_unwritable, write_atomically
from ..model.discoverer import Discoverer
from ..recipes import Recipe, load_recipe
from ..recipes.ranges import refuse_outside
from ..training.checkpoints import load
from ..training.image_tracking import track_images
from ..training.orientation import oriented
from ..training.tracking import skeleton_among, track
from ..viz.skeleton_edits import Editing, load_editing
from .shards import DAMAGED, Stamp, joined_rows, missing_of, pieces_of, track_of, write_shard
from .track_run import checkpoint_in, say_moved, sized_for, write_image_track, write_track

log = logging.getLogger(__name__)
SESSION = "session.npz"
WHOLE = 8  # frame sets at a time: pieces of a multiple of it are computed as the whole is
NO_FRAMES = "--frames {}: expected FROM:TO within the recording's {} frames, for example 0:{}"


@dataclass(frozen=True)
class Session:
    """What all shards of a recording share.

    Attributes:
        part: the recording with its one survey.
        bones: pairs (E, 2) of keypoints and how strongly each is drawn (E,).
        about: how it was opened, and what its track says besides its rows (plain values).
        stamp: of its shards.
    """

    part: SurveyedClip
    bones: tuple[Tensor, Tensor]
    about: dict[str, Any]
    stamp: Stamp


# ---- the verbs -----------------------------------------------------------------------------------
def track_shards(
    checkpoint: str | Path,
    clip: str | Path,
    out: str | Path,
    *,
    frames: str | None = None,
    chunk: float | None = None,
    look: bool = False,
    device: str = "auto",
    turns: int | None = None,
    edits: str | Path | None = None,
    **how: Any,
) -> Track | Track2D | None:
    """Track a recording in shards; all of it, or the frames that are asked for.

    Args:
        checkpoint: a file, or a run's folder.
        clip: the recording's folder.
        out: folder of the track; several jobs may share it.
        frames: `FROM:TO`, either may be left out; None: all, merged and written at the end.
        chunk: minutes of a shard; None: one shard.
        look: only look at the session, which the shards then need not.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        turns: average over so many volumes, turned and shifted a little; None: the recipe's.
        edits: an `Editing`'s file, for the merged track.
        **how: as for `open_clip`.

    Returns:
        The merged track; None where only some frames were asked for.
    """
    out, clip = Path(refuse_unwritable(out)), Path(clip).absolute()  # merge may be called elsewhere
    refuse_outside({"turns": turns})
    with joined(device) as device:
        model, recipe, header = load(checkpoint_in(checkpoint), device=device, tracking=True)
        opened = open_clip(clip, **how)
        stamp = Stamp(
            recording_hash(opened), file_hash(checkpoint_in(checkpoint)),
            survey="", turns=turns or recipe.volume.turns, frames=len(opened),
        )  # fmt: skip
        wanted = _wanted(opened, frames, chunk)
        sized = sized_for(opened, header)
        say_moved(sized, header)
        if not (out / SESSION).is_file():
            _look(model, recipe, sized, out, {"clip": str(clip), "how": how, **asdict(stamp)})
        session = read_session(out, sized, stamp)
        if look:
            log.info("%s: looked at, heading and scale are known", out / SESSION)
            return None
        _make(model, recipe, session, out, missing_of(out, wanted, session.stamp, log.warning))
    return None if frames else merge_shards(out, edits=edits, part=session.part)


def _wanted(clip: MultiViewClip, frames: str | None, chunk: float | None) -> list[tuple[int, int]]:
    """The shards that are asked for."""
    match, end = re.fullmatch(r"(\d*):(\d*)", frames or ":", re.ASCII), len(clip)
    begin, stop = (int(match[1] or 0), int(match[2] or end)) if match else (0, 0)
    if not begin < stop <= end:
        raise ValueError(NO_FRAMES.format(frames, end, end))
    return pieces_of(begin, stop, None if chunk is None else frames_of(chunk, clip.fps))


def frames_of(minutes: float, fps: float) -> int:
    """The length of a shard, a multiple of the frame sets that are tracked at a time.

    Args:
        minutes: about so long.
        fps: frames a second.

    Returns:
        Frames, at least `WHOLE`.
    """
    return max(1, round(minutes * 60 * fps / WHOLE)) * WHOLE


def _make(
    model: Discoverer, recipe: Recipe, session: Session, out: Path, todo: list[tuple[int, int]]
) -> None:
    """Track and write the shards that are not there yet."""
    clip, survey, stamp = session.part.clip, session.part.survey, session.stamp
    one: Any = partial(track, turns=stamp.turns) if clip.rig.calibrated else track_images
    for done, (first, stop) in enumerate(todo):
        log.info("frames %d:%d of %d, shard %d of %d", first, stop, len(clip), done + 1, len(todo))
        piece = one(model, recipe, clip, survey, torch.arange(first, stop))
        write_shard(out, first, piece[0] if isinstance(piece, list) else piece, stamp)


def merge_shards(
    out: str | Path,
    *,
    film: bool = True,
    edits: str | Path | None = None,
    part: SurveyedClip | None = None,
) -> Track | Track2D:
    """Make one track of a folder's shards and write its files.

    Args:
        out: the track's folder.
        film: draw film and page, too, for which the recording is opened.
        edits: an `Editing`'s file.
        part: the recording, if it is open.

    Returns:
        The track.

    Raises:
        ValueError: a gap, an overlap, a mixture of checkpoints, or shards of another session.
    """
    out, editing = Path(out), load_editing(edits) if edits else Editing()
    rows, stamp = joined_rows(out)
    arrays, about = session_file(out)
    if unlike := stamp.unlike(_stamp_of(about, arrays, stamp.turns)):
        raise ValueError(f"{out}: its shards are of {unlike} than {SESSION} says; track it anew")
    bones = (torch.from_numpy(arrays["pairs"]), torch.from_numpy(arrays["weights"]))
    points = rows["px" if "px" in rows else "world"]
    whole = editing.applied(track_of(rows, about["track"], skeleton_among(*bones, points)))
    if not film:
        whole.save(out / "keypoints.csv")
        whole.save(out / "keypoints.npz")
        return whole
    part = _reopened(about, arrays) if part is None else part
    title = Path(about["clip"]).name
    if isinstance(whole, Track2D):
        write_image_track(out, whole, part.clip, title)
    else:
        write_track(out, whole, part, load_recipe(about["recipe"]), title)
    return whole


# ---- the one look --------------------------------------------------------------------------------
def _look(
    model: Discoverer, recipe: Recipe, clip: MultiViewClip, out: Path, about: dict[str, Any]
) -> None:
    """Survey the whole session and find its heading, once."""
    log.info("looking at %s, once for all shards ...", clip.name)
    uncover = recipe.data.uncover
    survey = survey_clip(clip, thumbs=False, uncover=uncover) if recipe.surveyed else None
    survey = oriented(model, clip, survey)
    rig = clip.rig
    track_says = dict(fps=clip.fps, unit=rig.unit) if rig.calibrated else dict(
        fps=clip.fps, wh=list(rig.wh), camera=rig.names[0]
    )  # fmt: skip
    about = about | {"size": list(rig.wh), "recipe": asdict(recipe), "track": track_says}
    arrays: dict[str, Any] = {} if survey is None else {**survey_arrays(survey)}
    arrays["pairs"] = model.edges.pairs.cpu().numpy()
    arrays["weights"] = model.edges.weights.detach().cpu().float().numpy()
    told = np.array(json.dumps(about))
    mine = out / f"look-{secrets.token_hex(4)}.npz"
    write_atomically(mine, lambda file: np.savez_compressed(file, about=told, **arrays))
    try:
        os.link(mine, out / SESSION)  # not over that of a job that was faster: its look is the one
    except FileExistsError:
        log.info("%s: another job has looked, too", out / SESSION)
    except OSError:  # a disk without links
        mine.replace(out / SESSION)
    finally:
        mine.unlink(missing_ok=True)


def read_session(out: str | Path, clip: MultiViewClip, stamp: Stamp) -> Session:
    """The look that is there.

    Args:
        out: the track's folder.
        clip: the recording, as large as it is tracked.
        stamp: of the recording and the checkpoint as they are now.

    Returns:
        What all shards share.

    Raises:
        ValueError: it is of another recording or checkpoint, or damaged.
    """
    arrays, about = session_file(Path(out))
    there = _stamp_of(about, arrays, stamp.turns)
    if unlike := there.unlike(replace(stamp, survey=there.survey)):
        raise ValueError(f"{Path(out) / SESSION}: of {unlike}; choose another --out")
    bones = (torch.from_numpy(arrays.pop("pairs")), torch.from_numpy(arrays.pop("weights")))
    survey = survey_of(arrays) if arrays else None
    return Session(SurveyedClip(clip, survey), bones, about=about, stamp=there)


def session_file(out: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `track --look` wrote.

    Args:
        out: the track's folder.

    Returns:
        Arrays of the survey, with `pairs` and `weights` of the bones; and what is said of them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    path = out / SESSION
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; track with --look makes it")
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        return arrays, json.loads(str(arrays.pop("about")))
    except DAMAGED as error:
        raise ValueError(f"{path}: damaged ({error}); remove it and track with --look") from error


def _stamp_of(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], turns: int) -> Stamp:
    """The stamp of shards of this session."""
    seen = {k: v for k, v in arrays.items() if k not in ("pairs", "weights")}
    survey = arrays_hash(seen) if seen else ""
    kept = {k: about[k] for k in ("recording", "checkpoint", "frames")}
    return Stamp(survey=survey, turns=turns, **kept)


def _reopened(about: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> SurveyedClip:
    """The recording of a session, opened as it was."""
    clip = open_clip(about["clip"], **about["how"])
    if tuple(about["size"]) != clip.rig.wh:
        clip = clip.resized((about["size"][0], about["size"][1]))
    seen = {k: v for k, v in arrays.items() if k not in ("pairs", "weights")}
    return SurveyedClip(clip, survey_of(seen) if seen else None)
